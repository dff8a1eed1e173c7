//! A decider that takes partitions over with much to read: it says how far it is, stays in the group, and stops when asked.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::harness::{Client, World, eventually, unique, world};

/// Enough to take longer than the session timeout of 6 s, so a member that sends no heartbeats meanwhile is thrown out.
const STATES: u64 = 600_000;

/// States of purses as a decider leaves them.
fn fill(topic: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", world::brokers())
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .create()
        .unwrap();
    for number in 0..STATES {
        let key = format!("purse/{}", uuid::Uuid::now_v7());
        let value = json!({
            "version": 1, "deleted": false, "created_at": 1_750_000_000_000_i64, "updated_at": 1_750_000_000_000_i64,
            "fields": { "number": number.to_string(), "owner": "x".repeat(200), "balance": 0, "status": "open" },
        })
        .to_string();
        let mut record = BaseRecord::to(topic).key(&key).payload(&value);
        while let Err((error, unsent)) = producer.send(record) {
            assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            producer.poll(Duration::from_millis(5));
            record = unsent;
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

async fn decider(app: &Client) -> Option<Value> {
    let answer = app.try_get("/readyz").await?;
    answer.body["parts"].as_array()?.iter().find(|part| part["name"] == "decider").cloned()
}

/// The reason of the decider's part while it reads records.
async fn progress(app: &Client) -> String {
    eventually("the take-over shows its progress", async || {
        let part = decider(app).await?;
        part["reason"].as_str().filter(|reason| reason.contains(" of 600,")).map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn a_long_take_over_tells_its_progress_keeps_its_membership_and_can_be_stopped() {
    let world = World::new();
    // Makes the topics.
    assert!(world.start(&[]).await.terminate().await.success());
    let topic = world.topic("state");
    tokio::task::spawn_blocking(move || fill(&topic)).await.unwrap();

    let server = world.spawn("stopped", &[]).await;
    progress(&server.client()).await;
    let asked = Instant::now();
    assert!(server.terminate().await.success());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());

    let started = Instant::now();
    let server = world.spawn("whole", &[]).await;
    let app = server.client();
    let reason = progress(&app).await;
    assert!(reason.starts_with("taking over 4 partitions: "), "{reason}");
    let metrics = app.get("/metrics").await.expect(200).text;
    let left = metrics.lines().find_map(|line| line.strip_prefix("writ_decider_restore_records_left "));
    assert!(left.unwrap().parse::<f64>().unwrap() > 0.0);
    eventually("the decider is ready", async || decider(&app).await.filter(|part| part["ready"] == true))
        .await;
    assert!(
        started.elapsed() > Duration::from_secs(6),
        "too fast to prove anything: {:?}",
        started.elapsed()
    );
    let metrics = app.get("/metrics").await.expect(200).text;
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or("0").parse::<f64>().unwrap()
    };
    assert_eq!(value("writ_decider_restore_records_left"), 0.0);
    // Once, and all of it: a member that was thrown out would have begun again.
    assert!(value("writ_decider_restored_records_total") >= STATES as f64);
    assert!(value("writ_decider_restored_records_total") < STATES as f64 * 1.5);
    assert_eq!(value("writ_decider_sessions_failed_total"), 0.0);
    let purse = json!({ "number": unique("a"), "owner": "Ada" });
    app.post("/v1/purse/open", &purse).await.expect(201);
}
