//! CEL: parsed by the `cel` crate, typed against the declarations, evaluated exactly.
//!
//! A source passes `parse` (text to the crate's tree, within limits), `check` (that tree to a typed one, or all its
//! faults) and `fit` (the typed tree to the type that its place asks for), once, when the models are loaded;
//! `evaluate` then runs for every command. The user's reference is `docs/expressions.md`.

mod check;
pub(crate) mod convert;
mod evaluate;
mod exact;
mod fit;
pub(crate) mod functions;
mod macros;
mod nobody;
mod operators;
mod parse;
#[cfg(test)]
mod tests;
pub(crate) mod tree;
pub(crate) mod types;

use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;
use uuid::Uuid;

use self::check::Checker;
use self::tree::Typed;
use self::types::Slot;
use crate::decide::Actor;
use crate::declaration::Field;
use crate::value::{Object, Timestamp, Value};

pub(crate) use self::check::CHANNEL_KEY;
pub(crate) use self::evaluate::MAX_STEPS;

/// The names that an expression may use.
#[derive(Debug, Clone, Copy)]
pub struct Env<'a> {
    /// `input.*`: the command's input.
    pub input: Option<&'a IndexMap<String, Field>>,
    /// `state.*`: the aggregate's state before the command. `None`: the command creates, there is no state.
    pub state: Option<&'a IndexMap<String, Field>>,
    /// The expression is a rule of a channel, and no command's.
    pub channel: Option<OfChannel<'a>>,
}

/// What a rule of a channel may name beside the aggregate that it is of.
#[derive(Debug, Clone, Copy)]
pub struct OfChannel<'a> {
    /// `key`: the value of `input` of this name, when it is evaluated.
    pub key: Option<&'a Field>,
}

/// The names of expressions that aren't a command's, in place of and beside those of [`Env`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    /// What [`Env::input`] is called.
    pub(crate) input: &'static str,
    /// Why [`Env::input`] may lack a field, if that isn't plain.
    pub(crate) lacks: Option<&'static str>,
    /// What to say of a name of [`Env`] that isn't there. `None`: what is said of commands.
    pub(crate) absent: Option<&'static str>,
    /// Further names and their types. [`Compiled::evaluate_given`] takes their values in the same order.
    pub(crate) names: &'a [(String, Slot)],
}

impl Given<'_> {
    /// A command's expression.
    const COMMAND: Given<'static> = Given { input: "input", lacks: None, absent: None, names: &[] };
}

/// The type that the place of an expression asks for.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// Any value, also null.
    Any,
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

/// A typed expression, compiled once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// As written.
    pub source: String,
    root: Arc<Typed>,
    nullable: bool,
}

impl Compiled {
    /// Parses and types `source`. Errors: every fault of it, in the order of the text.
    pub fn compile(source: &str, env: Env<'_>, expected: Expected<'_>) -> Result<Compiled, Vec<Fault>> {
        Compiled::compile_given(source, env, Given::COMMAND, expected)
    }

    /// The same with other names.
    pub(crate) fn compile_given(
        source: &str,
        env: Env<'_>,
        given: Given<'_>,
        expected: Expected<'_>,
    ) -> Result<Compiled, Vec<Fault>> {
        let root = parse::with_deep_stack(|| {
            let parsed = parse::parse(source)?;
            let mut checker = Checker::new(&parsed, env, given);
            let root = checker.check(&parsed.root);
            let root = checker.fit(root, expected);
            let mut faults = checker.faults;
            nobody::check(&root, &mut faults);
            faults.sort_by_key(|fault| (fault.span.start, fault.span.end));
            if faults.is_empty() { Ok(root) } else { Err(faults) }
        })?;
        let nullable = match expected {
            Expected::Any => true,
            Expected::Boolean => false,
            Expected::Field(field) => field.optional,
        };
        Ok(Compiled { source: source.to_owned(), root: Arc::new(root), nullable })
    }

    /// Evaluates. The result fits the type that [`Compiled::compile`] was asked for, constraints of the field not included.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        self.evaluate_given(scope, &[])
    }

    /// The same with the values of [`Given::names`].
    pub(crate) fn evaluate_given(&self, scope: &Scope<'_>, names: &[&Value]) -> Result<Value, EvalError> {
        evaluate::evaluate(&self.root, &self.source, scope, names, self.nullable)
            .map_err(|detail| EvalError { source_text: self.source.clone(), detail })
    }

    /// The typed tree, for what reads a rule without evaluating it ([`crate::access`]).
    pub(crate) fn root(&self) -> &Typed {
        &self.root
    }

    /// Evaluates a part of the tree as [`Compiled::evaluate`] would on its way, null being a value, with a cost limit of
    /// its own. Also the steps that it took.
    pub(crate) fn evaluate_part(&self, part: &Typed, scope: &Scope<'_>) -> (Result<Value, EvalError>, u64) {
        let (result, steps) = evaluate::evaluate_counting(part, &self.source, scope, true);
        (result.map_err(|detail| EvalError { source_text: self.source.clone(), detail }), steps)
    }
}
