//! Channels: what people say to each other while they look at the same thing, and who is there. Nothing of it is kept: no topic,
//! no table, no event.

mod read;

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::{Field, Type};
use crate::expression::Compiled;
use crate::value::{self, FieldError, Object, Value};

pub(super) use read::{name, read};

/// A declared channel (`channel: desk`).
#[derive(Debug)]
pub struct Channel {
    /// Lower snake case. No model or projection has it.
    pub name: String,
    /// From `doc:`.
    pub doc: Option<String>,
    /// How many there are of it.
    pub each: Each,
    /// The fields that a member says of itself. `None`: nobody sees who is there.
    pub presence: Option<IndexMap<String, Field>>,
    /// The fields of the payload of each event. `None`: any event, any JSON object.
    pub messages: Option<IndexMap<String, IndexMap<String, Field>>>,
    /// `allow: join:`. `None`: nobody joins without the permission.
    pub join: Option<Compiled>,
    /// `allow: send:`. `None`: nobody sends without the permission.
    pub send: Option<Compiled>,
}

/// How many channels there are of one declaration.
#[derive(Debug, Clone, PartialEq)]
pub enum Each {
    /// One.
    Single,
    /// One for each aggregate of this model (`of:`); the rules name `state` and `id`.
    Aggregate(String),
    /// One for each value of this type (`key:`); the rules name `key`.
    Key(Box<Field>),
}

impl Channel {
    /// The key that a text gives, held against all constraints. Errors: what is wrong with it.
    pub fn key(field: &Field, text: &str) -> Result<Value, Vec<FieldError>> {
        let invalid = |detail: String| FieldError {
            pointer: "/key".to_owned(),
            code: "invalid_value".into(),
            detail: format!("`key`: {detail}."),
        };
        let value = Value::from_text(&field.ty, text).map_err(|detail| vec![invalid(detail)])?;
        let mut errors = Vec::new();
        value.conform(field, "/key", &mut errors).ok_or(errors)
    }

    /// What a member says of itself, typed.
    pub fn state(fields: &IndexMap<String, Field>, json: &Json) -> Result<Object, Vec<FieldError>> {
        value::object_from_json(fields, json, false)
    }

    /// The payload of an event, typed; a JSON object as it is, if the channel declares no messages. Errors: there is no such
    /// event, or every fault of the payload.
    pub fn payload(&self, event: &str, json: &Json) -> Result<Json, Vec<FieldError>> {
        let error = |pointer: &str, code: &'static str, detail: String| FieldError {
            pointer: pointer.to_owned(),
            code: code.into(),
            detail,
        };
        let Some(messages) = &self.messages else {
            let is_name = super::is_name(event);
            return match json.is_object() {
                true if is_name => Ok(json.clone()),
                true => {
                    let detail = "An event is named by lower-case letters, digits and `_`, at most 48, a letter first.";
                    Err(vec![error("/event", "invalid_value", detail.to_owned())])
                }
                false => {
                    Err(vec![error("/payload", "wrong_type", "The payload is a JSON object.".to_owned())])
                }
            };
        };
        let Some(fields) = messages.get(event) else {
            let known: Vec<_> = messages.keys().map(|name| format!("`{name}`")).collect();
            let detail =
                format!("The channel `{}` has no such event. There are: {}.", self.name, known.join(", "));
            return Err(vec![error("/event", "unknown_event", detail)]);
        };
        let typed = value::object_from_json(fields, json, false).map_err(|errors| {
            let below =
                |error: FieldError| FieldError { pointer: format!("/payload{}", error.pointer), ..error };
            errors.into_iter().map(below).collect::<Vec<_>>()
        })?;
        Ok(value::object_to_json(&typed))
    }

    /// The model that its `of` names.
    pub fn model(&self) -> Option<&str> {
        match &self.each {
            Each::Aggregate(model) => Some(model),
            Each::Single | Each::Key(_) => None,
        }
    }
}

/// Whether a channel can be told apart by values of this type.
fn can_be_key(ty: &Type) -> bool {
    !matches!(ty, Type::List { .. } | Type::Object(_) | Type::Json)
}
