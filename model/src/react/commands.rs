//! The command of a firing, with an input that the command is known to take.

use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::case::{Case, Names};
use super::{Planned, ReactError, ids};
use crate::declaration::{Command, Model, Sending};
use crate::value::{FieldError, Object, Value, nests_too_deeply};

impl Case<'_> {
    /// The command with the id `id` that `send` gives. `None`: `to` is null. `place` is the key that `send` stands in.
    pub(super) fn planned(
        &self,
        place: &str,
        send: &Sending,
        names: &Names<'_>,
        id: Uuid,
    ) -> Result<Option<Planned>, ReactError> {
        let called = || format!("{}.{}", send.model, send.command);
        let model = self.models.get(&send.model).ok_or_else(|| gone(&called()))?;
        let command = model.commands.get(&send.command).ok_or_else(|| gone(&called()))?;
        let to = match &send.to {
            None => None,
            Some(to) => match self.evaluate(&key(place, "to"), to, names)? {
                Value::Uuid(id) => Some(id),
                _ => return Ok(None),
            },
        };
        let mut input = Map::new();
        for (name, value) in &send.input {
            let value = self.evaluate(&key(place, &format!("input.{name}")), value, names)?;
            input.insert(name.clone(), value.to_json());
        }
        let input = Json::Object(input);
        let parsed =
            parse(command, &input).map_err(|errors| ReactError::Input { command: called(), errors })?;
        let aggregate = match to {
            Some(to) => to,
            None if command.creates => {
                new_id(model, &parsed, id).ok_or_else(|| ReactError::Key { command: called() })?
            }
            None => self.happened.aggregate,
        };
        let (model, command) = (send.model.clone(), send.command.clone());
        Ok(Some(Planned { model, command, aggregate, input }))
    }
}

fn key(place: &str, part: &str) -> String {
    if place == "command" { part.to_owned() } else { format!("{place}.{part}") }
}

fn gone(command: &str) -> ReactError {
    ReactError::Changed { what: format!("there is no command `{command}`") }
}

/// Types the input as the decider will. What it refuses is refused here, where it is known whose fault it is.
fn parse(command: &Command, input: &Json) -> Result<Object, Vec<FieldError>> {
    if nests_too_deeply(input) {
        let detail = "too many lists and objects inside each other".to_owned();
        return Err(vec![FieldError { pointer: String::new(), code: "too_long".to_owned(), detail }]);
    }
    command.parse_sealed_input(input)
}

/// The id of what the command creates. `None`: its key is none, such as an empty text.
fn new_id(model: &Model, input: &Object, command: Uuid) -> Option<Uuid> {
    match &model.key {
        Some(key) => model.id_of_key_value(input.get(key)?),
        None => Some(ids::created(command)),
    }
}
