//! The records in Kafka: what a command, an answer and an event look like on the wire. Routing, de-duplication and codec only.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use writ_model::decide::Actor;
use writ_model::react::Happened;
use writ_model::value::stored_to_json;
use writ_model::{Model, Position, Rejection, Timestamp};

/// Header names, each declared once. CloudEvents 1.0 Kafka binding, binary mode, plus ours.
pub mod header {
    /// CloudEvents spec version: `1.0`.
    pub const SPECVERSION: &str = "ce_specversion";
    /// Event id.
    pub const ID: &str = "ce_id";
    /// `<app>.<model>.<Event>`.
    pub const TYPE: &str = "ce_type";
    /// `/<app>/<model>`.
    pub const SOURCE: &str = "ce_source";
    /// Aggregate id.
    pub const SUBJECT: &str = "ce_subject";
    /// RFC 3339.
    pub const TIME: &str = "ce_time";
    /// Registry URL of the schema.
    pub const DATASCHEMA: &str = "ce_dataschema";
    /// Aggregate version after the event, decimal.
    pub const VERSION: &str = "ce_version";
    /// Account id; absent when anonymous.
    pub const ACTOR: &str = "ce_actor";
    /// The first command of the chain.
    pub const CORRELATION_ID: &str = "ce_correlationid";
    /// The command that caused the event.
    pub const CAUSATION_ID: &str = "ce_causationid";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// `application/avro`.
    pub const CONTENT_TYPE: &str = "content-type";
    /// On a command: where the answer goes, see [`ReplyTo`](super::ReplyTo). On an answer: the request it is for.
    pub const REPLY_TO: &str = "writ_reply_to";
    /// On a record of `writ.commands`: it is no command but a step of a reservation, which deciders send each other.
    pub const STEP: &str = "writ_step";
    /// On internal records of a transaction: its transactional id, so that a successor can end what was left open.
    pub const WRITER: &str = "writ_writer";
    /// On a dead letter: `topic:partition:offset` of the original record. The first of the headers that are not the
    /// original's own.
    pub const ORIGIN: &str = "writ_origin";
    /// On a dead letter: why the record could not be used.
    pub const REASON: &str = "writ_reason";
    /// On a dead letter: JSON, what was being done and by whom, see [`Context`](crate::dead_letter::Context).
    pub const CONTEXT: &str = "writ_context";
    /// On a dead letter: the original's key. Absent when that was null.
    pub const KEY: &str = "writ_key";
    /// On a dead letter: when the original was written, milliseconds.
    pub const TIMESTAMP: &str = "writ_timestamp";
    /// On a dead letter: bytes of an original that is too large to be kept in it.
    pub const LEFT_OUT: &str = "writ_left_out";
    /// In the topic of the dead letters, on a record that is none: what became of the letter with its key.
    pub const STATE: &str = "writ_state";
    /// On a record that was sent again: the dead letter that it comes from.
    pub const DEAD_LETTER: &str = "writ_dead_letter";
}

/// First byte of a value in Confluent framing: the only version there is.
const MAGIC: u8 = 0;

/// Begins the value of an event: the frame that every Confluent-compatible consumer expects before the Avro datum.
pub fn frame(schema_id: u32) -> Vec<u8> {
    let mut value = vec![MAGIC];
    value.extend_from_slice(&schema_id.to_be_bytes());
    value
}

/// The schema id and the datum in the value of an event; `None` when it isn't framed.
pub fn unframe(value: &[u8]) -> Option<(u32, &[u8])> {
    let (magic, rest) = value.split_first()?;
    let (id, datum) = rest.split_first_chunk::<4>()?;
    (*magic == MAGIC).then(|| (u32::from_be_bytes(*id), datum))
}

/// One record of `writ.commands`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandRecord {
    /// Command id: fixed by the idempotency key where there is one.
    pub id: Uuid,
    /// Model name.
    pub model: String,
    /// Aggregate id.
    pub aggregate: Uuid,
    /// Command name.
    pub command: String,
    /// The JSON body.
    pub input: serde_json::Value,
    /// Who sends it.
    pub actor: Actor,
    /// `If-Match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<u64>,
    /// When the api took it, milliseconds.
    pub at: i64,
    /// An idempotency key was given: the outcome is kept, a repeat gets it again.
    #[serde(default)]
    pub idempotent: bool,
    /// The chain that it belongs to.
    pub correlation: Uuid,
    /// The event that caused it, for reactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation: Option<Uuid>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Of a reaction's command to whose refusal something follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reacting: Option<Box<Reacting>>,
}

