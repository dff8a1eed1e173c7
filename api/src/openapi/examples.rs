//! Example inputs, made from the types. One that the command itself would refuse is left out.

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};
use writ_model::declaration::{Channel, Each};
use writ_model::{Command, Decimal, Field, Models, Type};

/// Texts that patterns often take.
const TEXTS: &[&str] = &["example", "Example", "EXMPL", "EXAMPLE-1", "A-1", "10248", "1", "A", "a"];
const ID: &str = "0190a1f3-7c2e-7b60-9d3c-5b1f0a9e4c11";

/// An input that the command takes, if one can be made.
pub(super) fn input(models: &Models, command: &Command) -> Option<Json> {
    let example = object(models, &command.input)?;
    command.parse_input(&example).is_ok().then_some(example)
}

/// The same for the payload of an event of a channel.
pub(super) fn payload(models: &Models, channel: &Channel, event: &str) -> Option<Json> {
    let fields = channel.messages.as_ref().and_then(|messages| messages.get(event));
    let example = fields.map_or_else(|| Some(json!({})), |fields| object(models, fields))?;
    channel.payload(event, &example).is_ok().then_some(example)
}

/// What names one of the channels of a declaration.
pub(super) fn target(models: &Models, channel: &Channel) -> Option<Json> {
    match &channel.each {
        Each::Single => None,
        Each::Aggregate(model) => Some(reference(models, model)),
        Each::Key(field) => of_type(models, &field.ty),
    }
}

fn object(models: &Models, fields: &IndexMap<String, Field>) -> Option<Json> {
    let mut members = Map::new();
    for (name, field) in fields {
        match of_type(models, &field.ty) {
            Some(example) => {
                members.insert(name.clone(), example);
            }
            None if field.optional || field.default.is_some() => {}
            None => return None,
        }
    }
    Some(Json::Object(members))
}

fn of_type(models: &Models, ty: &Type) -> Option<Json> {
    Some(match ty {
        Type::Text { min_length, max_length, pattern } => {
            let fits = |text: &&&str| {
                let length = text.len() as u64;
                min_length.is_none_or(|min| min <= length)
                    && max_length.is_none_or(|max| length <= max)
                    && pattern.as_ref().is_none_or(|pattern| pattern.regex.is_match(text))
            };
            json!(TEXTS.iter().find(fits)?)
        }
        Type::Integer { min, max } => json!(1.clamp(min.unwrap_or(i64::MIN), max.unwrap_or(i64::MAX))),
        Type::Decimal { scale, min, max, .. } => json!(decimal(*scale, min.as_ref(), max.as_ref())),
        Type::Boolean => json!(true),
        Type::Timestamp => json!("2026-01-31T09:30:00.000Z"),
        Type::Date => json!("2026-01-31"),
        Type::Duration => json!("PT24H"),
        Type::Uuid => json!(ID),
        Type::Email => json!("someone@example.com"),
        Type::Url => json!("https://example.com/"),
        Type::Enum(values) => json!(values.first()?),
        Type::Ref { to, .. } => reference(models, to),
        Type::List { of, min_length, .. } => {
            let items = usize::try_from(min_length.unwrap_or(1).max(1)).ok()?;
            Json::Array(vec![of_type(models, &of.ty)?; items])
        }
        Type::Object(fields) => object(models, fields)?,
        Type::Json => json!({}),
    })
}

/// The natural key reads better than an id.
fn reference(models: &Models, to: &str) -> Json {
    let key = models.get(to).and_then(|model| model.fields.get(model.key.as_ref()?));
    match key.and_then(|key| of_type(models, &key.ty)) {
        Some(Json::String(key)) => Json::String(key),
        Some(Json::Number(key)) => Json::String(key.to_string()),
        _ => json!(ID),
    }
}

/// One, or the bound that forbids it.
fn decimal(scale: u32, min: Option<&Decimal>, max: Option<&Decimal>) -> String {
    let mut value = Decimal::from(1);
    if let Some(min) = min.filter(|min| **min > value) {
        value = min.clone();
    }
    if let Some(max) = max.filter(|max| **max < value) {
        value = max.clone();
    }
    value.with_scale(i64::from(scale)).to_plain_string()
}
