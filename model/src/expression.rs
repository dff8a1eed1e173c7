//! CEL: parsed by the `cel` crate, typed against the declarations, evaluated exactly.

use std::ops::Range;

use indexmap::IndexMap;
use uuid::Uuid;

use crate::decide::Actor;
use crate::declaration::{Field, Type};
use crate::value::{Object, Timestamp, Value};

/// The names that an expression may use.
#[derive(Debug, Clone, Copy)]
pub struct Env<'a> {
    /// `input.*`: the command's input.
    pub input: Option<&'a IndexMap<String, Field>>,
    /// `state.*`: the aggregate's state before the command. `None`: the command creates, there is no state.
    pub state: Option<&'a IndexMap<String, Field>>,
}

/// The type that the place of an expression asks for.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// A condition.
    Boolean,
    /// The value of a field; null only if it is optional.
    Field(&'a Field),
}

/// The values of the names.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The aggregate's id (`id`).
    pub id: Uuid,
    /// `input.*`.
    pub input: &'a Object,
    /// `state.*`.
    pub state: Option<&'a Object>,
    /// `now`.
    pub now: Timestamp,
    /// `actor.id`, `role(name)`.
    pub actor: &'a Actor,
}

/// A fault of an expression's text or types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Byte range in the expression's source.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// Why an evaluation has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} in `{source_text}`")]
pub struct EvalError {
    /// The expression.
    pub source_text: String,
    /// What went wrong: division by zero, overflow, null, cost limit.
    pub detail: String,
}

/// A typed expression, compiled once.
#[derive(Debug)]
pub struct Compiled {
    /// As written.
    pub source: String,
}

impl Compiled {
    /// Parses and types `source`.
    pub fn compile(source: &str, env: Env<'_>, expected: Expected<'_>) -> Result<Compiled, Vec<Fault>> {
        let _ = (source, env, expected);
        todo!()
    }

    /// Evaluates. The result fits the type that [`Compiled::compile`] was asked for, constraints of the field not included.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        let _ = scope;
        todo!()
    }
}

/// Names of the types, for messages.
pub fn type_name(ty: &Type) -> &'static str {
    let _ = ty;
    todo!()
}
