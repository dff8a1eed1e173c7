//! What has changed between two states, for people: pointers with the value before and after. Pure.
//!
//! Objects are compared member by member. Lists are compared item by item when both have the same length, or when one
//! is the beginning of the other: then an item that changed in place, or that came or went at the end, is one change.
//! Any other two lists are one change as a whole: after an item was taken out of the middle, every later item would
//! differ from the one that stood at its index before, and a reader would see changes where nothing changed.

use serde::Serialize;
use serde_json::{Map, Value as Json};

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// JSON pointer (RFC 6901) into the state; empty: the whole of it.
    pub pointer: String,
    /// `None`: nothing stood there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Json>,
    /// `None`: nothing stands there any more. Of a list's items, those behind it have gone too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Json>,
}

/// The changes that make `after` of `before`, in the order of the members of `before`, then the new ones. Empty if both
/// are equal.
pub fn diff(before: &Json, after: &Json) -> Vec<Change> {
    let mut changes = Vec::new();
    values(&mut changes, "", before, after);
    changes
}

fn values(changes: &mut Vec<Change>, pointer: &str, before: &Json, after: &Json) {
    match (before, after) {
        _ if before == after => {}
        (Json::Object(old), Json::Object(new)) => objects(changes, pointer, old, new),
        (Json::Array(old), Json::Array(new)) if is_comparable(old, new) => lists(changes, pointer, old, new),
        _ => changes.push(change(pointer.to_owned(), Some(before), Some(after))),
    }
}

fn objects(changes: &mut Vec<Change>, pointer: &str, old: &Map<String, Json>, new: &Map<String, Json>) {
    let at = |name: &str| format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
    for (name, before) in old {
        match new.get(name) {
            Some(after) => values(changes, &at(name), before, after),
            None => changes.push(change(at(name), Some(before), None)),
        }
    }
    for (name, after) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        changes.push(change(at(name), None, Some(after)));
    }
}

fn is_comparable(old: &[Json], new: &[Json]) -> bool {
    old.len() == new.len() || old.starts_with(new) || new.starts_with(old)
}

fn lists(changes: &mut Vec<Change>, pointer: &str, old: &[Json], new: &[Json]) {
    for index in 0..old.len().max(new.len()) {
        let at = format!("{pointer}/{index}");
        match (old.get(index), new.get(index)) {
            (Some(before), Some(after)) => values(changes, &at, before, after),
            (before, after) => changes.push(change(at, before, after)),
        }
    }
}

fn change(pointer: String, before: Option<&Json>, after: Option<&Json>) -> Change {
    Change { pointer, before: before.cloned(), after: after.cloned() }
}

#[cfg(test)]
mod tests;
