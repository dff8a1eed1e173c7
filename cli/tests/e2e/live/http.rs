//! The feed without a WebSocket: event streams and long polls.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::{APP, guarded, guarded_with, world};
use crate::harness::client::query;
use crate::harness::{Client, LIMIT, shared, unique};

/// An event stream that is read as it comes.
pub(super) struct Stream {
    body: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    unread: String,
}

/// An event of a stream.
#[derive(Debug)]
pub(super) struct Event {
    name: String,
    pub(super) id: Option<String>,
    pub(super) data: Value,
}

/// Opens an event stream.
pub(super) async fn stream(client: &Client, path: &str, headers: &[(&str, &str)]) -> Stream {
    let request = client.request(Method::GET, path).header("Accept", "text/event-stream");
    let response = crate::harness::client::with(request, headers).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    Stream { body: Box::pin(response.bytes_stream()), unread: String::new() }
}

impl Stream {
    /// The next block of lines; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                return Some(block);
            }
            let next = tokio::time::timeout(LIMIT, self.body.next()).await.expect("something comes");
            self.unread.push_str(std::str::from_utf8(&next?.ok()?).unwrap());
        }
    }

    /// The next event, past comments and the like.
    async fn event(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let field =
                |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if let Some(name) = field("event: ") {
                let data = serde_json::from_str(&field("data: ").unwrap()).unwrap();
                return Some(Event { name, id: field("id: "), data });
            }
        }
    }

    /// The next event, which is of this kind.
    pub(super) async fn expect(&mut self, name: &str) -> Event {
        let event = self.event().await.unwrap_or_else(|| panic!("the end before {name}"));
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// All that is still to come.
    pub(super) async fn rest(mut self) -> String {
        let mut all = String::new();
        while let Some(block) = self.block().await {
            all.push_str(&block);
            all.push('\n');
        }
        all
    }
}

async fn open_purse(client: &Client, owner: &str) -> String {
    let body = json!({ "number": unique("a"), "owner": owner });
    client.post("/v1/purse/open", &body).await.expect(201).id().to_owned()
}

async fn deposit(client: &Client, purse: &str, amount: u64) {
    client.post(&format!("/v1/purse/{purse}/deposit"), &json!({ "amount": amount })).await.expect(200);
}

#[tokio::test]
async fn an_event_stream_goes_on_by_last_event_id() {
    let client = shared(&APP).await;
    let owner = unique("o");
    let path = query("/v1/live/purse", &[("owner", &owner), ("fields", "balance"), ("from", "snapshot")]);
    let id = open_purse(&client, &owner).await;
    let mut first = stream(&client, &path, &[]).await;
    assert!(first.block().await.unwrap().starts_with("retry: "));
    // Where the projector isn't there yet, it comes as a change.
    let mut seen = first.event().await.unwrap();
    if seen.name == "snapshot" {
        if seen.data["rows"] != json!([]) {
            assert_eq!(seen.data["rows"][0]["id"], id);
        }
        seen = first.event().await.unwrap();
    }
    assert!(seen.name == "ready" && seen.id.is_some(), "{seen:?}");
    for amount in 1..=2 {
        deposit(&client, &id, amount).await;
    }
    let at = loop {
        let event = first.event().await.unwrap();
        assert!(matches!(event.name.as_str(), "enter" | "change"), "{event:?}");
        assert_eq!(event.data["type"], event.name);
        assert_eq!(event.data["resume"].as_str(), event.id.as_deref());
        if event.data["version"] == 3 {
            assert_eq!(event.data["row"]["state"], json!({ "balance": 3 }));
            break event.id.unwrap();
        }
    };
    drop(first);
    deposit(&client, &id, 4).await;
    let mut again = stream(&client, &path, &[("last-event-id", &at)]).await;
    deposit(&client, &id, 1).await;
    let (mut versions, mut ready) = (Vec::new(), 0);
    // What the server hasn't read yet when it says that nothing is missed comes behind that.
    while versions != [4, 5] || ready == 0 {
        let event = again.event().await.unwrap();
        match event.name.as_str() {
            "ready" => ready += 1,
            "change" => versions.push(event.data["version"].as_u64().unwrap()),
            other => panic!("{other}"),
        }
        assert!(ready <= 1 && versions.len() <= 2, "{versions:?}");
    }
}

