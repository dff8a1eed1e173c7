//! Who is there.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{List, appear, letter, refused, say, second, sit, stage, stage_with, with};
use crate::harness::socket::Socket;

#[tokio::test]
async fn members_come_change_and_leave() {
    let guarded = stage().await;
    let second = second(&guarded).await;
    let (ada, bob) = (guarded.person(&[]).await, guarded.person(&["staff"]).await);
    let letter = letter(&guarded, &ada).await;
    let mut here = Socket::open(&ada.client).await;
    let mut far = Socket::open(&second.client().with_token(&bob.access)).await;

    let joined = sit(&mut here, "d", &letter, Some("ada")).await;
    let mut seen_here = List::of(&joined);
    assert_eq!(seen_here.names(), ["ada"], "oneself, too: {joined}");
    let own = &joined["members"][0];
    assert_eq!((&own["member"], &own["account"]), (&joined["member"], &json!(ada.id)));
    assert_eq!(own["state"], json!({ "name": "ada", "typing": false }), "with its defaults");
    let since = own["since"].clone();

    // Who says nothing of oneself sees, and isn't seen.
    let joined = sit(&mut far, "d", &letter, None).await;
    let mut seen_far = List::of(&joined);
    assert_eq!(seen_far.names(), ["ada"]);
    appear(&mut far, "d", json!({ "name": "bob" })).await;
    seen_here.until(&mut here, "d", &["ada", "bob"]).await;
    seen_far.until(&mut far, "d", &["ada", "bob"]).await;
    appear(&mut here, "d", json!({ "name": "ada", "typing": true })).await;
    let change = far.of("d", "presence").await;
    assert_eq!(change["joined"][0]["since"], since, "it is the same one: {change}");
    assert_eq!(change["left"], json!([]));
    seen_far.fold(&change);
    assert_eq!(seen_far.names(), ["ada…", "bob"]);
    seen_here.until(&mut here, "d", &["ada…", "bob"]).await;

    let path = format!("/v1/channels/desk/members?id={letter}");
    let mut asked = List::default();
    asked.fold(&ada.client.get(&path).await.expect(200).body);
    assert_eq!(asked.names(), ["ada…", "bob"]);

    // Out of the list, and still there.
    appear(&mut far, "d", json!(null)).await;
    seen_here.until(&mut here, "d", &["ada…"]).await;
    seen_far.until(&mut far, "d", &["ada…"]).await;
    say(&mut here, "d", &json!({ "event": "nodded" })).await;
    far.of("d", "broadcast").await;
    appear(&mut far, "d", json!({ "name": "bob" })).await;
    seen_here.until(&mut here, "d", &["ada…", "bob"]).await;

    // A socket that is gone has left at once.
    let since = Instant::now();
    drop(far);
    seen_here.until(&mut here, "d", &["ada…"]).await;
    eprintln!("left {:?} after its connection", since.elapsed());
    let mut asked = List::default();
    asked.fold(&ada.client.get(&path).await.expect(200).body);
    assert_eq!(asked.names(), ["ada…"]);
    here.send(&json!({ "type": "unsubscribe", "sub": "d" })).await;
    here.of("d", "ended").await;
    crate::harness::eventually("nobody is there", async || {
        let members = ada.client.get(&path).await.expect(200).body["members"].clone();
        (members == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn members_of_a_killed_process_leave() {
    let guarded = stage().await;
    let second = second(&guarded).await;
    let (ada, bob) = (guarded.person(&[]).await, guarded.person(&["staff"]).await);
    let letter = letter(&guarded, &ada).await;
    let mut here = Socket::open(&ada.client).await;
    let mut seen = List::of(&sit(&mut here, "d", &letter, Some("ada")).await);
    let mut far = Socket::open(&second.client().with_token(&bob.access)).await;
    sit(&mut far, "d", &letter, Some("bob")).await;
    seen.until(&mut here, "d", &["ada", "bob"]).await;
    let since = Instant::now();
    second.kill();
    seen.until(&mut here, "d", &["ada"]).await;
    let took = since.elapsed();
    eprintln!("left {took:?} after its process was killed");
    assert!(took > Duration::from_secs(5), "not before its lease has run out: {took:?}");
    // And nothing of it comes back.
    appear(&mut here, "d", json!({ "name": "eve" })).await;
    seen.until(&mut here, "d", &["eve"]).await;
}

/// A process that is stopped for longer than its lease: others see its members leave, and when it goes on it puts them back.
#[tokio::test]
async fn members_of_a_process_that_stood_still_come_back() {
    let guarded = stage().await;
    let second = second(&guarded).await;
    let (ada, bob) = (guarded.person(&[]).await, guarded.person(&["staff"]).await);
    let letter = letter(&guarded, &ada).await;
    let mut here = Socket::open(&ada.client).await;
    let mut seen_here = List::of(&sit(&mut here, "d", &letter, Some("ada")).await);
    let mut far = Socket::open(&second.client().with_token(&bob.access)).await;
    let joined = sit(&mut far, "d", &letter, Some("bob")).await;
    let mut seen_far = List::of(&joined);
    // One whose socket is closed while the process stands still.
    let mut goes = Socket::open(&second.client().with_token(&bob.access)).await;
    sit(&mut goes, "d", &letter, Some("carl")).await;
    seen_here.until(&mut here, "d", &["ada", "bob", "carl"]).await;
    seen_far.until(&mut far, "d", &["ada", "bob", "carl"]).await;

    second.signal("STOP");
    drop(goes);
    seen_here.until(&mut here, "d", &["ada"]).await;
    appear(&mut here, "d", json!({ "name": "ann" })).await;
    seen_here.until(&mut here, "d", &["ann"]).await;
    second.signal("CONT");
    seen_here.until(&mut here, "d", &["ann", "bob"]).await;
    seen_far.until(&mut far, "d", &["ann", "bob"]).await;
    assert_eq!(
        seen_here.0.keys().find(|id| joined["member"] == **id).map(|id| seen_here.0[id].as_str()),
        Some("bob"),
        "it is the member that it was"
    );
    say(&mut far, "d", &json!({ "event": "nodded" })).await;
    assert_eq!(here.of("d", "broadcast").await["member"], joined["member"]);
    // It stays so through the next comparisons of both.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mut asked = List::default();
    asked.fold(&ada.client.get(&format!("/v1/channels/desk/members?id={letter}")).await.expect(200).body);
    assert_eq!(asked.names(), ["ann", "bob"]);
}

#[tokio::test]
async fn a_list_has_an_end() {
    let guarded = stage_with(&[("WRIT_HTTP_LIVE_MAX_MEMBERS", "2")]).await;
    let ada = guarded.person(&["staff"]).await;
    let letter = letter(&guarded, &ada).await;
    let mut socket = Socket::open(&ada.client).await;
    sit(&mut socket, "a", &letter, Some("a")).await;
    sit(&mut socket, "b", &letter, Some("b")).await;
    let third = with("join", "c", &json!({ "channel": "desk", "id": letter, "state": { "name": "c" } }));
    assert_eq!(refused(&mut socket, &third).await, (429, "rate-limited".into()));
    // There, and not in the list.
    let mut seen = List::of(&sit(&mut socket, "c", &letter, None).await);
    assert_eq!(seen.names(), ["a", "b"]);
    let state = with("presence", "c", &json!({ "state": { "name": "c" }, "ref": "1" }));
    assert_eq!(refused(&mut socket, &state).await, (429, "rate-limited".into()));
    appear(&mut socket, "a", json!({ "name": "a2" })).await;
    appear(&mut socket, "b", json!(null)).await;
    appear(&mut socket, "c", json!({ "name": "c" })).await;
    seen.until(&mut socket, "c", &["a2", "c"]).await;
}
