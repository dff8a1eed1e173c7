//! What a socket shows follows what its owner may read, from one moment to the next.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{guarded, told};
use crate::harness::people::{Guarded, Person};
use crate::harness::socket::Socket;
use crate::harness::{eventually, unique};

async fn write(guarded: &Guarded, owner: &Person, more: Value) -> String {
    let mut letter = json!({ "number": unique("l"), "owner": owner.id, "text": "dear" });
    for (name, value) in more.as_object().unwrap() {
        letter[name] = value.clone();
    }
    guarded.admin.client.post("/v1/letter/write", &letter).await.expect(201).id().to_owned()
}

async fn change(guarded: &Guarded, letter: &str, command: &str, body: Value) {
    let path = format!("/v1/letter/{letter}/{command}");
    guarded.admin.client.post(&path, &body).await.expect(200);
}

#[tokio::test]
async fn rows_enter_and_leave_as_they_become_readable() {
    let guarded = guarded().await;
    let (ada, bob) = (guarded.person(&[]).await, guarded.person(&[]).await);
    let mut ada_follows = Socket::open(&ada.client).await;
    ada_follows.subscribe_now("a", "letter", &json!({})).await;
    let mut bob_follows = Socket::open(&bob.client).await;
    bob_follows.subscribe_now("b", "letter", &json!({})).await;
    let mut nobody_follows = Socket::open(&guarded.client).await;
    nobody_follows.subscribe_now("n", "letter", &json!({})).await;

    let letter = write(&guarded, &ada, json!({})).await;
    change(&guarded, &letter, "rewrite", json!({ "text": "dearest" })).await;
    change(&guarded, &letter, "give", json!({ "owner": bob.id })).await;
    change(&guarded, &letter, "rewrite", json!({ "text": "my dear" })).await;
    change(&guarded, &letter, "burn", json!({})).await;

    assert_eq!(told(&ada_follows.next_of("a").await, "text"), ("enter".into(), json!("dear")));
    assert_eq!(told(&ada_follows.next_of("a").await, "text"), ("change".into(), json!("dearest")));
    let left = ada_follows.next_of("a").await;
    assert_eq!(left["type"], "leave");
    assert!(!left.to_string().contains(&bob.id), "whose it is now is none of her business: {left}");
    assert_eq!(told(&bob_follows.next_of("b").await, "text"), ("enter".into(), json!("dearest")));
    assert_eq!(told(&bob_follows.next_of("b").await, "text"), ("change".into(), json!("my dear")));
    assert_eq!(bob_follows.next_of("b").await["type"], "leave");

    // What comes next is the first thing that the others hear: nothing came before it.
    let own = write(&guarded, &ada, json!({})).await;
    assert_eq!(ada_follows.next_of("a").await["id"], own);
    nobody_follows.ping().await;
    nobody_follows.send(&json!({ "type": "unsubscribe", "sub": "n" })).await;
    assert_eq!(nobody_follows.next_of("n").await["type"], "ended");
}

#[tokio::test]
async fn what_is_hidden_is_in_no_message() {
    let guarded = guarded().await;
    let ada = guarded.person(&[]).await;
    let staff = guarded.person(&["staff"]).await;
    let mut ada_follows = Socket::open(&ada.client).await;
    ada_follows.subscribe_now("a", "letter", &json!({})).await;
    let mut staff_follows = Socket::open(&staff.client).await;
    staff_follows.subscribe_now("s", "letter", &json!({})).await;
    let secret = unique("secret");
    let letter = write(&guarded, &ada, json!({ "mark": secret })).await;
    let shown = staff_follows.next_of("s").await;
    assert_eq!(told(&shown, "mark"), ("enter".into(), json!(secret)));
    let kept = ada_follows.next_of("a").await;
    assert_eq!(kept["id"], letter);
    assert!(!kept.to_string().contains(&secret), "{kept}");
    // A snapshot has what the projector has.
    let position = kept["position"].as_str().unwrap();
    ada.client.get_at(&format!("/v1/letter/{letter}"), position).await.expect(200);
    ada_follows.subscribe("again", "letter", &json!({ "from": "snapshot" })).await;
    let snapshot = ada_follows.of("again", "snapshot").await;
    assert!(snapshot.to_string().contains(&letter) && !snapshot.to_string().contains(&secret), "{snapshot}");
    ada_follows.subscribe("by", "letter", &json!({ "filter": { "mark": secret } })).await;
    let refused = ada_follows.of("by", "error").await;
    assert_eq!(refused["problem"]["type"], "urn:writ:problem:invalid-query", "no filter asks for it either");
}

