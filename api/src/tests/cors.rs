//! Pages of other origins, as browsers send their requests.

use axum::body::Body;
use http::{Method, Request};

use super::{Alone, Got};
use crate::cors;
use crate::options::Options;
use crate::rate_limit::{self, Rate};

const LISTED: &str = "https://app.example.com";
const OTHER: &str = "https://evil.example";

fn server() -> Alone {
    let cors = cors::Options { origins: vec!["https://first.example".into(), LISTED.into()] };
    Alone::with(Options { reference_wait_ms: 0, cors, ..Options::default() })
}

async fn send(server: &Alone, method: Method, path: &str, headers: &[(&str, &str)]) -> Got {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    server.send(request.body(Body::empty()).unwrap()).await
}

async fn preflight(server: &Alone, origin: &str) -> Got {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,idempotency-key"),
        ("sec-fetch-site", "cross-site"),
    ];
    send(server, Method::OPTIONS, "/v1/note/write", &headers).await
}

#[tokio::test]
async fn a_page_of_a_listed_origin_sends_commands_and_reads_answers() {
    let server = server();
    let got = preflight(&server, LISTED).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.header("access-control-allow-origin"), LISTED);
    assert_eq!(got.header("access-control-allow-credentials"), "true");
    assert!(got.header("access-control-allow-methods").split(',').any(|method| method == "POST"));
    for sent in
        ["authorization", "content-type", "idempotency-key", "if-match", "last-event-id", "writ-position"]
    {
        assert!(got.header("access-control-allow-headers").split(',').any(|name| name == sent), "{sent}");
    }
    assert_eq!(got.header("access-control-max-age"), "600");
    assert!(got.header("vary").contains("origin"));
    assert_eq!(got.header("x-content-type-options"), "nosniff");

    let headers = [("origin", LISTED), ("sec-fetch-site", "cross-site")];
    let got = send(&server, Method::POST, "/v1/note/write", &headers).await;
    got.problem(422, "invalid-input");
    assert_eq!(got.header("access-control-allow-origin"), LISTED);
    assert_eq!(got.header("access-control-allow-credentials"), "true");
    assert!(got.header("vary").contains("origin"));
    let exposed = got.header("access-control-expose-headers");
    for read in
        ["etag", "location", "writ-position", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id"]
    {
        assert!(exposed.split(',').any(|name| name == read), "{read} in {exposed}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_does_neither() {
    let server = server();
    for origin in [
        OTHER,
        "null",
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
    ] {
        let got = preflight(&server, origin).await;
        assert!(!got.headers.contains_key("access-control-allow-origin"), "{origin}");
        assert!(!got.headers.contains_key("access-control-allow-credentials"), "{origin}");
        let headers = [("origin", origin), ("sec-fetch-site", "cross-site")];
        let got = send(&server, Method::POST, "/v1/note/write", &headers).await;
        got.problem(403, "cross-site");
        assert!(!got.headers.contains_key("access-control-allow-origin"), "{origin}");
        let got = send(&server, Method::GET, "/healthz", &headers).await;
        assert_eq!(got.status, 200);
        assert!(!got.headers.contains_key("access-control-allow-origin"), "the page doesn't get to read it");
    }
    let got = send(&server, Method::POST, "/v1/note/write", &[("sec-fetch-site", "cross-site")]).await;
    got.problem(403, "cross-site");
}

#[tokio::test]
async fn without_a_list_no_origin_is_let_in() {
    let server = Alone::new();
    let got = preflight(&server, LISTED).await;
    got.problem(405, "method-not-allowed");
    assert!(!got.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{got:?}");
}

#[tokio::test]
async fn a_preflight_is_answered_before_anybody_asks_who_sends_it() {
    let cors = cors::Options { origins: vec![LISTED.into()] };
    let address = Rate { per_minute: 1, burst: 1 };
    let limits = rate_limit::Options {
        address,
        loopback: true,
        redis_timeout_ms: 50,
        ..rate_limit::Options::default()
    };
    let server = Alone::with(Options { cors, limits, ..Options::default() });
    for _ in 0..3 {
        assert_eq!(preflight(&server, LISTED).await.status, 200);
    }
    let asked = async || send(&server, Method::GET, "/v1/memo", &[("origin", LISTED)]).await;
    assert_eq!(asked().await.status, 404);
    let refused = asked().await;
    refused.problem(429, "rate-limited");
    assert_eq!(refused.header("access-control-allow-origin"), LISTED, "so that the page can read why");
}
