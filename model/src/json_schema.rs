//! JSON Schema (2020-12) of inputs, states and the model language itself.

use crate::declaration::{Command, Event, Model};

/// The body of a command.
pub fn of_input(command: &Command) -> serde_json::Value {
    let _ = command;
    todo!()
}
/// The `state` of an answer.
pub fn of_state(model: &Model) -> serde_json::Value {
    let _ = model;
    todo!()
}
/// The recorded fields of an event.
pub fn of_event(event: &Event) -> serde_json::Value {
    let _ = event;
    todo!()
}
/// The model language, for editors (`writ check --schema`).
pub fn of_language() -> serde_json::Value {
    todo!()
}
