//! Answers across processes: a decider that serves another process's command writes the outcome to `writ.replies`;
//! the api there reads its partition and completes the request.
//!
//! An answer is a courtesy, not the truth: it is written after the commit and outside the transaction. One that is
//! lost ends in 504, and a repeat with the same idempotency key gets the outcome. So nobody has to own a partition:
//! two api instances on one partition just skip each other's records.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::commands::Answers;
use crate::envelope::{Outcome, ReplyTo, header};
use crate::kafka::{Options, REQUEST_TIMEOUT};
use crate::limits::MAX_RECORD_BYTES;
use crate::topics::{REPLY_PARTITIONS, Topics};

/// How often the reader looks whether it must end.
const TICK: Duration = Duration::from_millis(100);
/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// The partition on which an instance listens.
pub fn partition_of(instance: Uuid) -> i32 {
    // The low bits of a UUIDv7 are random.
    i32::from(instance.as_bytes()[15]) % REPLY_PARTITIONS
}

/// Reads this process's partition of `writ.replies` until cancelled. Blocking: run it on a thread of its own.
pub fn read(options: &Options, answers: &Arc<Answers>, cancel: &CancellationToken) {
    while !cancel.is_cancelled() {
        if let Err(error) = read_until_failure(options, answers, cancel) {
            tracing::warn!(%error, "reading replies failed, starting over");
            std::thread::sleep(RETRY);
        }
    }
}

fn read_until_failure(
    options: &Options,
    answers: &Answers,
    cancel: &CancellationToken,
) -> Result<(), KafkaError> {
    let consumer: BaseConsumer = options
        .client("replies")
        .set("group.id", "none") // Required by the client, never used: partitions are assigned by hand.
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "latest")
        .create()?;
    let (topic, partition) = (Topics::new(&options.topic_prefix).replies(), partition_of(answers.instance));
    // From the end as it is now: a request of this process can't have been answered before.
    let (_, end) = consumer.fetch_watermarks(&topic, partition, REQUEST_TIMEOUT)?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(&topic, partition, Offset::Offset(end))?;
    consumer.assign(&assignment)?;
    while !cancel.is_cancelled() {
        let Some(record) = consumer.poll(TICK) else { continue };
        let record = record?;
        if let Some(address) = address_of(&record).filter(|address| address.instance == answers.instance) {
            match serde_json::from_slice::<Outcome>(record.payload().unwrap_or_default()) {
                Ok(outcome) => answers.complete(address.request, outcome),
                Err(error) => tracing::error!(
                    kafka.topic = topic,
                    kafka.partition = partition,
                    kafka.offset = record.offset(),
                    %error,
                    "an answer can't be read; the deciders may run another version"
                ),
            }
        }
    }
    Ok(())
}

/// The reply address in a record's headers.
pub fn address_of(record: &impl Message) -> Option<ReplyTo> {
    let headers = record.headers()?;
    headers
        .iter()
        .find(|header| header.key == header::REPLY_TO)
        .and_then(|header| ReplyTo::parse(header.value?))
}

/// The decider's end: hands outcomes to requests, here or in another process.
pub struct Replier {
    answers: Arc<Answers>,
    topic: String,
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl std::fmt::Debug for Replier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replier").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Replier {
    /// `answers` are the requests of this process. Errors: the Kafka options are invalid.
    pub fn new(options: &Options, answers: Arc<Answers>) -> Result<Self, KafkaError> {
        let producer = options
            .client("answers")
            .set("acks", "1")
            .set("message.timeout.ms", "10000")
            .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
            // Answers are a courtesy: what can't leave in time must not fill the memory.
            .set("queue.buffering.max.kbytes", "65536")
            .create()?;
        Ok(Replier { answers, topic: Topics::new(&options.topic_prefix).replies(), producer })
    }

    /// Delivers one outcome. A failure is logged: the caller's request ends in 504, and its repeat is safe.
    pub fn reply(&self, to: ReplyTo, outcome: Outcome) {
        if to.instance == self.answers.instance {
            self.answers.complete(to.request, outcome);
            return;
        }
        let value = serde_json::to_vec(&outcome).expect("an outcome has string keys only");
        let address = to.to_string();
        let headers = OwnedHeaders::new_with_capacity(1)
            .insert(Header { key: header::REPLY_TO, value: Some(&address) });
        let record = BaseRecord::to(&self.topic)
            .partition(to.partition)
            .key(&address)
            .payload(&value)
            .headers(headers);
        if let Err((error, _)) = self.producer.send(record) {
            tracing::warn!(%error, "an answer could not be sent; its request will time out");
        }
    }
}