#[tokio::test]
async fn an_event_stream_is_never_silent_for_long() {
    let world = world();
    let server = world.start(&[("WRIT_HTTP_LIVE_KEEP_ALIVE_MS", "100")]).await;
    let mut quiet = stream(&server.client(), "/v1/live/purse", &[]).await;
    let mut comments = 0;
    while comments < 3 {
        comments += usize::from(quiet.block().await.expect("it goes on").starts_with(':'));
    }
}

#[tokio::test]
async fn an_event_stream_ends_with_its_session_and_its_rights() {
    let guarded = guarded().await;
    guarded.role("clerk", &["letter.read"]).await;
    let (ada, bob) = (guarded.person(&["clerk"]).await, guarded.person(&[]).await);
    let mut of_ada = stream(&ada.client, "/v1/live/letter", &[]).await;
    let mut of_bob = stream(&bob.client, "/v1/live/letter", &[]).await;
    of_ada.expect("subscribed").await;
    of_bob.expect("subscribed").await;
    bob.client.post("/v1/auth/sign-out", &json!({})).await.expect(204);
    assert_eq!(of_bob.expect("ended").await.data["reason"], "signed_out");
    assert!(of_bob.block().await.is_none(), "and nothing follows");
    guarded.admin.client.post("/v1/role/clerk/update", &json!({ "permissions": [] })).await.expect(200);
    assert_eq!(of_ada.expect("ended").await.data["reason"], "permissions");
    assert!(of_ada.block().await.is_none());
}

#[tokio::test]
async fn a_poll_waits_and_answers_with_what_happened() {
    let client = shared(&APP).await;
    let owner = unique("o");
    let poll = |from: &str, wait: &str| {
        query("/v1/live/purse", &[("owner", &owner), ("from", from), ("wait", wait)])
    };
    // Nothing happens: the wait, and a place.
    let since = Instant::now();
    let empty = client.get(&poll("now", "1")).await.expect(200);
    assert!(since.elapsed() >= Duration::from_secs(1));
    assert_eq!(empty.body["changes"], json!([]));
    let resume = empty.body["resume"].as_str().unwrap().to_owned();

    // What happened in between, at once.
    let id = open_purse(&client, &owner).await;
    let missed = client.get(&poll(&resume, "50")).await.expect(200);
    assert_eq!(missed.body["changes"][0]["type"], "enter");
    assert_eq!(missed.body["changes"][0]["row"]["id"], id);
    let resume = missed.body["resume"].as_str().unwrap().to_owned();

    // What happens while it waits, as soon as it does.
    let (path, waiting) = (poll(&resume, "50"), client.clone());
    let waits = tokio::spawn(async move { waiting.get(&path).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    deposit(&client, &id, 3).await;
    let told = waits.await.unwrap().expect(200);
    assert_eq!(told.body["changes"][0]["event"]["data"]["amount"], 3);

    // A snapshot has what the projector has.
    let position = told.body["changes"][0]["position"].as_str().unwrap();
    client.get_at(&format!("/v1/purse/{id}"), position).await.expect(200);
    let rows = client.get(&poll("snapshot", "0")).await.expect(200);
    assert_eq!(rows.body["snapshot"].as_array().unwrap().len(), 1, "{}", rows.text);
    for (name, value, kind) in [
        ("wait", "61", "invalid-query"),
        ("from", "yesterday", "invalid-query"),
        ("sort", "owner", "invalid-query"),
        ("nonsense", "1", "invalid-query"),
    ] {
        client.get(&query("/v1/live/purse", &[(name, value)])).await.problem(400, kind);
    }
    client.get("/v1/live/nothing").await.problem(404, "unknown-model");
    client.get("/v1/live/purse?id=").await;
}

/// A poll may wait longer than any request may take, and takes no place from the others.
#[tokio::test]
async fn what_waits_is_no_request_under_way() {
    let settings = [("WRIT_HTTP_MAX_REQUESTS", "1"), ("WRIT_HTTP_REQUEST_TIMEOUT_MS", "300")];
    let guarded = guarded_with(&settings).await;
    let client = guarded.admin.client.clone();
    let polls: Vec<_> = (0..5)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("/v1/live/letter?wait=2").await })
        })
        .collect();
    let mut events = stream(&client, "/v1/live/letter", &[]).await;
    events.expect("subscribed").await;
    client.get("/v1/letter").await.expect(200);
    for poll in polls {
        poll.await.unwrap().expect(200);
    }
    let letter = json!({ "number": "1", "owner": guarded.admin.id, "text": "x" });
    client.post("/v1/letter/write", &letter).await.expect(201);
    events.expect("enter").await;
}
