//! The answer before the state is known: a rule evaluated to all outcomes that it may have.

use std::cell::Cell;

use uuid::Uuid;

use super::{Access, Door, READ, door, rule};
use crate::decide::Actor;
use crate::declaration::Model;
use crate::expression::tree::{Comparison, Node, Typed};
use crate::expression::{Compiled, MAX_STEPS, Scope};
use crate::value::{Object, Timestamp, Value};

/// What can be said of a command before its state is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Early {
    /// [`super::may_send`] will allow it, whatever the state is.
    Yes,
    /// [`super::may_send`] will deny it, whatever the state is.
    No,
    /// It depends on what isn't known yet.
    Depends,
}

/// What is known of a command. What is `None` may be anything; what is given has to be what the decider will see.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Who sends it.
    pub actor: &'a Actor,
    /// The aggregate.
    pub id: Option<Uuid>,
    /// The input, as [`crate::decide()`] reads it from the body.
    pub input: Option<&'a Object>,
    /// The command's time.
    pub now: Option<Timestamp>,
}

/// Whether the command may be sent, as far as that can be said now.
pub fn early(model: &Model, command: &str, known: &Known<'_>) -> Early {
    match door(&model.name, known.actor, Access::Command(command)) {
        Door::Open => return Early::Yes,
        Door::Closed => return Early::No,
        Door::ByRule => {}
    }
    let Some(rule) = rule(model, command).filter(|_| command != READ) else { return Early::No };
    of_rule(&rule.that, known)
}

pub(super) fn of_rule(rule: &Compiled, known: &Known<'_>) -> Early {
    let nothing = Object::new();
    let scope = Scope {
        id: known.id.unwrap_or_default(),
        input: known.input.unwrap_or(&nothing),
        state: None,
        now: known.now.unwrap_or(Timestamp(0)),
        actor: known.actor,
    };
    let look = Look { rule, known, scope, steps: Cell::new(0) };
    let outcomes = look.condition(rule.root());
    // Each part has the cost limit for itself here, but all of them share one when the rule is evaluated.
    let fails = outcomes.fails || look.steps.get() > MAX_STEPS;
    match outcomes {
        Outcomes { holds: false, .. } => Early::No,
        Outcomes { fails_to_hold: false, .. } if !fails => Early::Yes,
        _ => Early::Depends,
    }
}

/// How the evaluation of a condition may end. More may be said than can happen, never less.
#[derive(Debug, Clone, Copy)]
struct Outcomes {
    holds: bool,
    fails_to_hold: bool,
    /// Without a value.
    fails: bool,
}

impl Outcomes {
    const TRUE: Outcomes = Outcomes { holds: true, fails_to_hold: false, fails: false };
    const FALSE: Outcomes = Outcomes { holds: false, fails_to_hold: true, fails: false };
    const FAILURE: Outcomes = Outcomes { holds: false, fails_to_hold: false, fails: true };
    const NONE: Outcomes = Outcomes { holds: false, fails_to_hold: false, fails: false };
    const EITHER: Outcomes = Outcomes { holds: true, fails_to_hold: true, fails: false };
    const ANY: Outcomes = Outcomes { holds: true, fails_to_hold: true, fails: true };

    fn or_else(self, other: Outcomes) -> Outcomes {
        Outcomes {
            holds: self.holds || other.holds,
            fails_to_hold: self.fails_to_hold || other.fails_to_hold,
            fails: self.fails || other.fails,
        }
    }

    /// `self ? yes : no`.
    fn choose(self, yes: Outcomes, no: Outcomes) -> Outcomes {
        let failure = if self.fails { Outcomes::FAILURE } else { Outcomes::NONE };
        let yes = if self.holds { yes } else { Outcomes::NONE };
        let no = if self.fails_to_hold { no } else { Outcomes::NONE };
        failure.or_else(yes).or_else(no)
    }
}

struct Look<'r> {
    rule: &'r Compiled,
    known: &'r Known<'r>,
    scope: Scope<'r>,
    /// At least what the evaluation of all of the rule costs, unless one of its parts may fail.
    steps: Cell<u64>,
}

impl Look<'_> {
    fn cost(&self, steps: u64) {
        self.steps.set(self.steps.get().saturating_add(steps));
    }

    fn is_known(&self, typed: &Typed) -> bool {
        !typed.any(&|node| match node {
            Node::State(_) => true,
            Node::Id => self.known.id.is_none(),
            Node::Input(_) => self.known.input.is_none(),
            Node::Now => self.known.now.is_none(),
            _ => false,
        })
    }

    fn condition(&self, typed: &Typed) -> Outcomes {
        self.cost(1);
        if self.is_known(typed) {
            let (value, steps) = self.rule.evaluate_part(typed, &self.scope);
            self.cost(steps);
            return match value {
                Ok(Value::Boolean(true)) => Outcomes::TRUE,
                Ok(Value::Boolean(false)) => Outcomes::FALSE,
                // A null is no condition.
                Ok(_) | Err(_) => Outcomes::FAILURE,
            };
        }
        match &typed.node {
            Node::Not(operand) => self.condition(operand).choose(Outcomes::FALSE, Outcomes::TRUE),
            Node::And(left, right) => self.condition(left).choose(self.condition(right), Outcomes::FALSE),
            Node::Or(left, right) => self.condition(left).choose(Outcomes::TRUE, self.condition(right)),
            Node::Conditional(branches) => {
                let [test, yes, no] = &**branches;
                self.condition(test).choose(self.condition(yes), self.condition(no))
            }
            Node::Has(operand) if is_field(operand) => {
                self.cost(1);
                Outcomes::EITHER
            }
            Node::Compare(Comparison::Equal | Comparison::NotEqual, left, right)
                if self.is_sure(left) && self.is_sure(right) =>
            {
                Outcomes::EITHER
            }
            Node::In(item, list) if self.is_sure(item) && self.is_known(list) => {
                let (value, steps) = self.rule.evaluate_part(list, &self.scope);
                let Ok(Value::List(items)) = value else { return Outcomes::FAILURE };
                self.cost(steps.saturating_add(items.len() as u64));
                Outcomes::EITHER
            }
            _ => Outcomes::ANY,
        }
    }

    /// Whether the operand always has a value, at a cost that is known here: no part of an object, which may be missing,
    /// and nothing of a size that only the state knows.
    fn is_sure(&self, typed: &Typed) -> bool {
        if self.is_known(typed) {
            let (value, steps) = self.rule.evaluate_part(typed, &self.scope);
            self.cost(steps);
            return value.is_ok();
        }
        // A name, a conversion with its copy, and what comparing it costs.
        self.cost(4);
        typed.slot.ty.is_small()
            && match &typed.node {
                Node::Widen(operand) => is_field(operand),
                _ => is_field(typed),
            }
    }
}

/// A name by itself.
fn is_field(typed: &Typed) -> bool {
    matches!(typed.node, Node::State(_) | Node::Input(_) | Node::Id | Node::Now)
}
