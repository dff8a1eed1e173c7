//! The schema of an event, from its declaration.

use std::collections::HashSet;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};

use super::datum::decimal_bytes;
use crate::declaration::{Field, Type};
use crate::value::Value;

/// The record schema of an event type. Errors: what Avro can't express.
pub(super) fn derive(type_name: &str, fields: &IndexMap<String, Field>) -> Result<Json, String> {
    let (namespace, name) = type_name
        .rsplit_once('.')
        .ok_or_else(|| "an event type has the form `<app>.<model>.<Event>`".to_owned())?;
    let mut names = HashSet::new();
    let Json::Object(mut schema) = record(name, fields, &mut names)? else {
        unreachable!("invariant: a record schema is an object")
    };
    schema.shift_insert(1, "namespace".to_owned(), json!(namespace));
    Ok(Json::Object(schema))
}

fn record(name: &str, fields: &IndexMap<String, Field>, names: &mut HashSet<String>) -> Result<Json, String> {
    if !names.insert(name.to_owned()) {
        return Err(format!(
            "two objects would both be the Avro record `{name}`; rename a field of one of them"
        ));
    }
    let mut wire_names = HashSet::new();
    if let Some(field) = fields.values().find(|field| !wire_names.insert(field.wire_name())) {
        return Err(format!(
            "two fields would both be `{}` in Avro, one of them is `{}`; a field keeps its first name there",
            field.wire_name(),
            field.name
        ));
    }
    let fields = fields.values().map(|field| member(name, field, names)).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "type": "record", "name": name, "fields": fields }))
}

/// One field of a record.
fn member(record: &str, field: &Field, names: &mut HashSet<String>) -> Result<Json, String> {
    let mut member = Map::new();
    member.insert("name".to_owned(), json!(field.wire_name()));
    if field.wire_name() != field.name {
        // Resolution goes by name; this is for people and tools that read the schema.
        member.insert("aliases".to_owned(), json!([field.name]));
    }
    if let Some(doc) = &field.doc {
        member.insert("doc".to_owned(), json!(doc));
    }
    member.insert("type".to_owned(), nullable(record, field.wire_name(), field, names)?);
    if field.optional {
        member.insert("default".to_owned(), Json::Null);
    } else if let Some(default) = field.default.as_ref().and_then(|value| default(&field.ty, value)) {
        member.insert("default".to_owned(), default);
    }
    Ok(Json::Object(member))
}

fn nullable(record: &str, name: &str, field: &Field, names: &mut HashSet<String>) -> Result<Json, String> {
    let ty = of_type(record, name, &field.ty, names)?;
    Ok(if field.optional { json!(["null", ty]) } else { ty })
}

fn of_type(parent: &str, name: &str, ty: &Type, names: &mut HashSet<String>) -> Result<Json, String> {
    Ok(match ty {
        Type::Text { .. } | Type::Email | Type::Url => json!("string"),
        Type::Json => json!({ "type": "string", "writ.type": "json" }),
        Type::Enum(values) => json!({ "type": "string", "writ.values": values }),
        Type::Integer { .. } => json!("long"),
        Type::Decimal { precision, scale, .. } => {
            json!({ "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale })
        }
        Type::Boolean => json!("boolean"),
        Type::Timestamp => json!({ "type": "long", "logicalType": "timestamp-millis" }),
        Type::Date => json!({ "type": "int", "logicalType": "date" }),
        Type::Duration => json!({ "type": "long", "writ.type": "duration-millis" }),
        Type::Uuid => json!({ "type": "string", "logicalType": "uuid" }),
        Type::Ref { to, .. } => json!({ "type": "string", "logicalType": "uuid", "writ.ref": to }),
        Type::List { of, .. } => json!({ "type": "array", "items": nullable(parent, name, of, names)? }),
        Type::Object(fields) if fields.is_empty() => {
            return Err(format!("the object `{name}` has no fields; declare one, or use the type json"));
        }
        Type::Object(fields) => record(&format!("{parent}{}", pascal(name)), fields, names)?,
    })
}

/// `unit_price` as `UnitPrice`.
fn pascal(name: &str) -> String {
    let capital = |part: &str| part[..1].to_ascii_uppercase() + &part[1..];
    name.split('_').filter(|part| part.is_ascii() && !part.is_empty()).map(capital).collect()
}

/// The Avro JSON form of a default. `None` where Avro has none, see [`nullable_default`].
fn default(ty: &Type, value: &Value) -> Option<Json> {
    Some(match (ty, value) {
        (Type::Decimal { precision, scale, .. }, Value::Decimal(value)) => {
            // Bytes are written as the characters U+0000 to U+00FF.
            let bytes = decimal_bytes(value, *precision, *scale).ok()?;
            json!(bytes.into_iter().map(char::from).collect::<String>())
        }
        (Type::Timestamp, Value::Timestamp(instant)) => json!(instant.0),
        (Type::Date, Value::Date(day)) => json!(crate::value::days_since_epoch(*day)),
        (Type::Duration, Value::Duration(millis)) => json!(millis),
        (Type::Json, Value::Json(json)) => json!(json.to_string()),
        (Type::List { of, .. }, Value::List(items)) => {
            Json::Array(items.iter().map(|item| nullable_default(of, item)).collect::<Option<_>>()?)
        }
        (Type::Object(fields), Value::Object(members)) => {
            let member = |(name, field): (&String, &Field)| {
                let value = members.get(name).unwrap_or(&Value::Null);
                Some((field.wire_name().to_owned(), nullable_default(field, value)?))
            };
            Json::Object(fields.iter().map(member).collect::<Option<_>>()?)
        }
        (Type::Text { .. } | Type::Email | Type::Url | Type::Enum(_), Value::Text(_))
        | (Type::Integer { .. }, Value::Integer(_))
        | (Type::Boolean, Value::Boolean(_))
        | (Type::Uuid | Type::Ref { .. }, Value::Uuid(_)) => value.to_json(),
        _ => return None,
    })
}

/// The default of a union is a value of its first branch, which is null. So a list or object that has an optional part
/// with a value in it can't be a default in Avro.
fn nullable_default(field: &Field, value: &Value) -> Option<Json> {
    match value {
        Value::Null if field.optional => Some(Json::Null),
        _ if field.optional => None,
        value => default(&field.ty, value),
    }
}
