//! How a declared type is kept in PostgreSQL.

use writ_model::{Type, Value};

/// The kinds of columns. Several declared types share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text, e-mail, URL, enum.
    Text,
    /// A 64-bit integer.
    Integer,
    /// An exact number of so many digits, so many of them after the point.
    Decimal {
        /// All digits.
        precision: u32,
        /// Digits after the point.
        scale: u32,
    },
    /// true or false.
    Boolean,
    /// An instant.
    Timestamp,
    /// A calendar date.
    Date,
    /// A span of time, kept as milliseconds.
    Duration,
    /// A UUID.
    Uuid,
    /// A reference: a UUID whose order means nothing.
    Ref,
    /// List, object, JSON.
    Json,
}

impl Kind {
    pub(crate) fn of(ty: &Type) -> Kind {
        match ty {
            Type::Text { .. } | Type::Email | Type::Url | Type::Enum(_) => Kind::Text,
            Type::Integer { .. } => Kind::Integer,
            Type::Decimal { precision, scale, .. } => Kind::Decimal { precision: *precision, scale: *scale },
            Type::Boolean => Kind::Boolean,
            Type::Timestamp => Kind::Timestamp,
            Type::Date => Kind::Date,
            Type::Duration => Kind::Duration,
            Type::Uuid => Kind::Uuid,
            Type::Ref { .. } => Kind::Ref,
            Type::List { .. } | Type::Object(_) | Type::Json => Kind::Json,
        }
    }

    /// The column's type, spelled as PostgreSQL's `format_type` spells it, so that the two can be compared.
    pub(crate) fn sql_type(self) -> String {
        match self {
            Kind::Text => "text".into(),
            Kind::Integer | Kind::Duration => "bigint".into(),
            Kind::Decimal { precision, scale } => format!("numeric({precision},{scale})"),
            Kind::Boolean => "boolean".into(),
            Kind::Timestamp => "timestamp with time zone".into(),
            Kind::Date => "date".into(),
            Kind::Uuid | Kind::Ref => "uuid".into(),
            Kind::Json => "jsonb".into(),
        }
    }

    /// The type that a bound text is cast to in a comparison. A bare `numeric`: a filter's number may have more digits
    /// than the column, and rounding it would change the answer.
    pub(crate) fn cast(self) -> String {
        match self {
            Kind::Decimal { .. } => "numeric".into(),
            other => other.sql_type(),
        }
    }

    /// Whether `<` means something to a reader.
    pub(crate) fn is_ordered(self) -> bool {
        !matches!(self, Kind::Ref | Kind::Json | Kind::Boolean)
    }
}

/// The text of a value that PostgreSQL's cast to its column's type reads. `None`: SQL null.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Duration(millis) => Some(millis.to_string()),
        Value::List(_) | Value::Object(_) | Value::Json(_) => Some(value.to_json().to_string()),
        scalar => scalar.to_text(),
    }
}
