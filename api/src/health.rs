//! `GET /healthz`: the process answers. `GET /readyz`: every part that it runs works, or which doesn't and why.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use writ_producers::readiness::{Part, Readiness};

use crate::app::Shared;

#[derive(Debug, Serialize)]
struct Report {
    status: &'static str,
    parts: Vec<PartReport>,
}

#[derive(Debug, Serialize)]
struct PartReport {
    name: &'static str,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(crate) async fn healthz() -> Response {
    Json(serde_json::json!({ "status": "ok" })).into_response()
}

pub(crate) async fn readyz(State(app): State<Shared>) -> Response {
    let report = report(&app.api.parts);
    let mut response = Json(&report).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if report.status != "ready" {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn report(parts: &[Part]) -> Report {
    let parts: Vec<_> = parts
        .iter()
        .map(|part| match &*part.state.borrow() {
            Readiness::Ready => PartReport { name: part.name, ready: true, reason: None },
            Readiness::Degraded(reason) => {
                PartReport { name: part.name, ready: true, reason: Some(reason.clone()) }
            }
            Readiness::Waiting(reason) => {
                PartReport { name: part.name, ready: false, reason: Some(reason.clone()) }
            }
        })
        .collect();
    Report { status: if parts.iter().all(|part| part.ready) { "ready" } else { "waiting" }, parts }
}
