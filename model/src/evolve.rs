//! The fold: an event's recorded fields merged into the state. Evaluates nothing (DESIGN section 3, 'Events hold facts').

use serde_json::{Value as Json, json};

use crate::declaration::{Event, Field, Model};
use crate::value::{Object, Timestamp, Value, object_to_json, stored_from_json, stored_to_json};

/// The state of one aggregate after its event number `version`.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Number of events so far: 1, 2, 3 …
    pub version: u64,
    /// Ended by a deleting event; version numbers go on if it is created again.
    pub deleted: bool,
    /// Time of the creating event.
    pub created_at: Timestamp,
    /// Time of the last event.
    pub updated_at: Timestamp,
    /// Every declared field; optional ones may be null.
    pub fields: Object,
}

impl State {
    /// The JSON form that `writ.state` keeps, with all members. The times are milliseconds. Fields and their parts have
    /// the names that they have on the wire, so that servers with yesterday's files read it too.
    pub fn to_json(&self, model: &Model) -> Json {
        json!({
            "version": self.version,
            "deleted": self.deleted,
            "created_at": self.created_at.0,
            "updated_at": self.updated_at.0,
            "fields": stored_to_json(&model.fields, &self.fields),
        })
    }

    /// The JSON form that callers see as `state`: the fields alone.
    pub fn public_json(&self) -> Json {
        object_to_json(&self.fields)
    }

    /// Reads what [`State::to_json`] wrote, by today's declaration: new optional fields are null, other new ones their
    /// default, removed ones dropped. Errors: the member and what is wrong with it.
    pub fn from_json(model: &Model, json: &Json) -> Result<State, String> {
        let wrong = |member: &str| format!("the stored state has no proper `{member}`");
        let fields = json.get("fields").ok_or_else(|| wrong("fields"))?;
        let time = |member: &str| {
            json.get(member).and_then(Json::as_i64).map(Timestamp).ok_or_else(|| wrong(member))
        };
        Ok(State {
            version: json.get("version").and_then(Json::as_u64).ok_or_else(|| wrong("version"))?,
            deleted: json.get("deleted").and_then(Json::as_bool).ok_or_else(|| wrong("deleted"))?,
            created_at: time("created_at")?,
            updated_at: time("updated_at")?,
            fields: stored_from_json(&model.fields, fields).map_err(|errors| {
                let faults: Vec<String> =
                    errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
                format!(
                    "the stored state doesn't fit the declaration of {}: {}",
                    model.name,
                    faults.join("; ")
                )
            })?,
        })
    }
}

/// Merges one event. Recorded inputs that are no fields of the state stay in the event only.
pub fn evolve(model: &Model, state: Option<State>, event: &Event, fields: &Object, at: Timestamp) -> State {
    let version = state.as_ref().map_or(0, |state| state.version) + 1;
    let mut state = match state {
        Some(state) if !event.creates => state,
        _ => State { version, deleted: false, created_at: at, updated_at: at, fields: blank(model) },
    };
    state.version = version;
    state.deleted = event.deletes;
    state.updated_at = at;
    for (name, value) in fields {
        if let Some(kept) = state.fields.get_mut(name) {
            kept.clone_from(value);
        }
    }
    state
}

/// The fields before the first event, as [`State::from_json`] would complete them.
fn blank(model: &Model) -> Object {
    let absent = |field: &Field| match &field.default {
        Some(default) if !field.optional => default.clone(),
        _ => Value::Null,
    };
    model.fields.iter().map(|(name, field)| (name.clone(), absent(field))).collect()
}

#[cfg(test)]
mod tests;
