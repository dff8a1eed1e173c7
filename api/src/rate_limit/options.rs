//! The `http.limits` section of the configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often one client may ask. A limit that is reached answers 429.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Longest wait for Redis, milliseconds; then the request is counted in this process only, and so are those of the next
    /// second.
    pub redis_timeout_ms: u64,
    /// Most buckets kept in memory while Redis is away; the oldest make room.
    pub local_buckets: usize,
    /// Whether `address` counts loopback addresses as well. Without it a client on this machine, such as a benchmark, is not
    /// limited; nor is one behind a proxy on this machine that `http.trusted_proxies` doesn't name.
    pub loopback: bool,
    /// Requests of one address (IPv6: one /64), whoever sends them.
    pub address: Rate,
    /// Requests of one account, those with its API keys too.
    pub account: Rate,
    /// Requests with one API key.
    pub key: Rate,
    /// Attempts to sign in from one address, loopback ones too.
    pub sign_in_address: Rate,
    /// Attempts to sign in to one account from one address. Not to one account from everywhere: then anybody could keep its
    /// owner out.
    pub sign_in_account: Rate,
    /// Mails to one account, whoever asks for them.
    pub mail: Rate,
}

/// A bucket that holds `burst` tokens and gets `per_minute` new ones, one after the other. A request takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// New tokens per minute. 0: no limit.
    pub per_minute: u32,
    /// Most tokens at once. 0: no limit.
    pub burst: u32,
}

impl Rate {
    const fn new(per_minute: u32, burst: u32) -> Rate {
        Rate { per_minute, burst }
    }

    pub(super) fn is_off(self) -> bool {
        self.per_minute == 0 || self.burst == 0
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            redis_timeout_ms: 50,
            local_buckets: 50_000,
            loopback: false,
            address: Rate::new(60_000, 6_000),
            account: Rate::new(60_000, 6_000),
            key: Rate::new(60_000, 6_000),
            sign_in_address: Rate::new(30, 30),
            sign_in_account: Rate::new(10, 10),
            mail: Rate::new(1, 1),
        }
    }
}

impl Options {
    pub(crate) fn redis_timeout(&self) -> Duration {
        Duration::from_millis(self.redis_timeout_ms)
    }
}
