//! `GET /v1/{model}`, `GET /v1/{model}/{id}`.

use axum::body::Body;
use http::Request;

use super::Alone;

const ID: &str = "/v1/note/0190a1f3-7c2e-7b60-9d3c-5b1f0a9e4c11";

#[tokio::test]
async fn unknown_models_and_ids_are_not_found() {
    let server = Alone::new();
    server.get("/v1/memo").await.problem(404, "unknown-model");
    server.get("/v1/memo/A-1").await.problem(404, "unknown-model");
    server.get("/v1/note/no%00key").await.problem(404, "not-found");
    server.get("/v1/note/%ff").await.problem(400, "invalid-path");
}

#[tokio::test]
async fn without_postgres_queries_are_refused_for_now() {
    let server = Alone::new();
    for path in [ID, "/v1/note/A-1", "/v1/note", "/v1/note?status=open&sort=-number&limit=2"] {
        let got = server.get(path).await;
        got.problem(503, "read-side-unavailable");
        assert_eq!(got.header("retry-after"), "1");
    }
}

#[tokio::test]
async fn unknown_parameters_are_named() {
    let server = Alone::new();
    let got = server.get(&format!("{ID}?colour=red")).await;
    got.problem(400, "invalid-query");
    assert_eq!(got.errors(), ["/colour unknown_parameter"]);
    server.get("/v1/note?colour=red&limit=many").await.problem(400, "invalid-query");
}

#[tokio::test]
async fn a_position_that_is_none_is_refused() {
    let server = Alone::new();
    for (position, named) in [("note", "note"), ("memo:0:1", "memo")] {
        let request = Request::get("/v1/note").header("writ-position", position).body(Body::empty()).unwrap();
        let detail = server.send(request).await.problem(400, "invalid-header");
        assert!(detail.contains(named), "{detail}");
    }
}

#[tokio::test]
async fn an_unknown_projection_is_not_found() {
    let server = Alone::new();
    let detail = server.get("/v1/projections/daily").await.problem(404, "unknown-projection");
    assert!(detail.contains("None is declared"), "{detail}");
    let detail = server.get("/v1/projections/note").await.problem(404, "unknown-projection");
    assert!(detail.contains("/v1/note"), "{detail}");
    let detail = server.get("/v1/projections/event_log").await.problem(404, "unknown-projection");
    assert!(detail.contains("/v1/events"), "{detail}");
    server.get("/v1/projections").await.problem(503, "read-side-unavailable");
}

#[tokio::test]
async fn an_export_without_postgres_is_refused_before_it_begins() {
    let server = Alone::new();
    server.get("/v1/note?format=csv").await.problem(503, "read-side-unavailable");
    let got = server.get("/v1/note?format=csv&limit=5&count=true&format=ndjson").await;
    got.problem(400, "invalid-query");
    assert_eq!(got.errors(), ["/format repeated", "/limit not_exportable", "/count not_exportable"]);
}
