//! Building a projection anew beside the one that is live, and putting it in its place.
//!
//! ```text
//! a row `building` in the catalog ─► table in the schema `<schema>_next` ─► batches, each with its places ─► indexes
//!      ─► one transaction: catch up, swap
//! ```
//!
//! Somebody asks for it: an operator (`writ rebuild`), or the projector at its start when a declaration has changed. Every
//! process with the role projector has a builder; one of them builds at a time. Nothing of a build is in memory alone, so
//! whoever comes later goes on where it was.
//!
//! What is live stays as it is until the swap, whatever becomes of the build. The parts, in the order in which a build
//! passes them: `tools` (what every step needs), `requests` (what is to be built, and why it doesn't go on), `presence` (who builds), `builder` (the loop),
//! `source` (the events), `build` (places and batches), `finish` (indexes), `swap` and `replace` (why no reader
//! notices). [`Projections`] is for those who look and ask, [`Lags`] says how far behind they are.

mod build;
mod builder;
mod fault;
mod finish;
mod lag;
mod presence;
mod replace;
mod requests;
mod source;
mod swap;
mod tool;
mod tools;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use writ_model::Models;
use writ_producers::kafka;
use writ_producers::registry::Registry;
use writ_producers::thread;

use crate::{InvalidOptions, Options, database};

use builder::Builder;
pub use lag::Lags;
pub use tool::{Build, Current, Followed, Projection, Projections, Requested};
use tools::Tools;

/// Why the builder can't run at all, or the projections can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options can't work.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
    /// PostgreSQL doesn't answer, or refuses.
    #[error("PostgreSQL can't be used")]
    Database(#[from] sqlx::Error),
    /// librdkafka refuses its options, or Kafka doesn't answer.
    #[error("Kafka can't be used")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// The thread could not be started, or panicked.
    #[error(transparent)]
    Thread(#[from] thread::Error),
}

/// Builds what is asked for until `cancel`; returns after the last transaction has ended. What can't be done now, since
/// a server is away, is tried again and logged.
///
/// # Errors
/// The options are invalid, or there is no thread.
pub async fn run(
    options: Options,
    kafka: kafka::Options,
    registry: Registry,
    models: Arc<Models>,
    cancel: CancellationToken,
) -> Result<(), Error> {
    // If this future is dropped, the thread ends as well.
    let cancel = cancel.child_token();
    let _guard = cancel.clone().drop_guard();
    let tools = Tools::new(&options, kafka, registry, &models)?;
    let connect = database::builder_connection(&options)?;
    let builder = Builder::new(Handle::current(), cancel, connect, tools, &models);
    Ok(thread::run("writ-builder", move || builder.run()).await?)
}
