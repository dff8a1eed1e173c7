//! The decider: one writer per aggregate, every command decided exactly once.
//!
//! A batch of records from `writ.commands` is decided in order against the state at hand ([`batch`]), then events,
//! new states, outcomes and the consumer's offsets are committed in one Kafka transaction. Only after the commit is
//! the batch applied to the local store ([`store`]) and answered.
//!
//! # Why a command has exactly its events, once
//!
//! 1. *One owner.* All commands of an aggregate have the key `model/id`, so they stand in one partition, which the
//!    consumer group gives to one member. A member that lost it without noticing (a zombie) can't commit: its
//!    offsets carry the group's generation (KIP-447), and Kafka refuses those of an old one, and with them the whole
//!    transaction.
//! 2. *All or nothing.* Events, states, outcomes and offsets are in one transaction. If it is aborted the offsets
//!    stay, and the next owner decides the same commands anew; if it is committed the offsets have moved, and nobody
//!    reads those commands again.
//!    The next offset stands in `writ.state` as well, and commands below it are passed over: Kafka forgets the offsets
//!    of a group that was away for a week (`offsets.retention.minutes`), and would hand out decided commands again.
//! 3. *Decisions see every earlier one.* On taking over a partition, the owner first asks for the group's stable
//!    offsets: Kafka answers only when no transaction that moves them is open. At that moment every record of a
//!    transaction that can still commit is below the end of `writ.state`, because offsets are sent last. So the owner
//!    notes that end, waits until everything below it is committed or aborted, and reads up to it ([`restore`])
//!    before it decides.
//! 4. *Nothing is believed before it is committed.* Within a batch, decisions see each other through an overlay. The
//!    store changes only after the commit, together with the offset in `writ.state` up to which it is complete, in
//!    one atomic write. It can be behind (then it is brought up from the topic), never ahead.
//! 5. *Every failure takes one way out.* After any error the overlay, the producer and the consumer are thrown away,
//!    whatever the failed commit has become, and the decider starts over from what Kafka says is committed.
//!
//! Repeats by a client (an idempotency key) are a different matter: their outcome is kept in `writ.state` beside the
//! aggregate's state, in the same transaction as the events, and a repeat is answered from it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use writ_model::Models;
use writ_producers::commands::Answers;
use writ_producers::limits::MAX_BATCH_BYTES;
use writ_producers::readiness::Readiness;
use writ_producers::registry::SchemaIds;
use writ_producers::replies::{Replier, address_of};
use writ_producers::topics::Topics;
use writ_producers::transaction::{self, TransactionalProducer};
use writ_producers::{kafka, thread};

use self::batch::{Command, Deciding};
use self::store::{Partition, Store};
use crate::group::{Change, Membership};
use crate::metrics;

mod batch;
mod commit;
mod restore;
mod store;

/// Longest wait for the first command of a batch; also how fast a shutdown is noticed.
const POLL: Duration = Duration::from_millis(100);
/// Pause before a failed session is started anew.
const RETRY: Duration = Duration::from_millis(500);
/// A decider that is silent for this long loses its partitions. The broker's smallest default.
const SESSION_TIMEOUT_MS: &str = "6000";
/// Taking over large partitions counts as silence for `poll`.
const MAX_POLL_INTERVAL_MS: &str = "900000";

/// Kafka answers a commit when it is decided, and writes the markers to the partitions after that. A producer that
/// begins its next transaction before they are written is sent away, and librdkafka comes back after 20 ms. Two
/// producers in turn don't meet this wait. They are one writer all the same: a transaction begins only when the one
/// before is decided, and the group's coordinator keeps the offsets that were written last, whichever marker comes
/// first.
const PRODUCERS: usize = 2;

/// How the decider works.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Most commands of one transaction.
    pub max_batch: usize,
    /// Days for which the outcome of a command with an idempotency key is kept. A later repeat is a new command.
    pub outcome_days: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { max_batch: 1000, outcome_days: 7 }
    }
}

