//! Subscriptions: from now, with a snapshot, resumed on another instance; by filter and id; and what slow clients get.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{APP, told, world};
use crate::harness::socket::Socket;
use crate::harness::{Client, shared, unique};

fn settings() -> [(&'static str, &'static str); 1] {
    [("WRIT_ROLES", "api")]
}

async fn deposit(client: &Client, purse: &str, amount: u64) -> String {
    let path = format!("/v1/purse/{purse}/deposit");
    client.post(&path, &json!({ "amount": amount })).await.expect(200).position().to_owned()
}

async fn open_purse(client: &Client, owner: &str) -> String {
    let body = json!({ "number": unique("a"), "owner": owner });
    client.post("/v1/purse/open", &body).await.expect(201).id().to_owned()
}

#[tokio::test]
async fn changes_follow_from_now_on() {
    let client = shared(&APP).await;
    let before = client.open_purse().await;
    let mut socket = Socket::open(&client).await;
    let resume =
        socket.subscribe_now("a", "purse", &json!({ "filter": { "number": "nothing has it" } })).await;
    assert!(resume.starts_with("purse:"), "{resume}");
    let owner = unique("o");
    socket.subscribe_now("b", "purse", &json!({ "filter": { "owner": owner } })).await;

    let id = open_purse(&client, &owner).await;
    let position = deposit(&client, &id, 5).await;
    deposit(&client, before.id(), 5).await;
    client.post(&format!("/v1/purse/{id}/close"), &json!({})).await.expect(200);

    let entered = socket.next_of("b").await;
    assert_eq!(told(&entered, "owner"), ("enter".into(), json!(owner)));
    assert_eq!(
        (&entered["model"], &entered["id"], &entered["version"]),
        (&json!("purse"), &json!(id), &json!(1))
    );
    assert_eq!(entered["event"]["type"], "test.purse.Opened");
    let changed = socket.next_of("b").await;
    assert_eq!(told(&changed, "balance"), ("change".into(), json!(5)));
    assert_eq!((&changed["position"], &changed["event"]["data"]["amount"]), (&json!(position), &json!(5)));
    assert_eq!(told(&socket.next_of("b").await, "status"), ("change".into(), json!("closed")));

    // The row is what a list shows, to the letter.
    let listed = client.get_at(&format!("/v1/purse?owner={owner}"), &position).await.expect(200);
    socket.subscribe("c", "purse", &json!({ "id": id, "from": "snapshot" })).await;
    let snapshot = socket.of("c", "snapshot").await;
    assert_eq!(snapshot["rows"].as_array().unwrap().len(), 1);
    assert_eq!(snapshot["rows"][0]["id"], listed.body["items"][0]["id"]);
}

#[tokio::test]
async fn rows_enter_and_leave_as_they_begin_and_cease_to_fit() {
    let client = shared(&APP).await;
    let owner = unique("o");
    let id = open_purse(&client, &owner).await;
    let mut socket = Socket::open(&client).await;
    let filter = json!({ "filter": { "owner": owner, "balance[gte]": 10 }, "fields": "balance" });
    socket.subscribe_now("rich", "purse", &filter).await;
    deposit(&client, &id, 9).await;
    deposit(&client, &id, 1).await;
    deposit(&client, &id, 1).await;
    client.post(&format!("/v1/purse/{id}/withdraw"), &json!({ "amount": 5 })).await.expect(200);
    let entered = socket.next_of("rich").await;
    assert_eq!(told(&entered, "balance"), ("enter".into(), json!(10)));
    assert_eq!(entered["row"]["state"], json!({ "balance": 10 }), "only what was asked for");
    assert_eq!(told(&socket.next_of("rich").await, "balance"), ("change".into(), json!(11)));
    let left = socket.next_of("rich").await;
    assert_eq!((&left["type"], &left["id"]), (&json!("leave"), &json!(id)));
    assert!(left.get("row").is_none() && left.get("event").is_none() && left["resume"].is_string(), "{left}");
}

