//! The time between two failures: one membership of the consumer group, from the first poll to the first error.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use quick_cache::unsync::Cache;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_model::Timestamp;
use writ_producers::dead_letter::Author;
use writ_producers::envelope::header;
use writ_producers::kafka;
use writ_producers::limits::{MAX_BATCH_BYTES, MAX_TRANSACTION_BYTES};
use writ_producers::readiness::Readiness;
use writ_producers::topics::Topics;
use writ_producers::transaction::{self, Alternating, Record};

use super::begin::{self, Places};
use super::fire::{Fired, Firing, Followed};
use super::{Reactions, has_reactions, metrics};
use crate::event::Decoder;
use crate::group::{Change, Membership};
use crate::scan;

/// Longest wait for the first event of a batch; also how fast a shutdown is noticed.
const POLL: Duration = Duration::from_millis(100);
/// As the deciders'.
const SESSION_TIMEOUT_MS: &str = "6000";
const MAX_POLL_INTERVAL_MS: &str = "60000";
/// Aggregates whose last version is remembered.
const SEEN: usize = 100_000;

/// Why a session ended; another one follows.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Transaction(#[from] transaction::Error),
    #[error("the places of the reactions can't be read")]
    Scan(#[from] scan::Error),
    #[error("the place {key} of writ.reactions can't be read: {value}. Was it written by a newer version?")]
    Place { key: String, value: String },
    #[error("Kafka names no end of {0}")]
    NoEnd(String),
    #[error("the consumer has no group metadata although it has partitions")]
    NoGroup,
    #[error("the read model has not come to {model}/{id} version {version}: {detail}")]
    Behind { model: String, id: Uuid, version: u64, detail: String },
}

/// One membership of the group.
pub(super) struct Session<'a> {
    reactions: &'a Reactions,
    since: Timestamp,
    runtime: &'a Handle,
    topics: Topics,
    author: Author,
    /// By topic.
    followed: HashMap<String, Followed>,
    consumer: BaseConsumer<Membership>,
    producers: Alternating,
    /// By topic and partition, the event that is to be read next.
    next: Places,
    /// The last version of each aggregate: what comes twice is passed over.
    seen: Cache<Uuid, u64>,
}

impl<'a> Session<'a> {
    pub(super) fn start(
        reactions: &'a Reactions,
        node: Uuid,
        since: Timestamp,
        runtime: &'a Handle,
    ) -> Result<Self, SessionError> {
        let waiting = Readiness::Waiting("joining the consumer group".into());
        reactions.readiness.send_replace(waiting);
        let topics = Topics::new(&reactions.kafka.topic_prefix);
        let group = topics.reactions_group();
        let followed: HashMap<String, Followed> = reactions
            .models
            .models
            .values()
            .filter(|model| has_reactions(model))
            .map(|model| {
                let decoder = Decoder { model: model.clone(), registry: reactions.registry.clone() };
                (topics.events(&model.name), Followed { model: model.clone(), decoder })
            })
            .collect();
        let producers = Alternating::new(&reactions.kafka, &format!("{group}-{node}"))?;
        let consumer: BaseConsumer<Membership> = reactions
            .kafka
            .client("reactions")
            .set("group.id", &group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Where a partition without a place begins is said by `begin`; what is read before that is passed over.
            .set("auto.offset.reset", "latest")
            // Also makes the client ask for stable offsets (KIP-447), on which `begin` rests.
            .set("isolation.level", "read_committed")
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", SESSION_TIMEOUT_MS)
            .set("heartbeat.interval.ms", "1000")
            .set("max.poll.interval.ms", MAX_POLL_INTERVAL_MS)
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", "16384")
            .create_with_context(Membership::default())?;
        let names: Vec<&str> = followed.keys().map(String::as_str).collect();
        consumer.subscribe(&names)?;
        Ok(Session {
            reactions,
            since,
            runtime,
            author: Author::new(group, node.to_string()),
            topics,
            followed,
            consumer,
            producers,
            next: Places::new(),
            seen: Cache::new(SEEN),
        })
    }

    pub(super) fn run(&mut self, cancel: &CancellationToken) -> Result<(), SessionError> {
        while !cancel.is_cancelled() {
            let events = self.poll_batch()?;
            if !events.is_empty() {
                self.react(&events, cancel)?;
            }
        }
        tracing::info!("the reactions have finished their last transaction and leave the group");
        Ok(())
    }

    /// Everything that is there, up to a batch; waits only for the first record.
    fn poll_batch(&mut self) -> Result<Vec<OwnedMessage>, SessionError> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while events.len() < self.reactions.options.max_batch && bytes < MAX_BATCH_BYTES {
            let wait = if events.is_empty() { POLL } else { Duration::ZERO };
            let polled = self.consumer.poll(wait);
            let changes = self.consumer.context().take();
            let event = match polled {
                None => None,
                Some(Ok(record)) => Some(record.detach()),
                Some(Err(error)) if kafka::is_lost_connection(&error) => {
                    tracing::debug!(%error, "the consumer lost a connection");
                    None
                }
                Some(Err(error)) => return Err(error.into()),
            };
            if !changes.is_empty() {
                // What was read before belongs to the old assignment; its owner, whoever it is now, reads it again.
                (events, bytes) = (Vec::new(), 0);
                self.rebalance(changes)?;
            }
            let Some(event) = event else { break };
            // Else it is of a partition that is not ours any more, or was read already.
            let place = (event.topic().to_owned(), event.partition());
            if let Some(next) = self.next.get_mut(&place).filter(|next| event.offset() >= **next) {
                *next = event.offset() + 1;
                bytes += event.payload().map_or(0, <[u8]>::len);
                events.push(event);
            }
        }
        Ok(events)
    }

