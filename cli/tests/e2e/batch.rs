//! `POST /v1/commands`: commands as lines, answers as lines.

use serde_json::{Value, json};

use crate::harness::{self, Client, Slot, client, kafka, unique};

static SERVER: Slot = harness::slot();
const NDJSON: &str = "application/x-ndjson";

async fn send(app: &Client, lines: &[Value]) -> Vec<Value> {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    send_text(app, body).await
}

async fn send_text(app: &Client, body: String) -> Vec<Value> {
    let answer = app.post_bytes("/v1/commands", NDJSON, body).await.expect(200);
    assert!(answer.header("content-type").starts_with(NDJSON), "{}", answer.header("content-type"));
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn commands_of_one_aggregate_are_decided_in_the_order_of_the_lines() {
    const DEPOSITS: u64 = 200;
    let app = harness::shared(&SERVER).await;
    let number = unique("a");
    let mut lines =
        vec![json!({ "model": "purse", "command": "open", "input": { "number": number, "owner": "Ada" } })];
    for n in 1..=DEPOSITS {
        let input = json!({ "amount": n, "reference": n.to_string() });
        lines.push(json!({ "model": "purse", "command": "deposit", "id": number, "input": input }));
    }
    lines.push(json!({ "model": "purse", "command": "close", "id": number }));
    let answers = send(&app, &lines).await;
    assert_eq!(answers.len(), lines.len());
    assert_eq!(answers[0]["status"], 201, "{}", answers[0]);
    for (index, answer) in answers.iter().enumerate().skip(1) {
        assert_eq!(answer["status"], 200, "line {index}: {answer}");
        assert_eq!(answer["version"], index as u64 + 1);
        assert!(answer["position"].as_str().unwrap().starts_with("purse:"), "{answer}");
    }
    let last = answers.last().unwrap();
    assert_eq!(last["state"]["balance"], DEPOSITS * (DEPOSITS + 1) / 2);
    assert_eq!(last["state"]["status"], "closed");

    let events = kafka::events_of(&app.world().topic("purse"), last["id"].as_str().unwrap()).await;
    for (index, event) in events[1..=DEPOSITS as usize].iter().enumerate() {
        let fields = event.fields().await;
        assert_eq!(kafka::text(&fields["reference"]), Some((index + 1).to_string().as_str()));
    }
}

#[tokio::test]
async fn each_line_has_its_own_answer() {
    let app = harness::shared(&SERVER).await;
    let order = client::order();
    let number = order["number"].clone();
    let key = unique("k");
    let keyed =
        json!({ "model": "note", "command": "create", "input": { "title": "a" }, "idempotency_key": key });
    let lines = [
        json!({ "model": "order", "command": "place", "input": order }).to_string(),
        "not json".to_owned(),
        json!({ "model": "order", "command": "pay", "id": number, "if_match": 9 }).to_string(),
        json!({ "model": "order", "command": "pay", "id": number, "if_match": 1 }).to_string(),
        json!({ "model": "order", "command": "pay", "id": number }).to_string(),
        json!({ "model": "note", "command": "create", "input": { "title": "", "x": 1 } }).to_string(),
        json!({ "model": "nothing", "command": "create" }).to_string(),
        json!({ "model": "note", "command": "erase", "id": uuid::Uuid::now_v7() }).to_string(),
        keyed.to_string(),
        keyed.to_string(),
        json!({ "model": "note", "command": "create", "input": { "title": "a" }, "colour": 1 }).to_string(),
        json!({ "command": "create" }).to_string(),
    ];
    let answers = send_text(&app, lines.join("\n")).await;
    let expected: [(u64, Option<&str>); 12] = [
        (201, None),
        (400, Some("malformed-json")),
        (412, Some("version-mismatch")),
        (200, None),
        (409, Some("wrong-state")),
        (422, Some("invalid-input")),
        (404, Some("unknown-model")),
        (404, Some("unknown-command")),
        (201, None),
        (201, None),
        (422, Some("invalid-input")),
        (422, Some("invalid-input")),
    ];
    assert_eq!(answers.len(), expected.len(), "{answers:?}");
    for (index, (answer, (status, problem))) in answers.iter().zip(expected).enumerate() {
        let given = answer["problem"]["type"].as_str();
        // How a line that is JSON but no command is called is the api's choice; that it is refused is not.
        if index >= 10 {
            assert!([400, 422].contains(&answer["status"].as_u64().unwrap()), "line {index}: {answer}");
            continue;
        }
        assert_eq!(answer["status"], status, "line {index}: {answer}");
        assert_eq!(
            given,
            problem.map(|slug| format!("urn:writ:problem:{slug}")).as_deref(),
            "line {index}: {answer}"
        );
    }
    assert_eq!(answers[8], answers[9], "one key, one outcome");
    let errors = answers[5]["problem"]["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{}", answers[5]);
}

#[tokio::test]
async fn a_large_batch_is_streamed() {
    const LINES: usize = 2_000;
    let app = harness::shared(&SERVER).await;
    let group = unique("g");
    // More than the limit of a single body.
    let title = "x".repeat(90);
    let lines: Vec<_> = (0..LINES)
        .map(|_| {
            let input = json!({ "title": title, "body": format!("{group} {}", "y".repeat(900)) });
            json!({ "model": "note", "command": "create", "input": input })
        })
        .collect();
    let answers = send(&app, &lines).await;
    assert_eq!(answers.len(), LINES);
    assert!(answers.iter().all(|answer| answer["status"] == 201));
    let ids: std::collections::HashSet<_> =
        answers.iter().map(|answer| answer["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), LINES);
}

#[tokio::test]
async fn a_line_that_is_too_large_is_refused() {
    let app = harness::shared(&SERVER).await;
    let note = |body: String| json!({ "model": "note", "command": "create", "input": { "title": "a", "body": body } });
    let answers = send(&app, &[note("a".into()), note("x".repeat(5 * 1024 * 1024))]).await;
    assert_eq!(answers[0]["status"], 201, "{}", answers[0]);
    assert_eq!(answers[1]["status"], 413, "{}", answers[1]);
    assert_eq!(answers[1]["problem"]["type"], "urn:writ:problem:too-large");
}

#[tokio::test]
async fn an_empty_batch_is_no_error() {
    let app = harness::shared(&SERVER).await;
    assert_eq!(send_text(&app, String::new()).await, Vec::<Value>::new());
    app.post_bytes("/v1/commands", "application/json", "{}").await.problem(415, "unsupported-media-type");
}
