//! The api's side of the write path: put a command into `writ.commands`, await its answer.

use std::time::Duration;

use crate::envelope::{CommandRecord, Outcome};

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bounded queue is full: 503, `Retry-After`.
    #[error("too many commands are under way")]
    Overloaded,
    /// Kafka didn't take the record in time: 503. Nothing tells whether it was written; repeat with the same key.
    #[error("Kafka doesn't take the command: {0}")]
    Unavailable(String),
    /// The record is larger than Kafka's limit: 413.
    #[error("the command is too large: {size} bytes, at most {limit}")]
    TooLarge { size: usize, limit: usize },
    /// In Kafka, but no answer within the limit: 504 with the command id.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server stops.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// A cheap handle.
#[derive(Debug, Clone)]
pub struct Commands {}

/// A command that Kafka has acknowledged.
#[derive(Debug)]
pub struct Accepted {}

impl Commands {
    /// Sends; returns when Kafka has acknowledged the record.
    pub async fn send(&self, command: &CommandRecord) -> Result<Accepted, Error> {
        let _ = command;
        todo!()
    }
}

impl Accepted {
    /// Waits for the answer, at most `limit`.
    pub async fn outcome(self, limit: Duration) -> Result<Outcome, Error> {
        let _ = limit;
        todo!()
    }
}
