//! Why a step of a build failed.

use writ_producers::registry;

use super::{replace, source};
use crate::projector::target;

/// What went wrong. Those that concern one build alone are noted in its row; all others are tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    #[error("PostgreSQL doesn't answer in time")]
    TimedOut,
    #[error(transparent)]
    Target(#[from] target::Error),
    #[error(transparent)]
    Source(#[from] source::Error),
    #[error(transparent)]
    Registry(registry::Error),
    #[error("the dead letters can't be written: {0}")]
    Letters(#[source] rdkafka::error::KafkaError),
    /// The statement of an SQL projection is refused.
    #[error("{source}")]
    Refused {
        /// The event.
        at: String,
        source: sqlx::Error,
    },
    #[error(transparent)]
    Replace(#[from] replace::Error),
    #[error("somebody else goes on with the build, or nobody asks for it any more")]
    Superseded,
}

impl From<rdkafka::error::KafkaError> for Fault {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        Fault::Source(error.into())
    }
}
