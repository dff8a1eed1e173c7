//! Who may be there, and who may speak, from one moment to the next.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{List, join, letter, refused, say, sit, stage, with};
use crate::harness::eventually;
use crate::harness::people::Guarded;
use crate::harness::socket::Socket;

async fn change(guarded: &Guarded, letter: &str, command: &str, body: Value) {
    let path = format!("/v1/letter/{letter}/{command}");
    guarded.admin.client.post(&path, &body).await.expect(200);
}

#[tokio::test]
async fn what_one_may_not_read_is_as_what_does_not_exist() {
    let guarded = stage().await;
    let (ada, bob) = (guarded.person(&[]).await, guarded.person(&[]).await);
    let of_ada = letter(&guarded, &ada).await;
    let nothing = Uuid::now_v7().to_string();
    // A key that may join every desk, and read nothing.
    guarded.role("doorman", &["desk.*"]).await;
    let doorman = guarded.person(&["doorman"]).await;
    for client in [&bob.client, &guarded.client, &doorman.client] {
        let mut socket = Socket::open(client).await;
        let mut answers = Vec::new();
        for id in [&of_ada, &nothing] {
            socket.send(&with("join", "d", &json!({ "channel": "desk", "id": id }))).await;
            answers.push(socket.of("d", "error").await.to_string().replace(id, "…"));
            let path = format!("/v1/channels/desk/members?id={id}");
            answers.push(
                client.get(&path).await.problem(404, "not-found").body["detail"].to_string().replace(id, "…"),
            );
            let said = json!({ "id": id, "event": "nodded" });
            let said = client.post("/v1/channels/desk/broadcast", &said).await.problem(404, "not-found");
            answers.push(said.body["detail"].to_string().replace(id, "…"));
        }
        assert!(answers[0].contains("not-found"), "{}", answers[0]);
        assert_eq!(answers[..3], answers[3..]);
    }
}

#[tokio::test]
async fn who_may_not_join_or_send_is_refused() {
    let guarded = stage().await;
    let ada = guarded.person(&[]).await;
    let of_ada = letter(&guarded, &ada).await;
    // By default nobody: `vault` has no rules.
    let mut socket = Socket::open(&ada.client).await;
    let vault = with("join", "v", &json!({ "channel": "vault" }));
    assert_eq!(refused(&mut socket, &vault).await, (403, "forbidden".into()));
    ada.client.get("/v1/channels/vault/members").await.problem(403, "forbidden");
    let mut nobody = Socket::open(&guarded.client).await;
    assert_eq!(refused(&mut nobody, &vault).await, (401, "unauthenticated".into()));
    let closed = with("join", "w", &json!({ "channel": "wall", "key": "closed" }));
    assert_eq!(refused(&mut socket, &closed).await, (403, "forbidden".into()));
    // By permission.
    guarded.role("guard", &["vault.join"]).await;
    let guard = guarded.person(&["guard"]).await;
    let mut watches = Socket::open(&guard.client).await;
    assert_eq!(join(&mut watches, "v", &json!({ "channel": "vault" })).await["members"], json!([]));
    let said = with("broadcast", "v", &json!({ "event": "any", "ref": "1" }));
    assert_eq!(refused(&mut watches, &said).await, (403, "forbidden".into()));

    // The scopes of a key narrow what its account may do.
    let key = async |scopes: &[&str]| {
        let key = json!({ "name": "service", "scopes": scopes });
        let key = ada.client.post("/v1/auth/api-keys", &key).await.expect(201);
        let client = guarded.client.with_token(key.body["key"].as_str().unwrap());
        eventually("the key is good", async || (client.get("/v1/auth/me").await.status == 200).then_some(()))
            .await;
        client
    };
    let reads = key(&["letter.read"]).await;
    let mut socket = Socket::open(&reads).await;
    let desk = with("join", "d", &json!({ "channel": "desk", "id": of_ada }));
    assert_eq!(refused(&mut socket, &desk).await, (403, "forbidden".into()));
    let joins = key(&["letter.read", "desk.join"]).await;
    let mut socket = Socket::open(&joins).await;
    sit(&mut socket, "d", &of_ada, None).await;
    let nod = with("broadcast", "d", &json!({ "event": "nodded", "ref": "1" }));
    assert_eq!(refused(&mut socket, &nod).await, (403, "forbidden".into()));
    let sends = key(&["letter.read", "desk.send"]).await;
    sends.post("/v1/channels/desk/broadcast", &json!({ "id": of_ada, "event": "nodded" })).await.expect(202);
    assert_eq!(socket.of("d", "broadcast").await["account"], ada.id);
    sends.get(&format!("/v1/channels/desk/members?id={of_ada}")).await.problem(403, "forbidden");
}

