//! The names that the expressions of one reaction may use, and their compilation.

use indexmap::IndexMap;

use super::super::report::Report;
use super::super::yaml::Node;
use super::super::{Field, Model, Type, expressions};
use crate::expression::tree::{self, Typed};
use crate::expression::types::{Slot, Ty};
use crate::expression::{Compiled, Env, Expected, Fault, Given};

/// What stands before the name of a recorded field.
const EVENT: &str = "event";

const COMMON: &str = "it has what all of the events in `on` record, with one type";

const NO_EVENT: &str = "a reaction by time has no event and no aggregate, so it sees `now` only";

/// Names that mean something in a reaction, so that an item can't have them.
pub(super) const TAKEN: &[&str] =
    &[EVENT, "state", "id", "version", "now", "actor", "error", "input", "in", "true", "false", "null"];

/// The reaction that is being read.
pub(super) struct Context<'a> {
    pub(super) model: &'a Model,
    /// What all of its events record. `None`: it has no event.
    pub(super) event: Option<IndexMap<String, Field>>,
    /// Why that may be less than one expects.
    lacks: Option<&'static str>,
    /// The names beside those: `version`, the item of `for_each`, and in `on_rejected` `error`; outermost first.
    pub(super) names: Vec<(String, Slot)>,
    /// The declared type of the items of `for_each`, as far as there is one.
    pub(super) item: Option<Type>,
    /// Whether an expression has named `state` so far.
    pub(super) uses_state: bool,
}

impl<'a> Context<'a> {
    /// The names of a reaction to these events of the model; `None`: to the time.
    pub(super) fn new(model: &'a Model, events: Option<&[String]>) -> Self {
        let event = events.map(|events| recorded(model, events));
        let version = ("version".to_owned(), Slot::of(Ty::Integer));
        let names = if event.is_some() { vec![version] } else { Vec::new() };
        let lacks = events.is_some_and(|events| events.len() > 1).then_some(COMMON);
        Context { model, event, lacks, names, item: None, uses_state: false }
    }

    /// Names an item, or in `on_rejected` the error.
    pub(super) fn name(&mut self, name: &str, slot: Slot) {
        self.names.push((name.to_owned(), slot));
    }

    /// `error.code` and `error.detail`.
    pub(super) fn error() -> Slot {
        let part = |name: &str| (name.to_owned(), Slot::of(Ty::Text));
        Slot::of(Ty::Object(["code", "detail"].map(part).into_iter().collect()))
    }

    /// Compiles the expression at `node`. `None`: it can't be, and that is reported.
    pub(super) fn compile(
        &mut self,
        report: &mut Report<'_>,
        node: &Node,
        expected: Expected<'_>,
    ) -> Option<Compiled> {
        let has_event = self.event.is_some();
        let state = has_event.then_some(&self.model.fields);
        let env = Env { input: self.event.as_ref(), state, channel: None };
        let given = Given {
            input: EVENT,
            lacks: self.lacks,
            absent: (!has_event).then_some(NO_EVENT),
            names: &self.names,
        };
        let compiled = expressions::compile_given(report, node, env, given, expected)?;
        let mut faults = Vec::new();
        refuse(compiled.root(), has_event, &mut faults);
        let result = if faults.is_empty() { Ok(compiled) } else { Err(faults) };
        let compiled = expressions::report(report, node, result)?;
        self.uses_state |= compiled.root().any(&|node| matches!(node, tree::Node::State(_)));
        Some(compiled)
    }
}

/// The fields that all of the events record, of one type: null where one of them may be null.
fn recorded(model: &Model, events: &[String]) -> IndexMap<String, Field> {
    let mut events = events.iter().filter_map(|name| model.events.get(name));
    let mut fields = events.next().map(|event| event.fields.clone()).unwrap_or_default();
    for event in events {
        fields.retain(|name, field| match event.fields.get(name) {
            Some(other) if other.ty == field.ty => {
                field.optional |= other.optional;
                field.secret |= other.secret;
                true
            }
            _ => false,
        });
    }
    fields
}

/// A fault for every name that only commands and queries have.
fn refuse(typed: &Typed, has_event: bool, faults: &mut Vec<Fault>) {
    let fault = match &typed.node {
        tree::Node::Role(_) | tree::Node::ActorRoles => Some((
            "an event says who caused it, but not which roles they had",
            "ask for `actor.id`, or let the command record what is asked here",
        )),
        tree::Node::Id | tree::Node::ActorId if !has_event => {
            Some((NO_EVENT, "a queue's worker or a command can look up the rest"))
        }
        _ => None,
    };
    if let Some((message, hint)) = fault {
        let (message, hint) = (message.to_owned(), Some(hint.to_owned()));
        faults.push(Fault { span: typed.span.clone(), message, hint });
    }
    typed.each_part(&mut |part| refuse(part, has_event, faults));
}
