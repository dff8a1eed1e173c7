//! The ceiling of the Kafka side: a bare transaction of the same batch. As many records as there are connections, of
//! the size of Writ's own events, with consumer offsets, written the way the decider writes. It blocks: a thread of its
//! own runs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use serde::Serialize;
use uuid::Uuid;

use crate::load::{histogram, quantile};

/// Limit of each step.
const STEP: Duration = Duration::from_secs(10);
/// Pause between two looks at the queue; `poll` with a duration would wait all of it.
const DRAIN_PAUSE: Duration = Duration::from_micros(50);

/// What was measured for one size of transaction.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// Records of one transaction.
    pub(crate) records: usize,
    /// Records per second.
    pub(crate) per_second: f64,
    /// Median time of a transaction, milliseconds.
    pub(crate) p50_ms: f64,
    /// 99th percentile, milliseconds.
    pub(crate) p99_ms: f64,
}

/// What to write.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Kafka's brokers.
    pub(crate) brokers: String,
    /// Partitions of the scratch topic: those of the event topic.
    pub(crate) partitions: i32,
    /// Bytes of one record's value.
    pub(crate) record_bytes: usize,
    /// The sizes of transaction.
    pub(crate) records: Vec<usize>,
    /// How long each is measured.
    pub(crate) measured: Duration,
}

/// Measures every size, on a scratch topic that is deleted at the end.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Measured>> {
    let name = format!("writ-bench-{}", Uuid::new_v4().simple());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &plan.brokers).create()?;
    let options = AdminOptions::new().operation_timeout(Some(STEP)).request_timeout(Some(STEP));
    let topic = NewTopic::new(&name, plan.partitions, TopicReplication::Fixed(-1));
    for created in admin.create_topics([&topic], &options).await? {
        created.map_err(|(_, code)| anyhow::anyhow!("the scratch topic {name} was not created: {code}"))?;
    }
    let scratch = name.clone();
    let measured = tokio::task::spawn_blocking(move || measure(&plan, &scratch)).await;
    for deleted in admin.delete_topics(&[&name], &options).await? {
        deleted.map_err(|(_, code)| anyhow::anyhow!("the scratch topic {name} was not deleted: {code}"))?;
    }
    measured.context("the thread of the Kafka ceiling failed")?
}

/// Counts the deliveries that failed.
struct Failures(Arc<AtomicU64>);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn measure(plan: &Plan, topic: &str) -> Result<Vec<Measured>> {
    let failures = Arc::new(AtomicU64::new(0));
    let producer: BaseProducer<Failures> = ClientConfig::new()
        .set("bootstrap.servers", &plan.brokers)
        .set("transactional.id", topic)
        .set("acks", "all")
        .set("linger.ms", "0")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .create_with_context(Failures(failures.clone()))?;
    producer.init_transactions(STEP).context("init_transactions")?;
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &plan.brokers).set("group.id", topic).create()?;
    let value = payload(plan.record_bytes);
    let mut offset = 0;
    let mut results = Vec::new();
    for &records in &plan.records {
        let mut latencies = histogram();
        // One transaction first that doesn't count: it opens connections and fills caches.
        let mut started = None;
        loop {
            offset += records as i64;
            let at = Instant::now();
            transaction(&producer, &consumer, topic, plan.partitions, records, &value, offset)?;
            ensure!(failures.load(Ordering::Relaxed) == 0, "Kafka refused records of the scratch topic");
            let Some(started) = started else {
                started = Some(Instant::now());
                continue;
            };
            latencies.saturating_record(u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX));
            let elapsed = Instant::now().duration_since(started);
            if elapsed >= plan.measured {
                results.push(Measured {
                    records,
                    per_second: (latencies.len() * records as u64) as f64 / elapsed.as_secs_f64(),
                    p50_ms: quantile(&latencies, 0.5),
                    p99_ms: quantile(&latencies, 0.99),
                });
                break;
            }
        }
    }
    Ok(results)
}

fn transaction(
    producer: &BaseProducer<Failures>,
    consumer: &BaseConsumer,
    topic: &str,
    partitions: i32,
    records: usize,
    value: &[u8],
    offset: i64,
) -> Result<()> {
    producer.begin_transaction()?;
    for _ in 0..records {
        let key = Uuid::new_v4().to_string();
        let record = BaseRecord::to(topic).key(&key).payload(value);
        producer.send(record).map_err(|(error, _)| error).context("writing a record")?;
    }
    let deadline = Instant::now() + STEP;
    loop {
        producer.poll(Duration::ZERO);
        if producer.in_flight_count() == 0 {
            break;
        }
        ensure!(Instant::now() < deadline, "Kafka doesn't take the records in time");
        std::thread::sleep(DRAIN_PAUSE);
    }
    // A batch of this size touches about as many partitions of the command topic.
    let mut offsets = TopicPartitionList::new();
    for partition in 0..partitions.min(i32::try_from(records).unwrap_or(i32::MAX)) {
        offsets.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    let group = consumer.group_metadata().context("the consumer has no group")?;
    producer.send_offsets_to_transaction(&offsets, &group, STEP).context("send_offsets_to_transaction")?;
    producer.commit_transaction(STEP).context("commit_transaction")
}

/// Bytes that compress about as badly as ids and numbers do: hexadecimal digits of a small generator.
fn payload(size: usize) -> Vec<u8> {
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b"0123456789abcdef"[(state >> 60) as usize]
    };
    (0..size).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_has_the_size_and_is_not_constant() {
        let payload = payload(300);
        assert_eq!(payload.len(), 300);
        assert!(payload.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
