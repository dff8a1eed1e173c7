//! Keeps an api instance's [`Directory`] up to date: reads the events of the built-in models, each instance all of them and
//! outside of any consumer group, since each has to know all.
//!
//! Roles are read from their beginning, the others from [`MEMORY`] ago, as older events can't matter to a token that
//! lives. The directory is ready once the ends of the topics as they were at the start are reached; from then on an event
//! arrives as soon as Kafka hands it out, milliseconds after its commit. While Kafka is away nothing new is known, but
//! nothing can be revoked either, and no token is renewed: what is accepted then ends within a token's life.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_identity::directory::{Directory, Happened, MEMORY};
use writ_identity::models::{ACCOUNT, API_KEY, ROLE, SESSION};
use writ_model::{Event, Model, Models, Object, Timestamp};
use writ_producers::envelope::{header, unframe};
use writ_producers::kafka::{Options, REQUEST_TIMEOUT, is_lost_connection};
use writ_producers::registry::{self, Registry};
use writ_producers::topics::Topics;

use crate::header::text;

/// How often the reader looks whether it must end.
const TICK: Duration = Duration::from_millis(100);
/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// Reads until cancelled. Blocking: run it on a thread of its own, and hand it the runtime.
pub fn run(
    options: &Options,
    models: &Models,
    registry: &Registry,
    directory: &Directory,
    runtime: &Handle,
    cancel: &CancellationToken,
) {
    let reader = Reader { options, models, registry, directory, runtime, cancel };
    while !cancel.is_cancelled() {
        if let Err(error) = reader.read_until_failure() {
            tracing::warn!(%error, "reading accounts and roles failed, starting over");
            std::thread::sleep(RETRY);
        }
    }
}

struct Reader<'a> {
    options: &'a Options,
    models: &'a Models,
    registry: &'a Registry,
    directory: &'a Directory,
    runtime: &'a Handle,
    cancel: &'a CancellationToken,
}

impl Reader<'_> {
    /// What was read before is read again, which does no harm.
    fn read_until_failure(&self) -> Result<(), KafkaError> {
        let consumer: BaseConsumer = self
            .options
            .client("directory")
            .set("group.id", "none") // Required by the client, never used: partitions are assigned by hand.
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", "8192")
            .create()?;
        let topics = Topics::new(&self.options.topic_prefix);
        let models: HashMap<String, &Model> = [ACCOUNT, SESSION, ROLE, API_KEY]
            .into_iter()
            .filter_map(|name| Some((topics.events(name), &**self.models.get(name)?)))
            .collect();
        let mut next = self.beginnings(&consumer, &models)?;
        for (topic, model) in &models {
            self.read_to_the_end(&consumer, topic, model, &mut next)?;
        }
        let mut assignment = TopicPartitionList::new();
        for ((topic, partition), offset) in &next {
            assignment.add_partition_offset(topic, *partition, *offset)?;
        }
        consumer.assign(&assignment)?;
        if !self.cancel.is_cancelled() {
            self.directory.set_ready();
        }
        while !self.cancel.is_cancelled() {
            match consumer.poll(TICK) {
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Ok(record)) => {
                    if let Some(model) = models.get(record.topic()) {
                        self.apply(model, &record);
                    }
                }
                Some(Err(error)) if is_lost_connection(&error) => {}
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Topic by topic, because the word that a partition has ended doesn't say of which topic it is. Waiting for an offset
    /// would not do: behind the last event stands the marker of its transaction, which nobody is handed.
    fn read_to_the_end(
        &self,
        consumer: &BaseConsumer,
        topic: &str,
        model: &Model,
        next: &mut HashMap<(String, i32), Offset>,
    ) -> Result<(), KafkaError> {
        let mut assignment = TopicPartitionList::new();
        let mut left: HashSet<i32> = HashSet::new();
        for ((_, partition), offset) in next.iter().filter(|((of, _), _)| of == topic) {
            assignment.add_partition_offset(topic, *partition, *offset)?;
            left.insert(*partition);
        }
        consumer.assign(&assignment)?;
        while !left.is_empty() && !self.cancel.is_cancelled() {
            match consumer.poll(TICK) {
                None => {}
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    left.remove(&partition);
                }
                Some(Ok(record)) => {
                    self.apply(model, &record);
                    next.insert((topic.to_owned(), record.partition()), Offset::Offset(record.offset() + 1));
                }
                Some(Err(error)) if is_lost_connection(&error) => {}
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Where each partition is read from.
    fn beginnings(
        &self,
        consumer: &BaseConsumer,
        models: &HashMap<String, &Model>,
    ) -> Result<HashMap<(String, i32), Offset>, KafkaError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = i64::try_from(now.saturating_sub(MEMORY).as_millis()).unwrap_or(i64::MAX);
        let (mut begin, mut recent) = (HashMap::new(), TopicPartitionList::new());
        for (topic, model) in models {
            let metadata = consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT)?;
            for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
                if model.name == ROLE {
                    begin.insert((topic.clone(), partition.id()), Offset::Beginning);
                } else {
                    recent.add_partition_offset(topic, partition.id(), Offset::Offset(since))?;
                }
            }
        }
        for found in consumer.offsets_for_times(recent, REQUEST_TIMEOUT)?.elements() {
            found.error()?;
            begin.insert((found.topic().to_owned(), found.partition()), found.offset());
        }
        Ok(begin)
    }

    fn apply(&self, model: &Model, record: &BorrowedMessage<'_>) {
        let known = Known::of(record);
        let Some(Known { aggregate, version, at }) = known else {
            tracing::error!(
                kafka.topic = record.topic(),
                kafka.partition = record.partition(),
                kafka.offset = record.offset(),
                "a record of a built-in model is no event; it is passed over"
            );
            return;
        };
        let decoded = self.decode(model, record);
        if decoded.is_none() && !self.cancel.is_cancelled() {
            tracing::error!(
                kafka.topic = record.topic(),
                kafka.partition = record.partition(),
                kafka.offset = record.offset(),
                "an event of a built-in model can't be decoded; what it is of is refused until it is issued anew"
            );
        }
        let decoded = decoded.as_ref().map(|(event, fields)| (*event, fields));
        self.directory.apply(&Happened { model: &model.name, aggregate, version, at, decoded });
    }

    /// Waits for the registry, as long as that takes.
    fn decode<'m>(&self, model: &'m Model, record: &BorrowedMessage<'_>) -> Option<(&'m Event, Object)> {
        let type_name = text(record, header::TYPE)?;
        let event = model.events.values().find(|event| event.type_name == type_name)?;
        let (id, datum) = unframe(record.payload()?)?;
        let schema = loop {
            if self.cancel.is_cancelled() {
                return None;
            }
            match self.runtime.block_on(self.registry.schema(id)) {
                Ok(schema) => break schema,
                Err(error @ registry::Error::Unavailable { .. }) => {
                    tracing::warn!(%error, "accounts and roles can't be read without the schema registry");
                    std::thread::sleep(RETRY);
                }
                Err(_) => return None,
            }
        };
        Some((event, event.codec.decode(&schema, datum).ok()?))
    }
}

/// What every event says of itself.
struct Known {
    aggregate: Uuid,
    version: u64,
    at: Timestamp,
}

impl Known {
    fn of(record: &BorrowedMessage<'_>) -> Option<Known> {
        Some(Known {
            aggregate: text(record, header::SUBJECT)?.parse().ok()?,
            version: text(record, header::VERSION)?.parse().ok()?,
            at: text(record, header::TIME)?.parse().ok()?,
        })
    }
}
