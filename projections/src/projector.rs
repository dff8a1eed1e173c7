//! The projector: reads the event topics and keeps one row per aggregate.
//!
//! ```text
//! poll ─► batch (decode) ─► one transaction: offsets (fence) ─► rows (read, fold, write) ─► commit ─► poll
//! ```
//!
//! **Exactly once**, whatever is killed. The place in each partition is a row of `writ_offsets` and moves in the
//! transaction that writes the rows, so PostgreSQL holds both or neither; Kafka's own committed offset is only a hint
//! for people who look at the group's lag. On every assignment the consumer is set to PostgreSQL's offset.
//!
//! Two processes may believe that they own a partition, for as long as a rebalance takes. Each transaction begins with
//! `UPDATE writ_offsets SET next = new WHERE next = old`. The first one holds the row's lock; the other waits for it,
//! then finds another `next`, changes no row, and rolls back: it is fenced, and asks for its place again. Rows are read
//! after that lock was taken, so a fold never begins from a row that somebody else is changing: an aggregate's events
//! are all in one partition.
//!
//! The group's consumer, the batch and the transaction are used by one thread, in turn. Kafka changes the assignment
//! only while that thread polls, so never between the first and the last statement of a batch; records that were
//! polled before a change are dropped, and read again by whoever owns them then.
//!
//! Against duplicates *within* the topic, the first event with a version wins (`rows.rs`).
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
//! pause the tables are checked, the offsets read, and the consumer is set to them. That is also how a dropped schema
//! comes back: no tables, so they are made; no offsets, so everything is read from the beginning.

pub(crate) mod batch;
mod commit;
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