/// The reaction that sent a command, and to what: if the command is refused, the decider works out what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reacting {
    /// The model that declares the reaction.
    pub model: String,
    /// Its name there.
    pub reaction: String,
    /// The number of the item that it was for, from 0.
    pub item: usize,
    /// The event's name.
    pub event: String,
    /// The event's id.
    pub event_id: Uuid,
    /// Whose event it is.
    pub aggregate: Uuid,
    /// The aggregate's version after it.
    pub version: u64,
    /// When it happened, milliseconds.
    pub at: i64,
    /// Who caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Uuid>,
    /// What it records, as it is stored.
    pub data: serde_json::Value,
    /// The state after it, as it is stored; only where the reaction asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<serde_json::Value>,
}

impl Reacting {
    /// As a reaction of `model` met it.
    pub fn new(model: &Model, reaction: &str, item: usize, happened: &Happened<'_>) -> Option<Reacting> {
        let event = model.events.get(happened.event)?;
        Some(Reacting {
            model: model.name.clone(),
            reaction: reaction.to_owned(),
            item,
            event: happened.event.to_owned(),
            event_id: happened.event_id,
            aggregate: happened.aggregate,
            version: happened.version,
            at: happened.at.0,
            actor: happened.actor,
            data: stored_to_json(&event.fields, happened.data),
            state: happened.state.map(|state| state.to_json(model)),
        })
    }
}

impl CommandRecord {
    /// `model/id`: the key of the record, and of the aggregate's state in `writ.state`.
    pub fn key(&self) -> String {
        aggregate_key(&self.model, self.aggregate)
    }

    /// The time as the model's type.
    pub fn time(&self) -> Timestamp {
        Timestamp(self.at)
    }
}

/// The key under which an aggregate's commands and state stand: `model/id`.
pub fn aggregate_key(model: &str, id: Uuid) -> String {
    format!("{model}/{id}")
}

/// The address of an answer: which api instance waits, on which partition of `writ.replies` it listens, and which of
/// its requests it is. As text `instance/partition/request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    /// The api instance.
    pub instance: Uuid,
    /// Its partition of `writ.replies`.
    pub partition: i32,
    /// The request; two repeats of one command are two requests.
    pub request: Uuid,
}

impl fmt::Display for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.instance, self.partition, self.request)
    }
}

impl ReplyTo {
    /// Reads what `Display` writes; `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<ReplyTo> {
        let mut parts = std::str::from_utf8(text).ok()?.split('/');
        let address = ReplyTo {
            instance: parts.next()?.parse().ok()?,
            partition: parts.next()?.parse().ok()?,
            request: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(address)
    }
}

/// What became of a command: the same, however often it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An event was committed.
    Committed(Committed),
    /// Nothing was written.
    Rejected(Rejection),
}

/// The answer to an accepted command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Committed {
    /// Aggregate id.
    pub id: Uuid,
    /// Version after the event.
    pub version: u64,
    /// The state after the event; null after a delete.
    pub state: serde_json::Value,
    /// The events, as the API shows them.
    pub events: Vec<EventSummary>,
    /// Where the last event stands.
    pub position: Position,
    /// The command began the aggregate (201).
    pub created: bool,
}

/// An event as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventSummary {
    /// Event id.
    pub id: Uuid,
    /// `<app>.<model>.<Event>`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Aggregate version after it.
    pub version: u64,
    /// RFC 3339.
    pub time: String,
    /// Recorded fields.
    pub data: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_address_survives_its_text() {
        let address = ReplyTo { instance: Uuid::now_v7(), partition: 3, request: Uuid::now_v7() };
        assert_eq!(ReplyTo::parse(address.to_string().as_bytes()), Some(address));
    }

    #[test]
    fn a_frame_is_taken_off_again_and_nothing_else_is() {
        let mut value = frame(0x0102_0304);
        assert_eq!(value, [0, 1, 2, 3, 4]);
        value.push(9);
        assert_eq!(unframe(&value), Some((0x0102_0304, [9].as_slice())));
        assert_eq!(unframe(&value[..4]), None);
        assert_eq!(unframe(&[1, 1, 2, 3, 4, 9]), None);
    }

    #[test]
    fn garbage_is_no_reply_address() {
        for garbage in ["", "a/b/c", "///", &format!("{}/1/{}/x", Uuid::nil(), Uuid::nil())] {
            assert_eq!(ReplyTo::parse(garbage.as_bytes()), None, "{garbage}");
        }
        assert_eq!(ReplyTo::parse(&[0xff, 0xfe]), None);
    }
}
