//! Slows down who guesses passwords, without keeping the owner of an account out.
//!
//! Failures of an account grow a delay before its next attempt: none for the first five, then a second, doubled with each
//! failure up to five minutes. That delay holds for addresses from which nobody has signed in to the account. An address from
//! which somebody has, in the last 30 days, has failures and a delay of its own: what others do elsewhere doesn't hold it up.
//! (After the device cookies of OWASP's authentication cheat sheet, with the address in place of the cookie.)
//!
//! An attempt is counted as a failure when it begins ([`SignInGuard::check`]), in one script in Redis, so that attempts at once
//! don't all pass before the first is known to fail. Who succeeds gets it back.
//!
//! In Redis and in memory stand only hashes of login names and addresses. While Redis is away each instance counts for itself.

mod local;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::Script;

use crate::client_address::network;
use crate::metrics::{SIGN_INS_DELAYED_TOTAL, SIGN_INS_FAILED_TOTAL};
use crate::problem::{Kind, Problem};
use crate::rate_limit::{RateLimiter, hashed, whole_seconds};
use local::Local;

/// How the delay grows, and for how long things are remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Failures without a delay.
    pub(crate) free: u32,
    /// The first delay; each further failure doubles it.
    pub(crate) first: Duration,
    /// The longest delay.
    pub(crate) longest: Duration,
    /// Without an attempt for so long, failures are forgotten.
    pub(crate) failures_kept: Duration,
    /// For how long a success makes an address known.
    pub(crate) known_for: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Schedule {
            free: 5,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(5 * 60),
            failures_kept: DAY,
            known_for: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl Schedule {
    /// How long after `failures` the next attempt must wait.
    fn delay(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(self.free) else { return Duration::ZERO };
        self.first.saturating_mul(2_u32.saturating_pow(doublings)).min(self.longest)
    }
}

/// Whether an attempt to sign in may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Look at the password, then say how it went.
    Allowed,
    /// Don't look at it. Nothing needs to be said afterwards.
    Wait(Duration),
}

impl Attempt {
    /// 429 with `Retry-After` for an attempt that must wait.
    pub fn allowed(self) -> Result<(), Problem> {
        match self {
            Attempt::Allowed => Ok(()),
            Attempt::Wait(wait) => Err(Kind::RateLimited.after(whole_seconds(wait))),
        }
    }
}

/// A cheap handle on the failures of all accounts.
#[derive(Debug, Clone)]
pub struct SignInGuard {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limiter: RateLimiter,
    schedule: Schedule,
    check: Script,
    settle: Script,
    local: Local,
}

/// The keys of an attempt.
#[derive(Debug)]
struct Keys {
    /// There is one if somebody has signed in to the account from the address.
    known: String,
    /// Failures of the account from addresses that aren't known.
    elsewhere: String,
    /// Failures of the account from the address, once it is known.
    here: String,
}

impl SignInGuard {
    /// Uses the Redis and the key prefix of `limiter`.
    pub fn new(limiter: &RateLimiter) -> SignInGuard {
        SignInGuard::with(limiter, Schedule::default())
    }

    pub(crate) fn with(limiter: &RateLimiter, schedule: Schedule) -> SignInGuard {
        let shared = Shared {
            limiter: limiter.clone(),
            schedule,
            check: Script::new(include_str!("sign_in_guard/check.lua")),
            settle: Script::new(include_str!("sign_in_guard/settle.lua")),
            local: Local::new(limiter.options().local_buckets),
        };
        SignInGuard { shared: Arc::new(shared) }
    }

    /// Begins an attempt to sign in to the account `login` (in one spelling; whether it exists doesn't matter) from `address`.
    /// If it is allowed, one of [`succeeded`](Self::succeeded), [`failed`](Self::failed) and [`undecided`](Self::undecided)
    /// follows; an attempt that is never heard of again has failed.
    pub async fn check(&self, login: &str, address: IpAddr) -> Attempt {
        let Shared { schedule, local, .. } = &*self.shared;
        let keys = self.keys(login, address);
        let mut call = self.shared.check.prepare_invoke();
        call.key(&keys.known).key(&keys.elsewhere).key(&keys.here).arg(schedule.free);
        call.arg(micros(schedule.first)).arg(micros(schedule.longest)).arg(millis(schedule.failures_kept));
        let wait = match self.shared.limiter.link().call(&call).await {
            Ok(wait) => Duration::from_micros(wait),
            Err(_) => local.check(&keys, schedule),
        };
        if wait.is_zero() {
            return Attempt::Allowed;
        }
        metrics::counter!(SIGN_INS_DELAYED_TOTAL).increment(1);
        Attempt::Wait(wait)
    }

    /// The attempt was the owner's. The address is known from now on.
    pub async fn succeeded(&self, login: &str, address: IpAddr) {
        self.settle(login, address, true).await;
    }

    /// The attempt was refused. It was counted when it began.
    pub fn failed(&self) {
        metrics::counter!(SIGN_INS_FAILED_TOTAL).increment(1);
    }

    /// Nobody found out whether the password was right, for want of a part of the server: the attempt doesn't count.
    pub async fn undecided(&self, login: &str, address: IpAddr) {
        self.settle(login, address, false).await;
    }

    async fn settle(&self, login: &str, address: IpAddr, succeeded: bool) {
        let keys = self.keys(login, address);
        let known_for = if succeeded { millis(self.shared.schedule.known_for) } else { 0 };
        let mut call = self.shared.settle.prepare_invoke();
        call.key(&keys.known).key(&keys.elsewhere).key(&keys.here).arg(known_for);
        // Also while Redis answers: what is known here still is when it doesn't.
        self.shared.local.settle(&keys, succeeded);
        // Redis away: the memory has it, and the address becomes known to all with a later success.
        let _: Result<(), _> = self.shared.limiter.link().call(&call).await;
    }

    fn keys(&self, login: &str, address: IpAddr) -> Keys {
        let account = hashed(&[login.as_bytes()]);
        let pair = hashed(&[login.as_bytes(), network(address).as_bytes()]);
        let prefix = self.shared.limiter.prefix();
        Keys {
            known: format!("{prefix}:sign-in:known:{pair}"),
            elsewhere: format!("{prefix}:sign-in:failures:{account}"),
            here: format!("{prefix}:sign-in:failures:{pair}"),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_are_free_and_then_the_delay_doubles_up_to_five_minutes() {
        let seconds: Vec<u64> =
            (0..=16).map(|failures| Schedule::default().delay(failures).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(Schedule::default().delay(u32::MAX).as_secs(), 300);
    }
}