#[tokio::test]
async fn a_snapshot_and_what_follows_have_no_gap_and_no_repeat() {
    let client = shared(&APP).await;
    let owner = unique("o");
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(open_purse(&client, &owner).await);
    }
    let writing = async {
        for round in 0..10 {
            for id in ids.iter().skip(round % 4).step_by(4) {
                deposit(&client, id, 1).await;
            }
        }
    };
    let following = async {
        let mut socket = Socket::open(&client).await;
        socket.subscribe("s", "purse", &json!({ "filter": { "owner": owner }, "from": "snapshot" })).await;
        // What there is of each row, and its version: kept as a client would keep it.
        let mut copy: BTreeMap<String, Value> = BTreeMap::new();
        let total = |copy: &BTreeMap<String, Value>| -> i64 {
            copy.values().map(|row| row["state"]["balance"].as_i64().unwrap()).sum()
        };
        let mut is_ready = false;
        while !(is_ready && copy.len() == 40 && total(&copy) == 100) {
            let message = socket.next_of("s").await;
            match message["type"].as_str().unwrap() {
                "snapshot" => {
                    assert!(!is_ready, "rows come before they are ready");
                    for row in message["rows"].as_array().unwrap() {
                        let known = copy.insert(row["id"].as_str().unwrap().to_owned(), row.clone());
                        assert!(known.is_none(), "each row once");
                    }
                }
                "ready" => is_ready = true,
                "enter" | "change" => {
                    let row = message["row"].clone();
                    let known = copy.insert(message["id"].as_str().unwrap().to_owned(), row);
                    let before = known.map_or(0, |row| row["version"].as_u64().unwrap());
                    assert_eq!(message["version"].as_u64(), Some(before + 1), "every version, once");
                }
                other => panic!("{other}: {message}"),
            }
        }
        copy
    };
    let (copy, ()) = tokio::join!(following, writing);
    for (id, row) in copy {
        let version = row["version"].as_u64().unwrap();
        let there = client.get(&format!("/v1/purse/{id}")).await.expect(200);
        assert!(there.version() <= version, "nothing is newer than what was followed");
    }
}

#[tokio::test]
async fn a_subscription_goes_on_at_another_instance() {
    let world = world();
    let first = world.start(&[]).await;
    let second = world.spawn("second", &settings()).await;
    second.ready().await;
    let client = first.client();
    let owner = unique("o");
    let id = open_purse(&client, &owner).await;
    let follow = |resume: &str| json!({ "filter": { "owner": owner }, "from": resume });

    let mut socket = Socket::open(&client).await;
    socket.subscribe_now("a", "purse", &json!({ "filter": { "owner": owner } })).await;
    let mut resume = String::new();
    for amount in 1..=3 {
        deposit(&client, &id, amount).await;
        let mut message = socket.next_of("a").await;
        if message["type"] == "enter" {
            // The server hadn't read yet that it was opened.
            message = socket.next_of("a").await;
        }
        assert_eq!(message["event"]["data"]["amount"], amount);
        resume = message["resume"].as_str().unwrap().to_owned();
    }
    drop(socket);
    for amount in 4..=6 {
        deposit(&client, &id, amount).await;
    }
    // What was missed, in order and once, then what comes; at an instance that never saw the client.
    let mut socket = Socket::open(&second.client()).await;
    socket.subscribe("b", "purse", &follow(&resume)).await;
    deposit(&client, &id, 7).await;
    let (mut amounts, mut ready) = (Vec::new(), 0);
    // What the instance hasn't read yet when it says that nothing is missed comes behind that.
    while amounts != [4, 5, 6, 7] || ready == 0 {
        let message = socket.next_of("b").await;
        match message["type"].as_str().unwrap() {
            "ready" => ready += 1,
            "change" => amounts.push(message["event"]["data"]["amount"].as_u64().unwrap()),
            other => panic!("{other}: {message}"),
        }
        if amounts == [4, 5, 6] && message["type"] == "change" {
            resume = message["resume"].as_str().unwrap().to_owned();
        }
        assert!(ready <= 1 && amounts.len() <= 4, "{amounts:?}");
    }
    // From before the last one, once more.
    socket.subscribe("c", "purse", &follow(&resume)).await;
    let again = socket.of("c", "change").await;
    assert_eq!(again["event"]["data"]["amount"], 7);

    // Another model's, and nonsense, is told at once; a place that there never was begins anew.
    for (from, code) in [
        ("order:AgAAAAAAAAAAAA", "invalid_value"),
        ("purse:!", "invalid_value"),
        ("yesterday", "invalid_value"),
    ] {
        socket.subscribe("d", "purse", &follow(from)).await;
        assert_eq!(socket.of("d", "error").await["problem"]["errors"][0]["code"], code, "{from}");
    }
    for (sub, more, kind) in [
        ("e", json!({ "filter": { "nonsense": "x" } }), "invalid-query"),
        ("f", json!({ "filter": { "q": "x" } }), "invalid-query"),
        ("g", json!({ "filter": { "sort": "number" } }), "invalid-query"),
    ] {
        socket.subscribe(sub, "purse", &more).await;
        let error = socket.of(sub, "error").await;
        assert_eq!(error["problem"]["type"], format!("urn:writ:problem:{kind}"), "{error}");
    }
    socket.subscribe("h", "nothing", &json!({})).await;
    assert_eq!(socket.of("h", "error").await["problem"]["type"], "urn:writ:problem:unknown-model");
}

