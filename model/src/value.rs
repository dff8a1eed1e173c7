//! Typed values, and the one place where they become JSON and come from it.
//!
//! A body is read in two steps: the JSON becomes a [`Value`] of the declared kind, then the value is held against the
//! constraints of its type. What an expression computes takes the second step alone ([`Value::conform`]), and what was
//! stored takes the first alone ([`stored_from_json`]): a constraint that is tightened later never makes history
//! unreadable.

mod check;
mod decimal;
mod fault;
mod read;
mod time;

use indexmap::IndexMap;
use uuid::Uuid;

use crate::declaration::{Field, Type};
use fault::Path;

pub use decimal::{DecimalFault, fit_decimal, parse_decimal};
pub use fault::{MAX_ERRORS, MAX_NESTING};
pub(crate) use time::{date_from_days, days_since_epoch};
pub use time::{format_duration, parse_date, parse_duration};

/// An exact decimal. Never passes through a float.
pub type Decimal = bigdecimal::BigDecimal;
/// Field values by name, in declared order.
pub type Object = IndexMap<String, Value>;

/// An instant: milliseconds since 1970-01-01T00:00:00Z. RFC 3339 UTC with milliseconds as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A value of some [`Type`]. Enum, e-mail and URL values are `Text`, references are `Uuid`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Absent optional value.
    Null,
    /// Text, enum, e-mail, URL.
    Text(String),
    /// Integer.
    Integer(i64),
    /// Exact decimal.
    Decimal(Decimal),
    /// Boolean.
    Boolean(bool),
    /// Instant.
    Timestamp(Timestamp),
    /// Calendar date.
    Date(jiff::civil::Date),
    /// Milliseconds.
    Duration(i64),
    /// UUID or reference.
    Uuid(Uuid),
    /// List.
    List(Vec<Value>),
    /// Object.
    Object(Object),
    /// Arbitrary JSON.
    Json(serde_json::Value),
}

/// A fault in a body, a filter or a value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the body; empty for the whole body.
    pub pointer: String,
    /// Stable machine name: `required`, `unknown_field`, `wrong_type`, `invalid_format`, `out_of_range`, `too_precise`,
    /// `too_short`, `too_long`, `pattern_mismatch`, `not_in_enum`, `nul_character`, `too_many_errors`.
    pub code: String,
    /// For people: what is wrong and what would be right.
    pub detail: String,
}

impl Value {
    /// Types `json` by `ty`, checking every constraint; faults are appended to `errors` under `pointer`.
    /// Decimals come as strings or whole numbers. `None` if anything was wrong.
    pub fn from_json(
        ty: &Type,
        json: &serde_json::Value,
        pointer: &str,
        errors: &mut Vec<FieldError>,
    ) -> Option<Value> {
        read::typed(ty, json, read::Mode::Body, Path::Base(pointer), errors)
    }

    /// Types one query-string value (`total[gte]=100`) by `ty`. Only the kind counts, not the constraints of the type:
    /// a filter may name a bound that no row can have. Errors: what would be right.
    pub fn from_text(ty: &Type, text: &str) -> Result<Value, String> {
        read::text(ty, text)
    }

    /// Holds a value that was computed, not read, against `field`: its kind, its constraints, and null only if optional.
    /// Gives it back in canonical form (a decimal at the declared scale). `None` if anything was wrong; faults are
    /// appended to `errors` under `pointer`.
    pub fn conform(self, field: &Field, pointer: &str, errors: &mut Vec<FieldError>) -> Option<Value> {
        check::field(self, field, Path::Base(pointer), errors)
    }