/// Why the decider ended by itself. What passes with time is retried instead, and shown by its readiness.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The local state store can't be opened or written.
    #[error("the state store at {path} can't be used")]
    Store {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: store::Error,
    },
    /// The Kafka options are invalid.
    #[error("the Kafka options are invalid")]
    Options(#[source] KafkaError),
    /// The thread could not be started, or panicked.
    #[error(transparent)]
    Thread(#[from] thread::Error),
}

/// Why a session ended; another one follows.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Transaction(#[from] transaction::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("taking over partitions: {0}")]
    Restore(String),
}

/// A decider, ready to run.
#[derive(Debug)]
pub struct Decider {
    /// Kafka.
    pub kafka: kafka::Options,
    /// How it works.
    pub options: Options,
    /// The declarations.
    pub models: Arc<Models>,
    /// Registered schemas of all their events.
    pub schemas: SchemaIds,
    /// Folder of the node id and the state store. One process at a time.
    pub folder: PathBuf,
    /// The requests of this process that wait.
    pub answers: Arc<Answers>,
    /// Where it says whether it works.
    pub readiness: watch::Sender<Readiness>,
}

impl Decider {
    /// Runs until cancelled; the transaction in hand is finished first.
    ///
    /// # Errors
    /// Only what doesn't pass with time, see [`Error`].
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        thread::run("writ-decider", move || self.run_sessions(&cancel)).await?
    }

    fn run_sessions(&self, cancel: &CancellationToken) -> Result<(), Error> {
        let replier = Replier::new(&self.kafka, self.answers.clone()).map_err(Error::Options)?;
        let mut open = None;
        while !cancel.is_cancelled() {
            let store = match &mut open {
                Some(store) => store,
                empty => match self.open_store()? {
                    Some(opened) => empty.insert(opened),
                    None => {
                        std::thread::sleep(RETRY);
                        continue;
                    }
                },
            };
            if let Err(error) =
                Session::start(self, store, &replier).and_then(|mut session| session.run(cancel))
            {
                if let SessionError::Store(source) = &error {
                    // Closed first, then emptied if its files are wrong, and opened again: Kafka has what was in it.
                    open = None;
                    if source.is_damage() {
                        store::discard(&self.folder, &source.to_string())
                            .map_err(|source| Error::Store { path: self.folder.clone(), source })?;
                    }
                }
                ::metrics::counter!(metrics::SESSIONS_FAILED).increment(1);
                tracing::warn!(%error, "the decider starts over from the committed offsets");
                self.readiness.send_replace(Readiness::Waiting(error.to_string()));
                std::thread::sleep(RETRY);
            }
        }
        self.readiness.send_replace(Readiness::Waiting("shut down".into()));
        Ok(())
    }

    /// `None`: Kafka, whose identity the store must match, isn't there yet.
    fn open_store(&self) -> Result<Option<Store>, Error> {
        let admin = self.kafka.admin().map_err(Error::Options)?;
        let Some(cluster) = admin.inner().fetch_cluster_id(kafka::REQUEST_TIMEOUT) else {
            self.readiness.send_replace(Readiness::Waiting("Kafka doesn't answer".into()));
            return Ok(None);
        };
        let identity = format!("{cluster}/{}", self.kafka.topic_prefix);
        Store::open(&self.folder, &identity)
            .map(Some)
            .map_err(|source| Error::Store { path: self.folder.clone(), source })
    }
}

/// The time between two failures: one producer, one membership of the group.
struct Session<'a> {
    decider: &'a Decider,
    store: &'a Store,
    replier: &'a Replier,
    topics: Topics,
    consumer: BaseConsumer<Membership>,
    /// Used in turn, see [`PRODUCERS`].
    producers: Vec<TransactionalProducer>,
    turn: usize,
    owned: HashMap<i32, Partition>,
    /// By partition, the first command that is not decided yet.
    next: BTreeMap<i32, i64>,
}