#[tokio::test]
async fn rules_are_asked_again_when_the_aggregate_changes() {
    let guarded = stage().await;
    let (ada, bob) = (guarded.person(&[]).await, guarded.person(&[]).await);
    let staff = guarded.person(&["staff"]).await;
    let letter = letter(&guarded, &ada).await;
    let mut of_ada = Socket::open(&ada.client).await;
    sit(&mut of_ada, "d", &letter, Some("ada")).await;
    let mut of_staff = Socket::open(&staff.client).await;
    let mut seen = List::of(&sit(&mut of_staff, "d", &letter, Some("staff")).await);
    assert_eq!(seen.names(), ["ada", "staff"]);

    // A change after which the rules say the same.
    change(&guarded, &letter, "rewrite", json!({ "text": "dearest" })).await;
    say(&mut of_ada, "d", &json!({ "event": "nodded" })).await;
    of_staff.of("d", "broadcast").await;
    // One after which one may be there, and not speak.
    change(&guarded, &letter, "send", json!({})).await;
    let nod = with("broadcast", "d", &json!({ "event": "nodded", "ref": "1" }));
    eventually("she may not speak", async || {
        of_ada.send(&nod).await;
        let told = of_ada.find("the answer", |told| told["ref"] == "1").await;
        (told["problem"]["status"] == 403).then_some(())
    })
    .await;
    say(&mut of_staff, "d", &json!({ "event": "typing", "payload": { "is_typing": true } })).await;
    assert_eq!(of_ada.of("d", "broadcast").await["event"], "typing");

    // One after which it isn't hers.
    change(&guarded, &letter, "give", json!({ "owner": bob.id })).await;
    assert_eq!(of_ada.of("d", "ended").await["reason"], "permissions");
    seen.until(&mut of_staff, "d", &["staff"]).await;
    say(&mut of_staff, "d", &json!({ "event": "nodded" })).await;
    let again = with("join", "d", &json!({ "channel": "desk", "id": letter }));
    assert_eq!(refused(&mut of_ada, &again).await, (404, "not-found".into()));
    let mut of_bob = Socket::open(&bob.client).await;
    sit(&mut of_bob, "d", &letter, Some("bob")).await;
    seen.until(&mut of_staff, "d", &["bob", "staff"]).await;
    // Nothing more of it came to her.
    of_ada.ping().await;
    join(&mut of_ada, "d", &json!({ "channel": "wall", "key": "x" })).await;
    say(&mut of_ada, "d", &json!({ "event": "mine", "echo": true })).await;
    assert_eq!(of_ada.of("d", "broadcast").await["event"], "mine");

    // And one after which there is nothing.
    change(&guarded, &letter, "burn", json!({})).await;
    assert_eq!(of_bob.of("d", "ended").await["reason"], "permissions");
    assert_eq!(of_staff.of("d", "ended").await["reason"], "permissions");
}

#[tokio::test]
async fn rules_are_asked_again_when_the_caller_changes() {
    let guarded = stage().await;
    guarded.role("guard", &["vault.join", "desk.join", "letter.read"]).await;
    let guard = guarded.person(&["guard"]).await;
    let ada = guarded.person(&[]).await;
    let letter = letter(&guarded, &ada).await;
    let mut of_ada = Socket::open(&ada.client).await;
    let mut seen = List::of(&sit(&mut of_ada, "d", &letter, Some("ada")).await);
    let mut socket = Socket::open(&guard.client).await;
    sit(&mut socket, "d", &letter, Some("guard")).await;
    join(&mut socket, "v", &json!({ "channel": "vault" })).await;
    join(&mut socket, "w", &json!({ "channel": "wall", "key": "w" })).await;
    seen.until(&mut of_ada, "d", &["ada", "guard"]).await;
    let update = async |permissions: Value| {
        let body = json!({ "permissions": permissions });
        guarded.admin.client.post("/v1/role/guard/update", &body).await.expect(200);
    };
    // Some of it.
    update(json!(["desk.join", "letter.read"])).await;
    assert_eq!(socket.of("v", "ended").await["reason"], "permissions");
    say(&mut of_ada, "d", &json!({ "event": "nodded" })).await;
    socket.of("d", "broadcast").await;
    // May join, and not read any more.
    update(json!(["desk.join"])).await;
    assert_eq!(socket.of("d", "ended").await["reason"], "permissions");
    seen.until(&mut of_ada, "d", &["ada"]).await;
    // What everybody may goes on.
    say(&mut socket, "w", &json!({ "event": "any", "echo": true })).await;
    assert_eq!(socket.of("w", "broadcast").await["event"], "any");
    // Who isn't signed in any more has left.
    guard.client.post("/v1/auth/sign-out", &json!({})).await.expect(204);
    assert_eq!(socket.closed().await, 4401);
}