    /// The JSON form: decimals, times and ids are strings.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::Null => Json::Null,
            Value::Integer(value) => Json::from(*value),
            Value::Boolean(value) => Json::Bool(*value),
            Value::List(items) => Json::Array(items.iter().map(Value::to_json).collect()),
            Value::Object(object) => object_to_json(object),
            Value::Json(json) => json.clone(),
            Value::Text(_)
            | Value::Decimal(_)
            | Value::Timestamp(_)
            | Value::Date(_)
            | Value::Duration(_)
            | Value::Uuid(_) => Json::String(self.to_text().expect("invariant: scalars have a text")),
        }
    }

    /// The text of a scalar, as in a URL: what [`Value::from_text`] reads. `None` for null, lists, objects and JSON.
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            Value::Text(text) => text.clone(),
            Value::Integer(value) => value.to_string(),
            Value::Decimal(value) => value.to_plain_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Timestamp(value) => value.to_string(),
            Value::Date(value) => value.to_string(),
            Value::Duration(millis) => format_duration(*millis),
            Value::Uuid(value) => value.to_string(),
            Value::Null | Value::List(_) | Value::Object(_) | Value::Json(_) => return None,
        })
    }
}

/// Types a whole object by its fields. An absent field becomes its default or null, if it may; with `partial` every
/// field may be absent, and then is absent from the result as well. Errors: every fault, up to [`MAX_ERRORS`].
pub fn object_from_json(
    fields: &IndexMap<String, Field>,
    json: &serde_json::Value,
    partial: bool,
) -> Result<Object, Vec<FieldError>> {
    let mut errors = Vec::new();
    let object = read::members(fields, json, partial, read::Mode::Body, Path::Base(""), &mut errors);
    object.ok_or(errors)
}

/// The same of a body whose secrets are sealed.
pub(crate) fn sealed_object_from_json(
    fields: &IndexMap<String, Field>,
    json: &serde_json::Value,
    partial: bool,
) -> Result<Object, Vec<FieldError>> {
    let mut errors = Vec::new();
    let object = read::members(fields, json, partial, read::Mode::Sealed, Path::Base(""), &mut errors);
    object.ok_or(errors)
}

/// Reads what [`object_to_json`] or [`stored_to_json`] wrote, by today's declaration: constraints don't count, members that
/// are no longer declared are dropped, added ones are null where optional, else their default, renamed ones are found under
/// each name that they had.
pub fn stored_from_json(
    fields: &IndexMap<String, Field>,
    json: &serde_json::Value,
) -> Result<Object, Vec<FieldError>> {
    let mut errors = Vec::new();
    let object = read::members(fields, json, false, read::Mode::Stored, Path::Base(""), &mut errors);
    object.ok_or(errors)
}

/// The JSON form that is kept: fields and their parts under the names that they have on the wire.
pub fn stored_to_json(fields: &IndexMap<String, Field>, object: &Object) -> serde_json::Value {
    let member = |(name, value): (&String, &Value)| match fields.get(name) {
        Some(field) => (field.wire_name().to_owned(), stored_value(&field.ty, value)),
        None => (name.clone(), value.to_json()),
    };
    serde_json::Value::Object(object.iter().map(member).collect())
}

fn stored_value(ty: &Type, value: &Value) -> serde_json::Value {
    match (ty, value) {
        (Type::Object(fields), Value::Object(object)) => stored_to_json(fields, object),
        (Type::List { of, .. }, Value::List(items)) => {
            serde_json::Value::Array(items.iter().map(|item| stored_value(&of.ty, item)).collect())
        }
        (_, value) => value.to_json(),
    }
}

/// Whether more than [`MAX_NESTING`] lists and objects stand inside each other.
pub fn nests_too_deeply(json: &serde_json::Value) -> bool {
    fn deeper_than(levels: usize, json: &serde_json::Value) -> bool {
        use serde_json::Value as Json;
        match (json, levels.checked_sub(1)) {
            (Json::Array(_) | Json::Object(_), None) => true,
            (Json::Array(items), Some(rest)) => items.iter().any(|item| deeper_than(rest, item)),
            (Json::Object(members), Some(rest)) => members.values().any(|item| deeper_than(rest, item)),
            _ => false,
        }
    }
    deeper_than(MAX_NESTING, json)
}

/// The JSON form of an object.
pub fn object_to_json(object: &Object) -> serde_json::Value {
    serde_json::Value::Object(object.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