    fn rebalance(&mut self, changes: Vec<Change>) -> Result<(), SessionError> {
        for change in changes {
            match change {
                Change::Revoked => {
                    self.next.clear();
                    self.seen.clear();
                    ::metrics::gauge!(metrics::PARTITIONS).set(0.0);
                    let waiting = Readiness::Waiting("the consumer group is rebalancing".into());
                    self.reactions.readiness.send_replace(waiting);
                }
                Change::Assigned(assigned) => {
                    let begin = begin::begin(
                        &self.reactions.kafka,
                        &self.topics,
                        &self.consumer,
                        &assigned,
                        self.since,
                    )?;
                    if !begin.new.is_empty() {
                        self.commit(Fired::default(), &begin.new)?;
                    }
                    self.go_to(&begin.next)?;
                    ::metrics::gauge!(metrics::PARTITIONS).set(begin.next.len() as f64);
                    tracing::info!(
                        reactions.partitions = begin.next.len(),
                        reactions.new_partitions = begin.new.len(),
                        "the reactions have taken over their partitions"
                    );
                    self.next = begin.next;
                    self.reactions.readiness.send_replace(Readiness::Ready);
                }
            }
        }
        Ok(())
    }

    /// The client itself goes on at Kafka's offsets, which may be forgotten or not there yet.
    fn go_to(&self, next: &Places) -> Result<(), SessionError> {
        let mut places = TopicPartitionList::new();
        for ((topic, partition), offset) in next {
            places.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
        }
        Ok(self.consumer.assign(&places)?)
    }

    /// Reacts to a batch, in as many transactions as its commands need.
    fn react(&mut self, events: &[OwnedMessage], cancel: &CancellationToken) -> Result<(), SessionError> {
        let Session { reactions, runtime, followed, seen, author, .. } = self;
        let mut firing = Firing { reactions, followed, seen, author };
        let Some(fired) = runtime.block_on(firing.fire(events, cancel))? else { return Ok(()) };
        let (mut together, mut next) = (Fired::default(), Places::new());
        for (event, fired) in events.iter().zip(fired) {
            if together.bytes + fired.bytes > MAX_TRANSACTION_BYTES && !next.is_empty() {
                self.commit(std::mem::take(&mut together), &std::mem::take(&mut next))?;
            }
            together.extend(fired);
            next.insert((event.topic().to_owned(), event.partition()), event.offset() + 1);
        }
        self.commit(together, &next)
    }

    /// One transaction: what fired, and the places behind it.
    fn commit(&mut self, fired: Fired, next: &BTreeMap<(String, i32), i64>) -> Result<(), SessionError> {
        let group = self.consumer.group_metadata().ok_or(SessionError::NoGroup)?;
        let producer = self.producers.whose_turn();
        let writer = producer.id().to_owned();
        let (commands, places) = (self.topics.commands(), self.topics.reactions());
        let mut transaction = producer.begin()?;
        for command in &fired.commands {
            let value = serde_json::to_vec(command).expect("invariant: a command has string keys only");
            // So that a decider that takes the partition over can end a transaction that was left open.
            let headers = OwnedHeaders::new().insert(Header { key: header::WRITER, value: Some(&writer) });
            let key = command.key();
            transaction.write(Record {
                topic: &commands,
                partition: None,
                key: key.as_bytes(),
                value: Some(&value),
                headers: Some(headers),
            })?;
        }
        for letter in fired.letters {
            let letter = letter.encode();
            transaction.write(Record {
                topic: &self.topics.dead_letters(),
                partition: None,
                key: letter.key.as_bytes(),
                value: letter.value.as_deref(),
                headers: Some(letter.headers),
            })?;
        }
        let mut offsets = TopicPartitionList::new();
        for ((topic, partition), offset) in next {
            offsets.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
            let (key, value) = (begin::key(topic, *partition), offset.to_string());
            transaction.write(Record {
                topic: &places,
                partition: None,
                key: key.as_bytes(),
                value: Some(value.as_bytes()),
                headers: None,
            })?;
        }
        transaction.commit(&offsets, &group)?;
        for (model, reaction, at) in fired.counted {
            ::metrics::counter!(metrics::FIRED, "model" => model.clone(), "reaction" => reaction)
                .increment(1);
            let delay = at.elapsed().unwrap_or_default();
            ::metrics::histogram!(metrics::DELAY_SECONDS, "model" => model).record(delay.as_secs_f64());
        }
        Ok(())
    }
}
