//! The fold: an event's recorded fields merged into the state. Evaluates nothing (DESIGN section 3, 'Events hold facts').

use crate::declaration::{Event, Model};
use crate::value::{Object, Timestamp};

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
    /// The JSON form that `writ.state` keeps, with all members.
    pub fn to_json(&self) -> serde_json::Value {
        todo!()
    }
    /// The fields as the API shows them.
    pub fn public_json(&self) -> serde_json::Value {
        todo!()
    }
    /// Reads what [`State::to_json`] wrote, by today's declaration: new optional fields are null, removed ones dropped.
    pub fn from_json(model: &Model, json: &serde_json::Value) -> Result<State, String> {
        let _ = (model, json);
        todo!()
    }
}

/// Merges one event.
pub fn evolve(model: &Model, state: Option<State>, event: &Event, fields: &Object, at: Timestamp) -> State {
    let _ = (model, state, event, fields, at);
    todo!()
}
