//! `/asyncapi.json` is a document that AsyncAPI's own schema takes, and says what the socket takes and sends.

use serde_json::{Value, json};

use super::guarded;
use crate::harness::socket::Socket;
use crate::harness::{node, unique};

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_are_those_of_the_document() {
    let guarded = guarded().await;
    let document = guarded.client.get("/asyncapi.json").await.expect(200).body;

    // What the server sends, of every kind that a client can bring about.
    let ada = guarded.person(&["staff"]).await;
    let mut socket = Socket::open(&ada.client).await;
    let mut sent = vec![socket.welcome.clone()];
    socket.subscribe("a", "letter", &json!({})).await;
    sent.push(socket.of("a", "subscribed").await);
    let input = json!({ "number": unique("l"), "owner": ada.id, "text": "dear", "mark": "x" });
    let write = json!({ "model": "letter", "command": "write", "input": input });
    let answer = socket.command("1", &write).await;
    let id = answer["body"]["id"].as_str().unwrap().to_owned();
    sent.push(answer);
    sent.push(socket.of("a", "enter").await);
    let command =
        |name: &str, input: Value| json!({ "model": "letter", "command": name, "id": id, "input": input });
    sent.push(socket.command("2", &command("rewrite", json!({ "text": "my dear" }))).await);
    sent.push(socket.of("a", "change").await);
    sent.push(socket.command("3", &command("rewrite", json!({ "text": 7 }))).await);
    socket.subscribe("b", "letter", &json!({ "from": "snapshot" })).await;
    sent.push(socket.of("b", "ready").await);
    sent.push(socket.command("4", &command("burn", json!({}))).await);
    sent.push(socket.of("a", "leave").await);
    socket.send(&json!({ "type": "unsubscribe", "sub": "b" })).await;
    sent.push(socket.of("b", "ended").await);
    socket.send(&json!({ "type": "authenticate", "token": ada.access, "ref": "r" })).await;
    sent.push(socket.find("the renewal", |message| message["type"] == "authenticated").await);
    socket.send(&json!({ "type": "ping" })).await;
    sent.push(socket.find("pong", |message| message["type"] == "pong").await);
    // Rows of an SQL projection: a status that enters, changes and leaves.
    let follow = |sub: &str, from: &str| json!({ "type": "subscribe", "sub": sub, "projection": "post", "from": from });
    socket.send(&follow("p", "snapshot")).await;
    sent.push(socket.of("p", "ready").await);
    let input = json!({ "number": unique("l"), "owner": ada.id, "text": "dear" });
    let write = json!({ "model": "letter", "command": "write", "input": input });
    let id = socket.command("5", &write).await["body"]["id"].as_str().unwrap().to_owned();
    let command =
        |name: &str, input: Value| json!({ "model": "letter", "command": name, "id": id, "input": input });
    sent.push(socket.of("p", "change").await);
    socket.command("6", &command("send", json!({}))).await;
    sent.push(socket.of("p", "enter").await);
    socket.send(&follow("q", "snapshot")).await;
    sent.push(socket.of("q", "snapshot").await);
    assert_eq!(sent.last().unwrap()["keys"], json!([{ "status": "draft" }, { "status": "sent" }]));
    socket.command("7", &command("burn", json!({}))).await;
    sent.push(socket.of("p", "leave").await);
    let name = |value: &Value| {
        let kind = value["type"].as_str().unwrap_or_default();
        let is_of_row = value.get("projection").is_some() && kind != "subscribe";
        if is_of_row { format!("projection_{kind}") } else { kind.to_owned() }
    };
    let sample = |value: Value, fits: bool| json!({ "message": name(&value), "value": value, "fits": fits });
    let mut samples: Vec<Value> = sent.into_iter().map(|message| sample(message, true)).collect();

    // What it takes, and doesn't.
    let typed = |kind: &str, mut message: Value| {
        message["type"] = json!(kind);
        message
    };
    for (kind, message, fits) in [
        ("command", json!({ "ref": "1", "model": "letter", "command": "write", "input": input }), true),
        (
            "command",
            json!({ "ref": "1", "model": "letter", "command": "write", "input": { "number": 7 } }),
            false,
        ),
        ("command", json!({ "ref": "1", "model": "letter", "command": "burn" }), false),
        ("command", json!({ "ref": "1", "model": "letter", "command": "burn", "id": id }), true),
        ("command", json!({ "ref": "1", "model": "nothing", "command": "burn", "id": id }), false),
        (
            "subscribe",
            json!({ "sub": "a", "model": "letter", "filter": { "text": "x", "n": 1, "b": true } }),
            true,
        ),
        ("subscribe", json!({ "sub": "a", "model": "letter", "filter": { "text": ["x"] } }), false),
        ("subscribe", json!({ "sub": "", "model": "letter" }), false),
        ("subscribe", json!({ "model": "letter" }), false),
        ("subscribe", json!({ "sub": "a", "model": "letter", "more": 1 }), false),
        ("subscribe", json!({ "sub": "a", "projection": "post", "filter": { "letters[gt]": 1 } }), true),
        ("subscribe", json!({ "sub": "a", "projection": "letter" }), false),
        ("subscribe", json!({ "sub": "a", "model": "post" }), false),
        ("subscribe", json!({ "sub": "a", "model": "letter", "projection": "post" }), false),
        ("subscribe", json!({ "sub": "a" }), false),
        ("enter", json!({ "sub": "a", "model": "letter" }), false),
        ("enter", json!({ "sub": "a", "projection": "post", "key": {}, "row": {}, "resume": "x" }), false),
        ("leave", json!({ "sub": "a", "projection": "post", "key": { "status": "a" } }), false),
        ("authenticate", json!({ "token": "x", "ref": "r" }), true),
        ("authenticate", json!({ "token": "x", "ref": "" }), false),
        ("ping", json!({}), true),
    ] {
        samples.push(sample(typed(kind, message), fits));
    }
    let script = node::installed("asyncapi").await.join("check.mjs");
    let input = json!({ "document": document, "samples": samples }).to_string();
    tokio::task::spawn_blocking(move || node::run_with(&script, &input)).await.unwrap();
}
