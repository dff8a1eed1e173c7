//! What the scripts do, in the memory of this process, for while Redis is away.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Keys, Schedule};
use crate::bounded::Bounded;

#[derive(Debug)]
pub(super) struct Local {
    accounts: Mutex<Accounts>,
}

#[derive(Debug)]
struct Accounts {
    failures: Bounded<Failures>,
    /// Not for how long: the process rarely lives longer than that.
    known: Bounded<()>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
    waits_until: Option<Instant>,
}

impl Accounts {
    fn is_known(&self, keys: &Keys) -> bool {
        self.known.get(&keys.known).is_some()
    }
}

impl Local {
    /// Remembers at most `limit` accounts, and as many known addresses.
    pub(super) fn new(limit: usize) -> Local {
        let accounts = Accounts { failures: Bounded::new(limit), known: Bounded::new(limit) };
        Local { accounts: Mutex::new(accounts) }
    }

    /// As `check.lua`.
    pub(super) fn check(&self, keys: &Keys, schedule: &Schedule) -> Duration {
        let mut accounts = self.accounts.lock();
        let key = if accounts.is_known(keys) { &keys.here } else { &keys.elsewhere };
        let now = Instant::now();
        let before = accounts
            .failures
            .get(key)
            .filter(|failures| now.duration_since(failures.last) < schedule.failures_kept);
        let wait = before
            .and_then(|failures| failures.waits_until)
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if wait.is_zero() {
            let count = before.map_or(0, |failures| failures.count).saturating_add(1);
            let waits_until = now.checked_add(schedule.delay(count));
            accounts.failures.put(key, Failures { count, last: now, waits_until });
        }
        wait
    }

    /// As `settle.lua`.
    pub(super) fn settle(&self, keys: &Keys, succeeded: bool) {
        let mut accounts = self.accounts.lock();
        let known = accounts.is_known(keys);
        if succeeded {
            accounts.known.put(&keys.known, ());
        }
        let key = if known { &keys.here } else { &keys.elsewhere };
        let Some(failures) = accounts.failures.get(key).copied() else { return };
        let count = if known && succeeded { 0 } else { failures.count.saturating_sub(1) };
        accounts.failures.put(key, Failures { count, waits_until: None, ..failures });
    }
}
