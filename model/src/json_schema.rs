//! JSON Schema (2020-12) of inputs, states and events, for the OpenAPI document, and of the model language itself.

mod language;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};

use crate::declaration::{Command, Event, Field, FieldRule, Model, Projection, Type};

/// Who reads the schema: a caller may leave out and shorten what an answer always shows in full.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

/// The body of a command.
pub fn of_input(command: &Command) -> Json {
    let required = |field: &Field| !command.partial && !field.optional && field.default.is_none();
    let mut schema = object(&command.input, Side::Request, required);
    if !command.creates {
        // What is absent keeps its value, so the default of the declaration is not what the caller gets.
        for name in &command.state_inputs {
            if let Some(property) = schema["properties"][name].as_object_mut() {
                property.remove("default");
            }
        }
    }
    if let Some(doc) = &command.doc {
        schema["description"] = json!(doc);
    }
    schema
}

/// The `state` of an answer. What may be hidden from someone may be missing.
pub fn of_state(model: &Model) -> Json {
    object(&model.fields, Side::Response, |field| is_shown_to_all(field, &model.field_rules))
}

fn is_shown_to_all(field: &Field, rules: &[FieldRule]) -> bool {
    !field.secret && !rules.iter().any(|rule| rule.fields.contains(&field.name))
}

/// The recorded fields of an event.
pub fn of_event(event: &Event) -> Json {
    object(&event.fields, Side::Response, |_| true)
}

/// The state of a member of a channel, or the payload of an event, as clients send it.
pub fn of_said(fields: &IndexMap<String, Field>) -> Json {
    object(fields, Side::Request, |field| !field.optional && field.default.is_none())
}

/// The same as others get it.
pub fn of_heard(fields: &IndexMap<String, Field>) -> Json {
    object(fields, Side::Response, |_| true)
}

/// A row of an SQL projection. Only the columns of its key always have a value.
pub fn of_row(projection: &Projection) -> Json {
    let optional = |(name, field): (&String, &Field)| {
        (name.clone(), Field { optional: !projection.key.contains(name), ..field.clone() })
    };
    let fields: IndexMap<String, Field> = projection.fields.iter().map(optional).collect();
    object(&fields, Side::Response, |field| is_shown_to_all(field, &projection.field_rules))
}

fn object(fields: &IndexMap<String, Field>, side: Side, required: impl Fn(&Field) -> bool) -> Json {
    let properties: Map<String, Json> =
        fields.iter().map(|(name, field)| (name.clone(), of_field(field, side))).collect();
    let names: Vec<&String> =
        fields.iter().filter(|(_, field)| required(field)).map(|(name, _)| name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !names.is_empty() {
        schema["required"] = json!(names);
    }
    schema
}

fn of_field(field: &Field, side: Side) -> Json {
    let mut schema = of_type(&field.ty, side);
    if field.optional {
        nullable(&mut schema);
    }
    if let Some(doc) = &field.doc {
        schema.insert("description".to_owned(), json!(doc));
    }
    if let (Side::Request, Some(default)) = (side, &field.default) {
        schema.insert("default".to_owned(), default.to_json());
    }
    Json::Object(schema)
}

/// Lets a schema take null as well.
fn nullable(schema: &mut Map<String, Json>) {
    if let Some(values) = schema.get_mut("enum").and_then(Json::as_array_mut) {
        values.push(Json::Null);
    }
    match schema.get_mut("type") {
        Some(Json::Array(types)) => types.push(json!("null")),
        Some(ty) => *ty = json!([ty.clone(), "null"]),
        // No `type`: any JSON, null too.
        None => {}
    }
}

fn of_type(ty: &Type, side: Side) -> Map<String, Json> {
    let schema = match ty {
        Type::Text { min_length, max_length, pattern } => pruned(json!({
            "type": "string",
            "minLength": min_length,
            "maxLength": max_length,
            "pattern": pattern.as_ref().map(|pattern| format!("^(?:{})$", pattern.source)),
        })),
        Type::Integer { min, max } => pruned(json!({
            "type": "integer",
            "format": "int64",
            "minimum": min.unwrap_or(i64::MIN),
            "maximum": max.unwrap_or(i64::MAX),
        })),
        Type::Decimal { precision, scale, min, max } => {
            let bound = |bound: &Option<crate::Decimal>| bound.as_ref().map(crate::Decimal::to_plain_string);
            let pattern = decimal_pattern(*precision, *scale, side);
            pruned(json!({
                // A whole number is taken as a JSON number too, a fraction never: it would go through a float.
                "type": if side == Side::Request { json!(["string", "integer"]) } else { json!("string") },
                "format": "decimal",
                "pattern": pattern,
                "x-minimum": bound(min),
                "x-maximum": bound(max),
            }))
        }
        Type::Boolean => json!({ "type": "boolean" }),
        Type::Timestamp => json!({ "type": "string", "format": "date-time" }),
        Type::Date => json!({ "type": "string", "format": "date" }),
        Type::Duration => json!({ "type": "string", "format": "duration" }),
        Type::Uuid => json!({ "type": "string", "format": "uuid" }),
        Type::Email => json!({ "type": "string", "format": "email" }),
        Type::Url => json!({ "type": "string", "format": "uri" }),
        Type::Enum(values) => json!({ "type": "string", "enum": values }),
        Type::Ref { to, key: Some(key) } if side == Side::Request => {
            let whole = matches!(*key.ty, Type::Integer { .. });
            let ty = if whole { json!(["string", "integer"]) } else { json!("string") };
            json!({ "type": ty, "x-ref": to, "description": format!("Id or natural key of a {to}.") })
        }
        Type::Ref { to, .. } => json!({ "type": "string", "format": "uuid", "x-ref": to }),
        Type::List { of, min_length, max_length } => pruned(json!({
            "type": "array",
            "items": of_field(of, side),
            "minItems": min_length,
            "maxItems": max_length,
        })),
        Type::Object(fields) => {
            let required =
                |field: &Field| side == Side::Response || (!field.optional && field.default.is_none());
            object(fields, side, required)
        }
        Type::Json => json!({}),
    };
    match schema {
        Json::Object(members) => members,
        _ => unreachable!("invariant: every arm is an object"),
    }
}

/// Digits that fit the type: an answer has exactly `scale` of them after the point.
fn decimal_pattern(precision: u32, scale: u32, side: Side) -> String {
    let whole = precision.saturating_sub(scale).max(1);
    match (side, scale) {
        (_, 0) => format!("^-?[0-9]{{1,{whole}}}$"),
        (Side::Request, scale) => format!("^-?[0-9]{{1,{whole}}}(\\.[0-9]{{1,{scale}}})?$"),
        (Side::Response, scale) => format!("^-?[0-9]{{1,{whole}}}\\.[0-9]{{{scale}}}$"),
    }
}

/// Without the members that are null.
fn pruned(mut schema: Json) -> Json {
    if let Json::Object(members) = &mut schema {
        members.retain(|_, value| !value.is_null());
    }
    schema
}

/// The model language, for editors (`writ check --schema`).
pub fn of_language() -> Json {
    language::schema()
}

#[cfg(test)]
mod tests;
