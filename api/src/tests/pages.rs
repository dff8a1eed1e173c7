//! The pages beside the data, and what every address does.

use axum::body::Body;
use http::{Method, Request};
use uuid::Uuid;
use writ_producers::readiness::Readiness;

use super::Alone;

#[tokio::test]
async fn readiness_names_what_is_missing_and_why() {
    let server = Alone::new();
    let got = server.get("/readyz").await;
    assert_eq!((got.status.as_u16(), got.header("retry-after")), (503, "1"));
    insta::assert_json_snapshot!(got.json(), @r#"
    {
      "status": "waiting",
      "parts": [
        {
          "name": "kafka",
          "ready": false,
          "reason": "Kafka at 127.0.0.1:1 can't be reached"
        }
      ]
    }
    "#);
    server.kafka.send_replace(Readiness::Ready);
    let got = server.get("/readyz").await;
    assert_eq!(got.status, 200);
    insta::assert_json_snapshot!(got.json(), @r#"
    {
      "status": "ready",
      "parts": [
        {
          "name": "kafka",
          "ready": true
        }
      ]
    }
    "#);
}

#[tokio::test]
async fn the_process_is_healthy_whatever_is_missing() {
    let got = Alone::new().get("/healthz").await;
    assert_eq!((got.status.as_u16(), &got.body[..]), (200, &br#"{"status":"ok"}"#[..]));
}

#[tokio::test]
async fn the_documentation_comes_from_this_server_alone() {
    let server = Alone::new();
    for path in ["/", "/docs"] {
        let got = server.get(path).await;
        assert_eq!((got.status.as_u16(), got.header("location")), (307, "/docs/"));
    }
    let index = server.get("/docs/").await;
    assert!(index.header("content-type").starts_with("text/html"));
    let html = String::from_utf8(index.body.to_vec()).unwrap();
    assert!(html.contains("swagger-ui") && !html.contains("://"), "{html}");
    // What its policy wouldn't run.
    assert!(!html.contains("<script>") && !html.contains(" onload="), "{html}");
    assert!(index.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'self'"));
    let initializer = server.get("/docs/swagger-initializer.js").await;
    assert!(String::from_utf8(initializer.body.to_vec()).unwrap().contains("\"/openapi.json\""));
    assert_eq!(server.get("/docs/swagger-ui-bundle.js").await.status, 200);
    server.get("/docs/nothing.js").await.problem(404, "unknown-route");
}

#[tokio::test]
async fn the_openapi_document_is_the_one_of_the_models() {
    let got = Alone::new().get("/openapi.json").await;
    assert_eq!(got.json(), crate::openapi::document(&super::models(), false));
    let description = got.json()["info"]["description"].to_string();
    assert!(description.contains("(/asyncapi.json)"), "the page leads to the messages of the socket");
}

#[tokio::test]
async fn metrics_are_text() {
    let got = Alone::new().get("/metrics").await;
    assert_eq!(got.status, 200);
    assert!(got.header("content-type").starts_with("text/plain"));
}

#[tokio::test]
async fn an_unknown_address_is_a_problem() {
    let server = Alone::new();
    for path in ["/nothing", "/v1", "/v1/", "/v1/note/a/b/c", "/v2/note"] {
        server.get(path).await.problem(404, "unknown-route");
    }
}

#[tokio::test]
async fn another_method_is_a_problem_with_those_that_are_taken() {
    let server = Alone::new();
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/note", "GET,HEAD"),
        (Method::PUT, "/v1/note/A-1", "GET,HEAD,POST"),
        (Method::GET, "/v1/note/A-1/close", "POST"),
        (Method::GET, "/v1/commands", "POST"),
        (Method::POST, "/openapi.json", "GET,HEAD"),
        (Method::OPTIONS, "/v1/note", "GET,HEAD"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let got = server.send(request).await;
        got.problem(405, "method-not-allowed");
        assert_eq!(got.header("allow"), allowed, "{path}");
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_safe_headers() {
    let server = Alone::new();
    for path in ["/healthz", "/nothing", "/v1/memo", "/docs/"] {
        let got = server.get(path).await;
        assert!(Uuid::try_parse(got.header("x-request-id")).is_ok(), "{path}");
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        assert!(got.header("content-security-policy").contains("default-src"));
        assert!(got.header("content-security-policy").contains("frame-ancestors 'none'"));
        assert_eq!(got.header("x-frame-options"), "DENY");
        assert_eq!(got.header("referrer-policy"), "no-referrer");
        assert_eq!(got.header("cross-origin-resource-policy"), "same-origin");
        assert_eq!(got.header("cross-origin-opener-policy"), "same-origin");
        assert!(got.header("permissions-policy").contains("camera=()"));
        let caching = if path == "/docs/" { "max-age=3600" } else { "no-store" };
        assert_eq!(got.header("cache-control"), caching, "{path}");
        assert!(!got.headers.contains_key("strict-transport-security"), "there is no TLS to insist on");
    }
    let request = Request::get("/healthz").header("x-request-id", "web-1:42").body(Body::empty()).unwrap();
    assert_eq!(server.send(request).await.header("x-request-id"), "web-1:42");
}

#[tokio::test]
async fn a_page_whose_name_points_here_is_refused() {
    let server = Alone::new();
    for (host, status) in [("127.0.0.1:8080", 200), ("evil.example", 421)] {
        let request = Request::get("/healthz").header("host", host).body(Body::empty()).unwrap();
        assert_eq!(server.send(request).await.status, status, "{host}");
    }
}
