//! What keeps browsers from being used against the server: requests in the name of other pages are refused, and every answer says
//! what a browser may do with it.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};

use crate::app::Shared;
use crate::headers::SEC_FETCH_SITE;
use crate::options::Options;
use crate::problem::{Kind, Problem};

/// Headers of every answer.
const ALWAYS: [(HeaderName, &str); 6] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    // For browsers that don't know `frame-ancestors`.
    (X_FRAME_OPTIONS, "DENY"),
    // A page of a listed origin reads answers by CORS, which this doesn't touch.
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), \
         midi=(), payment=(), usb=()",
    ),
];
/// Headers that a handler may set otherwise.
const UNLESS_SET: [(HeaderName, &str); 2] =
    [(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"), (CACHE_CONTROL, "no-store")];

/// Refuses what a browser sends in the name of a page that is none of ours, and adds the headers that keep it from guessing.
pub(crate) async fn harden(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = match check(&request, &app.options) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    add_headers(response.headers_mut(), app.options.tls.is_on());
    response
}

/// Those of OWASP's REST security cheat sheet, and of its secure headers project for pages.
fn add_headers(headers: &mut HeaderMap, tls: bool) {
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    for (name, value) in UNLESS_SET {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Whether the request is one that is looked at.
fn check(request: &Request, options: &Options) -> Result<(), Problem> {
    let length = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if length > options.uri_limit {
        let limit = options.uri_limit;
        return Err(Kind::UriTooLong
            .because(format!("Path and query have {length} bytes, this server takes {limit}.")));
    }
    check_origin(request, options)
}

/// The port is open to every page of a browser on this machine.
fn check_origin(request: &Request, options: &Options) -> Result<(), Problem> {
    // A form of any page may post.
    let cross_site = request.headers().get(&SEC_FETCH_SITE).is_some_and(|site| site == "cross-site");
    if cross_site && !request.method().is_safe() && !options.cors.lists(request.headers()) {
        return Err(Kind::CrossSite.because(
            "A browser sent this for a page of another site, which http.cors.origins doesn't list.",
        ));
    }
    // A page may let its own name point to 127.0.0.1, and then reads and posts as if we had served it.
    let named = request.headers().get(HOST).map(|value| String::from_utf8_lossy(value.as_bytes()));
    // HTTP/2 has the name in the address of the request instead, and HTTP/1.1 may.
    let addressed = request.uri().authority().map(|authority| authority.as_str().into());
    match named.into_iter().chain(addressed).find(|name| !is_known_host(name, &options.hosts)) {
        Some(unknown) => Err(Kind::UnknownHost
            .because(format!("`{}` is neither a loopback name nor in http.hosts.", unknown.escape_debug()))),
        None => Ok(()),
    }
}

/// Whether the `Host` of a request is a loopback name or one of `hosts`.
pub(crate) fn is_known_host(named: &str, hosts: &[String]) -> bool {
    let Ok(authority) = named.parse::<Authority>() else { return false };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|address| address.is_loopback())
        || host.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_and_named_hosts_are_served() {
        let hosts = ["writ.example".to_owned()];
        for known in
            ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.8.9.1", "[::1]:8080", "Writ.Example:443"]
        {
            assert!(is_known_host(known, &hosts), "{known}");
        }
        for unknown in
            ["evil.example", "localhost.evil.example", "192.0.2.1:8080", "[::2]", "", "writ.example.", "a b"]
        {
            assert!(!is_known_host(unknown, &hosts), "{unknown}");
        }
    }
}
