//! Cross-origin requests (Fetch standard, section 3.3): pages of the listed origins may send everything and read the answers,
//! with cookies; pages of others may not.

use std::time::Duration;

use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH,
    LOCATION, ORIGIN, RETRY_AFTER,
};
use http::{HeaderMap, HeaderValue, Method, Uri};
use serde::{Deserialize, Serialize};
use tower_http::cors::{AllowCredentials, AllowOrigin, CorsLayer};

use crate::headers::{
    IDEMPOTENCY_KEY, LAST_EVENT_ID, RATE_LIMIT, RATE_LIMIT_POLICY, TRACEPARENT, WRIT_POSITION,
    WRIT_PROJECTED, X_REQUEST_ID,
};

/// How long a browser may remember what a preflight said.
const MAX_AGE: Duration = Duration::from_secs(600);
const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
/// What a page may send beside what browsers let every page send.
const SENT: [HeaderName; 10] = [
    ACCEPT,
    AUTHORIZATION,
    CONTENT_TYPE,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    LAST_EVENT_ID,
    TRACEPARENT,
    WRIT_POSITION,
    X_REQUEST_ID,
];
/// What a page may read beside what browsers let every page read.
const READ: [HeaderName; 9] = [
    CONTENT_DISPOSITION,
    ETAG,
    LOCATION,
    RATE_LIMIT,
    RATE_LIMIT_POLICY,
    RETRY_AFTER,
    WRIT_POSITION,
    WRIT_PROJECTED,
    X_REQUEST_ID,
];

/// The `http.cors` section of the configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Origins as browsers send them: `https://app.example.com`, with the port if it isn't the scheme's own. No wildcards.
    pub origins: Vec<String>,
}

/// An entry of `http.cors.origins` that no browser would ever send.
#[derive(Debug, thiserror::Error)]
#[error(
    "http.cors.origins: `{origin}` {fault}; write it as browsers send it, such as https://app.example.com"
)]
pub struct Error {
    /// As configured.
    origin: String,
    /// What is wrong with it.
    fault: &'static str,
}

impl Options {
    /// Looks for entries that could never match: they are mistakes that nobody would see.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let fault = |origin: &String| fault(origin).map(|fault| Error { origin: origin.clone(), fault });
        self.origins.iter().find_map(fault).map_or(Ok(()), Err)
    }

    /// Whether the request comes from a page of a listed origin.
    pub(crate) fn lists(&self, headers: &HeaderMap) -> bool {
        headers.get(ORIGIN).is_some_and(|origin| self.is_listed(origin))
    }

    fn is_listed(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
    }

    /// Answers preflights and lets browsers pass the answers on. `None`: no origin is listed.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        if self.origins.is_empty() {
            return None;
        }
        let (one, other) = (self.clone(), self.clone());
        let layer = CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(move |origin, _| one.is_listed(origin)))
            .allow_credentials(AllowCredentials::predicate(move |origin, _| other.is_listed(origin)))
            .allow_methods(METHODS)
            .allow_headers(SENT)
            .expose_headers(READ)
            .max_age(MAX_AGE);
        Some(layer)
    }
}

/// What keeps `origin` from being the serialization of one (RFC 6454, section 6.2).
fn fault(origin: &str) -> Option<&'static str> {
    if origin.contains('*') {
        return Some("has a wildcard, and a list of origins has none");
    }
    let Some((scheme, host)) =
        origin.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme))
    else {
        return Some("doesn't begin with http:// or https://");
    };
    if origin.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("has capital letters");
    }
    let uri = origin.parse::<Uri>().ok();
    let authority = uri.as_ref().and_then(Uri::authority);
    if host.contains(['/', '@', '?', '#']) || authority.is_none_or(|authority| authority.as_str() != host) {
        return Some("is more than scheme, host and port");
    }
    let port = authority.and_then(|authority| authority.port_u16());
    let own = if scheme == "https" { 443 } else { 80 };
    (port == Some(own)).then_some("has the port that the scheme has anyway, which browsers leave out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        for right in ["https://app.example.com", "http://localhost:5173", "https://[2001:db8::1]:8443"] {
            assert_eq!(fault(right), None, "{right}");
        }
        for (wrong, why) in [
            ("*", "wildcard"),
            ("https://*.example.com", "wildcard"),
            ("null", "begin with"),
            ("app.example.com", "begin with"),
            ("ftp://app.example.com", "begin with"),
            ("https://App.example.com", "capital"),
            ("https://app.example.com/", "more than"),
            ("https://app.example.com/a", "more than"),
            ("https://u@app.example.com", "more than"),
            ("https://", "more than"),
            ("https://app.example.com:443", "port"),
            ("http://app.example.com:80", "port"),
        ] {
            assert!(fault(wrong).is_some_and(|fault| fault.contains(why)), "{wrong}: {:?}", fault(wrong));
            let options = Options { origins: vec!["https://a.example".into(), wrong.into()] };
            assert!(options.check().unwrap_err().to_string().contains(wrong));
        }
    }
}