#[tokio::test]
async fn signing_out_closes_at_once_here_and_elsewhere() {
    let guarded = guarded().await;
    let second = guarded.second().await;
    let ada = guarded.person(&[]).await;
    let other = guarded.sign_in(&ada.email).await;
    let mut here = Socket::open(&ada.client).await;
    let mut there = Socket::open(&second.client().with_token(&ada.access)).await;
    let mut stays = Socket::open(&other.client).await;
    ada.client.post("/v1/auth/sign-out", &json!({})).await.expect(204);
    let since = Instant::now();
    assert_eq!((here.closed().await, there.closed().await), (4401, 4401));
    eprintln!("closed {:?} after the answer to the sign-out", since.elapsed());
    stays.ping().await;
}

#[tokio::test]
async fn what_ends_an_account_ends_its_sockets() {
    let guarded = guarded().await;
    let ada = guarded.person(&[]).await;
    let key = json!({ "name": "service", "scopes": ["letter.read"] });
    let key = ada.client.post("/v1/auth/api-keys", &key).await.expect(201);
    let by_key = guarded.client.with_token(key.body["key"].as_str().unwrap());
    let revoked =
        eventually("the key is good", async || (by_key.get("/v1/auth/me").await.status == 200).then_some(()));
    revoked.await;
    let mut of_key = Socket::open(&by_key).await;
    let mut of_session = Socket::open(&ada.client).await;
    let path = format!("/v1/api_key/{}/revoke", key.id());
    ada.client.post(&path, &json!({})).await.expect(200);
    assert_eq!(of_key.closed().await, 4401);
    of_session.ping().await;
    guarded.admin.client.post(&format!("/v1/account/{}/disable", ada.id), &json!({})).await.expect(200);
    assert_eq!(of_session.closed().await, 4401);
}

#[tokio::test]
async fn a_key_that_expires_ends_its_socket() {
    let guarded = guarded().await;
    let ada = guarded.person(&[]).await;
    let at = std::time::SystemTime::now() + Duration::from_secs(4);
    let at = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let at = writ_model::Timestamp(i64::try_from(at).unwrap()).to_string();
    let body = json!({ "name": "service", "scopes": ["letter.read"], "expires_at": at });
    let key = ada.client.post("/v1/auth/api-keys", &body).await.expect(201);
    let by_key = guarded.client.with_token(key.body["key"].as_str().unwrap());
    let headers = format!("Bearer {}", by_key.token().unwrap());
    let mut socket = eventually("the key is good", async || {
        Socket::open_with(&guarded.client, "/v1/live", &[("authorization", &headers)]).await.ok()
    })
    .await;
    assert_eq!(socket.welcome["expires_at"], at);
    assert_eq!(socket.closed().await, 4401);
}

#[tokio::test]
async fn a_role_that_changes_ends_what_it_let_see() {
    let guarded = guarded().await;
    guarded.role("clerk", &["letter.read", "role.read"]).await;
    let ada = guarded.person(&["clerk"]).await;
    let bob = guarded.person(&[]).await;
    let mut socket = Socket::open(&ada.client).await;
    socket.subscribe_now("letters", "letter", &json!({})).await;
    socket.subscribe_now("own", "account", &json!({})).await;
    let mut untouched = Socket::open(&bob.client).await;
    untouched.subscribe_now("letters", "letter", &json!({})).await;
    let letter = write(&guarded, &bob, json!({})).await;
    assert_eq!(socket.next_of("letters").await["id"], letter);

    let path = "/v1/role/clerk/update";
    guarded.admin.client.post(path, &json!({ "permissions": ["role.read"] })).await.expect(200);
    assert_eq!(socket.of("letters", "ended").await["reason"], "permissions");
    // By the rules, as everybody.
    socket.subscribe_now("letters", "letter", &json!({})).await;
    change(&guarded, &letter, "rewrite", json!({ "text": "not hers" })).await;
    let own = write(&guarded, &ada, json!({})).await;
    let next = socket.next_of("letters").await;
    assert_eq!((&next["type"], &next["id"]), (&json!("enter"), &json!(own)), "{next}");
    assert_eq!(untouched.next_of("letters").await["type"], "enter");
    assert_eq!(untouched.next_of("letters").await["type"], "change");
    untouched.ping().await;

    // More rights, too, are another view of the same.
    guarded.admin.client.post(path, &json!({ "permissions": ["letter.read"] })).await.expect(200);
    assert_eq!(socket.of("letters", "ended").await["reason"], "permissions");
    socket.ping().await;
}

