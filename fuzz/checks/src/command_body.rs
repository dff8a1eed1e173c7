//! Commands: bodies taken through everything that happens to them in `writ-model` between HTTP and PostgreSQL.

use std::collections::HashMap;

use apache_avro::reader::datum::GenericDatumReader;
use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_model::decide::{Actor, Request};
use writ_model::{Event, Model, Object, State, Timestamp, decide, evolve, value};

use crate::models::MODELS;

/// Commands of one input.
const MOST_LINES: usize = 16;
/// The time of the first command; each later one is a second after the one before it.
const FIRST: i64 = 1_767_225_600_000;

/// Lines: a path, a blank, and the body of that request, such as `/order/ALFKI/pay {}`. They act on one another.
pub fn command_body(data: &[u8]) {
    let mut states = HashMap::new();
    for (at, line) in (FIRST..).step_by(1000).zip(data.split(|byte| *byte == b'\n').take(MOST_LINES)) {
        if let Some((model, id, command, body)) = read(line) {
            run(&mut states, model, id, command, &body, Timestamp(at));
        }
    }
}

/// The model, the aggregate, the command and the body, as the api finds them.
fn read(line: &[u8]) -> Option<(&'static Model, Uuid, &str, Json)> {
    let line = line.strip_prefix(b"/")?;
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (path, body) = line.split_at(end);
    let body = if body.trim_ascii().is_empty() { json!({}) } else { serde_json::from_slice(body).ok()? };
    if value::nests_too_deeply(&body) {
        return None;
    }
    let parts: Vec<&str> = std::str::from_utf8(path).ok()?.split('/').collect();
    let model = MODELS.get(parts[0])?;
    let name = parts.last()?;
    let command = model.commands.get(*name)?;
    let id = match parts.as_slice() {
        [_, id, _] if !command.creates => model.parse_id(id)?,
        [_, _] if command.creates => {
            let input = command.parse_input(&body).ok()?;
            input.get(model.key.as_ref()?).and_then(|key| model.id_of_key_value(key)).unwrap_or_default()
        }
        _ => return None,
    };
    Some((model, id, name, body))
}

/// The decision, and what follows from it.
fn run(
    states: &mut HashMap<(String, Uuid), State>,
    model: &Model,
    id: Uuid,
    command: &str,
    input: &Json,
    now: Timestamp,
) {
    let key = (model.name.clone(), id);
    let before = states.get(&key);
    let actor = Actor::unrestricted();
    let request = Request { id, command, input, expected_version: None, now, actor: &actor };
    let outcome = decide(model, before, &request);
    assert_eq!(outcome, decide(model, before, &request), "a decision can be repeated");
    match outcome {
        Err(rejection) => {
            let text = serde_json::to_string(&rejection).expect("a rejection is JSON");
            assert_eq!(serde_json::from_str(&text).ok(), Some(rejection));
        }
        Ok(decision) => {
            let event = &model.events[&decision.event];
            check_encoding(event, &decision.fields);
            let state = evolve(model, before.cloned(), event, &decision.fields, now);
            check_state(model, &state);
            check_answer(&state, &decision.fields);
            states.insert(key, state);
        }
    }
}

/// The event's datum is read as it was written: by us, and by any reader with the registered schema.
fn check_encoding(event: &Event, fields: &Object) {
    let mut datum = Vec::new();
    event.codec.encode(fields, &mut datum).expect("a decision can be encoded");
    let read = event.codec.decode(&event.codec.schema, &datum).expect("what was encoded can be decoded");
    assert_eq!(&read, fields);
    let mut rest = datum.as_slice();
    let reader = GenericDatumReader::builder(&event.codec.schema).build().expect("a schema of ours");
    reader.read_value(&mut rest).expect("other readers can read it");
    assert!(rest.is_empty(), "other readers read it to its end");
}

/// The state survives its text, and so do the values that no two aggregates share.
fn check_state(model: &Model, state: &State) {
    let json = serde_json::from_str(&state.to_json(model).to_string()).expect("a stored state is JSON");
    let read = State::from_json(model, &json).expect("a stored state can be read");
    assert_eq!(&read, state);
    let keys = |state| model.unique_keys(Some(state)).into_iter().map(|(_, key)| key).collect::<Vec<_>>();
    assert_eq!(keys(&read), keys(state));
}

/// The answer survives the topic of the answers, which wraps it in four levels.
fn check_answer(state: &State, fields: &Object) {
    let events = json!([{ "data": value::object_to_json(fields) }]);
    let outcome = json!({ "committed": { "state": state.public_json(), "events": events } });
    let read: Json = serde_json::from_str(&outcome.to_string()).expect("an answer can be read");
    assert_eq!(read, outcome);
}
