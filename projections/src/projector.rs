//! Reads the event topics and writes the rows.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use writ_model::Models;
use writ_producers::readiness::Readiness;
use writ_producers::registry::Registry;
use writ_producers::kafka;

/// Why the projector can't run at all. What may pass (a server that is away) is retried and shown in readiness instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options can't work.
    #[error(transparent)]
    Options(#[from] crate::InvalidOptions),
}

/// Runs until `cancel`; returns after a clean end.
pub async fn run(
    options: crate::Options,
    kafka: kafka::Options,
    registry: Registry,
    models: Arc<Models>,
    cancel: CancellationToken,
    readiness: watch::Sender<Readiness>,
) -> Result<(), Error> {
    let _ = (options, kafka, registry, models, cancel, readiness);
    todo!()
}
