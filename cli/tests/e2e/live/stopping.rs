//! A server that stops sends its clients elsewhere.

use serde_json::json;

use super::world;
use crate::harness::client::order;
use crate::harness::socket::Socket;

#[tokio::test]
async fn clients_are_told_when_to_come_back() {
    let world = world();
    let server = world.start(&[("WRIT_HTTP_LIVE_RECONNECT_SPREAD_MS", "3000")]).await;
    let client = server.client();
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut socket = Socket::open(&client).await;
        socket.subscribe_now("a", "purse", &json!({})).await;
        sockets.push(socket);
    }
    let stream = super::http::stream(&client, "/v1/live/purse", &[]).await;
    server.signal("TERM");
    let mut times = Vec::new();
    for mut socket in sockets {
        let told = socket.find("when to come back", |message| message["type"] == "reconnect").await;
        times.push(told["after_ms"].as_u64().unwrap());
        assert_eq!(socket.closed().await, 1012);
    }
    assert!(times.iter().all(|time| *time <= 3_000), "{times:?}");
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 10, "not all at once: {times:?}");
    let rest = stream.rest().await;
    assert!(rest.contains("retry: "), "{rest}");
    assert!(server.ended().await.0.success());
}

#[tokio::test]
async fn a_command_that_is_under_way_is_answered_first() {
    let world = world();
    let server = world.start(&[]).await;
    let mut socket = Socket::open(&server.client()).await;
    for nth in 0..10 {
        let message = json!({ "type": "command", "ref": format!("r{nth}"), "model": "order", "command": "place", "input": order() });
        socket.send(&message).await;
    }
    socket.ping().await;
    server.signal("TERM");
    for nth in 0..10 {
        let name = format!("r{nth}");
        let told = socket.find("an answer", |message| message["ref"] == name).await;
        assert_eq!(told["type"], "answer", "{told}");
    }
    assert_eq!(socket.closed().await, 1012);
    assert!(server.ended().await.0.success());
}
