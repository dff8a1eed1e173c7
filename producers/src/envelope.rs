//! The records in Kafka: what a command, an answer and an event look like on the wire. Routing, de-duplication and codec only.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use writ_model::decide::Actor;
use writ_model::{Position, Rejection, Timestamp};

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
}

impl CommandRecord {
    /// The time as the model's type.
    pub fn time(&self) -> Timestamp {
        Timestamp(self.at)
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
