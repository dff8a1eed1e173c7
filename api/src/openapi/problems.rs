//! Which problems an operation can answer with. Every status here is one that a handler or a layer of the router gives.

use http::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::components::response_name;
use super::reference;

/// What every address can answer: of [`crate::hardening`], of a handler's panic, and of the connection itself.
const EVERYWHERE: [StatusCode; 4] = [
    StatusCode::URI_TOO_LONG,
    StatusCode::MISDIRECTED_REQUEST,
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    StatusCode::INTERNAL_SERVER_ERROR,
];
/// What every address under `/v1` can answer: rate limits, full queues, the last resort against a request that hangs.
const DATA: [StatusCode; 3] =
    [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
/// What reading a body can answer.
const BODY: [StatusCode; 5] = [
    StatusCode::BAD_REQUEST,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::UNPROCESSABLE_ENTITY,
];

/// A set of statuses.
#[derive(Debug, Clone, Default)]
pub(super) struct Problems(std::collections::BTreeSet<u16>);

impl Problems {
    /// Of a page that isn't under `/v1`.
    pub(super) fn of_page() -> Problems {
        Problems::default().and(&EVERYWHERE)
    }

    /// Of a request that reads: what it brings along to prove who sends it may not be good.
    pub(super) fn of_query() -> Problems {
        Problems::of_page().and(&DATA).and(&[StatusCode::UNAUTHORIZED])
    }

    /// Of a request that changes something, which a page of another site may not send.
    pub(super) fn of_change() -> Problems {
        Problems::of_query().and(&[StatusCode::FORBIDDEN])
    }

    /// Of a request with a body.
    pub(super) fn with_body(self) -> Problems {
        self.and(&BODY)
    }

    pub(super) fn and(mut self, statuses: &[StatusCode]) -> Problems {
        self.0.extend(statuses.iter().map(StatusCode::as_u16));
        self
    }

    /// The `responses` of an operation.
    pub(super) fn responses<const N: usize>(&self, successes: [(&str, Json); N]) -> Json {
        let mut responses: Map<String, Json> =
            successes.into_iter().map(|(status, response)| (status.to_owned(), response)).collect();
        for status in &self.0 {
            let Ok(code) = StatusCode::from_u16(*status) else { continue };
            responses.insert(status.to_string(), reference("responses", &response_name(code)));
        }
        Json::Object(responses)
    }
}

/// The answer of the HTTP implementation itself, before the router: it has no problem document.
pub(super) fn head_too_large() -> Json {
    json!({ "description": "The head of the request is larger than `http.head_limit`, or has more than `http.max_headers` headers. Without a body." })
}
