//! `/asyncapi.json` says what channels take and send.

use serde_json::{Value, json};

use super::{join, letter, sit, stage, with};
use crate::harness::node;
use crate::harness::socket::Socket;

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_channels_are_those_of_the_document() {
    let guarded = stage().await;
    let document = guarded.client.get("/asyncapi.json").await.expect(200).body;
    let ada = guarded.person(&["staff"]).await;
    let letter = letter(&guarded, &ada).await;
    let mut socket = Socket::open(&ada.client).await;
    let mut samples = Vec::new();
    let mut sample = |name: &str, value: Value, fits: bool| {
        samples.push(json!({ "message": name, "value": value, "fits": fits }))
    };
    sample("joined", sit(&mut socket, "d", &letter, Some("ada")).await, true);
    sample("joined", join(&mut socket, "w", &json!({ "channel": "wall", "key": "w" })).await, true);
    let nod = with("broadcast", "d", &json!({ "event": "nodded", "echo": true, "ref": "1" }));
    socket.send(&nod).await;
    sample("broadcast", nod, true);
    sample("sent", socket.find("sent", |told| told["type"] == "sent").await, true);
    sample("broadcast_heard", socket.of("d", "broadcast").await, true);
    let appears = with("presence", "d", &json!({ "state": null }));
    socket.send(&appears).await;
    sample("presence", appears, true);
    let left =
        socket.find("the leaving", |told| told["left"].as_array().is_some_and(|left| !left.is_empty()));
    sample("presence_heard", left.await, true);
    let appears = with("presence", "d", &json!({ "state": { "name": "ada" } }));
    socket.send(&appears).await;
    sample("presence", appears, true);
    sample("presence_heard", socket.of("d", "presence").await, true);
    socket.send(&json!({ "type": "unsubscribe", "sub": "d" })).await;
    sample("ended", socket.of("d", "ended").await, true);
    for (message, fits) in [
        (json!({ "channel": "desk", "id": letter }), true),
        (json!({ "channel": "desk", "id": letter, "state": { "name": "ada", "typing": true } }), true),
        (json!({ "channel": "desk", "id": letter, "state": { "nam": "ada" } }), false),
        (json!({ "channel": "desk" }), false),
        (json!({ "channel": "desk", "key": "x" }), false),
        (json!({ "channel": "wall", "key": "x" }), true),
        (json!({ "channel": "wall", "key": "X" }), false),
        (json!({ "channel": "wall", "key": "x", "state": {} }), false),
        (json!({ "channel": "vault" }), true),
        (json!({ "channel": "vault", "id": letter }), false),
        (json!({ "channel": "letter", "id": letter }), false),
    ] {
        sample("join", with("join", "d", &message), fits);
    }
    sample("broadcast", with("broadcast", "d", &json!({ "payload": {} })), false);
    sample("broadcast", with("broadcast", "d", &json!({ "event": "any", "payload": [] })), false);
    sample("presence", with("presence", "d", &json!({})), false);
    sample("presence", with("presence", "d", &json!({ "state": "ada" })), false);
    let script = node::installed("asyncapi").await.join("check.mjs");
    let input = json!({ "document": document, "samples": samples }).to_string();
    tokio::task::spawn_blocking(move || node::run_with(&script, &input)).await.unwrap();
}
