//! What is no message, or not a good one.

use serde_json::{Value, json};

use super::{join, letter, refused, say, sit, stage, stage_with, with};
use crate::harness::socket::Socket;

/// The pointers of the faults of a message.
async fn faults(socket: &mut Socket, message: &Value) -> (u64, Vec<String>) {
    socket.send(message).await;
    let told = socket.find("an error", |told| told["type"] == "error").await;
    let errors = told["problem"]["errors"].as_array().cloned().unwrap_or_default();
    let pointers = errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned());
    (told["problem"]["status"].as_u64().unwrap(), pointers.collect())
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_named() {
    let guarded = stage().await;
    let ada = guarded.person(&["staff"]).await;
    let letter = letter(&guarded, &ada).await;
    let mut socket = Socket::open(&ada.client).await;
    sit(&mut socket, "d", &letter, Some("ada")).await;
    join(&mut socket, "w", &json!({ "channel": "wall", "key": "w" })).await;
    socket.subscribe_now("s", "letter", &json!({})).await;

    // Which channel.
    let joins = |more: Value| with("join", "n", &more);
    for (message, status, kind) in [
        (joins(json!({ "channel": "nothing" })), 404, "unknown-channel"),
        (joins(json!({ "channel": "letter", "id": letter })), 404, "unknown-channel"),
        (joins(json!({ "channel": "desk" })), 422, "invalid-input"),
        (joins(json!({ "channel": "desk", "key": "x" })), 422, "invalid-input"),
        (joins(json!({ "channel": "desk", "id": letter, "key": "x" })), 422, "invalid-input"),
        (joins(json!({ "channel": "desk", "id": "" })), 404, "not-found"),
        (joins(json!({ "channel": "desk", "id": "\u{0}" })), 404, "not-found"),
        (joins(json!({ "channel": "wall", "id": letter })), 422, "invalid-input"),
        (joins(json!({ "channel": "wall", "key": "TOO" })), 422, "invalid-input"),
        (joins(json!({ "channel": "wall", "key": "toolongforit" })), 422, "invalid-input"),
        (joins(json!({ "channel": "wall", "key": "x".repeat(60_000) })), 422, "invalid-input"),
        (joins(json!({ "channel": "wall", "key": 7 })), 422, "invalid-input"),
        (joins(json!({ "channel": "wall", "key": ["w"] })), 422, "invalid-input"),
        (joins(json!({ "channel": "vault", "key": "x" })), 422, "invalid-input"),
        (joins(json!({ "channel": "wall", "key": "w", "more": 1 })), 422, "invalid-input"),
        (joins(json!({})), 422, "invalid-input"),
        // Names.
        (with("join", "d", &json!({ "channel": "wall", "key": "w" })), 422, "invalid-input"),
        (with("join", "s", &json!({ "channel": "wall", "key": "w" })), 422, "invalid-input"),
        (with("subscribe", "d", &json!({ "model": "letter" })), 422, "invalid-input"),
        (with("broadcast", "s", &json!({ "event": "any" })), 404, "not-found"),
        (with("broadcast", "none", &json!({ "event": "any", "ref": "1" })), 404, "not-found"),
        (with("presence", "none", &json!({ "state": null })), 404, "not-found"),
        (with("broadcast", "d", &json!({})), 422, "invalid-input"),
        (with("presence", "d", &json!({})), 422, "invalid-input"),
        (with("broadcast", "d", &json!({ "event": "nodded", "echo": "yes" })), 422, "invalid-input"),
    ] {
        assert_eq!(refused(&mut socket, &message).await, (status, kind.to_owned()), "{message}");
    }

    // What is said.
    let says = |sub: &str, event: &str, payload: Value| {
        with("broadcast", sub, &json!({ "event": event, "payload": payload }))
    };
    let of = |state: Value| with("presence", "d", &json!({ "state": state, "ref": "1" }));
    for (message, pointers) in [
        (says("d", "typing", json!({})), vec!["/payload/is_typing"]),
        (says("d", "typing", json!({ "is_typing": "yes" })), vec!["/payload/is_typing"]),
        (says("d", "typing", json!({ "is_typing": true, "more": 1 })), vec!["/payload/more"]),
        (says("d", "typing", json!([])), vec!["/payload"]),
        (says("d", "nodded", json!(null)), vec!["/payload"]),
        (says("d", "shouted", json!({})), vec!["/event"]),
        (says("w", "Not a name", json!({})), vec!["/event"]),
        (says("w", "any", json!("text")), vec!["/payload"]),
        (of(json!({})), vec!["/state/name"]),
        (of(json!({ "name": 7, "typing": 7 })), vec!["/state/name", "/state/typing"]),
        (of(json!({ "name": "x", "other": 1 })), vec!["/state/other"]),
        (of(json!({ "name": "x".repeat(4_500) })), vec!["/state"]),
        (of(json!("ada")), vec!["/state"]),
        (with("presence", "w", &json!({ "state": { "name": "x" } })), vec!["/state"]),
        (with("presence", "w", &json!({ "state": null })), vec!["/state"]),
        (with("join", "n", &json!({ "channel": "wall", "key": "w", "state": {} })), vec!["/state"]),
        (with("join", "n", &json!({ "channel": "desk", "id": letter, "state": {} })), vec!["/state/name"]),
    ] {
        let pointers: Vec<String> = pointers.into_iter().map(str::to_owned).collect();
        assert_eq!(faults(&mut socket, &message).await, (422, pointers), "{message}");
    }

    // Nothing of it has come through, and both go on.
    say(&mut socket, "d", &json!({ "event": "nodded", "echo": true })).await;
    assert_eq!(socket.of("d", "broadcast").await["event"], "nodded");
    say(&mut socket, "w", &json!({ "event": "any", "echo": true })).await;
    assert_eq!(socket.of("w", "broadcast").await["event"], "any");

    // The same by HTTP.
    let path = "/v1/channels/desk/broadcast";
    for (body, status, kind) in [
        (json!({ "id": letter, "event": "shouted" }), 422, "invalid-input"),
        (json!({ "id": letter, "event": "typing", "payload": { "is_typing": 1 } }), 422, "invalid-input"),
        (json!({ "id": letter }), 422, "invalid-input"),
        (json!({ "event": "nodded" }), 422, "invalid-input"),
        (json!({ "id": letter, "event": "nodded", "echo": true }), 422, "invalid-input"),
        (json!([]), 422, "invalid-input"),
    ] {
        ada.client.post(path, &body).await.problem(status, kind);
    }
    ada.client
        .post("/v1/channels/nothing/broadcast", &json!({ "event": "x" }))
        .await
        .problem(404, "unknown-channel");
    let long = json!({ "key": "w", "event": "any", "payload": { "long": "x".repeat(70_000) } });
    ada.client.post("/v1/channels/wall/broadcast", &long).await.problem(413, "too-large");
    ada.client.get("/v1/channels/desk/members").await.problem(400, "invalid-query");
    ada.client
        .get(&format!("/v1/channels/desk/members?id={letter}&id={letter}"))
        .await
        .problem(400, "invalid-query");
    ada.client.get("/v1/channels/desk/members?more=1").await.problem(400, "invalid-query");
    ada.client.get("/v1/channels/wall/members?key=w").await.problem(404, "not-found");
    ada.client.get("/v1/channels/nothing/members").await.problem(404, "unknown-channel");
}

