//! Invoices of the caller: with all that explains them, as a page, and as PDF.

use crate::api::native::error::Error;
use crate::api::native::extract::Signed;
use crate::api::native::wire::{InvoiceExplained, InvoiceView};
use crate::app::App;
use crate::documents;
use crate::domain::invoices;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use bulut_model::Error as ModelError;

/// The page has its style in it, and needs nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// For its owner alone: nobody on the way keeps it.
const PRIVATE: (HeaderName, &str) = (CACHE_CONTROL, "no-store");

/// `GET /v2/invoices`: newest first.
pub async fn list(State(app): State<App>, Signed(caller): Signed) -> Result<Json<Vec<InvoiceView>>, Error> {
    let invoices = invoices::list(&app, &caller).await?;
    Ok(Json(invoices.into_iter().map(Into::into).collect()))
}

/// `GET /v2/invoices/{number}`, `…/{number}.html`, `…/{number}.pdf`
pub async fn get(
    State(app): State<App>,
    Signed(caller): Signed,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    match name.rsplit_once('.') {
        Some((number, "html")) => {
            let invoice = invoices::get(&app, &caller, number).await?;
            let page = Html(documents::html(&invoice.content));
            Ok(([(CONTENT_SECURITY_POLICY, POLICY), PRIVATE], page).into_response())
        }
        Some((number, "pdf")) => {
            let invoice = invoices::get(&app, &caller, number).await?;
            let shown = format!("inline; filename=\"invoice-{}.pdf\"", invoice.content.number);
            // A long one takes a moment, in which other requests go on.
            let made = tokio::task::spawn_blocking(move || documents::pdf(&invoice.content)).await;
            let bytes = made.map_err(ModelError::internal)??;
            let kind = (CONTENT_TYPE, "application/pdf".to_owned());
            Ok(([kind, (CONTENT_DISPOSITION, shown)], [PRIVATE], bytes).into_response())
        }
        _ => {
            let (invoice, intervals) = invoices::explain(&app, &caller, &name).await?;
            Ok(([PRIVATE], Json(InvoiceExplained::new(invoice, &intervals))).into_response())
        }
    }
}
