//! Asks the buckets of a request, in Redis or in memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::Script;
use sha2::{Digest as _, Sha256};

use super::gcra;
use super::local::Local;
use super::options::{Options, Rate};
use crate::client_address::network;
use crate::metrics::{RATE_LIMIT_LOCAL, RATE_LIMIT_REFUSED_TOTAL};
use crate::redis_link::{Heard, RedisLink};

/// Bytes of a hash that name a bucket.
const NAME_BYTES: usize = 16;

/// What is limited. Its name is part of the key in Redis, of the metric and of the response's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Requests by address.
    Address,
    /// Requests by account.
    Account,
    /// Requests by API key.
    Key,
    /// Attempts to sign in by address.
    SignInAddress,
    /// Attempts to sign in by account and address.
    SignInAccount,
    /// Mails by account.
    Mail,
}

impl Limit {
    /// `sign-in-address`.
    pub const fn name(self) -> &'static str {
        match self {
            Limit::Address => "address",
            Limit::Account => "account",
            Limit::Key => "key",
            Limit::SignInAddress => "sign-in-address",
            Limit::SignInAccount => "sign-in-account",
            Limit::Mail => "mail",
        }
    }
}

/// One bucket: what is limited, and for whom.
#[derive(Clone, PartialEq, Eq)]
pub struct Bucket {
    limit: Limit,
    /// An id or login name.
    name: String,
    address: Option<IpAddr>,
}

/// Without the subject, which is personal data.
impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Bucket {
    /// Requests of an address; of IPv6 a /64 counts as one, since a client has that many.
    pub fn address(address: IpAddr) -> Bucket {
        Bucket { limit: Limit::Address, name: String::new(), address: Some(address) }
    }

    /// Requests of an account, by its id.
    pub fn account(id: &str) -> Bucket {
        Bucket { limit: Limit::Account, name: id.to_owned(), address: None }
    }

    /// Requests with an API key, by the key's id, not its secret.
    pub fn key(id: &str) -> Bucket {
        Bucket { limit: Limit::Key, name: id.to_owned(), address: None }
    }

    /// Attempts to sign in from an address.
    pub fn sign_in_address(address: IpAddr) -> Bucket {
        Bucket { limit: Limit::SignInAddress, name: String::new(), address: Some(address) }
    }

    /// Attempts to sign in to an account (its login name, in one spelling) from an address.
    pub fn sign_in_account(login: &str, address: IpAddr) -> Bucket {
        Bucket { limit: Limit::SignInAccount, name: login.to_owned(), address: Some(address) }
    }

    /// Mails to an account, by its id.
    pub fn mail(account: &str) -> Bucket {
        Bucket { limit: Limit::Mail, name: account.to_owned(), address: None }
    }

    /// For keys in Redis: a hash.
    fn subject(&self) -> String {
        let network = self.address.map(network).unwrap_or_default();
        hashed(&[self.name.as_bytes(), network.as_bytes()])
    }
}

/// A short name for `parts` that doesn't say what they are.
pub(crate) fn hashed(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        // With its length, so that no two lists of parts are the same text.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize()[..NAME_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the buckets of a request said.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    pub(super) readings: Vec<Reading>,
}

/// What one bucket said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) limit: Limit,
    pub(super) rate: Rate,
    /// Tokens that are left.
    pub(super) remaining: u64,
    /// Until the bucket is full again.
    pub(super) reset: Duration,
    /// Until it has a token again. Zero: it had one.
    pub(super) wait: Duration,
}

impl Verdict {
    /// How long the client must wait, by the bucket that has it wait longest. `None`: the request may pass.
    pub fn refused(&self) -> Option<Duration> {
        self.readings.iter().map(|reading| reading.wait).max().filter(|wait| !wait.is_zero())
    }
}

/// `redis.url` can't be used.
#[derive(Debug, thiserror::Error)]
#[error("redis.url is no connection URL such as redis://host:6379: {0}")]
pub struct InvalidUrl(String);

/// A cheap handle on all buckets.
#[derive(Debug, Clone)]
pub struct RateLimiter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    prefix: String,
    url: String,
    link: RedisLink,
    script: Script,
    local: Local,
}

