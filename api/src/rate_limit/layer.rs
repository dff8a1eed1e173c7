//! Charges requests: that of the address here, before anybody knows who sends it; those of account and key where it is known.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Extensions;
use parking_lot::Mutex;

use super::fields;
use super::limiter::{Bucket, RateLimiter, Reading};
use crate::app::Shared;
use crate::client_address::ClientAddress;
use crate::problem::{Kind, Problem};

/// What the buckets of a request have said so far.
#[derive(Debug, Clone, Default)]
struct Readings(Arc<Mutex<Vec<Reading>>>);

/// Charges the address that the request comes from. Adds what all buckets of the request said to the response.
pub(crate) async fn limit_address(
    State(app): State<Shared>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    mut request: Request,
    next: Next,
) -> Response {
    let readings = Readings::default();
    request.extensions_mut().insert(readings.clone());
    let charged = charge(&app.api.limiter, request.extensions(), &[Bucket::address(address)]).await;
    let mut response = match charged {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    fields::add(response.headers_mut(), &readings.0.lock());
    response
}

/// Charges a request to `buckets`, in one round trip. `extensions` are those of the request: what the buckets say is
/// noted there for the response. The error is 429.
pub(crate) async fn charge(
    limiter: &RateLimiter,
    extensions: &Extensions,
    buckets: &[Bucket],
) -> Result<(), Problem> {
    let verdict = limiter.take(buckets).await;
    let refused = verdict.refused();
    if let Some(Readings(readings)) = extensions.get() {
        readings.lock().extend(verdict.readings);
    }
    match refused {
        None => Ok(()),
        Some(wait) => Err(Kind::RateLimited.after(fields::whole_seconds(wait))),
    }
}