#[tokio::test]
async fn channels_count_as_subscriptions() {
    let guarded = stage_with(&[("WRIT_HTTP_LIVE_MAX_SUBSCRIPTIONS", "2")]).await;
    let ada = guarded.person(&[]).await;
    let mut socket = Socket::open(&ada.client).await;
    socket.subscribe_now("s", "letter", &json!({})).await;
    join(&mut socket, "a", &json!({ "channel": "wall", "key": "a" })).await;
    let more = with("join", "b", &json!({ "channel": "wall", "key": "b" }));
    assert_eq!(refused(&mut socket, &more).await.0, 429);
    let more = with("subscribe", "b", &json!({ "model": "letter" }));
    assert_eq!(refused(&mut socket, &more).await.0, 429);
    socket.send(&json!({ "type": "unsubscribe", "sub": "a" })).await;
    socket.of("a", "ended").await;
    join(&mut socket, "b", &json!({ "channel": "wall", "key": "b" })).await;
    // What is asked one after the other is done one after the other.
    socket.send(&json!({ "type": "unsubscribe", "sub": "b" })).await;
    socket.of("b", "ended").await;
    for nth in 0..3 {
        socket.send(&with("join", "c", &json!({ "channel": "wall", "key": "c" }))).await;
        socket
            .send(&with(
                "broadcast",
                "c",
                &json!({ "event": "any", "payload": { "nth": nth }, "echo": true }),
            ))
            .await;
        socket.send(&json!({ "type": "unsubscribe", "sub": "c" })).await;
        socket.of("c", "joined").await;
        socket.of("c", "ended").await;
    }
}
