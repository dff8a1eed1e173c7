//! Buckets in the memory of this process, for while Redis is away: the limits then hold per instance.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use parking_lot::Mutex;

use super::gcra;
use super::options::Rate;

/// A bounded number of buckets.
#[derive(Debug)]
pub(super) struct Local {
    limit: usize,
    start: Instant,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    /// When each is full again, microseconds after the start.
    full_at: HashMap<String, u64>,
    /// Their keys, oldest first.
    ages: VecDeque<String>,
}

impl Local {
    pub(super) fn new(limit: usize) -> Local {
        Local { limit: limit.max(1), start: Instant::now(), buckets: Mutex::default() }
    }

    /// As `take.lua`: takes from each or from none, and says what each lacked before.
    pub(super) fn take(&self, buckets: &[(String, Rate)]) -> Vec<u64> {
        self.take_at(buckets, u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn take_at(&self, buckets: &[(String, Rate)], now: u64) -> Vec<u64> {
        let mut kept = self.buckets.lock();
        let debts: Vec<u64> = buckets
            .iter()
            .map(|(key, rate)| gcra::debt(*rate, kept.full_at.get(key).copied().unwrap_or(0), now))
            .collect();
        if buckets.iter().zip(&debts).all(|((_, rate), debt)| gcra::wait(*rate, *debt) == 0) {
            for ((key, rate), debt) in buckets.iter().zip(&debts) {
                kept.put(key, now + debt + gcra::interval(*rate), self.limit);
            }
        }
        debts
    }
}

impl Buckets {
    fn put(&mut self, key: &str, full_at: u64, limit: usize) {
        if let Some(there) = self.full_at.get_mut(key) {
            *there = full_at;
            return;
        }
        if self.full_at.len() >= limit
            && let Some(oldest) = self.ages.pop_front()
        {
            self.full_at.remove(&oldest);
        }
        self.full_at.insert(key.to_owned(), full_at);
        self.ages.push_back(key.to_owned());
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

    #[test]
    fn the_oldest_bucket_makes_room() {
        let local = Local::new(2);
        for key in ["a", "b", "a", "c"] {
            take(&local, &[key], 0);
        }
        let kept = local.buckets.lock();
        assert_eq!((kept.full_at.len(), kept.ages.len()), (2, 2));
        assert!(!kept.full_at.contains_key("a") && kept.full_at.contains_key("c"));
    }
}