/// What was missed is told as changes of the rows that one has: after other rights, or for other filters, these are others.
#[tokio::test]
async fn who_comes_back_with_other_rights_or_filters_gets_the_rows_anew() {
    let guarded = guarded().await;
    guarded.role("reader", &["letter.read"]).await;
    let (ada, bob) = (guarded.person(&["reader"]).await, guarded.person(&[]).await);
    let own = write(&guarded, &ada, json!({})).await;
    let mut socket = Socket::open(&ada.client).await;
    socket.subscribe_now("a", "letter", &json!({})).await;
    let letter = write(&guarded, &bob, json!({})).await;
    let shown = socket.find("the letter", |message| message["id"] == letter).await;
    let resume = shown["resume"].as_str().unwrap().to_owned();
    ada.client.get_at(&format!("/v1/letter/{letter}"), shown["position"].as_str().unwrap()).await.expect(200);
    drop(socket);

    let mut socket = Socket::open(&ada.client).await;
    socket.subscribe("same", "letter", &json!({ "from": resume })).await;
    assert_eq!(socket.next_of("same").await["type"], "ready");
    let other = json!({ "from": resume, "filter": { "owner": ada.id } });
    socket.subscribe("other", "letter", &other).await;
    assert_eq!(ids_after_reset(&mut socket, "other").await, [own.as_str()]);
    let other = json!({ "from": resume, "fields": "text" });
    socket.subscribe("fields", "letter", &other).await;
    let mut all = ids_after_reset(&mut socket, "fields").await;
    all.retain(|id| [&own, &letter].contains(&id));
    assert_eq!(all.len(), 2);
    drop(socket);

    // While she is away.
    guarded.admin.client.post("/v1/role/reader/update", &json!({ "permissions": [] })).await.expect(200);
    eventually("she may not read it any more", async || {
        (ada.client.get(&format!("/v1/letter/{letter}")).await.status == 404).then_some(())
    })
    .await;
    let mut socket = Socket::open(&ada.client).await;
    socket.subscribe("a", "letter", &json!({ "from": resume })).await;
    assert_eq!(ids_after_reset(&mut socket, "a").await, [own]);
}

/// The rows that a subscription begins anew with, since it is another one than before.
async fn ids_after_reset(socket: &mut Socket, sub: &str) -> Vec<String> {
    let reset = socket.next_of(sub).await;
    assert_eq!((&reset["type"], &reset["reason"]), (&json!("reset"), &json!("other_view")), "{reset}");
    let mut ids = Vec::new();
    loop {
        let message = socket.next_of(sub).await;
        match message["type"].as_str().unwrap() {
            "snapshot" => {
                let rows = message["rows"].as_array().unwrap();
                ids.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
            }
            "ready" => return ids,
            other => panic!("{other}: {message}"),
        }
    }
}

#[tokio::test]
async fn a_socket_from_which_nothing_may_be_read_any_more_is_closed() {
    let guarded = guarded().await;
    guarded.role("keeper", &["ledger.read"]).await;
    let ada = guarded.person(&["keeper"]).await;
    let mut socket = Socket::open(&ada.client).await;
    socket.subscribe_now("lines", "ledger", &json!({})).await;
    guarded.admin.client.post("/v1/role/keeper/update", &json!({ "permissions": [] })).await.expect(200);
    assert_eq!(socket.of("lines", "ended").await["reason"], "permissions");
    assert_eq!(socket.closed().await, 4403);
}
