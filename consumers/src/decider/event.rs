//! The event of a decision: its record as it will stand in Kafka, and what its command's caller will read.

use rdkafka::message::{Header, OwnedHeaders};
use uuid::Uuid;
use writ_model::access::{Visible, visible};
use writ_model::{Decision, Model, Object, Rejection, State, Timestamp, evolve, value};
use writ_producers::envelope::{CommandRecord, EventSummary, frame, header};
use writ_producers::limits::check_decision;
use writ_producers::registry::SchemaIds;
use writ_producers::topics::Topics;

/// An event record, and the answer to its command but for the position.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) topic: String,
    pub(super) model: String,
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) headers: OwnedHeaders,
    pub(super) summary: EventSummary,
    pub(super) aggregate: Uuid,
    pub(super) state: serde_json::Value,
    pub(super) created: bool,
    /// What it and all that follows from it take in the transaction.
    pub(super) bytes: usize,
}

impl Event {
    /// The event of `decision` on `state`, and the state after it. Errors: a value that its schema can't hold, or one of
    /// both is larger than Kafka takes.
    pub(super) fn of(
        (topics, schemas): (&Topics, &SchemaIds),
        model: &Model,
        command: &CommandRecord,
        state: Option<State>,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(Event, State), Rejection> {
        let event = model.events.get(&decision.event).expect("a decision names an event of its model");
        let schema = schemas.id(&event.type_name).expect("every event type is registered before deciding");
        let mut value = frame(schema);
        event
            .codec
            .encode(&decision.fields, &mut value)
            .map_err(|error| Rejection::Failed { detail: error.to_string() })?;
        let state = evolve(model, state, event, &decision.fields, now);
        let recorded = value::object_to_json(&decision.fields);
        let bytes = check_decision(&value, &recorded, &state.to_json(model))
            .map_err(|error| Rejection::Failed { detail: error.to_string() })?;
        let caller = Caller::of(model, event, command, &state, now);
        let summary = EventSummary {
            // One event per command, so its id can be derived from the command's: a decision can be repeated exactly.
            id: Uuid::new_v5(&command.id, command.aggregate.as_bytes()),
            type_name: event.type_name.clone(),
            version: state.version,
            time: now.to_string(),
            data: caller.reads(&decision.fields),
        };
        let public_state = if state.deleted { serde_json::Value::Null } else { caller.reads(&state.fields) };
        let event = Event {
            topic: topics.events(&model.name),
            model: model.name.clone(),
            key: command.aggregate.to_string(),
            value,
            headers: headers(command, &summary, &model.app, &schemas.url(schema)),
            summary,
            aggregate: command.aggregate,
            state: public_state,
            created: event.creates,
            bytes,
        };
        Ok((event, state))
    }
}

/// Who sent a command, as far as the answer shows them what came of it. Who may send a command need not be one who may read.
struct Caller<'a> {
    visible: Visible,
    may_read: bool,
    event: &'a writ_model::Event,
}

impl<'a> Caller<'a> {
    fn of(
        model: &Model,
        event: &'a writ_model::Event,
        command: &CommandRecord,
        state: &State,
        now: Timestamp,
    ) -> Caller<'a> {
        let visible = visible(model, &command.actor, now);
        Caller { may_read: visible.rows.holds(command.aggregate, &state.fields), visible, event }
    }

    /// What is left of the fields of the state or of the event.
    fn reads(&self, fields: &Object) -> serde_json::Value {
        let is_secret = |name: &str| self.event.fields.get(name).is_some_and(|field| field.secret);
        let seen = |name: &str| self.may_read && self.visible.shows(name) && !is_secret(name);
        let seen = fields.iter().filter(|(name, _)| seen(name));
        serde_json::Value::Object(seen.map(|(name, value)| (name.clone(), value.to_json())).collect())
    }
}

fn headers(command: &CommandRecord, event: &EventSummary, app: &str, dataschema: &str) -> OwnedHeaders {
    let subject = command.aggregate.to_string();
    let always = [
        (header::SPECVERSION, "1.0"),
        (header::ID, &event.id.to_string()),
        (header::TYPE, &event.type_name),
        (header::SOURCE, &format!("/{app}/{}", command.model)),
        (header::SUBJECT, &subject),
        (header::TIME, &event.time),
        (header::DATASCHEMA, dataschema),
        (header::CONTENT_TYPE, "application/avro"),
        (header::VERSION, &event.version.to_string()),
        (header::CORRELATION_ID, &command.correlation.to_string()),
        (header::CAUSATION_ID, &command.causation.unwrap_or(command.id).to_string()),
    ];
    let actor = command.actor.id.map(|actor| actor.to_string());
    let sometimes =
        [(header::ACTOR, actor.as_deref()), (header::TRACEPARENT, command.traceparent.as_deref())];
    let mut headers = OwnedHeaders::new_with_capacity(always.len() + sometimes.len());
    for (key, value) in always {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    for (key, value) in sometimes {
        if value.is_some() {
            headers = headers.insert(Header { key, value });
        }
    }
    headers
}
