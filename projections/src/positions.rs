//! `Writ-Position`: waits until the read models have applied an event.

use std::time::Duration;

use writ_model::Position;

/// Why a wait ended without the positions.
#[derive(Debug, thiserror::Error)]
pub enum NotReached {
    /// The limit passed.
    #[error("the read models have not reached {0} yet; ask again, or without Writ-Position")]
    TimedOut(Position),
    /// PostgreSQL can't be asked.
    #[error("PostgreSQL doesn't answer: {0}")]
    Unavailable(String),
}

/// A cheap handle: waits for places in the event topics.
#[derive(Debug, Clone)]
pub struct Positions {}

impl Positions {
    /// Returns once every one of `positions` has been applied, or after `limit`.
    pub async fn wait(&self, positions: &[Position], limit: Duration) -> Result<(), NotReached> {
        let _ = (positions, limit);
        todo!()
    }
}
