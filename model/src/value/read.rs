//! JSON and query text become values of the declared kind.

use indexmap::IndexMap;
use serde_json::Value as Json;
use uuid::Uuid;

use super::fault::{Path, choices, clip, nearest, report};
use super::{
    Decimal, FieldError, Object, Value, check, fit_decimal, parse_date, parse_decimal, parse_duration,
};
use crate::declaration::{Field, Type};
use crate::secret::is_sealed;

/// Where the JSON comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A caller: every constraint counts, unknown members are faults.
    Body,
    /// A record of the commands: every constraint counts, but secrets are sealed, and one that isn't is a fault.
    Sealed,
    /// Our own storage, perhaps by an older declaration: only the kinds count, unknown members are dropped.
    Stored,
}

/// One value. JSON null is no value of any type here, see [`field`].
pub(super) fn typed(
    ty: &Type,
    json: &Json,
    mode: Mode,
    at: Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<Value> {
    let value = kind(ty, json, mode, at, errors)?;
    match mode {
        Mode::Body | Mode::Sealed => check::constraints(ty, value, at, errors),
        Mode::Stored => Some(value),
    }
}

/// One value of a field: null if it is optional.
fn field(
    field: &Field,
    json: &Json,
    mode: Mode,
    at: Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<Value> {
    match json {
        Json::Null if field.optional => Some(Value::Null),
        Json::Null => {
            report(errors, at, "required", format!("must not be null; expected {}", expected(&field.ty)));
            None
        }
        Json::String(text) if mode == Mode::Sealed && field.secret && is_sealed(text) => {
            Some(Value::Text(text.clone()))
        }
        _ if mode == Mode::Sealed && field.secret => {
            report(errors, at, "not_sealed", "is secret, and was not sealed before it came here".to_owned());
            None
        }
        json => typed(&field.ty, json, mode, at, errors),
    }
}

/// The members of an object.
pub(super) fn members(
    fields: &IndexMap<String, Field>,
    json: &Json,
    partial: bool,
    mode: Mode,
    at: Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<Object> {
    let Json::Object(given) = json else {
        report(errors, at, "wrong_type", format!("expected an object, got {}", name_of(json)));
        return None;
    };
    let mut object = Object::with_capacity(fields.len());
    let mut sound = true;
    for (name, declared) in fields {
        let found = declared.find_in(given);
        let place = Path::Member(&at, found.map_or(name, |(given, _)| given));
        let value = match found.map(|(_, json)| json) {
            Some(json) => field(declared, json, mode, place, errors),
            None if partial => continue,
            // As the Avro schema has it: what an event or a state doesn't hold was not there (see `avro`).
            None if mode == Mode::Stored && declared.optional => Some(Value::Null),
            None => match &declared.default {
                Some(default) => Some(default.clone()),
                None if declared.optional => Some(Value::Null),
                None => {
                    report(
                        errors,
                        place,
                        "required",
                        format!("is missing; expected {}", expected(&declared.ty)),
                    );
                    None
                }
            },
        };
        match value {
            Some(value) => drop(object.insert(name.clone(), value)),
            None => sound = false,
        }
    }
    if mode != Mode::Stored {
        // A field may be called by a name that it had before, but by one name only.
        let is_meant = |name: &str| {
            fields.contains_key(name)
                || fields.values().any(|field| field.find_in(given).is_some_and(|(given, _)| given == name))
        };
        for name in given.keys().filter(|name| !is_meant(name)) {
            sound = false;
            let hint = match nearest(name, fields.keys()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if fields.is_empty() => "no fields are taken here".to_owned(),
                None => format!("there is {}", choices(&fields.keys().cloned().collect::<Vec<_>>())),
            };
            let detail = format!("there is no field `{}`; {hint}", clip(name));
            report(errors, Path::Member(&at, name), "unknown_field", detail);
        }
    }
    sound.then_some(object)
}

fn kind(ty: &Type, json: &Json, mode: Mode, at: Path<'_>, errors: &mut Vec<FieldError>) -> Option<Value> {
    let (code, detail) = match (ty, json) {
        (Type::Json, json) => return Some(Value::Json(json.clone())),
        (Type::Text { .. } | Type::Email | Type::Url | Type::Enum(_), Json::String(text)) => {
            return Some(Value::Text(text.clone()));
        }
        (Type::Boolean, Json::Bool(value)) => return Some(Value::Boolean(*value)),
        (Type::Integer { .. }, Json::Number(number)) => match number.as_i64() {
            Some(value) => return Some(Value::Integer(value)),
            None if number.is_u64() => ("out_of_range", format!("must be at most {}", i64::MAX)),
            None => (
                "wrong_type",
                format!(
                    "expected a whole number from {} to {}, without a point or exponent",
                    i64::MIN,
                    i64::MAX
                ),
            ),
        },
        (Type::Decimal { .. }, Json::Number(number)) => {
            match number.as_i64().map(Decimal::from).or_else(|| number.as_u64().map(Decimal::from)) {
                Some(value) => return Some(Value::Decimal(value)),
                None => (
                    "wrong_type",
                    "a number with a fraction may have lost digits on its way; send it as text, such as \"12.50\""
                        .to_owned(),
                ),
            }
        }
        (Type::List { of, .. }, Json::Array(items)) => {
            let read: Vec<Option<Value>> = items
                .iter()
                .enumerate()
                .map(|(index, item)| field(of, item, mode, Path::Item(&at, index), errors))
                .collect();
            return read.into_iter().collect::<Option<Vec<Value>>>().map(Value::List);
        }
        (Type::Object(fields), json @ Json::Object(_)) => {
            return members(fields, json, false, mode, at, errors).map(Value::Object);
        }
        (
            Type::Decimal { .. }
            | Type::Timestamp
            | Type::Date
            | Type::Duration
            | Type::Uuid
            | Type::Ref { .. },
            Json::String(text),
        ) => match scalar(ty, text) {
            Ok(value) => return Some(value),
            Err(detail) => ("invalid_format", detail),
        },
        // The natural key of the target, as its own input takes it.
        (Type::Ref { key: Some(key), .. }, Json::Number(number))
            if matches!(*key.ty, Type::Integer { .. }) && number.is_i64() =>
        {
            match scalar(ty, &number.to_string()) {
                Ok(value) => return Some(value),
                Err(detail) => ("invalid_format", detail),
            }
        }
        _ => ("wrong_type", format!("expected {}, got {}", expected(ty), name_of(json))),
    };
    report(errors, at, code, detail);
    None
}

/// One value from a query string. See [`Value::from_text`].
pub(super) fn text(ty: &Type, text: &str) -> Result<Value, String> {
    if text.contains('\0') {
        return Err("text can't hold the character U+0000".to_owned());
    }
    match ty {
        Type::Text { .. } | Type::Email | Type::Url => Ok(Value::Text(text.to_owned())),
        Type::Enum(names) if names.iter().any(|name| name == text) => Ok(Value::Text(text.to_owned())),
        Type::Enum(names) => Err(format!("`{}` is none of the values: {}", clip(text), choices(names))),
        Type::Integer { .. } => text
            .parse()
            .map(Value::Integer)
            .map_err(|_| format!("`{}` is no whole number from {} to {}", clip(text), i64::MIN, i64::MAX)),
        Type::Boolean => match text {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => Err(format!("`{}` is neither `true` nor `false`", clip(text))),
        },
        Type::List { .. } | Type::Object(_) | Type::Json => {
            Err(format!("{} can't be written as one text", expected(ty)))
        }
        Type::Decimal { .. }
        | Type::Timestamp
        | Type::Date
        | Type::Duration
        | Type::Uuid
        | Type::Ref { .. } => scalar(ty, text),
    }
}

/// The scalars that are a string in JSON.
fn scalar(ty: &Type, text: &str) -> Result<Value, String> {
    let refused = |detail: String| format!("`{}` is not {}: {detail}", clip(text), expected(ty));
    match ty {
        // At the declared scale where nothing is lost, so that equal numbers have equal texts.
        Type::Decimal { precision, scale, .. } => parse_decimal(text)
            .map(|value| Value::Decimal(fit_decimal(&value, *precision, *scale).unwrap_or(value)))
            .map_err(refused),
        Type::Timestamp => text.parse().map(Value::Timestamp).map_err(refused),
        Type::Date => parse_date(text).map(Value::Date).map_err(refused),
        Type::Duration => parse_duration(text).map(Value::Duration).map_err(refused),
        Type::Ref { to, key } => uuid(text)
            .or_else(|| key.as_ref().and_then(|key| key.id(text)))
            .map(Value::Uuid)
            .ok_or_else(|| match key {
                Some(_) => format!("`{}` is neither the id nor the natural key of a {to}", clip(text)),
                None => format!("`{}` is not the id of a {to}: expected a UUID", clip(text)),
            }),
        _ => uuid(text).map(Value::Uuid).ok_or_else(|| {
            format!("`{}` is no UUID such as \"018f4e5e-7a3c-7cc0-9d5a-3a3b6a0f7c11\"", clip(text))
        }),
    }
}

/// Only the hyphenated form: others (braces, URN, without hyphens) could be natural keys.
fn uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

/// What a type takes, with its article.
fn expected(ty: &Type) -> String {
    match ty {
        Type::Text { .. } => "text".to_owned(),
        Type::Integer { .. } => "a whole number".to_owned(),
        Type::Decimal { .. } => "a decimal as text, such as \"12.50\"".to_owned(),
        Type::Boolean => "true or false".to_owned(),
        Type::Timestamp => "a time".to_owned(),
        Type::Date => "a date".to_owned(),
        Type::Duration => "a duration".to_owned(),
        Type::Uuid => "a UUID".to_owned(),
        Type::Email => "an e-mail address".to_owned(),
        Type::Url => "an absolute URL".to_owned(),
        Type::Enum(names) => choices(names),
        Type::Ref { to, .. } => format!("the id of a {to}"),
        Type::List { .. } => "a list".to_owned(),
        Type::Object(_) => "an object".to_owned(),
        Type::Json => "JSON".to_owned(),
    }
}

fn name_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}
