//! Commands by the socket: the same rules and answers as by `POST`.

use serde_json::{Value, json};

use super::{APP, guarded, guarded_with};
use crate::harness::client::order;
use crate::harness::socket::Socket;
use crate::harness::{Answer, shared};

/// What differs from one time to the next.
fn stripped(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            members.retain(|name, _| !matches!(name.as_str(), "id" | "time" | "command_id" | "number"));
            let inner = std::mem::take(members);
            *members = inner.into_iter().map(|(name, value)| (name, stripped(value))).collect();
        }
        Value::Array(items) => {
            let inner = std::mem::take(items);
            *items = inner.into_iter().map(stripped).collect();
        }
        _ => {}
    }
    value
}

#[track_caller]
fn same(told: &Value, answer: &Answer) {
    let (status, body) = match told["type"].as_str() {
        Some("answer") => (told["status"].as_u64().unwrap(), &told["body"]),
        _ => (told["problem"]["status"].as_u64().unwrap(), &told["problem"]),
    };
    assert_eq!(status, u64::from(answer.status), "{told} and {}", answer.text);
    assert_eq!(stripped(body.clone()), stripped(answer.body.clone()));
}

#[tokio::test]
async fn a_command_is_answered_as_by_post() {
    let client = shared(&APP).await;
    let mut socket = Socket::open(&client).await;
    let by_post = client.place_order().await;
    let by_socket =
        socket.command("1", &json!({ "model": "order", "command": "place", "input": order() })).await;
    same(&by_socket, &by_post);
    assert!(by_socket["position"].as_str().unwrap().starts_with("order:"), "{by_socket}");
    assert_eq!(by_socket["etag"], "\"1\"");
    let (post_id, socket_id) = (by_post.id(), by_socket["body"]["id"].as_str().unwrap().to_owned());

    let pay = |id: &str, more: Value| {
        let mut message = json!({ "model": "order", "command": "pay", "id": id });
        for (name, value) in more.as_object().unwrap() {
            message[name] = value.clone();
        }
        message
    };
    // An outdated version; then well; then in the wrong state; with faults; of what isn't there.
    let path = format!("/v1/order/{post_id}/pay");
    let answer = client.post_with(&path, &json!({}), &[("if-match", "\"9\"")]).await;
    same(&socket.command("2", &pay(&socket_id, json!({ "if_match": 9 }))).await, &answer);
    let answer = client.post(&format!("{path}?wait=projected"), &json!({ "reference": "x" })).await;
    let told = socket
        .command("3", &pay(&socket_id, json!({ "input": { "reference": "x" }, "wait": "projected" })))
        .await;
    same(&told, &answer);
    assert_eq!(told["projected"], true);
    let answer = client.post(&path, &json!({})).await.problem(409, "wrong-state");
    same(&socket.command("4", &pay(&socket_id, json!({}))).await, &answer);
    let answer = client.post(&path, &json!({ "reference": 7, "x": 1 })).await.problem(422, "invalid-input");
    same(
        &socket.command("5", &pay(&socket_id, json!({ "input": { "reference": 7, "x": 1 } }))).await,
        &answer,
    );
    let answer = client.post("/v1/order/nothing/pay", &json!({})).await;
    same(&socket.command("6", &pay("nothing", json!({}))).await, &answer);
    let answer = client.post("/v1/nothing/pay", &json!({})).await;
    same(&socket.command("7", &json!({ "model": "nothing", "command": "pay" })).await, &answer);
    let told = socket.command("8", &pay(&socket_id, json!({ "wait": "forever" }))).await;
    assert_eq!(told["problem"]["errors"][0]["pointer"], "/wait");
    let told = socket.command("9", &pay(&socket_id, json!({ "idempotency_key": "two words" }))).await;
    assert_eq!(told["problem"]["errors"][0]["pointer"], "/idempotency_key");
}

#[tokio::test]
async fn a_repeat_by_the_other_way_gets_the_first_outcome() {
    let client = shared(&APP).await;
    let mut socket = Socket::open(&client).await;
    let (body, key) = (order(), uuid::Uuid::new_v4().to_string());
    let first = socket
        .command("1", &json!({ "model": "order", "command": "place", "input": body, "idempotency_key": key }))
        .await;
    let repeat = client.post_with("/v1/order/place", &body, &[("idempotency-key", &key)]).await.expect(201);
    assert_eq!(first["body"], repeat.body);
    assert_eq!(first["position"], repeat.position());
}

#[tokio::test]
async fn many_commands_are_answered_each_and_too_many_refused() {
    let client = shared(&APP).await;
    let mut socket = Socket::open(&client).await;
    for nth in 0..64 {
        let message = json!({
            "type": "command", "ref": format!("r{nth}"), "model": "order", "command": "place", "input": order(),
        });
        socket.send(&message).await;
    }
    let mut done = 0;
    for nth in 0..64 {
        let name = format!("r{nth}");
        let told = socket.find("an answer", |message| message["ref"] == name).await;
        match told["type"].as_str() {
            Some("answer") => done += 1,
            _ => assert_eq!(told["problem"]["type"], "urn:writ:problem:overloaded", "{told}"),
        }
    }
    assert!(done >= 16, "{done}");
}

#[tokio::test]
async fn who_may_not_post_may_not_send_either() {
    let guarded = guarded().await;
    let (ada, bob) = (guarded.person(&[]).await, guarded.person(&[]).await);
    let letter = json!({ "number": "1", "owner": ada.id, "text": "dear" });
    let written = ada.client.post("/v1/letter/write", &letter).await.expect(201);
    let rewrite =
        json!({ "model": "letter", "command": "rewrite", "id": written.id(), "input": { "text": "x" } });
    for person in [&ada, &bob] {
        let mut socket = Socket::open(&person.client).await;
        let told = socket.command("1", &rewrite).await;
        let body = json!({ "text": "x" });
        let answer = person.client.post(&format!("/v1/letter/{}/rewrite", written.id()), &body).await;
        match person.id == ada.id {
            true => assert_eq!((told["status"].as_u64(), answer.status), (Some(200), 200)),
            false => same(&told, &answer),
        }
    }
    let mut nobody = Socket::open(&guarded.client).await;
    let told =
        nobody.command("1", &json!({ "model": "role", "command": "create", "input": { "name": "x" } })).await;
    assert_eq!(told["problem"]["type"], "urn:writ:problem:unauthenticated");
}

#[tokio::test]
async fn commands_have_places_among_the_requests() {
    // A decider that isn't there lets them wait; the one place for commands is taken by the first.
    let guarded = guarded_with(&[("WRIT_HTTP_MAX_REQUESTS", "1")]).await;
    let mut socket = Socket::open(&guarded.admin.client).await;
    // The socket itself takes none.
    guarded.admin.client.get("/v1/letter").await.expect(200);
    // Fewer than one socket may have under way.
    for nth in 0..12 {
        let input = json!({ "number": format!("n{nth}"), "owner": guarded.admin.id, "text": "x" });
        let message = json!({ "type": "command", "ref": format!("r{nth}"), "model": "letter", "command": "write", "input": input });
        socket.send(&message).await;
    }
    let told = socket.find("a refusal", |message| message["type"] == "error").await;
    assert_eq!(told["problem"]["type"], "urn:writ:problem:overloaded", "{told}");
}
