//! The projector: reads the event topics and keeps the projections: a row per aggregate, the event log, and the tables of
//! the SQL projections.
//!
//! ```text
//! poll ─► batch (decode) ─┐   while PostgreSQL works on the batch before
//!                         └─► one transaction: places (fence) ─► rows (judge) ─► event log ─► SQL projections ─► commit
//! ```
//!
//! **Every projection has its own places** in the topics (`offsets.rs`), so that each can stop, be built anew and be
//! swapped for another generation on its own. All live ones are served here: a partition is read from the least of
//! their places, each event is decoded once, and given to those whose place isn't beyond it (`reading.rs`, `target.rs`).
//!
//! **Exactly once**, whatever is killed. A place is a row of `writ_offsets` and moves in the transaction that writes the
//! projection, so PostgreSQL holds both or neither; Kafka's own committed offset is only a hint for people who look at
//! the group's lag. On every assignment the consumer is set to PostgreSQL's places.
//!
//! Two processes may believe that they own a partition, for as long as a rebalance takes. Each transaction begins with
//! `UPDATE writ_offsets SET next = new WHERE next = old`. The first one holds the row's lock; the other waits for it,
//! then finds another `next`, changes no row, and rolls back: it is fenced, and asks for its places again. So it is when
//! a generation was swapped for another one meanwhile: its places are gone. Rows are read after that lock was taken, so a
//! fold never begins from a row that somebody else is changing: an aggregate's events are all in one partition.
//!
//! One thread polls and decodes; a task has the transaction, never more than one, since the next one begins when the one
//! before has ended well. Kafka changes the assignment only while that thread polls, and no partition is given back
//! before the transaction has ended (`kafka.rs`); records that were polled before a change are dropped, and read again by
//! whoever owns them then. A batch that was decoded while the one before failed is dropped too.
//!
//! Against duplicates *within* the topic, the first event with a version wins (`rows.rs`). Only rows can judge that, so
//! they write down what they pass over (`passed_over.rs`): SQL projections, whenever they come to an event, are given
//! what its row was given. The event log has all. A topic whose rows aren't live isn't read.
//!
//! # A statement that PostgreSQL refuses
//!
//! It stops its SQL projection alone: its work since the last event that went well is rolled back to a savepoint, its
//! place stays at the event, and its row in the catalog says why. It shows as degraded in readiness; the way back is a
//! rebuild.
//!
//! # An event that can't be applied
//!
//! It never stops its partition. It goes to the dead letters (`letters.rs`) when no later try can help as things are: it
//! is no event of this model, the registry says that its schema doesn't exist, PostgreSQL refuses its values. A server
//! that is away is no such reason: its partition waits.
//!
//! Passing it over leaves a hole in its aggregate's history, and folding the next event onto a hole would make a row
//! that was never true. So the row stays at the version before the hole: old, but true. The next event has a version
//! that isn't the row's next one, so it goes to the dead letters too, as one that *waits*, and so does every later event
//! of that aggregate; all others go on. Replayed in order ([`replay`]) they heal the row: the first is applied once
//! models or registry can read it, and then each is the next one for its successor. The version decides at every step,
//! so replaying too early, twice or in the wrong order changes nothing.
//!
//! The letters are written before the transaction commits that moves the offset past their events: a crash between the
//! two writes them again, and they are the same letters, since the place of the event is their key.
//!
//! # Failures
//!
//! Anything that fails leaves through one door: the batch is dropped, the reason stands in readiness, and after a
//! pause the tables are checked, the places read, and the consumer is set to them. That is also how a dropped schema or
//! table comes back: no table, so a new generation is made; it has no places, so it is filled from the beginning. What
//! others change in the catalog is noticed within a second.

pub(crate) mod batch;
mod commit;
mod data;
mod kafka;
pub(crate) mod letters;
mod log;
pub(crate) mod offsets;
pub(crate) mod passed_over;
mod reading;
pub mod replay;
mod rows;
mod statements;
pub(crate) mod target;
mod work;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use writ_model::Models;
use writ_producers::kafka as producers_kafka;
use writ_producers::readiness::Readiness;
use writ_producers::registry::Registry;
use writ_producers::thread;

pub(crate) use log::{create as create_log, index as index_log};
use work::Projector;

use crate::cache::Cache;
use crate::tables::{Schema, Table, keep_indexes};

/// Why the projector can't run at all. What may pass (a server that is away) is retried, and shown in readiness.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options can't work.
    #[error(transparent)]
    Options(#[from] crate::InvalidOptions),
    /// librdkafka refuses its options.
    #[error("the projector's Kafka consumer can't be made: {0}")]
    Consumer(#[from] rdkafka::error::KafkaError),
    /// The thread could not be started, or panicked.
    #[error(transparent)]
    Thread(#[from] thread::Error),
}

/// Runs until `cancel`, and tells `cache` what changes; returns after the last transaction has ended and the group has been left.
pub async fn run(
    options: crate::Options,
    kafka: producers_kafka::Options,
    registry: Registry,
    models: Arc<Models>,
    cache: Option<Cache>,
    cancel: CancellationToken,
    readiness: watch::Sender<Readiness>,
) -> Result<(), Error> {
    // If this future is dropped, the thread ends as well.
    let cancel = cancel.child_token();
    let _guard = cancel.clone().drop_guard();
    let schema = Schema::new(&options.schema);
    let tables = models.models.values().map(|model| Table::derive(&schema, model));
    let projections = models.projections.values().map(|one| Table::of_projection(&schema, one));
    let tables: Vec<Table> = tables.chain(projections).collect();
    let projector = Projector::new(&options, &kafka, registry, models, cache, cancel.clone(), readiness)?;
    let projected = async {
        let _ended = cancel.clone().drop_guard();
        thread::run("writ-projector", move || projector.run()).await
    };
    let (projected, indexed) = tokio::join!(projected, keep_indexes(&options, &tables, &cancel));
    projected?;
    Ok(indexed?)
}
