//! The connection to Redis. Every call has a limit, and after a failed one there are none for a while.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::{ConnectionLike as _, ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, Pipeline, RedisError, ScriptInvocation};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use writ_producers::readiness::{self, Readiness};

/// No calls for so long after one has failed.
const REST: Duration = Duration::from_secs(1);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Longest wait for the answer of a PING.
const PING: Duration = Duration::from_secs(1);

/// Redis doesn't answer, or not in time; or it hasn't a moment ago.
#[derive(Debug, thiserror::Error)]
#[error("Redis doesn't answer")]
pub(crate) struct Away;

pub(super) struct Link {
    manager: ConnectionManager,
    /// No calls until then.
    rests_until: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(url: &str) -> Result<Link, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(CONNECT))
            // Each call has its own.
            .set_response_timeout(None);
        let manager = ConnectionManager::new_lazy_with_config(Client::open(url)?, config)?;
        Ok(Link { manager, rests_until: Mutex::new(None) })
    }

    /// Several commands in one round trip.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        commands: &Pipeline,
        limit: Duration,
    ) -> Result<T, Away> {
        let mut manager = self.manager.clone();
        self.bounded(limit, commands.query_async(&mut manager)).await
    }

    /// One command.
    pub(super) async fn ask_one<T: FromRedisValue>(&self, command: &Cmd, limit: Duration) -> Result<T, Away> {
        let mut manager = self.manager.clone();
        self.bounded(limit, command.query_async(&mut manager)).await
    }

    /// A script.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
        limit: Duration,
    ) -> Result<T, Away> {
        let mut manager = self.manager.clone();
        self.bounded(limit, script.invoke_async(&mut manager)).await
    }

    async fn bounded<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Away> {
        if self.rests_until.lock().is_some_and(|until| until > Instant::now()) {
            return Err(Away);
        }
        let reason = match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", limit.as_millis()),
        };
        *self.rests_until.lock() = Some(Instant::now() + REST);
        tracing::debug!(error = reason, "Redis can't be asked; the cache is off for a moment");
        Err(Away)
    }

    /// See [`super::Cache::watch`].
    pub(super) async fn watch(&self, cancel: CancellationToken, state: watch::Sender<Readiness>) {
        loop {
            let mut manager = self.manager.clone();
            let ping = redis::cmd("PING");
            let ping = tokio::time::timeout(PING, manager.req_packed_command(&ping));
            let now = match ping.await {
                Ok(Ok(_)) => Readiness::Ready,
                Ok(Err(error)) => away(&error.to_string()),
                Err(_) => away(&format!("no answer within {} s", PING.as_secs())),
            };
            readiness::set(&state, now);
            if cancel.run_until_cancelled(tokio::time::sleep(REST)).await.is_none() {
                return;
            }
        }
    }
}

fn away(reason: &str) -> Readiness {
    Readiness::Degraded(format!("Redis can't be reached ({reason}); nothing is cached, queries are slower"))
}
