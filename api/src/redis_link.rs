//! The connection to Redis of what must go on without it: a call has a short limit, and while Redis is away one call a
//! second tries it, so that no other request waits for what isn't there.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, RedisError, ScriptInvocation};

/// Time between two attempts while Redis is away.
const REST: Duration = Duration::from_secs(1);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// Redis doesn't answer, or not in time; or it hasn't a moment ago.
#[derive(Debug, thiserror::Error)]
#[error("Redis doesn't answer")]
pub(crate) struct Away;

/// Hears that Redis doesn't answer any more, and why; or, with `None`, that it answers again.
pub(crate) type Heard = fn(Option<&str>);

pub(crate) struct RedisLink {
    client: Client,
    manager: ConnectionManager,
    timeout: Duration,
    heard: Heard,
    /// When Redis may be tried next. `None`: it answers.
    next_attempt: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisLink").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl RedisLink {
    /// Connects with the first call. `timeout` is the limit of each call. `heard` is called when Redis goes and when it comes.
    pub(crate) fn new(url: &str, timeout: Duration, heard: Heard) -> Result<RedisLink, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(CONNECT))
            // Each call has its own.
            .set_response_timeout(None);
        let client = Client::open(url)?;
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        Ok(RedisLink { client, manager, timeout, heard, next_attempt: Mutex::new(None) })
    }

    /// For connections of other kinds.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a script: one round trip, by its hash.
    pub(crate) async fn call<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Away> {
        self.begin()?;
        let mut manager = self.manager.clone();
        let reason = match tokio::time::timeout(self.timeout, script.invoke_async(&mut manager)).await {
            Ok(Ok(answer)) => {
                self.answered();
                return Ok(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", self.timeout.as_millis()),
        };
        self.failed(&reason);
        Err(Away)
    }

    /// Whether this call may try.
    fn begin(&self) -> Result<(), Away> {
        let mut next_attempt = self.next_attempt.lock();
        let Some(next) = *next_attempt else { return Ok(()) };
        let now = Instant::now();
        if now < next {
            return Err(Away);
        }
        // This call finds out for all others.
        *next_attempt = Some(now + REST);
        Ok(())
    }

    fn answered(&self) {
        if self.next_attempt.lock().take().is_some() {
            (self.heard)(None);
        }
    }

    fn failed(&self, reason: &str) {
        if self.next_attempt.lock().replace(Instant::now() + REST).is_none() {
            (self.heard)(Some(reason));
        }
    }
}
