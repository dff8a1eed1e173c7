//! Rows of an SQL projection, followed: by socket, event stream and long poll, while PostgreSQL is away and while it is built anew.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::http::stream;
use super::{guarded, guarded_with};
use crate::harness::client::query;
use crate::harness::people::{Guarded, Person};
use crate::harness::proxy::{Proxy, authority};
use crate::harness::socket::Socket;
use crate::harness::{Client, eventually, tool, unique, world};

/// A letter, whose id comes back.
async fn write(client: &Client, owner: &str) -> String {
    let letter = json!({ "number": unique("l"), "owner": owner, "text": "dear" });
    client.post("/v1/letter/write", &letter).await.expect(201).id().to_owned()
}

/// Until all of it is in the projection.
async fn act(client: &Client, letter: &str, command: &str) {
    let body = if command == "rewrite" { json!({ "text": "dearest" }) } else { json!({}) };
    let done = client.post(&format!("/v1/letter/{letter}/{command}"), &body).await.expect(200);
    client.get_at("/v1/projections/post", done.position()).await.expect(200);
}

async fn list(client: &Client) -> BTreeMap<String, Value> {
    let answer = client.get("/v1/projections/post").await.expect(200);
    let items = answer.body["items"].as_array().unwrap().clone();
    items.into_iter().map(|row| (json!({ "status": row["status"] }).to_string(), row)).collect()
}

/// A copy of the rows by their keys, kept by what a subscription sends.
#[derive(Default)]
struct Copy {
    rows: BTreeMap<String, Value>,
    resume: String,
}

impl Copy {
    fn take(&mut self, kind: &str, message: &Value) {
        if let Some(resume) = message["resume"].as_str() {
            resume.clone_into(&mut self.resume);
        }
        let key = message["key"].to_string();
        match kind {
            "reset" => self.rows.clear(),
            "snapshot" => {
                let (rows, keys) = (message["rows"].as_array().unwrap(), message["keys"].as_array().unwrap());
                assert_eq!(rows.len(), keys.len());
                self.rows.extend(keys.iter().map(Value::to_string).zip(rows.iter().cloned()));
            }
            "enter" => assert!(self.rows.insert(key, message["row"].clone()).is_none(), "{message}"),
            "change" => assert!(self.rows.insert(key, message["row"].clone()).is_some(), "{message}"),
            "leave" => assert!(self.rows.remove(&key).is_some(), "{message}"),
            "subscribed" | "ready" => {}
            other => panic!("{other}: {message}"),
        }
    }

    async fn until(&mut self, socket: &mut Socket, sub: &str, kind: &str) {
        loop {
            let message = socket.next_of(sub).await;
            let is = message["type"].as_str().unwrap().to_owned();
            self.take(&is, &message);
            if is == kind {
                return;
            }
        }
    }

    async fn until_equal(&mut self, socket: &mut Socket, sub: &str, rows: &BTreeMap<String, Value>) {
        while self.rows != *rows {
            let message = socket.next_of(sub).await;
            self.take(message["type"].as_str().unwrap(), &message);
        }
    }
}

fn follow(sub: &str, from: &str) -> Value {
    json!({ "type": "subscribe", "sub": sub, "projection": "post", "from": from })
}

async fn metric(client: &Client, name: &str) -> f64 {
    let text = client.get("/metrics").await.expect(200).text;
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{projection=\"post\"")));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

async fn staff(guarded: &Guarded) -> (Person, Socket) {
    let ada = guarded.person(&["staff"]).await;
    let socket = Socket::open(&ada.client).await;
    (ada, socket)
}

