//! Typed values, and the one place where they become JSON and come from it.

use indexmap::IndexMap;
use uuid::Uuid;

use crate::declaration::{Field, Type};

/// An exact decimal. Never passes through a float.
pub type Decimal = bigdecimal::BigDecimal;
/// Field values by name, in declared order.
pub type Object = IndexMap<String, Value>;

/// An instant: milliseconds since 1970-01-01T00:00:00Z. RFC 3339 UTC with milliseconds as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let _ = f;
        todo!()
    }
}
impl std::str::FromStr for Timestamp {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let _ = text;
        todo!()
    }
}

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
    /// Stable machine name: `required`, `unknown_field`, `wrong_type`, `out_of_range`, `too_long`, …
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
        let _ = (ty, json, pointer, errors);
        todo!()
    }
    /// Types one query-string value (`total[gte]=100`) by `ty`.
    pub fn from_text(ty: &Type, text: &str) -> Result<Value, String> {
        let _ = (ty, text);
        todo!()
    }
    /// The JSON form (DESIGN section 5).
    pub fn to_json(&self) -> serde_json::Value {
        todo!()
    }
}

/// Types a whole object by its fields. `partial`: fields may be absent (then they are absent from the result).
pub fn object_from_json(
    fields: &IndexMap<String, Field>,
    json: &serde_json::Value,
    partial: bool,
) -> Result<Object, Vec<FieldError>> {
    let _ = (fields, json, partial);
    todo!()
}

/// The JSON form of an object.
pub fn object_to_json(object: &Object) -> serde_json::Value {
    let _ = object;
    todo!()
}
