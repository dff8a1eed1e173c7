//! Reads a request's body with a limit in bytes and in time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use bytes::BytesMut;
use http::HeaderMap;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use writ_model::value::{MAX_NESTING, nests_too_deeply};

use crate::app::App;
use crate::headers;
use crate::options::Options;
use crate::problem::{Kind, Problem};

/// A body over the limit is read on and thrown away up to this many times the limit: a client that still sends when
/// the connection closes would lose the answer.
const DRAIN_FACTOR: usize = 16;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Bounds the bytes of all bodies that are in memory at once.
#[derive(Debug)]
pub(crate) struct Bodies {
    bytes: Arc<Semaphore>,
}

/// Bytes that are held. They are free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Bodies {
    /// For at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Bodies {
        Bodies { bytes: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))) }
    }

    /// Takes room for `bytes`, if there is some.
    fn try_hold(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes.clone().try_acquire_many_owned(bytes).map_err(|_| {
            Kind::Overloaded.because("Too many bytes of other requests are under way; nothing was written.")
        })
    }

    /// Room for `bytes`, or the problem that there is none.
    pub(crate) fn hold_now(&self, bytes: usize) -> Result<Held, Problem> {
        self.try_hold(bytes).map(Held)
    }

    /// Waits for room. Callers take it in the order in which they need it, so that none holds what an earlier one waits for.
    pub(crate) async fn hold(&self, bytes: usize) -> Held {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Held(self.bytes.clone().acquire_many_owned(bytes).await.expect("the semaphore is never closed"))
    }
}

/// The whole body and the room that it takes, or the problem that it has.
pub(crate) async fn read(body: Body, options: &Options, bodies: &Bodies) -> Result<(Bytes, Held), Problem> {
    match tokio::time::timeout(options.body_timeout(), collect(body, options.body_limit, bodies)).await {
        Ok(read) => read,
        Err(_) => Err(Kind::RequestTimeout
            .because(format!("The body did not arrive within {} ms.", options.body_timeout_ms))),
    }
}

async fn collect(mut body: Body, limit: usize, bodies: &Bodies) -> Result<(Bytes, Held), Problem> {
    let mut whole = BytesMut::new();
    let mut held = bodies.try_hold(0)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken)?;
        let Ok(chunk) = frame.into_data() else { continue };
        if whole.len() + chunk.len() > limit {
            let rest = limit.saturating_mul(DRAIN_FACTOR);
            // Whether all of it came changes nothing: the answer is the same.
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain(body, rest)).await;
            return Err(too_large("The body", limit));
        }
        held.merge(bodies.try_hold(chunk.len())?);
        whole.extend_from_slice(&chunk);
    }
    Ok((whole.freeze(), Held(held)))
}

async fn drain(mut body: Body, mut rest: usize) {
    while let Some(Ok(frame)) = body.frame().await {
        let Some(left) = rest.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        rest = left;
    }
}

/// A small body of a known form, for an address of the server's own.
pub(crate) async fn typed<T: DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    let (bytes, _held) = read(body, &app.options, &app.bodies).await?;
    if !bytes.is_empty() {
        headers::check_content_type(headers, &["application/json"])?;
    }
    // What serde says of a fault may quote a value, and these bodies hold passwords.
    serde_json::from_value(json("The body", &bytes)?).map_err(|error| {
        let detail = match error.to_string().split_once(" `") {
            Some((what, rest)) if what == "missing field" || what == "unknown field" => {
                format!("{what} `{}`", rest.split('`').next().unwrap_or_default())
            }
            _ => "a member has the wrong type".to_owned(),
        };
        Problem::at(
            Kind::InvalidInput,
            "",
            "wrong_form",
            format!("The body isn't what this address takes: {detail}."),
        )
    })
}

/// The problem of a body or line over `limit`.
pub(crate) fn too_large(what: &str, limit: usize) -> Problem {
    Kind::TooLarge.because(format!("{what} has more than {limit} bytes, the limit of this server."))
}

/// The problem of a body that ends in the middle. Nobody may be there to read it.
pub(crate) fn broken(error: axum::Error) -> Problem {
    tracing::debug!(error = %error, "a body could not be read to its end");
    Kind::MalformedJson.because("The body could not be read to its end.")
}

/// JSON from `bytes`, which the problem calls `what`; nothing at all is the empty object. Nesting is limited, see
/// [`MAX_NESTING`].
pub(crate) fn json(what: &str, bytes: &[u8]) -> Result<serde_json::Value, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(serde_json::Value::Object(serde_json::Map::new()));
    }
    let json = serde_json::from_slice(bytes)
        .map_err(|error| Kind::MalformedJson.because(format!("{what} is not JSON: {error}.")))?;
    if nests_too_deeply(&json) {
        let detail = format!("{what} nests more than {MAX_NESTING} lists and objects inside each other.");
        return Err(Kind::MalformedJson.because(detail));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(limit: usize) -> Options {
        Options { body_limit: limit, body_timeout_ms: 50, ..Options::default() }
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_is_taken() {
        let bodies = Bodies::new(100);
        assert_eq!(read(Body::from("12345"), &options(5), &bodies).await.unwrap().0, "12345");
        assert_eq!(read(Body::from("123456"), &options(5), &bodies).await.unwrap_err().kind, Kind::TooLarge);
    }

    #[tokio::test]
    async fn a_body_that_never_ends_runs_out_of_time() {
        let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(
            read(endless, &options(5), &Bodies::new(100)).await.unwrap_err().kind,
            Kind::RequestTimeout
        );
    }

    #[tokio::test]
    async fn all_bodies_together_have_a_limit() {
        let bodies = Bodies::new(8);
        let (_, first) = read(Body::from("12345"), &options(5), &bodies).await.unwrap();
        assert_eq!(read(Body::from("1234"), &options(5), &bodies).await.unwrap_err().kind, Kind::Overloaded);
        assert_eq!(read(Body::from("123"), &options(5), &bodies).await.unwrap().0, "123");
        let mut waiting = std::pin::pin!(bodies.hold(4));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(first);
        waiting.await;
    }

    #[test]
    fn an_empty_body_is_the_empty_object() {
        assert_eq!(json("The body", b"").unwrap(), serde_json::json!({}));
        assert_eq!(json("The body", b" \r\n").unwrap(), serde_json::json!({}));
    }

    #[test]
    fn what_is_not_json_says_where() {
        let problem = json("The body", b"{\"a\": 1,\n oops}").unwrap_err();
        assert_eq!(problem.kind, Kind::MalformedJson);
        assert!(problem.detail.contains("line 2"), "{}", problem.detail);
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(json("The body", nested(MAX_NESTING).as_bytes()).is_ok());
        let problem = json("The body", nested(MAX_NESTING + 1).as_bytes()).unwrap_err();
        assert!(problem.kind == Kind::MalformedJson && problem.detail.contains("nests more"), "{problem:?}");
        let deep = "[".repeat(10_000);
        assert!(json("The body", deep.as_bytes()).unwrap_err().detail.contains("recursion limit"));
        assert_eq!(json("The body", b"{\"a\": \"\xff\"}").unwrap_err().kind, Kind::MalformedJson);
    }
}
