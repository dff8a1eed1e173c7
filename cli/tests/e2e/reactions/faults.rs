//! Kill it while it works: every event has its reactions, once.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::{becomes, book, commands, flight, world};
use crate::harness::{Client, World, eventually, kafka, unique};

/// Sends until it is taken.
async fn persist(app: &Client, flight: &str) {
    let (key, number) = (unique("k"), unique("b"));
    let body = json!({ "number": number, "legs": [{ "flight": flight, "seats": 1 }] });
    eventually("the booking is taken", async || {
        app.try_post("/v1/booking/ask", &body, &key).await.filter(|answer| answer.status < 500)
    })
    .await
    .expect(201);
}

/// From when each partition has a place on, nothing may be missed.
async fn begun(world: &World) {
    let partitions = kafka::partitions(&world.topic("booking")).await;
    eventually("the reactions begin", async || {
        let places = kafka::read_raw(&world.topic("reactions")).await;
        let places: BTreeSet<String> = places.into_iter().map(|(key, _)| key).collect();
        (places.len() == usize::try_from(partitions).unwrap()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn killed_again_and_again_each_event_has_its_command_once() {
    const BOOKINGS: usize = 400;
    let world = world();
    let server = world.start(&[("WRIT_ROLES", "api,decider,projector")]).await;
    let app = server.client();
    let large = flight(&app, 10_000).await;
    // Two, of which one is killed at a time.
    let roles = [("WRIT_ROLES", "reactions")];
    let mut living = [world.spawn_headless("first", &roles), world.spawn_headless("second", &roles)];
    begun(&world).await;
    let writing = async {
        for _ in 0..BOOKINGS / 20 {
            futures::future::join_all((0..20).map(|_| persist(&app, &large))).await;
        }
    };
    let killing = async {
        for round in 0..6 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let index = round % 2;
            let name = ["first", "second"][index];
            let next = world.spawn_headless(name, &roles);
            std::mem::replace(&mut living[index], next).kill();
        }
    };
    tokio::join!(writing, killing);
    assert_eq!(kafka::read(&world.topic("booking")).await.len(), BOOKINGS);
    becomes(&app, &format!("/v1/flight/{large}"), "taken", json!(BOOKINGS)).await;
    let sent = commands(&world, "flight", "take").await;
    assert_eq!(sent.len(), BOOKINGS);
    assert!(sent.values().all(|times| *times == 1), "a command stands in Kafka twice");
    let last = flight(&app, 1).await;
    book(&app, &[(&last, 1)]).await;
    becomes(&app, &format!("/v1/flight/{last}"), "taken", json!(1)).await;
}

/// Kafka forgets the offsets of a group that was away for a week.
#[tokio::test]
async fn what_kafka_forgets_of_the_group_is_still_known() {
    let world = world();
    let server = world.start(&[("WRIT_ROLES", "api,decider,projector")]).await;
    let app = server.client();
    let large = flight(&app, 100).await;
    let path = format!("/v1/flight/{large}");
    let roles = [("WRIT_ROLES", "reactions")];
    let reactions = world.spawn_headless("reactions", &roles);
    begun(&world).await;
    for _ in 0..5 {
        book(&app, &[(&large, 1)]).await;
    }
    becomes(&app, &path, "taken", json!(5)).await;
    assert!(reactions.terminate().await.success());
    kafka::forget_group(&world.topic("reactions")).await;
    for _ in 0..5 {
        book(&app, &[(&large, 1)]).await;
    }
    let _again = world.spawn_headless("reactions", &roles);
    becomes(&app, &path, "taken", json!(10)).await;
    let sent = commands(&world, "flight", "take").await;
    assert!(sent.len() == 10 && sent.values().all(|times| *times == 1), "{sent:?}");
}
