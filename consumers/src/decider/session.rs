//! The time between two failures: one membership of the consumer group, from the first poll to the first error.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use tokio_util::sync::CancellationToken;
use writ_producers::dead_letter::{Author, Original};
use writ_producers::envelope::{Outcome, ReplyTo};
use writ_producers::kafka;
use writ_producers::limits::MAX_BATCH_BYTES;
use writ_producers::readiness::Readiness;
use writ_producers::replies::{Replier, address_of};
use writ_producers::topics::Topics;
use writ_producers::transaction::{self, Alternating};

use super::batch::{Command, Decided, Deciding, Desk};
use super::store::{self, Partition, Store};
use super::{Decider, commit, constraints, restore};
use crate::group::{Change, Membership};
use crate::metrics;

/// Longest wait for the first command of a batch; also how fast a shutdown is noticed.
const POLL: Duration = Duration::from_millis(100);
/// A decider that is silent for this long loses its partitions. The broker's smallest default.
const SESSION_TIMEOUT_MS: &str = "6000";
/// Also how long the group waits for its members when it shares the partitions out anew: a broker that was killed and
/// comes back has been seen to wait for members that are long dead. A take-over that lasts longer than this costs the
/// membership; what it has read stays in the store, so the next one is short.
const MAX_POLL_INTERVAL_MS: &str = "60000";

/// Why a session ended; another one follows.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Transaction(#[from] transaction::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the record {key} of writ.state can't be read: {detail}. Was it written by a newer version?")]
    Record { key: String, detail: String },
    #[error("taking over partitions: {0}")]
    Restore(String),
}

/// The time between two failures: one producer, one membership of the group.
pub(super) struct Session<'a> {
    decider: &'a Decider,
    store: &'a Store,
    replier: &'a Replier,
    topics: Topics,
    desk: Desk,
    consumer: BaseConsumer<Membership>,
    producers: Alternating,
    owned: HashMap<i32, Partition>,
    /// By partition, the first command that is not decided yet.
    next: BTreeMap<i32, i64>,
}

impl<'a> Session<'a> {
    pub(super) fn start(
        decider: &'a Decider,
        store: &'a Store,
        replier: &'a Replier,
    ) -> Result<Self, SessionError> {
        decider.readiness.send_replace(Readiness::Waiting("joining the consumer group".into()));
        let topics = Topics::new(&decider.kafka.topic_prefix);
        // Fixed per data folder: a restarted process takes its own open transaction over at once, instead of waiting for
        // the broker's timeout. The store's lock keeps two processes from sharing it.
        let writer = format!("{}-{}", topics.decider_group(), store.node());
        let producers = Alternating::new(&decider.kafka, &writer)?;
        let consumer: BaseConsumer<Membership> = decider
            .kafka
            .client("decider")
            .set("group.id", topics.decider_group())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // Also makes the client ask for stable offsets (KIP-447), on which point 3 of the argument rests.
            .set("isolation.level", "read_committed")
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", SESSION_TIMEOUT_MS)
            .set("heartbeat.interval.ms", "1000")
            .set("max.poll.interval.ms", MAX_POLL_INTERVAL_MS)
            .set("queued.max.messages.kbytes", "16384")
            .create_with_context(Membership::default())?;
        consumer.subscribe(&[&topics.commands()])?;
        Ok(Session {
            decider,
            store,
            replier,
            desk: Desk {
                author: Author::new(topics.decider_group(), store.node().to_string()),
                partitions: decider.kafka.partitions,
            },
            topics,
            consumer,
            producers,
            owned: HashMap::new(),
            next: BTreeMap::new(),
        })
    }

    pub(super) fn run(&mut self, cancel: &CancellationToken) -> Result<(), SessionError> {
        while !cancel.is_cancelled() {
            let commands = self.poll_batch(cancel)?;
            if !commands.is_empty() {
                self.decide(&commands)?;
            }
        }
        tracing::info!("the decider has finished its last transaction and leaves the group");
        Ok(())
    }

    /// Everything that is there, up to a batch; waits only for the first record.
    fn poll_batch(&mut self, cancel: &CancellationToken) -> Result<Vec<Command>, SessionError> {
        let (mut commands, mut bytes) = (Vec::new(), 0);
        while commands.len() < self.decider.options.max_batch && bytes < MAX_BATCH_BYTES {
            let wait = if commands.is_empty() { POLL } else { Duration::ZERO };
            let polled = self.consumer.poll(wait);
            let changes = self.consumer.context().take();
            let command = match polled {
                None => None,
                Some(Ok(record)) => Some(Command {
                    partition: record.partition(),
                    offset: record.offset(),
                    reply_to: address_of(&record),
                    original: Original::of(&record),
                }),
                Some(Err(error)) => {
                    poll_failure(error)?;
                    None
                }
            };
            if !changes.is_empty() {
                // What was read before belongs to the old assignment; its offsets are not committed, so the owner,
                // whoever it is now, reads it again. The record of this very poll came after the change.
                (commands, bytes) = (Vec::new(), 0);
                self.rebalance(changes, cancel)?;
            }
            let Some(command) = command else { break };
            match self.next.get(&command.partition) {
                Some(next) if command.offset >= *next => {
                    bytes += command.original.size();
                    commands.push(command);
                }
                Some(_) => ::metrics::counter!(metrics::COMMANDS_PASSED_OVER).increment(1),
                // Of a partition that is not ours any more.
                None => {}
            }
        }
        Ok(commands)
    }

