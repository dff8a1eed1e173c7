//! `POST /v1/{model}/{command}`, `POST /v1/{model}/{id}/{command}`.

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use http::Request;
use proptest::prelude::*;
use serde_json::json;
use tokio::runtime::Runtime;

use super::Alone;

const NOTE: &str = r#"{"number":"A-1","text":"Buy milk"}"#;
const ID: &str = "/v1/note/0190a1f3-7c2e-7b60-9d3c-5b1f0a9e4c11";

#[tokio::test]
async fn unknown_models_and_commands_name_those_that_exist() {
    let server = Alone::new();
    let detail = server.post("/v1/memo/write", NOTE).await.problem(404, "unknown-model");
    assert!(detail.contains("memo") && detail.contains("note"), "{detail}");
    let detail = server.post("/v1/note/scribble", NOTE).await.problem(404, "unknown-command");
    assert!(detail.contains("write, close, throw_away"), "{detail}");
    server.post(&format!("{ID}/scribble"), "").await.problem(404, "unknown-command");
}

#[tokio::test]
async fn a_command_on_the_wrong_path_says_the_right_one() {
    let server = Alone::new();
    let detail = server.post(&format!("{ID}/write"), NOTE).await.problem(404, "unknown-command");
    assert!(detail.contains("POST /v1/note/write"), "{detail}");
    let detail = server.post("/v1/note/close", "").await.problem(404, "unknown-command");
    assert!(detail.contains("POST /v1/note/{id}/close"), "{detail}");
}

