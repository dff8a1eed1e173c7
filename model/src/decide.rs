//! The decision: a pure function from a command and a state to an event or a rejection.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::declaration::Model;
use crate::evolve::State;
use crate::value::{FieldError, Object, Timestamp};

/// Who sends a command. Anonymous until the identity part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The account.
    pub id: Option<Uuid>,
    /// Names of roles.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// What a decision may depend on beside model and state.
#[derive(Debug)]
pub struct Request<'a> {
    /// The aggregate.
    pub id: Uuid,
    /// The command's name.
    pub command: &'a str,
    /// The JSON body, not yet checked.
    pub input: &'a serde_json::Value,
    /// `If-Match`: the version that the caller saw.
    pub expected_version: Option<u64>,
    /// The command's time.
    pub now: Timestamp,
    /// Who sends it.
    pub actor: &'a Actor,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Declared event name.
    pub event: String,
    /// Every recorded field.
    pub fields: Object,
}

/// Why nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Rejection {
    /// No such command in the model.
    UnknownCommand { command: String },
    /// The input is not what the command takes.
    Invalid { errors: Vec<FieldError> },
    /// The aggregate doesn't exist, or was deleted.
    NotFound,
    /// A creating command on an aggregate that exists.
    AlreadyExists { version: u64 },
    /// `If-Match` names another version.
    VersionMismatch { expected: u64, actual: u64 },
    /// The state machine doesn't allow it.
    WrongState { field: String, actual: String, allowed: Vec<String> },
    /// A `require` doesn't hold.
    GuardFailed { detail: String },
    /// An expression couldn't be evaluated: overflow, a null, too costly.
    Failed { detail: String },
    /// The same idempotency key with another body.
    KeyReused,
}

/// Decides. Pure: equal arguments, equal result.
pub fn decide(model: &Model, state: Option<&State>, request: &Request<'_>) -> Result<Decision, Rejection> {
    let _ = (model, state, request);
    todo!()
}
