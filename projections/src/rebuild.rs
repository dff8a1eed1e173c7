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
//! passes them: `requests` (what is to be built, and why it doesn't go on), `presence` (who builds), `builder` (the loop),
//! `source` (the events), `build` (places and batches), `finish` (indexes), `swap` and `replace` (why no reader
//! notices). [`Projections`] is for tools that look and ask.

mod build;
mod builder;
mod finish;
mod lag;
mod presence;
mod replace;
mod requests;
mod source;
mod swap;
mod tool;

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, PgConnection};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use writ_model::Models;
use writ_producers::kafka;
use writ_producers::registry::{self, Registry};
use writ_producers::thread;
use writ_producers::topics::Topics;

use crate::catalog::Generation;
use crate::projector::batch::{Decoder, Place};
use crate::projector::letters::Letters;
use crate::projector::offsets::Offsets;
use crate::projector::passed_over::PassedOver;
use crate::projector::target;
use crate::tables::{OFFSETS, Schema};
use crate::{InvalidOptions, Options, database};

use builder::Builder;
use requests::Requests;
pub use tool::{Build, Current, Followed, Projection, Projections, Requested};

/// Why something can't be built, asked for or looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options can't work.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
    /// PostgreSQL doesn't answer, or refuses.
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    /// PostgreSQL doesn't answer in time.
    #[error("PostgreSQL doesn't answer in time")]
    TimedOut,
    /// librdkafka refuses its options, or Kafka doesn't answer.
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// The thread could not be started, or panicked.
    #[error(transparent)]
    Thread(#[from] thread::Error),
    /// The events can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The registry doesn't answer.
    #[error(transparent)]
    Registry(registry::Error),
}
