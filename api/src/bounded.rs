//! A map of bounded size for what strangers can make grow: the oldest entries make room.

use std::collections::{HashMap, VecDeque};

#[derive(Debug)]
pub(crate) struct Bounded<V> {
    limit: usize,
    entries: HashMap<String, V>,
    /// The keys of all entries, oldest first.
    ages: VecDeque<String>,
}

impl<V> Bounded<V> {
    /// At most `limit` entries, at least one.
    pub(crate) fn new(limit: usize) -> Bounded<V> {
        Bounded { limit: limit.max(1), entries: HashMap::new(), ages: VecDeque::new() }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        self.entries.get(key)
    }

    /// A value that is there keeps its age.
    pub(crate) fn put(&mut self, key: &str, value: V) {
        if let Some(there) = self.entries.get_mut(key) {
            *there = value;
            return;
        }
        if self.entries.len() >= self.limit
            && let Some(oldest) = self.ages.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.entries.insert(key.to_owned(), value);
        self.ages.push_back(key.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let mut map = Bounded::new(2);
        for (key, value) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            map.put(key, value);
        }
        assert_eq!((map.get("a"), map.get("b"), map.get("c")), (None, Some(&2), Some(&4)));
        assert_eq!((map.entries.len(), map.ages.len()), (2, 2));
    }
}
