//! Credits to accounts, from payment providers and billing systems, who sign their requests instead of signing in.

use crate::api::idempotency;
use crate::api::native::error::Error;
use crate::api::native::wire::PaymentView;
use crate::app::App;
use crate::domain::payments::{self, Credit, Signed, Whose};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use bulut_model::{AccountId, Error as ModelError, Micros, PaymentKeyId, Result as ModelResult};
use bytes::Bytes;
use serde::Deserialize;

const KEY: &str = "bulut-payment-key";
const TIMESTAMP: &str = "bulut-timestamp";
const SIGNATURE: &str = "bulut-signature";

/// What is credited to whom.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    account: Name,
    amount: String,
    currency: Option<String>,
    #[serde(default)]
    reference: String,
}

/// An account, by its id, or by e-mail address or user name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Id(i64),
    Text(String),
}

/// `POST /v2/payments`
pub async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<PaymentView>, Error> {
    let idempotency_key = idempotency::key(&headers)?.ok_or_else(|| missing("idempotency-key"))?;
    let signed = Signed {
        key: PaymentKeyId(header(&headers, KEY)?.parse().map_err(|_| missing(KEY))?),
        timestamp: header(&headers, TIMESTAMP)?,
        idempotency_key: &idempotency_key,
        body: &body,
        signature: header(&headers, SIGNATURE)?,
    };
    let payer = payments::prove(&app, signed).await?;
    let payment = payments::credit(&app, &payer, credit(&body)?).await?;
    Ok(Json(payment.into()))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> ModelResult<&'a str> {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    value.filter(|value| !value.is_empty()).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> ModelError {
    ModelError::invalid(name, format!("The header {name} is missing or cannot be read."))
}

fn credit(body: &[u8]) -> ModelResult<Credit> {
    let refuse = |why: serde_json::Error| {
        ModelError::invalid(
            "body",
            "The body must be JSON such as {\"account\": \"ada@example.com\", \"amount\": \"25.00\", \"reference\": \
             \"pi_7\"}; account may be an id, reference may be left out.",
        )
        .with_internal(why)
    };
    let body: Body = serde_json::from_slice(body).map_err(refuse)?;
    let amount = Micros::parse(&body.amount)
        .map_err(|why| ModelError::invalid("amount", format!("The amount {why}.")))?;
    let account = match body.account {
        Name::Id(id) => Whose::Id(AccountId(id)),
        Name::Text(text) => Whose::Name(text),
    };
    Ok(Credit { account, amount, currency: body.currency, reference: body.reference })
}
