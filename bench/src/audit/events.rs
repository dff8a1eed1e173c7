//! The events that a run left in Kafka, read as any consumer reads them: committed transactions only.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use super::{Acknowledged, PATIENCE};
use crate::shop::Payment;

/// Limit of a metadata request.
const REQUEST: Duration = Duration::from_secs(10);

/// The ends of the event topic before the run.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    topic: String,
    brokers: String,
    offsets: BTreeMap<i32, i64>,
}

impl Start {
    /// Remembers where the partitions of `topic` end now. Blocks.
    pub(crate) fn remember(brokers: &str, topic: &str) -> Result<Self> {
        let consumer = consumer(brokers)?;
        let metadata = consumer
            .fetch_metadata(Some(topic), REQUEST)
            .with_context(|| format!("Kafka at {brokers} doesn't answer"))?;
        let partitions = metadata.topics().first().map_or(&[][..], |found| found.partitions());
        if partitions.is_empty() {
            bail!(
                "topic {topic} doesn't exist at {brokers}; is the API of this run served from another Kafka?"
            );
        }
        let mut offsets = BTreeMap::new();
        for partition in partitions {
            let (_, end) = consumer
                .fetch_watermarks(topic, partition.id(), REQUEST)
                .with_context(|| format!("the end of {topic}[{}] is not known", partition.id()))?;
            offsets.insert(partition.id(), end);
        }
        Ok(Start { topic: topic.to_owned(), brokers: brokers.to_owned(), offsets })
    }

    /// The number of partitions.
    pub(crate) fn partitions(&self) -> i32 {
        i32::try_from(self.offsets.len()).expect("Kafka numbers partitions by i32")
    }
}

fn consumer(brokers: &str) -> Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "writ-bench")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false")
        .create()
        .context("the options of the consumer are invalid")
}

/// The events that the run left in Kafka.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// How many `Placed` events each order has.
    pub(super) placed: HashMap<Uuid, u32>,
    /// How many `Paid` events each order has.
    pub(super) paid: HashMap<Uuid, u32>,
    /// Bytes of all values and headers.
    bytes: usize,
    /// The last offset of each partition.
    last: BTreeMap<i32, i64>,
}

impl Events {
    /// Reads from `start` until everything acknowledged was seen and each partition's end is reached. Blocks.
    pub(crate) fn read(start: &Start, acknowledged: &Acknowledged) -> Result<Self> {
        let consumer = consumer(&start.brokers)?;
        let mut assignment = TopicPartitionList::new();
        for (partition, offset) in &start.offsets {
            assignment.add_partition_offset(&start.topic, *partition, Offset::Offset(*offset))?;
        }
        consumer.assign(&assignment)?;
        let mut events = Events::default();
        let mut at_end = HashSet::new();
        let deadline = Instant::now() + PATIENCE;
        // An acknowledged event is behind a commit whose markers Kafka writes after it has answered: the end that a
        // reader sees can come short for some milliseconds.
        while Instant::now() < deadline {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    at_end.remove(&message.partition());
                    events.take(&message);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    at_end.insert(partition);
                }
                Some(Err(error)) => return Err(error).with_context(|| format!("reading {}", start.topic)),
                None if at_end.len() == start.offsets.len() && events.missing(acknowledged) == 0 => break,
                None => {}
            }
        }
        Ok(events)
    }

    fn take(&mut self, message: &impl Message) {
        self.last.insert(message.partition(), message.offset());
        self.bytes += message.payload().map_or(0, <[u8]>::len);
        let mut kind = None;
        for header in message.headers().into_iter().flat_map(Headers::iter) {
            self.bytes += header.key.len() + header.value.map_or(0, <[u8]>::len);
            if header.key == "ce_type" {
                kind = header.value;
            }
        }
        let Some(id) = message.key().and_then(|key| Uuid::try_parse_ascii(key).ok()) else { return };
        match kind {
            Some(kind) if kind.ends_with(b".Placed") => *self.placed.entry(id).or_default() += 1,
            Some(kind) if kind.ends_with(b".Paid") => *self.paid.entry(id).or_default() += 1,
            _ => {}
        }
    }

    /// How many acknowledged commands have no event.
    pub(super) fn missing(&self, acknowledged: &Acknowledged) -> usize {
        let placed = acknowledged.placed.iter().filter(|id| !self.placed.contains_key(*id)).count();
        let paid = acknowledged
            .payments
            .iter()
            .filter(|(id, payment)| **payment == Payment::Paid && !self.paid.contains_key(*id));
        placed + paid.count()
    }

    /// The mean size of an event's value with its headers.
    pub(crate) fn mean_bytes(&self) -> usize {
        let count: u32 = self.placed.values().chain(self.paid.values()).sum();
        self.bytes / (count as usize).max(1)
    }

    /// `Writ-Position` of the last events.
    pub(super) fn positions(&self) -> String {
        let positions: Vec<String> =
            self.last.iter().map(|(partition, offset)| format!("order:{partition}:{offset}")).collect();
        positions.join(",")
    }
}
