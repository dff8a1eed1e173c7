//! Without Redis, and when it is there again.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{CHANNELS, List, appear, join, letter, refused, say, sit, with};
use crate::harness::people::Guarded;
use crate::harness::proxy::{Proxy, authority};
use crate::harness::socket::Socket;
use crate::harness::{eventually, world};

/// Takes away all that Redis has of channels, as if it had been started anew without a disk.
async fn forget_all(prefix: &str) -> i64 {
    let mut redis = TcpStream::connect(authority(&world::redis_url())).await.unwrap();
    let script = "local n = 0 for _, k in ipairs(redis.call('KEYS', ARGV[1])) do n = n + redis.call('DEL', k) end return n";
    redis.write_all(format!("EVAL \"{script}\" 0 {prefix}:channel:*\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 100];
    let read = redis.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    answer.trim().strip_prefix(':').unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

#[tokio::test]
async fn who_is_there_stays_there_without_redis_and_gets_the_whole_list_when_it_is_back() {
    let redis = world::redis_url();
    let mut proxy = Proxy::opened(&authority(&redis)).await;
    let url = proxy.in_place_of(&redis);
    let files = [("letter.yaml", super::LETTER), ("channels.yaml", CHANNELS)];
    let guarded = Guarded::start_with(&files, &world::with_redis(&url)).await;
    // The other one keeps its connection.
    let second = guarded.second_with(&world::with_redis(&redis)).await;
    let (ada, bob) = (guarded.person(&[]).await, guarded.person(&["staff"]).await);
    let letter = letter(&guarded, &ada).await;
    let mut near = Socket::open(&ada.client).await;
    let mut seen = List::of(&sit(&mut near, "d", &letter, Some("ada")).await);
    let mut goes = Socket::open(&ada.client).await;
    sit(&mut goes, "d", &letter, Some("gone")).await;
    let mut far = Socket::open(&second.client().with_token(&bob.access)).await;
    let mut seen_far = List::of(&sit(&mut far, "d", &letter, Some("bob")).await);
    seen.until(&mut near, "d", &["ada", "bob", "gone"]).await;

    proxy.close().await;
    let unavailable = (503, "live-unavailable".to_owned());
    let nod = with("broadcast", "d", &json!({ "event": "nodded", "ref": "1" }));
    assert_eq!(refused(&mut near, &nod).await, unavailable);
    let state = with("presence", "d", &json!({ "state": { "name": "lost" }, "ref": "2" }));
    assert_eq!(refused(&mut near, &state).await, unavailable);
    let another = with("join", "x", &json!({ "channel": "wall", "key": "x" }));
    assert_eq!(refused(&mut near, &another).await, unavailable);
    let said = json!({ "id": letter, "event": "nodded" });
    guarded
        .client
        .with_token(&bob.access)
        .post("/v1/channels/desk/broadcast", &said)
        .await
        .problem(503, "live-unavailable");
    let path = format!("/v1/channels/desk/members?id={letter}");
    ada.client.get(&path).await.problem(503, "live-unavailable");
    assert!(guarded.client.get("/metrics").await.text.contains("writ_live_channels_away 1"));
    drop(goes);
    // What happens meanwhile.
    appear(&mut far, "d", json!({ "name": "bert" })).await;
    say(&mut far, "d", &json!({ "event": "nodded" })).await;
    seen_far.until(&mut far, "d", &["bert"]).await;
    near.ping().await;

    proxy.open().await;
    let whole = near.of("d", "members").await;
    seen.fold(&whole);
    seen.until(&mut near, "d", &["ada", "bert"]).await;
    seen_far.until(&mut far, "d", &["ada", "bert"]).await;
    // What was said is lost, what is said is heard.
    say(&mut far, "d", &json!({ "event": "typing", "payload": { "is_typing": true } })).await;
    assert_eq!(near.of("d", "broadcast").await["event"], "typing");
    say(&mut near, "d", &json!({ "event": "typing", "payload": { "is_typing": false } })).await;
    assert_eq!(far.of("d", "broadcast").await["account"], ada.id);
    join(&mut near, "x", &json!({ "channel": "wall", "key": "x" })).await;
    assert!(guarded.client.get("/metrics").await.text.contains("writ_live_channels_away 0"));
}

#[tokio::test]
async fn a_redis_that_has_forgotten_all_is_told_again() {
    let guarded = super::stage().await;
    let second = super::second(&guarded).await;
    let (ada, bob) = (guarded.person(&[]).await, guarded.person(&["staff"]).await);
    let letter = letter(&guarded, &ada).await;
    let mut near = Socket::open(&ada.client).await;
    sit(&mut near, "d", &letter, Some("ada")).await;
    let mut far = Socket::open(&second.client().with_token(&bob.access)).await;
    sit(&mut far, "d", &letter, Some("bob")).await;
    assert!(forget_all(&guarded.world.prefix).await >= 3, "two leases, a list");
    let path = format!("/v1/channels/desk/members?id={letter}");
    eventually("both are in the list again", async || {
        let mut asked = List::default();
        asked.fold(&ada.client.get(&path).await.expect(200).body);
        (asked.names() == ["ada", "bob"]).then_some(())
    })
    .await;
}
