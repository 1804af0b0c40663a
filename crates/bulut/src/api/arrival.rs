//! What belongs to one request from its arrival on, wherever it is dealt with: when and from where it came, and what its
//! sender may still send.
//!
//! Promises: the tightest of the allowances that a request was charged to stands in its answer. Must not know: calls.

use crate::api::client_address;
use crate::api::dialect::Dialect;
use crate::api::failure::Failure;
use crate::api::http::Gate;
use crate::app::App;
use crate::clock::Clock;
use crate::domain::limits::{self, Allowance, Class, Who};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bulut_model::{Error, Result, Timestamp};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

tokio::task_local! {
    static ARRIVAL: Arrival;
}

/// A request's arrival.
#[derive(Debug)]
pub struct Arrival {
    at: Timestamp,
    address: Option<IpAddr>,
    class: Class,
    tightest: Mutex<Option<Allowance>>,
}

impl Arrival {
    /// Of a request that came now, from there, to do something of this class.
    pub fn new(at: Timestamp, address: Option<IpAddr>, class: Class) -> Self {
        Self { at, address, class, tightest: Mutex::default() }
    }

    /// Whether it only looks.
    pub fn only_reads(&self) -> bool {
        self.class == Class::Read
    }

    /// Deals with the request; answers what its sender may still send, if anybody counted.
    pub async fn within<T>(self, dealing: impl Future<Output = T>) -> (T, Option<Allowance>) {
        ARRIVAL
            .scope(self, async {
                let done = dealing.await;
                let tightest = ARRIVAL.with(|arrival| *arrival.lock());
                (done, tightest)
            })
            .await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Allowance>> {
        self.tightest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, allowance: Allowance) {
        let mut tightest = self.lock();
        if tightest.is_none_or(|known| allowance.remaining < known.remaining) {
            *tightest = Some(allowance);
        }
    }
}

/// Lets requests in as long as the address that they come from may send them.
pub fn gate(app: App) -> Gate {
    Box::new(move |request: &Request| {
        let (uri, config) = (request.uri(), app.config());
        let address = client_address::of(config, request.headers(), request.extensions());
        let class = Dialect::of(uri.path()).class(request.method(), uri.path());
        let arrival = Arrival::new(app.clock().now(), address, class.unwrap_or(Class::Read));
        let (Some(address), Some(class)) = (address, class) else { return (arrival, Ok(())) };
        match limits::charge(&app, Who::Address(address), class) {
            Ok(allowance) => {
                allowance.into_iter().for_each(|allowance| arrival.note(allowance));
                (arrival, Ok(()))
            }
            Err(refusal) => {
                arrival.note(refusal.allowance);
                (arrival, Err(Failure::from(Error::from(refusal))))
            }
        }
    })
}

/// When the request came that is dealt with here.
pub fn time() -> Timestamp {
    ARRIVAL.try_with(|arrival| arrival.at).unwrap_or_else(|_| Clock::System.now())
}

/// From where the request came that is dealt with here.
pub fn address() -> Option<IpAddr> {
    ARRIVAL.try_with(|arrival| arrival.address).ok().flatten()
}

/// Charges the request that is dealt with here to somebody.
///
/// Errors: `RateLimited`.
pub fn charge(app: &App, who: Who) -> Result<()> {
    let class = ARRIVAL.try_with(|arrival| arrival.class).unwrap_or(Class::Change);
    let charged = limits::charge(app, who, class);
    let told = charged.unwrap_or_else(|refusal| Some(refusal.allowance));
    if let Some(allowance) = told {
        // Outside of a request there is no answer that could tell of it.
        let _ = ARRIVAL.try_with(|arrival| arrival.note(allowance));
    }
    Ok(charged.map(drop)?)
}

/// Tells of an allowance in an answer, unless the answer does so itself.
pub fn tell(allowance: Option<Allowance>, headers: &mut HeaderMap) {
    let Some(allowance) = allowance else { return };
    for (name, value) in [
        ("ratelimit-limit", allowance.limit),
        ("ratelimit-remaining", allowance.remaining),
        ("ratelimit-reset", allowance.reset_s),
    ] {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from(value));
    }
}
