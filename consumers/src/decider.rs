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
//! A record that is no command ([`unusable`]) goes to the dead letters in the same transaction, and its partition goes
//! on. So does a command that doesn't stand where its key belongs: deciding it there would make a second writer of its
//! aggregate, against point 1.
//!
//! Uniqueness across aggregates needs a second writer, that of the value; [`reservation`] has its argument.
//!
//! Repeats by a client (an idempotency key) are a different matter: their outcome is kept in `writ.state` beside the
//! aggregate's state, in the same transaction as the events, and a repeat is answered from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use writ_model::Models;
use writ_producers::commands::Answers;
use writ_producers::readiness::Readiness;
use writ_producers::registry::SchemaIds;
use writ_producers::replies::Replier;
use writ_producers::{kafka, thread};

use self::session::{Session, SessionError};
use self::store::Store;
use crate::metrics;

mod abandoned;
mod batch;
mod commit;
mod constraints;
mod event;
mod refused;
mod reservation;
mod restore;
mod session;
mod store;
mod unusable;

/// Pause before a failed session is started anew.
const RETRY: Duration = Duration::from_millis(500);

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
