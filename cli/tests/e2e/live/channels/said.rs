//! What is said.

use serde_json::json;

use super::{join, letter, say, second, sit, stage, stage_with, with};
use crate::harness::kafka;
use crate::harness::socket::Socket;

#[tokio::test]
async fn what_is_said_reaches_everybody_in_its_order_and_is_kept_nowhere() {
    let guarded = stage().await;
    let second = second(&guarded).await;
    let (ada, bob) = (guarded.person(&[]).await, guarded.person(&["staff"]).await);
    let letter = letter(&guarded, &ada).await;
    let mut speaks = Socket::open(&ada.client).await;
    let mut beside = Socket::open(&bob.client).await;
    let mut far = Socket::open(&second.client().with_token(&bob.access)).await;
    let before = kafka::ends(&guarded.world.prefix).await;
    let member = sit(&mut speaks, "d", &letter, None).await["member"].clone();
    sit(&mut beside, "x", &letter, None).await;
    sit(&mut far, "y", &letter, Some("bob")).await;

    for nth in 0..50 {
        let payload = json!({ "is_typing": nth % 2 == 0 });
        let echo = nth % 10 == 0;
        speaks
            .send(&with("broadcast", "d", &json!({ "event": "typing", "payload": payload, "echo": echo })))
            .await;
    }
    say(&mut speaks, "d", &json!({ "event": "nodded" })).await;
    for (socket, sub) in [(&mut beside, "x"), (&mut far, "y")] {
        for nth in 0..50 {
            let heard = socket.of(sub, "broadcast").await;
            assert_eq!(heard["payload"], json!({ "is_typing": nth % 2 == 0 }), "{nth}: {heard}");
            assert_eq!((&heard["member"], &heard["account"]), (&member, &json!(ada.id)));
            assert_eq!(heard["event"], "typing");
            assert!(heard["at"].as_str().unwrap().ends_with('Z'));
        }
        let last = socket.of(sub, "broadcast").await;
        assert_eq!((&last["event"], &last["payload"]), (&json!("nodded"), &json!({})));
    }
    // What comes next is the next echo: of the others nothing came.
    say(&mut speaks, "d", &json!({ "event": "nodded", "echo": true })).await;
    for _ in 0..5 {
        assert_eq!(speaks.of("d", "broadcast").await["payload"], json!({ "is_typing": true }));
    }
    assert_eq!(speaks.of("d", "broadcast").await["event"], "nodded");

    // A service has no socket.
    let said = json!({ "id": letter, "event": "typing", "payload": { "is_typing": true } });
    bob.client.post("/v1/channels/desk/broadcast", &said).await.expect(202);
    let heard = speaks.of("d", "broadcast").await;
    assert_eq!((&heard["member"], &heard["account"]), (&json!(null), &json!(bob.id)));

    // Who has left hears nothing, and says nothing.
    beside.send(&json!({ "type": "unsubscribe", "sub": "x" })).await;
    assert_eq!(beside.of("x", "ended").await["reason"], "unsubscribed");
    say(&mut speaks, "d", &json!({ "event": "typing", "payload": { "is_typing": true } })).await;
    far.of("y", "broadcast").await;
    beside.ping().await;
    sit(&mut beside, "x", &letter, None).await;
    say(&mut speaks, "d", &json!({ "event": "typing", "payload": { "is_typing": false } })).await;
    // The second nod was said before it left.
    assert_eq!(beside.of("x", "broadcast").await["event"], "nodded");
    assert_eq!(beside.of("x", "broadcast").await["payload"]["is_typing"], true, "of the service");
    assert_eq!(beside.of("x", "broadcast").await["payload"]["is_typing"], false);

    let metrics = guarded.client.get("/metrics").await.text;
    for name in ["writ_live_channel_members{channel=\"desk\"} 2", "# HELP writ_live_channel_messages_total"] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    assert_eq!(kafka::ends(&guarded.world.prefix).await, before, "nothing was written");
}

#[tokio::test]
async fn channels_are_told_apart_by_their_keys() {
    let guarded = stage().await;
    let ada = guarded.person(&[]).await;
    let mut speaks = Socket::open(&ada.client).await;
    let mut hears = Socket::open(&ada.client).await;
    join(&mut speaks, "a", &json!({ "channel": "wall", "key": "a" })).await;
    join(&mut speaks, "b", &json!({ "channel": "wall", "key": "b" })).await;
    let joined = join(&mut hears, "b", &json!({ "channel": "wall", "key": "b" })).await;
    assert!(joined.get("members").is_none(), "nobody sees who is there: {joined}");
    say(&mut speaks, "a", &json!({ "event": "any", "payload": { "of": ["a"] } })).await;
    say(&mut speaks, "b", &json!({ "event": "any", "payload": { "of": ["b"] } })).await;
    assert_eq!(hears.of("b", "broadcast").await["payload"], json!({ "of": ["b"] }));
}

#[tokio::test]
async fn who_is_slow_hears_how_much_was_missed_and_holds_up_nobody() {
    let guarded = stage_with(&[("WRIT_HTTP_LIMITS_ACCOUNT_PER_MINUTE", "0")]).await;
    let ada = guarded.person(&[]).await;
    let mut speaks = Socket::open(&ada.client).await;
    let mut hears = Socket::open(&ada.client).await;
    let mut sleeps = Socket::open(&ada.client).await;
    for socket in [&mut speaks, &mut hears, &mut sleeps] {
        join(socket, "w", &json!({ "channel": "wall", "key": "w" })).await;
    }
    // More than what the connection holds by itself.
    let long = "x".repeat(50_000);
    let count = 600;
    for nth in 0..count {
        say(&mut speaks, "w", &json!({ "event": "any", "payload": { "nth": nth, "long": long } })).await;
        assert_eq!(hears.of("w", "broadcast").await["payload"]["nth"], nth);
    }
    let (mut heard, mut missed, mut next) = (0, 0, 0);
    while heard + missed < count {
        let told = sleeps.next_of("w").await;
        match told["type"].as_str().unwrap() {
            "missed" => {
                missed += told["count"].as_u64().unwrap();
                next += told["count"].as_u64().unwrap();
            }
            _ => {
                assert_eq!(
                    told["payload"]["nth"], next,
                    "in order, and what was missed is what is said to be"
                );
                heard += 1;
                next += 1;
            }
        }
    }
    assert!(missed > 0, "{heard} heard");
    assert!(guarded.client.get("/metrics").await.text.contains("writ_live_channel_missed_total"));
}
