//! The calls to Redis, each with a limit in time.

use std::sync::LazyLock;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, PubSub};
use redis::{Client, Script};
use uuid::Uuid;

use super::names::Names;
use super::room::Ask;
use super::text::json;

/// Longest wait for a connection, and for an answer.
pub(super) const LIMIT: Duration = Duration::from_secs(2);
/// How long a process counts as alive after it was heard last: with the comparison behind it, less than 20 seconds.
const LEASE: Duration = Duration::from_secs(14);
/// How long a list is kept that nobody looks after: longer than any lease.
const KEPT: Duration = Duration::from_secs(60);

/// How long the number of a process's connection is remembered: longer than what is sent over a connection that is gone can be on its way.
const FENCED: Duration = Duration::from_secs(60 * 60);

static PRESENCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence.lua")));

/// Redis doesn't answer, or not in time.
#[derive(Debug, thiserror::Error)]
#[error("Redis can't be asked: {0}")]
pub(super) struct Away(String);

impl From<redis::RedisError> for Away {
    fn from(error: redis::RedisError) -> Self {
        Away(error.to_string())
    }
}

/// What Redis says of one room: members that it hasn't, members that have no room, the list.
pub(super) type Answer = (Vec<Uuid>, Vec<Uuid>, Vec<String>);

pub(super) struct Link {
    client: Client,
    manager: ConnectionManager,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// Connects with the first call. Must be called within a tokio runtime.
    pub(super) fn new(client: Client) -> Result<Link, redis::RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(LIMIT))
            // Each call has its own.
            .set_response_timeout(None);
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        Ok(Link { client, manager })
    }

    /// A connection of its own that hears what is published.
    pub(super) async fn listen(&self) -> Result<PubSub, Away> {
        bounded(self.client.get_async_pubsub()).await
    }

    pub(super) async fn publish(&self, to: &str, text: &str) -> Result<(), Away> {
        let mut manager = self.manager.clone();
        let mut command = redis::cmd("PUBLISH");
        command.arg(to).arg(text);
        bounded(command.query_async::<()>(&mut manager)).await
    }

    /// Tells and asks of several rooms, in one step. `connection`: how many the process has had, 0 for who only reads.
    pub(super) async fn presence(
        &self,
        names: &Names,
        (most, connection): (usize, u64),
        asks: &[Ask],
    ) -> Result<Vec<Answer>, Away> {
        let mut manager = self.manager.clone();
        let mut call = PRESENCE.prepare_invoke();
        call.key(names.lease()).key(names.fence());
        for ask in asks {
            call.key(names.members(&ask.room));
        }
        call.arg(names.process.to_string())
            .arg(millis(LEASE))
            .arg(millis(KEPT))
            .arg(names.leases())
            .arg(most)
            .arg(connection)
            .arg(millis(FENCED));
        for ask in asks {
            call.arg(json(ask));
        }
        let answers: Vec<(Vec<String>, Vec<String>, Vec<String>)> =
            bounded(call.invoke_async(&mut manager)).await?;
        let ids = |texts: Vec<String>| texts.iter().filter_map(|text| text.parse().ok()).collect();
        Ok(answers.into_iter().map(|(missing, refused, list)| (ids(missing), ids(refused), list)).collect())
    }
}

/// Waits for what Redis does at most [`LIMIT`].
pub(super) async fn bounded<T>(call: impl Future<Output = Result<T, redis::RedisError>>) -> Result<T, Away> {
    match tokio::time::timeout(LIMIT, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Away(format!("no answer within {} ms", LIMIT.as_millis()))),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
