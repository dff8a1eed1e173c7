//! Events as the decider writes them, without the decider: framing, headers, key and partition are the same; the producer
//! is idempotent instead of transactional.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use writ_producers::envelope::{frame, header};
use writ_producers::kafka::Options;
use writ_producers::registry::SchemaIds;
use writ_producers::topics::Topics;

use crate::orders::{Made, Orders};

const FLUSH_LIMIT: Duration = Duration::from_secs(60);
const QUEUE_PAUSE: Duration = Duration::from_millis(5);
/// Deliveries are looked at once for so many events.
const POLL_EVERY: u64 = 500;

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Events.
    pub(super) events: u64,
    /// Bytes of their values.
    pub(super) bytes: u64,
}

/// Counts the records that Kafka didn't take.
#[derive(Debug, Clone, Default)]
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

/// Writes all events. Blocks.
pub(super) fn write(
    kafka: &Options,
    topics: &Topics,
    schemas: &SchemaIds,
    mut orders: Orders,
) -> Result<Written> {
    let failures = Failures::default();
    let producer: BaseProducer<Failures> = kafka
        .client("bench")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "262144")
        .create_with_context(failures.clone())?;
    let mut written = Written::default();
    while let Some(made) = orders.next()? {
        let event = &made.model.events[&made.event];
        let schema = schemas.id(&event.type_name).context("every event type is registered")?;
        let mut value = frame(schema);
        event.codec.encode(&made.fields, &mut value)?;
        written.events += 1;
        written.bytes += value.len() as u64;
        let (topic, key) = (topics.events(&made.model.name), made.aggregate.to_string());
        let headers = headers(&made, &event.type_name, &schemas.url(schema));
        let mut record = BaseRecord::to(&topic).key(&key).payload(&value).headers(headers);
        while let Err((error, unsent)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(QUEUE_PAUSE);
            record = unsent;
        }
        if written.events.is_multiple_of(POLL_EVERY) {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(FLUSH_LIMIT)?;
    match failures.0.load(Ordering::Relaxed) {
        0 => Ok(written),
        failed => bail!("Kafka didn't take {failed} events"),
    }
}

/// The headers of its record.
pub(crate) fn headers(made: &Made, type_name: &str, dataschema: &str) -> OwnedHeaders {
    let subject = made.aggregate.to_string();
    let all = [
        (header::SPECVERSION, "1.0"),
        (header::ID, &made.id.to_string()),
        (header::TYPE, type_name),
        (header::SOURCE, &format!("/{}/{}", made.model.app, made.model.name)),
        (header::SUBJECT, &subject),
        (header::TIME, &made.at.to_string()),
        (header::DATASCHEMA, dataschema),
        (header::CONTENT_TYPE, "application/avro"),
        (header::VERSION, &made.state.version.to_string()),
        (header::CORRELATION_ID, &made.command.to_string()),
        (header::CAUSATION_ID, &made.command.to_string()),
        (header::ACTOR, &made.actor.to_string()),
    ];
    let mut headers = OwnedHeaders::new_with_capacity(all.len());
    for (key, value) in all {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    headers
}
