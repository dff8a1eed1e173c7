//! Lines for rows of SQL projections: a row is known by its key, and no event says what has changed, or when.

use serde_json::{Map, Value as Json};

use super::known::Seen;
use super::{Kind, Lines, NO_TIME, news, pair, shown};

impl Lines {
    /// A row that is there, enters or changes.
    pub(super) fn keyed(&mut self, kind: Kind, key: &Map<String, Json>, row: &Map<String, Json>) -> String {
        let id = id(key);
        let before = self.known.take(&id);
        // Sent again after an interruption, as it was.
        let is_known = matches!(kind, Kind::Row) && before.as_ref().is_some_and(|seen| seen.state == *row);
        let label = label(key);
        let values = match &before {
            Some(seen) if !matches!(kind, Kind::Row) => news(&seen.state, row),
            _ => {
                let others = row.iter().filter(|(name, value)| !key.contains_key(*name) && !value.is_null());
                others.map(|(name, value)| pair(name, value)).collect()
            }
        };
        let line = self.line(NO_TIME, kind, &label, "", &values);
        self.known.put(id, Seen { label, version: 0, state: row.clone() });
        if is_known { String::new() } else { line }
    }

    /// A row that leaves.
    pub(super) fn keyed_left(&mut self, key: &Map<String, Json>) -> String {
        self.known.take(&id(key));
        self.line(NO_TIME, Kind::Leave, &label(key), "", &[])
    }
}

/// By which a row is remembered. Equal keys come with their columns in the same order.
fn id(key: &Map<String, Json>) -> String {
    Json::Object(key.clone()).to_string()
}

/// The values of the key.
fn label(key: &Map<String, Json>) -> String {
    key.values().map(shown).collect::<Vec<_>>().join(" ")
}
