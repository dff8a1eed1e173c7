//! Uniqueness across aggregates: which values an aggregate holds, as keys that can be reserved.
//!
//! A constraint is `unique` of a field, or a list of fields in the model's `unique`. Like in SQL, an aggregate in which
//! one of the fields is null holds nothing under that constraint.

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use sha2::{Digest as _, Sha256};

use crate::declaration::{Field, Model};
use crate::evolve::State;
use crate::value::{Object, Value};

/// First part of every reservation's key. No model begins like this.
pub const RESERVED: &str = "@unique";

/// A constraint: no two aggregates of the model have the same values in these fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// Names of fields of the state, in the order of their names on the wire: that in the file doesn't count.
    pub fields: Vec<String>,
    /// Their names on the wire, which a rename leaves as they are.
    pub(crate) wire_names: Vec<String>,
    /// Text that differs only by case is the same.
    pub ignore_case: bool,
}

impl Unique {
    pub(crate) fn new(mut fields: Vec<&Field>, ignore_case: bool) -> Unique {
        fields.sort_unstable_by_key(|field| field.wire_name());
        let names = |of: fn(&Field) -> &str| fields.iter().map(|field| of(field).to_owned()).collect();
        Unique { fields: names(|field| &field.name), wire_names: names(Field::wire_name), ignore_case }
    }

    /// The name within its model: the fields as on the wire, joined by `+`; `~` after it when case is ignored, so that a
    /// change of that is another constraint.
    pub fn name(&self) -> String {
        self.wire_names.join("+") + if self.ignore_case { "~" } else { "" }
    }

    /// What the keys of all its values begin with: `@unique/<model>/<name>/`.
    pub fn prefix(&self, model: &str) -> String {
        format!("{RESERVED}/{model}/{}/", self.name())
    }

    /// The key under which these values are reserved. `None`: one of them is null. The values themselves don't appear
    /// in it, because the key may stand in a topic for longer than they may.
    ///
    /// Equal values give equal keys: text counts by its letters, not by how they are composed (`é` is one character or
    /// two), decimals by their number, not by their scale. Changing this makes every value that is taken free.
    pub fn key(&self, model: &str, fields: &Object) -> Option<String> {
        let mut values = Vec::with_capacity(self.fields.len());
        for name in &self.fields {
            values.push(match fields.get(name)? {
                Value::Null => return None,
                Value::Text(text) if self.ignore_case => fold_case(text).into(),
                Value::Text(text) => ComposingNormalizerBorrowed::new_nfc().normalize(text).into(),
                Value::Decimal(number) => number.normalized().to_plain_string().into(),
                value => value.to_json(),
            });
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

/// Unicode's canonical caseless form (D145), composed. It depends on no language, and for the characters that exist it
/// never changes.
fn fold_case(text: &str) -> String {
    let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(text);
    let folded: Cow<'_, str> = CaseMapper::new().fold_string(&decomposed);
    ComposingNormalizerBorrowed::new_nfc().normalize(&folded).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