    fn rebalance(&mut self, changes: Vec<Change>, cancel: &CancellationToken) -> Result<(), SessionError> {
        for change in changes {
            match change {
                Change::Revoked => {
                    self.owned.clear();
                    self.next.clear();
                    ::metrics::gauge!(metrics::PARTITIONS).set(0.0);
                    let waiting = Readiness::Waiting("the consumer group is rebalancing".into());
                    self.decider.readiness.send_replace(waiting);
                }
                Change::Assigned(assigned) => {
                    let partitions: Vec<i32> = assigned.into_iter().map(|(_, partition)| partition).collect();
                    let started = Instant::now();
                    let waiting = Readiness::Waiting(format!("taking over {} partitions", partitions.len()));
                    self.decider.readiness.send_replace(waiting);
                    let restored = restore::restore(
                        &self.decider.kafka,
                        &self.topics,
                        &self.consumer,
                        self.store,
                        &partitions,
                        &self.decider.readiness,
                        cancel,
                    )?;
                    tracing::info!(
                        decider.partitions = partitions.len(),
                        decider.restored_records = restored.records,
                        elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                        "the decider has taken over its partitions"
                    );
                    self.owned = restored.partitions;
                    self.next = restored.next;
                    self.adapt()?;
                    ::metrics::gauge!(metrics::PARTITIONS).set(self.owned.len() as f64);
                    self.decider.readiness.send_replace(Readiness::Ready);
                }
            }
        }
        Ok(())
    }

    /// Brings the reservations in line with the declarations.
    fn adapt(&mut self) -> Result<(), SessionError> {
        let (models, owned, next) = (self.decider.models.clone(), self.owned.clone(), self.next.clone());
        constraints::adapt(&models, &owned, |decided| self.commit(decided, &next).map(drop))
    }

    /// One transaction; `next` are the offsets that it commits.
    fn commit(
        &mut self,
        decided: Decided,
        next: &BTreeMap<i32, i64>,
    ) -> Result<Vec<(ReplyTo, Outcome)>, SessionError> {
        let group = self.consumer.group_metadata().ok_or_else(|| {
            SessionError::Restore("the consumer has no group metadata although it has partitions".into())
        })?;
        let retention = Duration::from_secs(u64::from(self.decider.options.outcome_days) * 24 * 60 * 60);
        commit::commit(
            self.producers.whose_turn(),
            &self.topics,
            &self.owned,
            decided,
            commit::Offsets { next, group: &group },
            retention,
        )
    }

    /// Decides a batch, in as many transactions as its records need.
    fn decide(&mut self, mut commands: &[Command]) -> Result<(), SessionError> {
        while !commands.is_empty() {
            let started = Instant::now();
            let Decider { models, schemas, .. } = self.decider;
            let mut deciding = Deciding::new(models, schemas, &self.topics, &self.owned, &self.desk);
            let mut count = 0;
            while count < commands.len() && !deciding.is_full() {
                deciding.decide(&commands[count])?;
                count += 1;
            }
            let decided = deciding.finish();
            let (done, rest) = commands.split_at(count);
            let next = next_offsets(done);
            let answers = self.commit(decided, &next)?;
            self.next.extend(next);
            ::metrics::histogram!(metrics::BATCH_SIZE).record(done.len() as f64);
            ::metrics::histogram!(metrics::BATCH_DURATION_SECONDS).record(started.elapsed().as_secs_f64());
            for (to, outcome) in answers {
                self.replier.reply(to, outcome);
            }
            commands = rest;
        }
        Ok(())
    }
}

fn next_offsets(commands: &[Command]) -> BTreeMap<i32, i64> {
    // Records of a partition come in order, so the last one wins.
    commands.iter().map(|command| (command.partition, command.offset + 1)).collect()
}

/// librdkafka mends lost connections itself; what it can't mend ends the session.
fn poll_failure(error: KafkaError) -> Result<(), SessionError> {
    if kafka::is_lost_connection(&error) {
        tracing::debug!(%error, "the consumer lost a connection");
        return Ok(());
    }
    Err(error.into())
}
