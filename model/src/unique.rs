//! Uniqueness across aggregates: which values an aggregate holds, as keys that can be reserved.
//!
//! A constraint is `unique: true` on a field or a list of fields in the model's `unique:`. Like in SQL, an aggregate
//! in which one of the fields is null holds nothing under that constraint.

use sha2::{Digest as _, Sha256};

use crate::declaration::Model;
use crate::evolve::State;
use crate::value::{Object, Value};

/// First part of every reservation's key. No model begins like this.
pub const RESERVED: &str = "@unique";

/// A constraint: no two aggregates of the model have the same values in these fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// Names of fields of the state, in declared order.
    pub fields: Vec<String>,
    /// Text that differs only by case is the same.
    pub ignore_case: bool,
}

impl Unique {
    /// The name within its model: the fields, joined by `+`; `~` after it when case is ignored, so that a change of
    /// that is another constraint.
    pub fn name(&self) -> String {
        self.fields.join("+") + if self.ignore_case { "~" } else { "" }
    }

    /// What the keys of all its values begin with: `@unique/<model>/<name>/`.
    pub fn prefix(&self, model: &str) -> String {
        format!("{RESERVED}/{model}/{}/", self.name())
    }

    /// The key under which these values are reserved. `None`: one of them is null. The values themselves don't appear
    /// in it, because the key may stand in a topic for longer than they may.
    pub fn key(&self, model: &str, fields: &Object) -> Option<String> {
        let mut values = Vec::with_capacity(self.fields.len());
        for name in &self.fields {
            match fields.get(name)? {
                Value::Null => return None,
                Value::Text(text) if self.ignore_case => values.push(fold_case(text).into()),
                value => values.push(value.to_json()),
            }
        }
        let canonical = serde_json::Value::Array(values).to_string();
        Some(format!("{}{}", self.prefix(model), hex(&Sha256::digest(canonical))))
    }
}

impl Model {
    /// The keys that an aggregate in this state holds, in the order in which they are claimed. A deleted one holds none.
    pub fn unique_keys(&self, state: Option<&State>) -> Vec<(&Unique, String)> {
        let Some(state) = state.filter(|state| !state.deleted) else { return Vec::new() };
        let key = |unique| Some((unique, Unique::key(unique, &self.name, &state.fields)?));
        let mut keys: Vec<_> = self.uniques.iter().filter_map(key).collect();
        keys.sort_by(|left, right| left.1.cmp(&right.1));
        keys
    }
}

fn fold_case(text: &str) -> String {
    text.to_lowercase()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