#[tokio::test]
async fn many_subscribers_of_the_same_are_asked_for_once() {
    let guarded = guarded_with(&[("WRIT_LIVE_PROJECTION_INTERVAL_MS", "1000")]).await;
    let (ada, mut socket) = staff(&guarded).await;
    let letter = write(&ada.client, &ada.id).await;
    act(&ada.client, &letter, "rewrite").await;
    let mut copies: Vec<(String, Copy)> = (0..50).map(|n| (n.to_string(), Copy::default())).collect();
    for (sub, copy) in &mut copies {
        socket.send(&follow(sub, "snapshot")).await;
        copy.until(&mut socket, sub, "ready").await;
    }
    let (queries, views) = ("writ_live_projection_queries_total", "writ_live_projection_views");
    assert_eq!(metric(&ada.client, queries).await, 1.0);
    assert_eq!(metric(&ada.client, views).await, 1.0);
    assert_eq!(metric(&ada.client, "writ_live_projection_subscriptions").await, 50.0);
    act(&ada.client, &letter, "send").await;
    let rows = list(&ada.client).await;
    for (sub, copy) in &mut copies {
        copy.until_equal(&mut socket, sub, &rows).await;
    }
    assert!(copies.iter().all(|(_, copy)| copy.resume == copies[0].1.resume), "equal rows, equal places");
    let asked = metric(&ada.client, queries).await;
    assert!((2.0..=3.0).contains(&asked), "{asked}");
    // Who sees something else, or asks for something else, shares nothing.
    socket
        .send(&json!({ "type": "subscribe", "sub": "other", "projection": "post", "fields": "letters" }))
        .await;
    socket.of("other", "subscribed").await;
    assert_eq!(metric(&ada.client, views).await, 2.0);
    drop(socket);
    eventually("nothing is left of them", async || (metric(&ada.client, views).await == 0.0).then_some(()))
        .await;
}

#[tokio::test]
async fn copies_end_as_the_list_whoever_sees_what() {
    let guarded = guarded().await;
    let second = guarded.second().await;
    let (ada, mut ada_follows) = staff(&guarded).await;
    let bob = guarded.person(&[]).await;
    let elsewhere = Client::new(second.base()).with_token(&bob.access);
    let mut bob_follows = Socket::open(&elsewhere).await;
    let (mut of_ada, mut of_bob) = (Copy::default(), Copy::default());
    ada_follows.send(&follow("a", "snapshot")).await;
    of_ada.until(&mut ada_follows, "a", "ready").await;
    bob_follows.send(&follow("b", "snapshot")).await;
    of_bob.until(&mut bob_follows, "b", "ready").await;
    for round in 0..12 {
        let letter = write(&ada.client, &ada.id).await;
        act(&ada.client, &letter, "rewrite").await;
        act(&ada.client, &letter, "send").await;
        if round % 4 == 2 {
            act(&ada.client, &letter, "burn").await;
        }
    }
    of_ada.until_equal(&mut ada_follows, "a", &list(&ada.client).await).await;
    of_bob.until_equal(&mut bob_follows, "b", &list(&bob.client).await).await;
    assert_eq!((of_ada.rows.len(), of_bob.rows.len()), (2, 1));
    assert!(of_bob.rows.values().all(|row| row.get("words").is_none()), "{:?}", of_bob.rows);

    // The same answer, at another instance: on it goes. Another one: all rows.
    drop(bob_follows);
    let mut bob_follows = Socket::open(&bob.client).await;
    bob_follows.send(&follow("b", &of_bob.resume)).await;
    assert_eq!(bob_follows.next_of("b").await["type"], "ready");
    drop(bob_follows);
    let letter = write(&ada.client, &ada.id).await;
    act(&ada.client, &letter, "send").await;
    let mut bob_follows = Socket::open(&elsewhere).await;
    bob_follows.send(&follow("b", &of_bob.resume)).await;
    let reset = bob_follows.next_of("b").await;
    assert_eq!((&reset["type"], &reset["reason"]), (&json!("reset"), &json!("changed")));
    of_bob.take("reset", &reset);
    of_bob.until(&mut bob_follows, "b", "ready").await;
    of_bob.until_equal(&mut bob_follows, "b", &list(&bob.client).await).await;
    // What somebody else has is no place to go on from.
    bob_follows.send(&follow("c", &of_ada.resume)).await;
    let reset = bob_follows.next_of("c").await;
    assert_eq!((&reset["type"], &reset["reason"]), (&json!("reset"), &json!("other_view")));
    let mut of_c = Copy::default();
    of_c.until(&mut bob_follows, "c", "ready").await;
    assert_eq!(of_c.rows, of_bob.rows);
}

#[tokio::test]
async fn a_role_that_changes_ends_what_would_show_something_else() {
    let guarded = guarded().await;
    guarded.role("clerk", &["post.read"]).await;
    let ada = guarded.person(&["clerk"]).await;
    let mut socket = Socket::open(&ada.client).await;
    let mut events = stream(&ada.client, "/v1/live/post", &[]).await;
    socket.subscribe_now("l", "letter", &json!({})).await;
    socket.send(&follow("p", "now")).await;
    socket.of("p", "subscribed").await;
    events.expect("subscribed").await;
    guarded.admin.client.post("/v1/role/clerk/update", &json!({ "permissions": [] })).await.expect(200);
    assert_eq!(socket.of("p", "ended").await["reason"], "permissions");
    assert_eq!(events.expect("ended").await.data["reason"], "permissions");
    // The other one shows what it did.
    socket.send(&json!({ "type": "unsubscribe", "sub": "l" })).await;
    assert_eq!(socket.of("l", "ended").await["reason"], "unsubscribed");
}