#[tokio::test]
async fn one_is_followed_by_its_natural_key() {
    let client = shared(&APP).await;
    let mut socket = Socket::open(&client).await;
    let number = unique("a");
    socket.subscribe_now("one", "purse", &json!({ "id": number })).await;
    client.open_purse().await;
    client.post("/v1/purse/open", &json!({ "number": number, "owner": "Ada" })).await.expect(201);
    let entered = socket.next_of("one").await;
    assert_eq!(told(&entered, "number"), ("enter".into(), json!(number)));
}

#[tokio::test]
async fn a_slow_client_hears_that_it_has_lagged_and_goes_on_from_there() {
    let world = world();
    let server = world.start(&[("WRIT_LIVE_QUEUE", "8")]).await;
    let client = server.client();
    let owner = "o".repeat(50);
    let mut slow = Socket::open(&client).await;
    slow.subscribe_now("a", "purse", &json!({ "filter": { "owner": owner } })).await;
    let id = open_purse(&client, &owner).await;
    // The system's buffers take megabytes before the socket is full: written until the server says that it was.
    let lagged = "writ_live_lagged_total";
    let mut written = 0;
    loop {
        let lines = (0..2_000).map(|_| {
            json!({ "model": "purse", "command": "deposit", "id": id, "input": { "amount": 1, "reference": "r".repeat(60) } }).to_string()
        });
        let body = lines.collect::<Vec<_>>().join("\n");
        client.post_bytes("/v1/commands", "application/x-ndjson", body).await.expect(200);
        written += 2_000;
        let metrics = client.get("/metrics").await.expect(200).text;
        let has_lagged = metrics.lines().any(|line| line.starts_with(lagged) && !line.ends_with(" 0"));
        if has_lagged {
            break;
        }
        assert!(written < 60_000, "the client has taken all that");
    }
    // What it got is without a gap up to where it ended, and so is what follows there.
    let mut version = 0;
    let resume = loop {
        let message = slow.next_of("a").await;
        if message["type"] == "ended" {
            assert_eq!(message["reason"], "lagged");
            break message["resume"].as_str().unwrap().to_owned();
        }
        version += 1;
        assert_eq!(message["version"], version);
    };
    slow.subscribe("a", "purse", &json!({ "filter": { "owner": owner }, "from": resume })).await;
    for _ in 0..5 {
        version += 1;
        assert_eq!(slow.next_of("a").await["version"], version);
    }
}
