//! The rows that were seen last, to tell old values from new ones. Bounded: what was not seen for long is forgotten.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

/// Rows of one half. In all, twice as many are remembered at most.
const HALF: usize = 5_000;

/// A row as it was seen last.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Its natural key or id, as it is shown.
    pub(super) label: String,
    pub(super) version: u64,
    pub(super) state: Map<String, Json>,
}

/// Two halves: when the young one is full it becomes the old one, and what was old is forgotten.
#[derive(Debug, Default)]
pub(super) struct Known {
    young: HashMap<String, Seen>,
    old: HashMap<String, Seen>,
}

impl Known {
    pub(super) fn get(&self, id: &str) -> Option<&Seen> {
        self.young.get(id).or_else(|| self.old.get(id))
    }

    /// The row, which is forgotten.
    pub(super) fn take(&mut self, id: &str) -> Option<Seen> {
        let (young, old) = (self.young.remove(id), self.old.remove(id));
        young.or(old)
    }

    pub(super) fn put(&mut self, id: String, seen: Seen) {
        if self.young.len() >= HALF && !self.young.contains_key(&id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(version: u64) -> Seen {
        Seen { label: String::new(), version, state: Map::new() }
    }

    #[test]
    fn the_latest_is_known_and_what_was_not_seen_for_long_is_forgotten() {
        let mut known = Known::default();
        known.put("first".into(), seen(1));
        for n in 0..HALF {
            known.put(n.to_string(), seen(1));
        }
        assert_eq!(known.get("first").map(|seen| seen.version), Some(1));
        known.put("first".into(), seen(2));
        for n in 0..HALF {
            known.put(n.to_string(), seen(2));
        }
        assert_eq!(known.get("first").map(|seen| seen.version), Some(2));
        assert!(known.young.len() + known.old.len() <= 2 * HALF);
        for n in 0..2 * HALF {
            known.put(format!("other {n}"), seen(1));
        }
        assert!(known.get("first").is_none());
    }

    #[test]
    fn what_is_taken_is_gone_also_an_older_one() {
        let mut known = Known::default();
        known.put("a".into(), seen(1));
        for n in 0..HALF {
            known.put(n.to_string(), seen(1));
        }
        known.put("a".into(), seen(2));
        assert_eq!(known.take("a").map(|seen| seen.version), Some(2));
        assert!(known.take("a").is_none());
    }
}
