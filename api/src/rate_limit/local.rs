//! Buckets in the memory of this process, for while Redis is away: the limits then hold per instance.

use std::time::Instant;

use parking_lot::Mutex;

use super::gcra;
use super::options::Rate;
use crate::bounded::Bounded;

/// A bounded number of buckets.
#[derive(Debug)]
pub(super) struct Local {
    start: Instant,
    /// When each is full again, microseconds after the start.
    full_at: Mutex<Bounded<u64>>,
}

impl Local {
    pub(super) fn new(limit: usize) -> Local {
        Local { start: Instant::now(), full_at: Mutex::new(Bounded::new(limit)) }
    }

    /// As `take.lua`: takes from each or from none, and says what each lacked before.
    pub(super) fn take(&self, buckets: &[(String, Rate)]) -> Vec<u64> {
        self.take_at(buckets, u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn take_at(&self, buckets: &[(String, Rate)], now: u64) -> Vec<u64> {
        let mut full_at = self.full_at.lock();
        let debts: Vec<u64> = buckets
            .iter()
            .map(|(key, rate)| gcra::debt(*rate, full_at.get(key).copied().unwrap_or(0), now))
            .collect();
        if buckets.iter().zip(&debts).all(|((_, rate), debt)| gcra::wait(*rate, *debt) == 0) {
            for ((key, rate), debt) in buckets.iter().zip(&debts) {
                full_at.put(key, now + debt + gcra::interval(*rate));
            }
        }
        debts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_minute: 60, burst: 2 };

    fn take(local: &Local, keys: &[&str], now: u64) -> Vec<u64> {
        let buckets: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), RATE)).collect();
        local.take_at(&buckets, now)
    }

    #[test]
    fn an_empty_bucket_keeps_the_others_full() {
        let local = Local::new(10);
        assert_eq!(take(&local, &["a"], 0), [0]);
        assert_eq!(take(&local, &["a", "b"], 0), [1_000_000, 0]);
        assert_eq!(take(&local, &["a", "b"], 0), [2_000_000, 1_000_000], "refused");
        assert_eq!(take(&local, &["b"], 0), [1_000_000], "was not charged");
        assert_eq!(take(&local, &["a"], 1_000_000), [1_000_000], "a token came in the meantime");
    }
}
