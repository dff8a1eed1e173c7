//! `POST /v1/commands`.

use axum::body::{Body, Bytes};
use futures::{SinkExt, StreamExt};
use http::Request;
use serde_json::Value as Json;
use tower::ServiceExt;

use super::{Alone, Got};

impl Got {
    fn lines(&self) -> Vec<Json> {
        std::str::from_utf8(&self.body)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Status and slug of a line.
fn told(line: &Json) -> String {
    let urn = line["problem"]["type"].as_str().unwrap();
    format!("{} {}", line["status"], urn.strip_prefix("urn:writ:problem:").unwrap())
}

#[tokio::test]
async fn every_line_gets_its_answer_in_order() {
    let body = concat!(
        "{\"model\":\"note\",\"command\":\"write\",\"input\":{\"number\":\"A-1\",\"text\":\"x\"}}\n",
        "not json\n",
        "\n",
        "{\"model\":\"memo\",\"command\":\"write\"}\r\n",
        "{\"model\":\"note\",\"command\":\"scribble\"}\n",
        "{\"model\":\"note\",\"command\":\"write\",\"input\":{\"number\":\"A-1\"}}\n",
        "{\"model\":\"note\",\"command\":\"close\",\"id\":\"A-1\",\"if_match\":-1}\n",
        "{\"model\":\"note\",\"command\":\"close\",\"id\":\"A-1\"}",
    );
    let got = Alone::new().post_with("/v1/commands", &[("content-type", "application/x-ndjson")], body).await;
    assert_eq!((got.status.as_u16(), got.header("content-type")), (200, "application/x-ndjson"));
    let told: Vec<_> = got.lines().iter().map(told).collect();
    assert_eq!(
        told,
        [
            "503 write-side-unavailable",
            "400 malformed-json",
            "404 unknown-model",
            "404 unknown-command",
            "422 invalid-input",
            "422 invalid-input",
            "503 write-side-unavailable",
        ]
    );
    assert_eq!(got.lines()[4]["problem"]["errors"][0]["pointer"], "/input/text");
}

#[tokio::test]
async fn a_long_line_is_refused_and_the_next_one_read() {
    let server = Alone::with(crate::Options { body_limit: 100, ..crate::Options::default() });
    let body = format!("{{\"model\":\"{}\"}}\n{{}}\n", "x".repeat(1000));
    let got = server.post_with("/v1/commands", &[], body).await;
    assert_eq!(got.lines().iter().map(told).collect::<Vec<_>>(), ["413 too-large", "422 invalid-input"]);
}

#[tokio::test]
async fn a_batch_is_ndjson_and_takes_only_wait() {
    let server = Alone::new();
    let got = server.post("/v1/commands", "[]").await;
    assert!(got.problem(415, "unsupported-media-type").contains("application/x-ndjson"));
    server.post_with("/v1/commands?atomic=1", &[], "").await.problem(400, "invalid-query");
    assert_eq!(server.post_with("/v1/commands?wait=accepted", &[], "").await.body, "");
}

#[tokio::test]
async fn answers_come_while_the_client_still_sends() {
    let server = Alone::new();
    let (mut sender, body) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
    let request = Request::post("/v1/commands").body(Body::from_stream(body)).unwrap();
    let mut answers = server.router.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    for _ in 0..3 {
        sender.send(Ok("{}\n".into())).await.unwrap();
        let line: Json = serde_json::from_slice(&answers.next().await.unwrap().unwrap()).unwrap();
        assert_eq!(told(&line), "422 invalid-input");
    }
    drop(sender);
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_stopping_server_says_which_lines_it_didnt_read() {
    let server = Alone::new();
    let (mut sender, body) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
    let request = Request::post("/v1/commands").body(Body::from_stream(body)).unwrap();
    let mut answers = server.router.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    sender.send(Ok("{}\n".into())).await.unwrap();
    answers.next().await.unwrap().unwrap();
    server.cancel.cancel();
    let line: Json = serde_json::from_slice(&answers.next().await.unwrap().unwrap()).unwrap();
    assert_eq!(told(&line), "503 shutting-down");
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_client_that_sends_nothing_runs_out_of_time() {
    let server = Alone::with(crate::Options { body_timeout_ms: 20, ..crate::Options::default() });
    let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let got = server.post_with("/v1/commands", &[], endless).await;
    assert_eq!(got.lines().iter().map(told).collect::<Vec<_>>(), ["408 request-timeout"]);
}

#[tokio::test]
async fn more_batches_than_allowed_are_shed() {
    let server = Alone::with(crate::Options { max_batches: 1, ..crate::Options::default() });
    let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let request = Request::post("/v1/commands").body(endless).unwrap();
    let first = server.router.clone().oneshot(request).await.unwrap();
    server.post_with("/v1/commands", &[], "").await.problem(503, "overloaded");
    drop(first);
    assert_eq!(server.post_with("/v1/commands", &[], "").await.status, 200);
}