#[tokio::test]
async fn event_streams_and_polls_go_on_where_they_were() {
    let guarded = guarded().await;
    let (ada, _) = staff(&guarded).await;
    let letter = write(&ada.client, &ada.id).await;
    act(&ada.client, &letter, "rewrite").await;
    let path = "/v1/live/post?from=snapshot&status=draft";
    let mut events = stream(&ada.client, path, &[]).await;
    let snapshot = events.expect("snapshot").await.data;
    assert_eq!(
        snapshot,
        json!({ "rows": [{ "status": "draft", "letters": 1, "words": 2 }], "keys": [{ "status": "draft" }] })
    );
    events.expect("ready").await;
    act(&ada.client, &letter, "rewrite").await;
    let change = events.expect("change").await;
    assert_eq!(change.data["row"]["words"], 3);
    assert_eq!(change.data["resume"].as_str(), change.id.as_deref());
    drop(events);
    let last = [("last-event-id", change.id.as_deref().unwrap())];
    let mut events = stream(&ada.client, path, &last).await;
    assert_eq!(events.expect("ready").await.id, change.id);
    drop(events);
    act(&ada.client, &letter, "rewrite").await;
    let mut events = stream(&ada.client, path, &last).await;
    assert_eq!(events.expect("reset").await.data["reason"], "changed");
    assert_eq!(events.expect("snapshot").await.data["rows"][0]["words"], 4);
    let ready = events.expect("ready").await;

    let poll = |from: &str, wait: &str| {
        query("/v1/live/post", &[("status", "draft"), ("from", from), ("wait", wait)])
    };
    let nothing = ada.client.get(&poll(ready.id.as_deref().unwrap(), "0")).await.expect(200).body;
    assert_eq!(nothing, json!({ "changes": [], "resume": ready.id }));
    let (client, path) = (ada.client.clone(), poll(ready.id.as_deref().unwrap(), "60"));
    let waits = tokio::spawn(async move { client.get(&path).await.expect(200).body });
    // It may come before the poll does: then it is in the rows.
    act(&ada.client, &letter, "rewrite").await;
    let told = waits.await.unwrap();
    let words = if told["snapshot"].is_null() { &told["changes"][0]["row"] } else { &told["snapshot"][0] };
    assert_eq!(words["words"], 5, "{told}");
    let all = ada.client.get(&poll("snapshot", "0")).await.expect(200).body;
    assert_eq!(all["keys"], json!([{ "status": "draft" }]));
    assert_eq!((&all["snapshot"][0]["words"], &all["resume"]), (&json!(5), &told["resume"]));
    let other = ada.client.get(&poll("post:AgAAAAAAAAAAAA", "0")).await.expect(200).body;
    assert_eq!((&other["reset"], &other["snapshot"]), (&json!("other_view"), &all["snapshot"]));
}

/// As when it is started again: every connection is cut, nothing is said meanwhile, and later it is there again.
#[tokio::test]
async fn postgresql_goes_and_comes_back() {
    let mut proxy = Proxy::opened(&authority(&world::postgres_url())).await;
    let url = proxy.in_place_of(&world::postgres_url());
    let guarded = guarded_with(&[("WRIT_POSTGRES_URL", &url)]).await;
    let (ada, mut socket) = staff(&guarded).await;
    let letter = write(&ada.client, &ada.id).await;
    act(&ada.client, &letter, "rewrite").await;
    let mut copy = Copy::default();
    socket.send(&follow("p", "snapshot")).await;
    copy.until(&mut socket, "p", "ready").await;
    for _ in 0..2 {
        proxy.close().await;
        // Commands go on without PostgreSQL; the projector comes later.
        let path = format!("/v1/letter/{letter}/rewrite");
        let done = ada.client.post(&path, &json!({ "text": "dearest" })).await.expect(200);
        proxy.open().await;
        eventually("the projection is there", async || {
            let answer = ada.client.get_at("/v1/projections/post", done.position()).await;
            (answer.status == 200).then_some(())
        })
        .await;
        copy.until_equal(&mut socket, "p", &list(&ada.client).await).await;
    }
    assert_eq!(copy.rows.values().next().unwrap()["words"], 4);
}

