//! What happens to every request: its id, its trace, its metrics and log line; a panic becomes a problem;
//! more requests than the server can work on are refused.

use std::any::Any;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::SemaphorePermit;
use tracing::Instrument;
use tracing::field::Empty;
use uuid::Uuid;

use crate::app::{App, Shared};
use crate::headers::{TRACEPARENT, X_REQUEST_ID};
use crate::metrics::{REQUEST_DURATION_SECONDS, REQUESTS_IN_FLIGHT, REQUESTS_TOTAL};
use crate::problem::{Kind, Problem};

/// The longest request id that is taken from a client, in characters.
const REQUEST_ID_LIMIT: usize = 128;
/// The route of a request that has none, in metrics and log.
const UNMATCHED: &str = "unmatched";

/// The trace that a request belongs to, as the command carries it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    trace_id: String,
    span_id: String,
    flags: String,
}

impl Trace {
    /// Continues the client's trace with a new span, or begins one.
    pub(crate) fn of(headers: &HeaderMap) -> Trace {
        let random = Uuid::new_v4().simple().to_string();
        let span_id = format!("{}{}", &random[..8], &random[24..]);
        let parent =
            headers.get(&TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(parse_traceparent);
        match parent {
            Some((trace_id, flags)) => {
                Trace { trace_id: trace_id.to_owned(), span_id, flags: flags.to_owned() }
            }
            None => Trace { trace_id: Uuid::new_v4().simple().to_string(), span_id, flags: "01".to_owned() },
        }
    }

    /// The W3C header for what this request causes.
    pub(crate) fn traceparent(&self) -> String {
        format!("00-{}-{}-{}", self.trace_id, self.span_id, self.flags)
    }
}

/// Trace id and flags of a W3C `traceparent`; later versions may have more parts.
fn parse_traceparent(text: &str) -> Option<(&str, &str)> {
    let hex = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let mut parts = text.split('-');
    let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let valid = hex(version, 2)
        && version != "ff"
        && hex(trace_id, 32)
        && trace_id.bytes().any(|byte| byte != b'0')
        && hex(parent_id, 16)
        && parent_id.bytes().any(|byte| byte != b'0')
        && hex(flags, 2)
        && (version != "00" || parts.next().is_none());
    valid.then_some((trace_id, flags))
}

/// The client's request id if it is short and harmless in a log, or else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        (1..=REQUEST_ID_LIMIT).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(&X_REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| {
        HeaderValue::try_from(Uuid::now_v7().to_string()).expect("a UUID is a valid header value")
    })
}

/// Names, times, counts and logs the request.
pub(crate) async fn observe(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let trace = Trace::of(request.headers());
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    let span = tracing::info_span!(
        "http.request",
        http.request.id = id.to_str().unwrap_or_default(),
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        trace.id = trace.trace_id,
        span.id = trace.span_id,
    );
    request.extensions_mut().insert(trace);

    let in_flight = metrics::gauge!(REQUESTS_IN_FLIGHT);
    in_flight.increment(1.0);
    let decrement = Finally(|| in_flight.decrement(1.0));
    let mut response = next.run(request).instrument(span.clone()).await;
    drop(decrement);

    let status = response.status();
    let seconds = started.elapsed().as_secs_f64();
    let waited_for = route == "/readyz";
    let labels = [("method", method.to_owned()), ("route", route), ("status", status.as_str().to_owned())];
    metrics::counter!(REQUESTS_TOTAL, &labels).increment(1);
    metrics::histogram!(REQUEST_DURATION_SECONDS, &labels).record(seconds);
    span.in_scope(|| {
        span.record("http.response.status_code", status.as_u16());
        // Whoever waits for the server asks for its readiness again and again.
        if status.is_server_error() && !waited_for {
            tracing::warn!(event.duration_seconds = seconds, "a request failed");
        } else {
            tracing::debug!(event.duration_seconds = seconds, "a request was answered");
        }
    });
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

/// Runs its closure when dropped: also when the client went away in the middle.
struct Finally<F: Fn()>(F);

impl<F: Fn()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Clients can invent methods; a metric must not grow with them.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// A place among the requests that are worked on, free again when it is dropped.
pub(crate) struct Admitted<'a> {
    _request: SemaphorePermit<'a>,
    _change: Option<SemaphorePermit<'a>>,
}

/// A place for a request, if there is one. `changes`: it may be a command.
pub(crate) fn admitted(app: &App, changes: bool) -> Result<Admitted<'_>, Problem> {
    let permits = (app.requests.try_acquire(), changes.then(|| app.changes.try_acquire()).transpose());
    match permits {
        (Ok(_request), Ok(_change)) => Ok(Admitted { _request, _change }),
        _ => {
            let most = app.options.max_requests;
            Err(Kind::Overloaded.because(format!("{most} requests are under way; try again in a moment.")))
        }
    }
}

/// The problem of a request that hangs.
pub(crate) fn timed_out(app: &App) -> Problem {
    Kind::Timeout.because(format!("No answer within {} ms.", app.options.request_timeout_ms))
}

/// Lets a bounded number of requests work at once, each for a limited time.
pub(crate) async fn admit(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let _admitted = match admitted(&app, !request.method().is_safe()) {
        Ok(admitted) => admitted,
        Err(problem) => return problem.into_response(),
    };
    match tokio::time::timeout(app.options.request_timeout(), next.run(request)).await {
        Ok(response) => response,
        Err(_) => timed_out(&app).into_response(),
    }
}

/// The answer when a handler panics.
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(error = message, "a request panicked");
    Kind::Internal.because("The request could not be handled; the server's log says why.").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_bytes(value.as_bytes()).unwrap())])
    }

    #[test]
    fn a_trace_is_continued_with_a_new_span() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let trace = Trace::of(&headers(TRACEPARENT, parent));
        assert_eq!(trace.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.flags, "00");
        assert_ne!(trace.span_id, "00f067aa0ba902b7");
        assert_eq!(parse_traceparent(&trace.traceparent()), Some(("4bf92f3577b34da6a3ce929d0e0e4736", "00")));
    }

    #[test]
    fn a_broken_trace_is_replaced() {
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(parse_traceparent(bad), None, "{bad}");
            let fresh = Trace::of(&headers(TRACEPARENT, bad)).traceparent();
            assert!(parse_traceparent(&fresh).is_some(), "{fresh}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(parse_traceparent(later).is_some());
    }

    #[test]
    fn a_request_id_is_taken_if_it_is_harmless() {
        assert_eq!(request_id(&headers(X_REQUEST_ID, "web-1:42")), "web-1:42");
        for bad in ["", "two words", "é", "x".repeat(129).as_str()] {
            let id = request_id(&headers(X_REQUEST_ID, bad));
            assert!(Uuid::try_parse(id.to_str().unwrap()).is_ok(), "{bad}");
        }
    }
}
