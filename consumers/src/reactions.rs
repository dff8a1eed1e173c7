//! Reactions: what the model files say shall follow on an event. The role reads the event topics as a consumer group and puts the
//! commands that follow into `writ.commands`, where the deciders take them up like any other.
//!
//! # Why a reaction fires exactly once for an event
//!
//! 1. *One reader.* Each partition of an event topic has one owner in the group. A member that lost it without noticing can't
//!    commit: its offsets carry the group's generation (KIP-447).
//! 2. *All or nothing.* The commands that follow from a batch of events and the offsets behind those events are committed in one
//!    transaction ([`session`]). If it is aborted nobody sees the commands, and the events are read again.
//! 3. *The same event gives the same command.* Its id is made of the event's id, the reaction's name and the number of the item
//!    (`writ_model::react`), and it is sent with that id as its idempotency key. So where Kafka's transactions have a hole
//!    ([`writ_producers::transaction`]), the decider recognises what it has decided. An event's id is made of its command's id, so
//!    this holds for an event that stands in its topic twice, too.
//! 4. *The place is kept for ever.* Kafka forgets the offsets of a group that was away for a week. The same transaction writes the
//!    place into `writ.reactions`, which is compacted, and whichever is further counts ([`begin`]).
//!
//! # Where it begins
//!
//! A topic of which the group has no place begins with the events that come after the role's start ([`begin`]): a reaction that is
//! declared for the first time doesn't fire for the past. After that, a reaction that is added to a model begins where the
//! model's other events are.
//!
//! # What fails
//!
//! An event that can't be read, or an expression that fails (a division by zero, a value that the command doesn't take), goes to
//! the dead letters in the same transaction, with the reaction's name; the other reactions to it fire, and its partition goes on.
//! Everything else that fails passes with time: the session ends, and the next one begins at the committed offsets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use writ_model::declaration::Reaction;
use writ_model::{Model, Models, Timestamp};
use writ_producers::readiness::Readiness;
use writ_producers::registry::Registry;
use writ_producers::{kafka, thread};
use writ_projections::history::History;

use self::session::Session;

mod begin;
mod fire;
pub mod metrics;
mod session;

/// Pause before a failed session is started anew.
const RETRY: Duration = Duration::from_millis(500);

/// How the role works.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Most events of one transaction.
    pub max_batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { max_batch: 500 }
    }
}

/// Why the role ended by itself. What passes with time is retried instead, and shown by its readiness.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node id can't be kept.
    #[error("the data folder {path} can't be used")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The thread could not be started, or panicked.
    #[error(transparent)]
    Thread(#[from] thread::Error),
}

/// The role, ready to run.
#[derive(Debug)]
pub struct Reactions {
    /// Kafka.
    pub kafka: kafka::Options,
    /// How it works.
    pub options: Options,
    /// The declarations.
    pub models: Arc<Models>,
    /// The schemas of the events.
    pub registry: Registry,
    /// The states of aggregates, for reactions that ask for them.
    pub history: History,
    /// Folder of the node id. One process at a time.
    pub folder: PathBuf,
    /// Where it says whether it works.
    pub readiness: watch::Sender<Readiness>,
}

/// Whether this role has to follow the model.
fn has_reactions(model: &Model) -> bool {
    model.reactions.iter().any(Reaction::is_run)
}

impl Reactions {
    /// Runs until cancelled; the transaction in hand is finished first.
    ///
    /// # Errors
    /// Only what doesn't pass with time, see [`Error`].
    pub async fn run(self, since: Timestamp, cancel: CancellationToken) -> Result<(), Error> {
        if self.models.models.values().all(|model| !has_reactions(model)) {
            self.readiness.send_replace(Readiness::Ready);
            cancel.cancelled().await;
            return Ok(());
        }
        let runtime = Handle::current();
        thread::run("writ-reactions", move || self.run_sessions(since, &runtime, &cancel)).await?
    }

    fn run_sessions(
        &self,
        since: Timestamp,
        runtime: &Handle,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let node = crate::node::id(&self.folder)
            .map_err(|source| Error::Folder { path: self.folder.clone(), source })?;
        while !cancel.is_cancelled() {
            let ended =
                Session::start(self, node, since, runtime).and_then(|mut session| session.run(cancel));
            if let Err(error) = ended {
                ::metrics::counter!(metrics::SESSIONS_FAILED).increment(1);
                tracing::warn!(%error, "the reactions start over from the committed offsets");
                self.readiness.send_replace(Readiness::Waiting(error.to_string()));
                std::thread::sleep(RETRY);
            }
        }
        self.readiness.send_replace(Readiness::Waiting("shut down".into()));
        Ok(())
    }
}
