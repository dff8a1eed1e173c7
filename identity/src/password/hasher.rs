//! [`hash`](super::hash) and [`verify`](super::verify) for a server: so many at a time, and no more.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::pool::{Pool, Refused};
use super::{Password, PasswordHash, Verdict};

/// How much of the machine passwords may take.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Threads that hash, each with a core and 19 MiB while it does. By default half of the cores, at least one: however many
    /// passwords someone tries, the other half serves requests.
    pub workers: NonZeroUsize,
    /// How many may wait for one of them; the next is refused. By default as many as one thread hashes in about two seconds: while
    /// others wait it rests between two of them, four times as long as one has taken.
    pub queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Options { workers: NonZeroUsize::new(cores / 2).unwrap_or(NonZeroUsize::MIN), queue: 16 }
    }
}

/// Why a password was neither hashed nor compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many wait already: refuse the request, and say when to come back.
    #[error("too many passwords wait to be checked")]
    Busy,
    /// A fault of this program; the message is in the log.
    #[error("the password's check was lost")]
    Lost,
    /// It can't be computed.
    #[error(transparent)]
    Hash(#[from] super::Error),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Busy => Error::Busy,
            Refused::Lost => Error::Lost,
        }
    }
}

/// A cheap handle to the threads that hash. They end with the last handle.
#[derive(Debug, Clone)]
pub struct Hasher {
    pool: Pool,
}

impl Hasher {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(options: &Options) -> std::io::Result<Hasher> {
        Ok(Hasher { pool: Pool::start(options.workers, options.queue)? })
    }

    /// [`super::hash`] on one of the threads.
    ///
    /// # Errors
    /// [`Error::Busy`] at once when the queue is full.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, Error> {
        Ok(self.pool.run(move || super::hash(&password)).await??)
    }

    /// [`super::verify`] on one of the threads. An account that doesn't exist (`None`) waits and takes as long as one that does.
    ///
    /// # Errors
    /// [`Error::Busy`] at once when the queue is full.
    pub async fn verify(&self, password: Password, stored: Option<PasswordHash>) -> Result<Verdict, Error> {
        Ok(self.pool.run(move || super::verify(&password, stored.as_ref())).await??)
    }
}