impl RateLimiter {
    /// Buckets in the Redis at `url`, under keys that begin with `prefix`, which all instances of an application share.
    /// Connects with the first request.
    pub fn new(options: &Options, url: &str, prefix: &str) -> Result<RateLimiter, InvalidUrl> {
        let link = RedisLink::new(url, options.redis_timeout(), heard)
            .map_err(|error| InvalidUrl(error.to_string()))?;
        let shared = Shared {
            local: Local::new(options.local_buckets),
            options: options.clone(),
            prefix: prefix.to_owned(),
            url: url.to_owned(),
            link,
            script: Script::new(include_str!("take.lua")),
        };
        Ok(RateLimiter { shared: Arc::new(shared) })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    /// What all keys in Redis begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    /// For what else is counted in the same Redis.
    pub(crate) fn link(&self) -> &RedisLink {
        &self.shared.link
    }

    /// Another connection to the same Redis, for what may wait longer for it.
    pub(crate) fn another_link(&self, timeout: Duration, heard: Heard) -> RedisLink {
        RedisLink::new(&self.shared.url, timeout, heard).expect("invariant: the URL was good before")
    }

    /// Takes a token from each of `buckets`, or from none of them if one is empty. One round trip to Redis, which
    /// reads its own clock, so the clocks of the instances don't matter. Limits that are off are left out.
    pub async fn take(&self, buckets: &[Bucket]) -> Verdict {
        let shared = &*self.shared;
        let asked: Vec<(Limit, String, Rate)> =
            buckets.iter().filter_map(|bucket| shared.asked(bucket)).collect();
        if asked.is_empty() {
            return Verdict::default();
        }
        let debts = match shared.ask_redis(&asked).await {
            Some(debts) => debts,
            None => {
                let keyed: Vec<_> = asked.iter().map(|(_, key, rate)| (key.clone(), *rate)).collect();
                shared.local.take(&keyed)
            }
        };
        let granted = asked.iter().zip(&debts).all(|((_, _, rate), debt)| gcra::wait(*rate, *debt) == 0);
        let readings: Vec<Reading> = asked
            .iter()
            .zip(debts)
            .map(|((limit, _, rate), debt)| Reading::new(*limit, *rate, debt, granted))
            .collect();
        for reading in readings.iter().filter(|reading| !reading.wait.is_zero()) {
            metrics::counter!(RATE_LIMIT_REFUSED_TOTAL, "limit" => reading.limit.name()).increment(1);
        }
        Verdict { readings }
    }
}

impl Shared {
    /// The key and rate of a bucket, unless its limit is off.
    fn asked(&self, bucket: &Bucket) -> Option<(Limit, String, Rate)> {
        let rate = match bucket.limit {
            Limit::Address => self.options.address,
            Limit::Account => self.options.account,
            Limit::Key => self.options.key,
            Limit::SignInAddress => self.options.sign_in_address,
            Limit::SignInAccount => self.options.sign_in_account,
            Limit::Mail => self.options.mail,
        };
        let local = bucket.address.is_some_and(|address| address.to_canonical().is_loopback());
        let uncounted = bucket.limit == Limit::Address && local && !self.options.loopback;
        let key = || format!("{}:limit:{}:{}", self.prefix, bucket.limit.name(), bucket.subject());
        (!rate.is_off() && !uncounted).then(|| (bucket.limit, key(), rate))
    }

    async fn ask_redis(&self, asked: &[(Limit, String, Rate)]) -> Option<Vec<u64>> {
        let mut call = self.script.prepare_invoke();
        for (_, key, rate) in asked {
            call.key(key).arg(gcra::interval(*rate)).arg(rate.burst);
        }
        let debts: Vec<u64> = self.link.call(&call).await.ok()?;
        (debts.len() == asked.len()).then_some(debts)
    }
}

impl Reading {
    /// `debt` is what the bucket lacked before the request, which was charged if it was `granted`.
    fn new(limit: Limit, rate: Rate, debt: u64, granted: bool) -> Reading {
        let wait = gcra::wait(rate, debt);
        let debt = if granted { debt + gcra::interval(rate) } else { debt };
        Reading {
            limit,
            rate,
            remaining: gcra::remaining(rate, debt),
            reset: Duration::from_micros(debt),
            wait: Duration::from_micros(wait),
        }
    }
}

fn heard(away: Option<&str>) {
    metrics::gauge!(RATE_LIMIT_LOCAL).set(if away.is_some() { 1.0 } else { 0.0 });
    match away {
        Some(error) => tracing::warn!(error, "Redis can't be asked; rate limits count in this process only"),
        None => tracing::info!("Redis answers again; rate limits count for all instances together"),
    }
}
