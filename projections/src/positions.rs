//! `Writ-Position`: waits until what a query reads has applied an event.
//!
//! Every projection has places of its own, so a wait is for the projection that is read ([`Reads`]). The projector says on
//! a channel of PostgreSQL's NOTIFY that places have moved, in the transaction that moves them. One task per process
//! (`positions/watch.rs`) listens for all who wait, and asks for their places (`positions/look.rs`) with one statement per
//! notification, however many they are, and once when somebody begins to wait. Nothing is asked by the clock.
//!
//! **Nobody misses an event.** The task listens before it looks. A transaction that commits before a look is seen by it;
//! one that commits later is heard afterwards, and looked for again. When the listening connection is lost, everything
//! that was heard may be incomplete, so the next one looks as soon as it listens.
//!
//! **Nobody waits for ever.** A wait ends with its limit, after one last look, so that the refusal says what is true then.
//! That look also finds a connection that has died without a word. If PostgreSQL can't be asked, all who wait are told.
//!
//! **A place never goes back.** A rebuilt generation takes over in the transaction that brings its places up to those of
//! the one before, and each look is one statement, so it sees the one or the other. Only a schema that somebody dropped
//! begins anew; what was seen of it doesn't count for those who come later, since each of them has a look of its own.

pub(crate) mod line;
mod look;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use writ_model::Position;
use writ_model::declaration::Projection;
use writ_producers::topics::Topics;

use crate::tables::{EVENT_LOG, Schema, fnv1a};
use look::{Key, Look};
use watch::{Awaited, Waiter};

/// Waiters that the task hasn't taken up yet; more of them queue before it.
const WAITERS: usize = 256;
/// Beyond a wait's own limit: for the last look, on a connection that has to be made anew.
const GRACE: Duration = Duration::from_secs(7);

/// What a query reads, and so whose places it waits for.
#[derive(Debug, Clone, Copy)]
pub enum Reads<'a> {
    /// Rows of models: a position is awaited in the rows of its own model.
    Rows,
    /// The event log.
    EventLog,
    /// A SQL projection. A position in a topic that it doesn't read is awaited in the rows of that model.
    Projection(&'a Projection),
}

impl<'a> Reads<'a> {
    /// The name of the projection in which a position of `model` is awaited.
    fn projection(self, model: &'a str) -> &'a str {
        match self {
            Reads::EventLog => EVENT_LOG,
            Reads::Projection(projection)
                if projection.statements.iter().any(|statement| statement.model == model) =>
            {
                &projection.name
            }
            Reads::Rows | Reads::Projection(_) => model,
        }
    }
}

/// A position that a projection has not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    /// The projection: a model's name, `event_log`, or a SQL projection's name.
    pub projection: String,
    /// What was awaited.
    pub awaited: Position,
    /// The last place in that partition that the projection has passed; `None`: none yet.
    pub reached: Option<Position>,
}

/// `order has reached order:5:1200, not order:5:1234`
impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Late { projection, awaited, reached } = self;
        match reached {
            Some(reached) => write!(f, "{projection} has reached {reached}, not {awaited}"),
            None => write!(
                f,
                "{projection} has reached nothing of {}:{} yet, not {awaited}",
                awaited.model, awaited.partition
            ),
        }
    }
}

/// Why a wait ended without the positions.
#[derive(Debug, thiserror::Error)]
pub enum NotReached {
    /// The limit passed.
    #[error("{0}")]
    TimedOut(Late),
    /// The projection has stopped at an event that it can't apply, and gets no further until it is rebuilt. Said at once.
    #[error("{late}: it has stopped at {at}")]
    Stopped {
        /// What it will not reach.
        late: Late,
        /// The event: `writ.order:5:1234`.
        at: String,
    },
    /// PostgreSQL can't be asked.
    #[error("PostgreSQL doesn't answer: {0}")]
    Unavailable(String),
}

/// The channel of NOTIFY on which every transaction that moves places says so, without a payload; one that changes rows and moves
/// none has a payload.
pub fn channel(schema: &Schema) -> String {
    format!("writ_{:016x}", fnv1a(schema.quoted().as_bytes()))
}

/// A cheap handle: waits for places in the event topics. With the last one its task ends.
#[derive(Debug, Clone)]
pub struct Positions {
    waiters: mpsc::Sender<Waiter>,
    topics: Topics,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl Positions {
    /// Starts the task that listens; it connects when somebody waits. Must be called within a tokio runtime.
    /// `pool` says how to connect.
    pub(crate) fn new(pool: &PgPool, schema: &Schema, topics: Topics) -> Positions {
        let (waiters, requests) = mpsc::channel(WAITERS);
        let task = tokio::spawn(watch::run(Look::new(&pool.connect_options(), schema), requests));
        Positions { waiters, topics, _task: Arc::new(AbortOnDropHandle::new(task)) }
    }

    /// Returns once what is read has applied every one of `positions`, or after `limit`.
    pub async fn wait(
        &self,
        reads: Reads<'_>,
        positions: &[Position],
        limit: Duration,
    ) -> Result<(), NotReached> {
        if positions.is_empty() {
            return Ok(());
        }
        let awaited = positions
            .iter()
            .map(|position| Awaited {
                key: Key {
                    projection: reads.projection(&position.model).to_owned(),
                    topic: self.topics.events(&position.model),
                    partition: position.partition,
                },
                position: position.clone(),
            })
            .collect();
        let (answer, answered) = oneshot::channel();
        let waiter = Waiter { awaited, deadline: Instant::now() + limit, answer };
        let asked = async {
            self.waiters.send(waiter).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(limit + GRACE, asked).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err(NotReached::Unavailable("the server is stopping".into())),
            Err(_) => Err(NotReached::Unavailable("no answer in time".into())),
        }
    }
}