#[tokio::test]
async fn an_id_that_can_be_none_is_not_found() {
    Alone::new().post("/v1/note/no%00key/close", "").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_path_that_is_no_utf8_is_a_problem() {
    Alone::new().post("/v1/note/%ff/close", "").await.problem(400, "invalid-path");
}

#[tokio::test]
async fn every_fault_of_an_input_is_named() {
    let got = Alone::new().post("/v1/note/write", r#"{"number":"a b","weight":1.5,"colour":"red"}"#).await;
    got.problem(422, "invalid-input");
    let mut pointers: Vec<_> = got.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap().to_owned())
        .collect();
    pointers.sort();
    assert_eq!(pointers, ["/colour", "/number", "/text", "/weight"]);
}

#[tokio::test]
async fn nul_and_inputs_that_are_no_object_are_invalid() {
    let server = Alone::new();
    server.post("/v1/note/write", r#"{"number":"A","text":"a\u0000b"}"#).await.problem(422, "invalid-input");
    for body in ["[]", "null", "3", "\"text\""] {
        server.post("/v1/note/write", body).await.problem(422, "invalid-input");
    }
}

#[tokio::test]
async fn what_is_not_json_is_malformed() {
    let server = Alone::new();
    for body in ["{", "{'a': 1}", "{}{}", "\u{feff}{}"] {
        server.post("/v1/note/write", body).await.problem(400, "malformed-json");
    }
    let deep = format!("{{\"text\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let detail = server.post("/v1/note/write", deep).await.problem(400, "malformed-json");
    assert!(detail.contains("recursion limit"), "{detail}");
    server.post("/v1/note/write", &b"{\"text\":\"\xff\"}"[..]).await.problem(400, "malformed-json");
}

#[tokio::test]
async fn a_large_body_is_refused_with_the_limit() {
    let body = json!({ "number": "A", "text": "x".repeat(5 << 20) }).to_string();
    let detail = Alone::new().post("/v1/note/write", body).await.problem(413, "too-large");
    assert!(detail.contains("1048576"), "{detail}");
}

#[tokio::test]
async fn other_media_types_are_refused_but_not_a_missing_one() {
    let server = Alone::new();
    for media_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let got = server.post_with("/v1/note/write", &[("content-type", media_type)], NOTE).await;
        let detail = got.problem(415, "unsupported-media-type");
        assert!(detail.contains("application/json"), "{detail}");
    }
    server.post_with("/v1/note/write", &[], NOTE).await.problem(503, "write-side-unavailable");
    // Nothing is sent, so its type doesn't matter.
    server
        .post_with("/v1/note/A-1/close", &[("content-type", "text/plain")], "")
        .await
        .problem(503, "write-side-unavailable");
}

#[tokio::test]
async fn headers_without_a_meaning_are_refused() {
    let server = Alone::new();
    for header in [("if-match", "3"), ("if-match", "W/\"3\""), ("idempotency-key", "two words")] {
        let detail =
            server.post_with("/v1/note/A-1/close", &[header], "").await.problem(400, "invalid-header");
        assert!(detail.to_lowercase().contains(header.0), "{detail}");
    }
}

#[tokio::test]
async fn only_wait_is_a_parameter_of_a_command() {
    let server = Alone::new();
    let got = server.post("/v1/note/A-1/close?wait=forever", "").await;
    got.problem(400, "invalid-query");
    assert_eq!(got.errors(), ["/wait invalid_value"]);
    let got = server.post("/v1/note/A-1/close?dry_run=1", "").await;
    got.problem(400, "invalid-query");
    assert_eq!(got.errors(), ["/dry_run unknown_parameter"]);
}

#[tokio::test]
async fn a_well_formed_command_needs_kafka() {
    let server = Alone::new();
    for wait in ["accepted", "committed", "projected"] {
        let got = server.post(&format!("/v1/note/write?wait={wait}"), NOTE).await;
        got.problem(503, "write-side-unavailable");
        assert_eq!(got.header("retry-after"), "1");
    }
}

#[tokio::test]
async fn references_go_unchecked_without_postgres() {
    let body = r#"{"number":"A-1","text":"x","follows":"B-2"}"#;
    Alone::new().post("/v1/note/write", body).await.problem(503, "write-side-unavailable");
}

#[tokio::test]
async fn pages_of_other_sites_cant_send_commands() {
    let server = Alone::new();
    let got = server.post_with("/v1/note/A-1/close", &[("sec-fetch-site", "cross-site")], "").await;
    got.problem(403, "cross-site");
    for site in ["same-origin", "none"] {
        let got = server.post_with("/v1/note/A-1/close", &[("sec-fetch-site", site)], "").await;
        got.problem(503, "write-side-unavailable");
    }
}

#[tokio::test]
async fn more_requests_than_allowed_are_shed() {
    let server = Alone::with(crate::Options { open: true, max_requests: 1, ..crate::Options::default() });
    let (sender, body) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
    let slow = Request::post("/v1/note/A-1/close").body(Body::from_stream(body)).unwrap();
    let slow = server.send(slow);
    let others = async {
        let got = server.get("/v1/note").await;
        got.problem(503, "overloaded");
        assert_eq!(got.header("retry-after"), "1");
        assert_eq!(server.get("/healthz").await.status, 200, "the pages of operators are never shed");
        drop(sender);
    };
    // `join` polls the slow request first, so it holds the only place.
    let (slow, ()) = futures::join!(slow, others);
    slow.problem(503, "write-side-unavailable");
}

#[tokio::test]
async fn commands_that_wait_leave_room_for_queries() {
    let server = Alone::with(crate::Options { open: true, max_requests: 4, ..crate::Options::default() });
    let mut senders = Vec::new();
    let slow = futures::future::join_all((0..3).map(|_| {
        let (sender, body) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
        senders.push(sender);
        server.send(Request::post("/v1/note/A-1/close").body(Body::from_stream(body)).unwrap())
    }));
    let others = async {
        server.post("/v1/note/A-1/close", "").await.problem(503, "overloaded");
        server.get("/v1/note").await.problem(503, "read-side-unavailable");
        drop(senders);
    };
    let (slow, ()) = futures::join!(slow, others);
    for got in slow {
        got.problem(503, "write-side-unavailable");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_body_makes_the_server_fail(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        answers_cleanly("/v1/note/write", body);
    }

    #[test]
    fn no_json_makes_the_server_fail(text in "[{}\\[\\]\":,0-9a-z\\\\. -]{0,80}", member in "number|text|weight|follows") {
        answers_cleanly("/v1/note/write", text.clone().into_bytes());
        answers_cleanly("/v1/note/write", format!("{{\"{member}\":{text}}}").into_bytes());
        answers_cleanly("/v1/note/write", json!({ "number": "A", member: text }).to_string().into_bytes());
    }
}

fn answers_cleanly(path: &str, body: Vec<u8>) {
    // A Kafka client for every case would take most of the time.
    static SERVER: LazyLock<Alone> = LazyLock::new(Alone::new);
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    let got = RUNTIME.block_on(async { SERVER.post(path, body).await });
    assert!([400, 422, 503].contains(&got.status.as_u16()), "{got:?}");
    assert_eq!(got.header("content-type"), "application/problem+json");
}
