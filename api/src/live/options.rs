//! The `http.live` section of the configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What sockets, event streams and long polls may take.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Most open ones of this process; more are refused with 429.
    pub max_open: usize,
    /// Most open ones of one account, those of its API keys too.
    pub max_open_per_account: usize,
    /// Most open ones of one address (IPv6: one /64). Not counted: trusted proxies, and loopback addresses unless
    /// `http.limits.loopback`.
    pub max_open_per_address: usize,
    /// Most subscriptions of one socket.
    pub max_subscriptions: usize,
    /// Most members in the list of one channel.
    pub max_members: usize,
    /// Most commands of one socket that have no answer yet.
    pub max_commands: usize,
    /// The largest message from a client, in bytes; a larger one closes the socket with 1009.
    pub message_limit: usize,
    /// Time between two pings, milliseconds. A client that answers none of two is closed with 4408.
    pub ping_interval_ms: u64,
    /// Time between two comments in an event stream, milliseconds, so that nobody on the way takes it for dead.
    pub keep_alive_ms: u64,
    /// How long a ticket is good, milliseconds.
    pub ticket_ms: u64,
    /// Longest wait for Redis, which keeps the tickets, milliseconds; then it is 503.
    pub redis_timeout_ms: u64,
    /// Over how long clients come back when a server stops, milliseconds.
    pub reconnect_spread_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_open: 20_000,
            max_open_per_account: 100,
            max_open_per_address: 1_000,
            max_subscriptions: 100,
            max_members: 1_000,
            max_commands: 16,
            message_limit: 64 * 1024,
            ping_interval_ms: 30_000,
            keep_alive_ms: 15_000,
            ticket_ms: 30_000,
            redis_timeout_ms: 2_000,
            reconnect_spread_ms: 5_000,
        }
    }
}

impl Options {
    pub(crate) fn ping_interval(&self) -> Duration {
        Duration::from_millis(self.ping_interval_ms.max(1))
    }

    pub(crate) fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive_ms.max(1))
    }

    pub(crate) fn redis_timeout(&self) -> Duration {
        Duration::from_millis(self.redis_timeout_ms.max(1))
    }

    pub(crate) fn reconnect_spread(&self) -> Duration {
        Duration::from_millis(self.reconnect_spread_ms)
    }
}