#[tokio::test]
async fn a_rebuild_is_no_news_unless_it_changes_rows() {
    let guarded = guarded().await;
    let (ada, mut socket) = staff(&guarded).await;
    let letter = write(&ada.client, &ada.id).await;
    act(&ada.client, &letter, "rewrite").await;
    let mut copy = Copy::default();
    socket.send(&follow("p", "snapshot")).await;
    copy.until(&mut socket, "p", "ready").await;
    tool::run(&guarded.world, 4, &["rebuild", "post"]).await.expect(0);
    // The next word is of the next change: nothing was said of the new table.
    act(&ada.client, &letter, "rewrite").await;
    let message = socket.next_of("p").await;
    assert_eq!((&message["type"], &message["row"]["words"]), (&json!("change"), &json!(3)), "{message}");
    copy.take("change", &message);
    // Another declaration under the same name is another view of another server; the same one goes on meanwhile.
    let rebuilding = tool::run(&guarded.world, 4, &["rebuild", "post"]);
    let working = async {
        for _ in 0..5 {
            act(&ada.client, &letter, "rewrite").await;
        }
    };
    let (rebuilt, ()) = futures::join!(rebuilding, working);
    rebuilt.expect(0);
    copy.until_equal(&mut socket, "p", &list(&ada.client).await).await;
    assert_eq!(copy.rows.values().next().unwrap()["words"], 8);
}

#[tokio::test]
async fn what_can_not_be_followed_is_refused() {
    let guarded = guarded().await;
    let (ada, mut socket) = staff(&guarded).await;
    for (more, kind, pointer) in [
        (json!({ "projection": "nothing" }), "unknown-projection", ""),
        (json!({ "projection": "letter" }), "unknown-projection", ""),
        (json!({ "model": "post" }), "unknown-model", ""),
        (json!({}), "invalid-input", "/model"),
        (json!({ "model": "letter", "projection": "post" }), "invalid-input", "/projection"),
        (json!({ "projection": "post", "id": "draft" }), "invalid-query", "/id"),
        (json!({ "projection": "post", "filter": { "weight": 1 } }), "invalid-query", "/weight"),
        (json!({ "projection": "post", "filter": { "letters": "many" } }), "invalid-query", "/letters"),
        (json!({ "projection": "post", "filter": { "sort": "letters" } }), "invalid-query", "/sort"),
        (json!({ "projection": "post", "fields": "weight" }), "invalid-query", "/fields"),
        (json!({ "projection": "post", "from": "yesterday" }), "invalid-query", "/from"),
        (json!({ "projection": "post", "from": "letter:AgAAAAAAAAAAAA" }), "invalid-query", "/from"),
    ] {
        let mut message = json!({ "type": "subscribe", "sub": "x" });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        socket.send(&message).await;
        let problem = socket.of("x", "error").await["problem"].clone();
        assert_eq!(problem["type"], format!("urn:writ:problem:{kind}"), "{more}: {problem}");
        let found = problem["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert_eq!(found, pointer, "{more}: {problem}");
    }
    // What rules hide is no field for those from whom it is hidden.
    let bob = guarded.person(&[]).await;
    bob.client.get("/v1/live/post?words=1&wait=0").await.problem(400, "invalid-query");
    ada.client.get("/v1/live/post?words=1&wait=0").await.expect(200);
    ada.client.get("/v1/live/post?id=draft&wait=0").await.problem(400, "invalid-query");
    ada.client.get("/v1/live/nothing").await.problem(404, "unknown-model");
}

#[tokio::test]
async fn more_rows_than_there_may_be_are_refused() {
    let guarded = guarded_with(&[("WRIT_LIVE_SNAPSHOT_ROWS", "1")]).await;
    let (Person { client, id, .. }, mut socket) = staff(&guarded).await;
    let letter = write(&client, &id).await;
    act(&client, &letter, "rewrite").await;
    socket.send(&follow("p", "snapshot")).await;
    socket.of("p", "ready").await;
    act(&client, &letter, "send").await;
    let problem = socket.of("p", "error").await["problem"].clone();
    assert_eq!(problem["errors"][0]["code"], "too_many_rows", "{problem}");
    assert_eq!(socket.of("p", "ended").await["reason"], "failed");
    socket.send(&follow("p", "now")).await;
    assert_eq!(socket.of("p", "error").await["problem"]["errors"][0]["code"], "too_many_rows");
    let refused = client.get("/v1/live/post?wait=0").await.problem(400, "invalid-query");
    assert_eq!(refused.code("/from"), "too_many_rows");
}