impl<'a> Session<'a> {
    fn start(decider: &'a Decider, store: &'a Store, replier: &'a Replier) -> Result<Self, SessionError> {
        decider.readiness.send_replace(Readiness::Waiting("joining the consumer group".into()));
        let topics = Topics::new(&decider.kafka.topic_prefix);
        // Fixed per data folder: a restarted process takes its own open transaction over at once, instead of waiting for
        // the broker's timeout. The store's lock keeps two processes from sharing it.
        let producers = (0..PRODUCERS)
            .map(|number| {
                let transactional_id = format!("{}-{}-{number}", topics.decider_group(), store.node());
                TransactionalProducer::new(&decider.kafka, &transactional_id)
            })
            .collect::<Result<_, _>>()?;
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
            topics,
            consumer,
            producers,
            turn: 0,
            owned: HashMap::new(),
            next: BTreeMap::new(),
        })
    }

    fn run(&mut self, cancel: &CancellationToken) -> Result<(), SessionError> {
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
        let mut commands = Vec::new();
        let mut bytes = 0;
        while commands.len() < self.decider.options.max_batch && bytes < MAX_BATCH_BYTES {
            let wait = if commands.is_empty() { POLL } else { Duration::ZERO };
            let polled = self.consumer.poll(wait);
            let changes = self.consumer.context().take();
            let command = match polled {
                None => None,
                Some(Ok(record)) => Some(Command {
                    partition: record.partition(),
                    offset: record.offset(),
                    key: record.key().unwrap_or_default().to_vec(),
                    value: record.payload().unwrap_or_default().to_vec(),
                    reply_to: address_of(&record),
                }),
                Some(Err(error)) => {
                    poll_failure(error)?;
                    None
                }
            };
            if !changes.is_empty() {
                // What was read before belongs to the old assignment; its offsets are not committed, so the owner,
                // whoever it is now, reads it again. The record of this very poll came after the change.
                commands.clear();
                bytes = 0;
                self.rebalance(changes, cancel)?;
            }
            let Some(command) = command else { break };
            match self.next.get(&command.partition) {
                Some(next) if command.offset >= *next => {
                    bytes += command.value.len();
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
                Change::Assigned(partitions) => {
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
                    ::metrics::gauge!(metrics::PARTITIONS).set(self.owned.len() as f64);
                    self.decider.readiness.send_replace(Readiness::Ready);
                }
            }
        }
        Ok(())
    }

    /// Decides and commits all of them; in more than one transaction if one would become too large.
    fn decide(&mut self, mut commands: &[Command]) -> Result<(), SessionError> {
        while !commands.is_empty() {
            commands = self.decide_some(commands)?;
        }
        Ok(())
    }

    /// One transaction. What is left for the next.
    fn decide_some<'c>(&mut self, commands: &'c [Command]) -> Result<&'c [Command], SessionError> {
        let started = Instant::now();
        let mut deciding =
            Deciding::new(&self.decider.models, &self.decider.schemas, &self.topics, &self.owned);
        let mut count = 0;
        for command in commands {
            deciding.decide(command)?;
            count += 1;
            if deciding.is_full() {
                break;
            }
        }
        let (commands, left) = commands.split_at(count);
        let decided = deciding.finish();
        let next = next_offsets(commands);
        let group = self.consumer.group_metadata().ok_or_else(|| {
            SessionError::Restore("the consumer has no group metadata although it has partitions".into())
        })?;
        let retention = Duration::from_secs(u64::from(self.decider.options.outcome_days) * 24 * 60 * 60);
        self.turn = (self.turn + 1) % PRODUCERS;
        let answers = commit::commit(
            &mut self.producers[self.turn],
            &self.topics,
            &self.owned,
            decided,
            commit::Offsets { next: &next, group: &group },
            retention,
        )?;
        self.next.extend(next);
        ::metrics::histogram!(metrics::BATCH_SIZE).record(commands.len() as f64);
        ::metrics::histogram!(metrics::BATCH_DURATION_SECONDS).record(started.elapsed().as_secs_f64());
        for (to, outcome) in answers {
            self.replier.reply(to, outcome);
        }
        Ok(left)
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
