//! `GET /v1/events`, `GET /v1/{model}/{id}/events`, and `as_of` and `diff` of one row.

use super::Alone;

const ROW: &str = "/v1/note/A-1";

#[tokio::test]
async fn without_postgres_history_is_refused_for_now() {
    let server = Alone::new();
    for path in ["/v1/events", "/v1/note/A-1/events", "/v1/note/A-1?as_of=1", "/v1/note/A-1?diff=1.."] {
        server.get(path).await.problem(503, "read-side-unavailable");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anybody_is_asked() {
    let server = Alone::new();
    for (query, errors) in [
        ("as_of=0", "/as_of invalid_value"),
        ("as_of=yesterday", "/as_of invalid_value"),
        ("diff=3..1", "/diff invalid_value"),
        ("diff=1..1002", "/diff invalid_value"),
        ("as_of=1&diff=1..2", "/diff unknown_parameter"),
        ("colour=red&as_of=1", "/colour unknown_parameter"),
    ] {
        let got = server.get(&format!("{ROW}?{query}")).await;
        got.problem(400, "invalid-query");
        assert_eq!(got.errors(), [errors], "{query}");
    }
    let got = server.get("/v1/events?type=desk.note.Writen&limit=0").await;
    got.problem(400, "invalid-query");
    assert_eq!(got.errors(), ["/type unknown_value", "/limit out_of_range"]);
    server.get("/v1/memo/A-1/events").await.problem(404, "unknown-model");
}

#[tokio::test]
async fn the_address_of_a_command_is_read_only_at_events() {
    let server = Alone::new();
    let got = server.get("/v1/note/A-1/close").await;
    got.problem(405, "method-not-allowed");
    assert_eq!(got.header("allow"), "POST");
}
