//! Reads a request's body with a limit in bytes and in time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use bytes::BytesMut;
use http_body_util::BodyExt;

use crate::options::Options;
use crate::problem::{Kind, Problem};

/// A body over the limit is read on and thrown away up to this many times the limit: a client that still sends when
/// the connection closes would lose the answer.
const DRAIN_FACTOR: usize = 16;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The whole body, or the problem that it has.
pub(crate) async fn read(body: Body, options: &Options) -> Result<Bytes, Problem> {
    match tokio::time::timeout(options.body_timeout(), collect(body, options.body_limit)).await {
        Ok(read) => read,
        Err(_) => Err(Kind::RequestTimeout
            .because(format!("The body did not arrive within {} ms.", options.body_timeout_ms))),
    }
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken)?;
        let Ok(chunk) = frame.into_data() else { continue };
        if whole.len() + chunk.len() > limit {
            let rest = limit.saturating_mul(DRAIN_FACTOR);
            // Whether all of it came changes nothing: the answer is the same.
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain(body, rest)).await;
            return Err(too_large("The body", limit));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

async fn drain(mut body: Body, mut rest: usize) {
    while let Some(Ok(frame)) = body.frame().await {
        let Some(left) = rest.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        rest = left;
    }
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

/// JSON from `bytes`, which the problem calls `what`; nothing at all is the empty object. Nesting is limited to 128 levels.
pub(crate) fn json(what: &str, bytes: &[u8]) -> Result<serde_json::Value, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(serde_json::Value::Object(serde_json::Map::new()));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Kind::MalformedJson.because(format!("{what} is not JSON: {error}.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(limit: usize) -> Options {
        Options { body_limit: limit, body_timeout_ms: 50, ..Options::default() }
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_is_taken() {
        assert_eq!(read(Body::from("12345"), &options(5)).await.unwrap(), "12345");
        assert_eq!(read(Body::from("123456"), &options(5)).await.unwrap_err().kind, Kind::TooLarge);
    }

    #[tokio::test]
    async fn a_body_that_never_ends_runs_out_of_time() {
        let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(endless, &options(5)).await.unwrap_err().kind, Kind::RequestTimeout);
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
        let deep = "[".repeat(10_000);
        assert!(json("The body", deep.as_bytes()).unwrap_err().detail.contains("recursion limit"));
        assert_eq!(json("The body", b"{\"a\": \"\xff\"}").unwrap_err().kind, Kind::MalformedJson);
    }
}
