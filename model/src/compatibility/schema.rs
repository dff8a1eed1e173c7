//! The JSON of an Avro schema, as far as events have it. Not `apache_avro::Schema`: that drops attributes of primitive
//! types, and with them the values of an enum.

use std::fmt;

use num_bigint::BigInt;
use serde_json::Value as Json;

use crate::value::{Decimal, Timestamp, date_from_days, format_duration};

/// A record schema.
#[derive(Debug)]
pub(super) struct Record<'a> {
    name: &'a str,
    pub(super) members: Vec<Member<'a>>,
}

/// One field of a record.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// The name on the wire.
    pub(super) wire: &'a str,
    /// What the model called it when the schema was derived.
    pub(super) name: &'a str,
    pub(super) slot: Slot<'a>,
    pub(super) default: Option<&'a Json>,
}

/// A type that may be null.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    pub(super) nullable: bool,
    pub(super) shape: Shape<'a>,
}

/// The types that events have.
#[derive(Debug)]
pub(super) enum Shape<'a> {
    Text,
    Enum(Vec<&'a str>),
    Json,
    Integer,
    Duration,
    Decimal {
        precision: u64,
        scale: u64,
    },
    Boolean,
    Timestamp,
    Date,
    Uuid,
    Ref(&'a str),
    List(Box<Slot<'a>>),
    Record(Record<'a>),
    /// A schema that no release of ours derives.
    Foreign(&'a Json),
}

impl<'a> Record<'a> {
    pub(super) fn read(schema: &'a Json) -> Option<Record<'a>> {
        if schema["type"] != "record" {
            return None;
        }
        let members = schema["fields"].as_array()?.iter().map(Member::read).collect::<Option<_>>()?;
        Some(Record { name: schema["name"].as_str()?, members })
    }

    pub(super) fn member(&self, wire: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.wire == wire)
    }
}

impl<'a> Member<'a> {
    fn read(field: &'a Json) -> Option<Member<'a>> {
        let wire = field["name"].as_str()?;
        let alias = field["aliases"].as_array().and_then(|aliases| aliases.first()?.as_str());
        Some(Member {
            wire,
            name: alias.unwrap_or(wire),
            slot: Slot::read(field.get("type")?),
            default: field.get("default"),
        })
    }

    /// The default for people.
    pub(super) fn shown_default(&self) -> String {
        match (&self.slot.shape, self.default) {
            (_, None) => "none".to_owned(),
            (Shape::Decimal { scale, .. }, Some(Json::String(text))) => {
                // Bytes stand as the characters U+0000 to U+00FF.
                let bytes: Vec<u8> = text.chars().filter_map(|c| u8::try_from(c).ok()).collect();
                let scale = i64::try_from(*scale).unwrap_or(i64::MAX);
                Decimal::new(BigInt::from_signed_bytes_be(&bytes), scale).to_plain_string()
            }
            (Shape::Date, Some(Json::Number(days))) => {
                let day = days.as_i64().and_then(|days| date_from_days(i32::try_from(days).ok()?));
                day.map_or_else(|| days.to_string(), |day| day.to_string())
            }
            (Shape::Timestamp, Some(Json::Number(millis))) => {
                millis.as_i64().map_or_else(|| millis.to_string(), |millis| Timestamp(millis).to_string())
            }
            (Shape::Duration, Some(Json::Number(millis))) => {
                millis.as_i64().map_or_else(|| millis.to_string(), format_duration)
            }
            (_, Some(default)) => default.to_string(),
        }
    }
}

impl<'a> Slot<'a> {
    fn read(ty: &'a Json) -> Slot<'a> {
        match ty.as_array().map(Vec::as_slice) {
            Some([null, ty]) if null == "null" => Slot { nullable: true, shape: Shape::read(ty) },
            _ => Slot { nullable: false, shape: Shape::read(ty) },
        }
    }
}

impl<'a> Shape<'a> {
    fn read(ty: &'a Json) -> Shape<'a> {
        // `"string"` is short for `{"type": "string"}`.
        let (base, of) = match ty {
            Json::String(base) => (base.as_str(), &Json::Null),
            ty => (ty["type"].as_str().unwrap_or_default(), ty),
        };
        let names =
            || of["writ.values"].as_array().map(|names| names.iter().filter_map(Json::as_str).collect());
        match (base, of["logicalType"].as_str(), of["writ.type"].as_str()) {
            ("string", Some("uuid"), _) => of["writ.ref"].as_str().map_or(Shape::Uuid, Shape::Ref),
            ("string", None, Some("json")) => Shape::Json,
            ("string", None, None) => names().map_or(Shape::Text, Shape::Enum),
            ("long", None, None) => Shape::Integer,
            ("long", None, Some("duration-millis")) => Shape::Duration,
            ("long", Some("timestamp-millis"), _) => Shape::Timestamp,
            ("int", Some("date"), _) => Shape::Date,
            ("boolean", None, _) => Shape::Boolean,
            ("bytes", Some("decimal"), _) => Shape::Decimal {
                precision: of["precision"].as_u64().unwrap_or_default(),
                scale: of["scale"].as_u64().unwrap_or_default(),
            },
            ("array", _, _) => Shape::List(Box::new(Slot::read(&of["items"]))),
            ("record", _, _) => Record::read(of).map_or(Shape::Foreign(ty), Shape::Record),
            _ => Shape::Foreign(ty),
        }
    }

    /// Whether both are the same to every reader. Values of enums, parts and items are compared by the caller.
    pub(super) fn is_as(&self, was: &Shape<'_>) -> bool {
        match (was, self) {
            // Any text is a text; not every text is a value.
            (Shape::Text | Shape::Enum(_), Shape::Text)
            | (Shape::Enum(_), Shape::Enum(_))
            | (Shape::Json, Shape::Json)
            | (Shape::Integer, Shape::Integer)
            | (Shape::Duration, Shape::Duration)
            | (Shape::Boolean, Shape::Boolean)
            | (Shape::Timestamp, Shape::Timestamp)
            | (Shape::Date, Shape::Date)
            | (Shape::Uuid, Shape::Uuid | Shape::Ref(_))
            | (Shape::Ref(_), Shape::Uuid)
            | (Shape::List(_), Shape::List(_)) => true,
            (Shape::Ref(was), Shape::Ref(is)) => was == is,
            (Shape::Decimal { precision: p, scale: s }, Shape::Decimal { precision, scale }) => {
                (p, s) == (precision, scale)
            }
            (Shape::Record(was), Shape::Record(is)) => was.name == is.name,
            (Shape::Foreign(was), Shape::Foreign(is)) => was == is,
            _ => false,
        }
    }
}

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Text => f.write_str("text"),
            Shape::Enum(_) => f.write_str("enum"),
            Shape::Json => f.write_str("json"),
            Shape::Integer => f.write_str("integer"),
            Shape::Duration => f.write_str("duration"),
            Shape::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            Shape::Boolean => f.write_str("boolean"),
            Shape::Timestamp => f.write_str("timestamp"),
            Shape::Date => f.write_str("date"),
            Shape::Uuid => f.write_str("uuid"),
            Shape::Ref(to) => write!(f, "ref to {to}"),
            Shape::List(of) => write!(f, "list of {}", of.shape),
            Shape::Record(record) => write!(f, "object ({})", record.name),
            Shape::Foreign(schema) => write!(f, "{schema}"),
        }
    }
}
