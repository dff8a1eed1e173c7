//! The projector's consumer: which partitions are ours, and what librdkafka complains about.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use writ_producers::kafka::{Options, is_lost_connection};
use writ_producers::topics::Topics;

use super::batch::{Place, Record};

/// Limit of one request about metadata.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);

/// What the callbacks leave for the loop.
#[derive(Debug, Default)]
struct Notes {
    /// The assignment since the last change; taken by the loop.
    assigned: Option<Vec<Place>>,
    /// A connection was lost, in librdkafka's words.
    complaint: Option<String>,
}

/// Whether a transaction is under way.
#[derive(Debug, Default)]
struct Work {
    is_busy: Mutex<bool>,
    ended: Condvar,
}

/// Until it is dropped, a transaction is under way.
pub(super) struct Busy {
    work: Arc<Work>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.work.is_busy.lock() = false;
        self.work.ended.notify_all();
    }
}

/// Serves the callbacks, on the thread that polls.
struct Context {
    notes: Arc<Mutex<Notes>>,
    work: Arc<Work>,
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if !matches!(rebalance, Rebalance::Assign(_)) {
            // The group gives our partitions to nobody before this returns, unless it believes that we are gone. The
            // transaction has a limit of its own.
            let mut is_busy = self.work.is_busy.lock();
            self.work.ended.wait_while(&mut is_busy, |is_busy| *is_busy);
            self.notes.lock().assigned = Some(Vec::new());
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            // Nothing is read until the loop has asked PostgreSQL where to begin.
            if let Err(error) = consumer.pause(list) {
                tracing::warn!(error = %error, "new partitions can't be paused");
            }
            self.notes.lock().assigned = Some(places(list));
        }
    }
}

fn places(list: &TopicPartitionList) -> Vec<Place> {
    list.elements()
        .iter()
        .map(|element| Place { topic: element.topic().into(), partition: element.partition() })
        .collect()
}

/// What a poll brought.
pub(super) enum Polled {
    /// Nothing in time.
    Nothing,
    /// An event.
    Record(Record),
    /// librdkafka's word on what is wrong.
    Failure(String),
}

/// The consumer of all event topics.
pub(super) struct Consumer {
    inner: BaseConsumer<Context>,
    notes: Arc<Mutex<Notes>>,
    work: Arc<Work>,
    topics: Vec<String>,
}

impl Consumer {
    /// A member of the group `<prefix>.projector`, once subscribed.
    pub(super) fn new(options: &Options, topics: Vec<String>) -> Result<Consumer, KafkaError> {
        let notes = Arc::new(Mutex::new(Notes::default()));
        let mut config = options.client("projector");
        config
            .set("group.id", Topics::new(&options.topic_prefix).projector_group())
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // An offset that Kafka doesn't have means that topic and tables don't belong together: never guess another.
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "100")
            // The least that brokers allow: how long the partitions of a killed process wait.
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "1000")
            .set("queued.max.messages.kbytes", "32768");
        let work = Arc::new(Work::default());
        let context = Context { notes: notes.clone(), work: work.clone() };
        Ok(Consumer { inner: config.create_with_context(context)?, notes, work, topics })
    }

    /// A transaction begins: no partition is given back before its end.
    pub(super) fn busy(&self) -> Busy {
        *self.work.is_busy.lock() = true;
        Busy { work: self.work.clone() }
    }

    /// The first topic that Kafka doesn't have yet. Errors: Kafka doesn't answer.
    pub(super) fn missing_topic(&self) -> Result<Option<&str>, KafkaError> {
        for topic in &self.topics {
            let metadata = self.inner.fetch_metadata(Some(topic), METADATA_TIMEOUT)?;
            let exists = metadata.topics().iter().any(|found| {
                found.name() == topic && found.error().is_none() && !found.partitions().is_empty()
            });
            if !exists {
                return Ok(Some(topic));
            }
        }
        Ok(None)
    }

    /// Joins the group.
    pub(super) fn subscribe(&self) -> Result<(), KafkaError> {
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        self.inner.subscribe(&topics)
    }

    /// The assignment, if it changed since the last call.
    pub(super) fn take_assignment(&self) -> Option<Vec<Place>> {
        self.notes.lock().assigned.take()
    }

    /// Whether [`Consumer::take_assignment`] would give something.
    pub(super) fn is_reassigned(&self) -> bool {
        self.notes.lock().assigned.is_some()
    }

    /// What librdkafka last said about its connections, unless Kafka answers now.
    pub(super) fn complaint(&self) -> Option<String> {
        self.notes.lock().complaint.as_ref()?;
        match self.missing_topic() {
            Ok(None) => {
                self.notes.lock().complaint = None;
                None
            }
            Ok(Some(topic)) => Some(format!("the topic {topic} doesn't exist")),
            Err(error) => Some(format!("Kafka doesn't answer: {error}")),
        }
    }

    /// Reads on from these offsets. What was fetched before is forgotten by librdkafka.
    pub(super) fn set(&self, offsets: impl Iterator<Item = (Place, i64)>) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (place, next) in offsets {
            list.add_partition_offset(&place.topic, place.partition, Offset::Offset(next))?;
        }
        self.inner.assign(&list)?;
        self.inner.resume(&list)
    }

    /// Reads nothing more of one partition until the next [`Consumer::set`].
    pub(super) fn pause(&self, place: &Place) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&place.topic, place.partition);
        if let Err(error) = self.inner.pause(&list) {
            tracing::warn!(error = %error, topic = &*place.topic, partition = place.partition, "can't be paused");
        }
    }

    /// Tells Kafka how far we are, for whoever looks at the group's lag. Nothing depends on it.
    pub(super) fn hint(&self, offsets: impl Iterator<Item = (Place, i64)>) {
        let mut list = TopicPartitionList::new();
        for (place, next) in offsets {
            if let Err(error) = list.add_partition_offset(&place.topic, place.partition, Offset::Offset(next))
            {
                tracing::debug!(error = %error, "an offset can't be told to Kafka");
            }
        }
        if list.count() > 0
            && let Err(error) = self.inner.commit(&list, rdkafka::consumer::CommitMode::Async)
        {
            tracing::debug!(error = %error, "the offsets can't be told to Kafka");
        }
    }

    fn failure(&self, error: &KafkaError) -> Polled {
        if is_lost_connection(error) {
            // Whether Kafka is there is for `complaint` to find out.
            self.notes.lock().complaint = Some(error.to_string());
            return Polled::Nothing;
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Polled::Failure(format!(
                    "Kafka doesn't have the event that comes next ({error}): a topic was deleted or cut, and the tables \
                     were kept. Drop the schema in PostgreSQL, and it is read anew from what Kafka has"
                ))
            }
            _ => Polled::Failure(format!("Kafka: {error}")),
        }
    }

    /// Waits up to `wait` for a record; serves the callbacks meanwhile.
    pub(super) fn poll(&self, wait: Duration) -> Polled {
        match self.inner.poll(wait) {
            None => Polled::Nothing,
            Some(Err(error)) => self.failure(&error),
            Some(Ok(message)) => Polled::Record(Record::of(&message)),
        }
    }
}
