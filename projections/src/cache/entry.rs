//! What stands in Redis: entries and marks, both with places, both JSON (the script that compares them is Lua).

use std::collections::BTreeMap;

use redis::{FromRedisValue, ParsingError, Value};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use writ_model::Position;

/// The offset that comes next, by partition of one model's topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Places(BTreeMap<i32, i64>);

impl Places {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether everything below `others` is below these, partition by partition. A partition that others don't know says
    /// nothing about what has changed in it, so they have not been reached.
    pub(super) fn has_reached(&self, others: &Places) -> bool {
        self.0.iter().all(|(partition, next)| others.0.get(partition).is_some_and(|other| next >= other))
    }

    /// Whether the event at `position` is among those below.
    pub(super) fn has(&self, position: &Position) -> bool {
        self.0.get(&position.partition).is_some_and(|next| *next > position.offset)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i32, i64)> {
        self.0.iter().map(|(partition, next)| (*partition, *next))
    }
}

impl FromIterator<(i32, i64)> for Places {
    fn from_iter<T: IntoIterator<Item = (i32, i64)>>(places: T) -> Self {
        Places(places.into_iter().collect())
    }
}

impl FromRedisValue for Places {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        Ok(Places(BTreeMap::from_redis_value(value)?))
    }
}

/// An answer, with the places of the snapshot that it is from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) epoch: String,
    /// Of an answer, a number for the columns that it shows.
    #[serde(default)]
    pub(super) layout: u64,
    pub(super) places: Places,
    /// `None`: a mark.
    #[serde(default)]
    pub(super) body: Option<Box<RawValue>>,
}

impl Entry {
    /// `None`: written by another release.
    pub(super) fn read(bytes: &[u8]) -> Option<Entry> {
        serde_json::from_slice(bytes).ok()
    }

    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).expect("invariant: an entry has only names, numbers and JSON")
    }
}

/// Stands in a changed row's place: an entry needs this place to be kept. An [`Entry`] reads it as one without a body.
pub(super) fn mark(partition: i32, next: i64) -> String {
    format!(r#"{{"epoch":"","places":{{"{partition}":{next}}}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(of: &[(i32, i64)]) -> Places {
        of.iter().copied().collect()
    }

    #[test]
    fn a_place_is_the_next_offset() {
        let position = |text: &str| text.parse::<Position>().unwrap();
        let places = places(&[(0, 7), (3, 1)]);
        assert!(places.has(&position("order:0:6")));
        assert!(!places.has(&position("order:0:7")));
        assert!(!places.has(&position("order:1:0")), "nothing is known of that partition");
    }

    #[test]
    fn what_is_not_announced_is_not_reached() {
        let snapshot = places(&[(0, 7), (1, 2)]);
        assert!(snapshot.has_reached(&places(&[(0, 7), (1, 1)])));
        assert!(!snapshot.has_reached(&places(&[(0, 8), (1, 2)])));
        assert!(!snapshot.has_reached(&places(&[(0, 7)])), "another projector hasn't said how far it is");
        assert!(!snapshot.has_reached(&places(&[])));
    }

    #[test]
    fn a_mark_is_an_entry_without_an_answer() {
        let mark = Entry::read(mark(5, 1235).as_bytes()).unwrap();
        assert!(mark.body.is_none());
        assert_eq!(mark.places, places(&[(5, 1235)]));
    }
}
