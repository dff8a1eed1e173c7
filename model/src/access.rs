//! Who may do what: the `allow` rules of a model, held against an actor. Nothing here says who the actor is.
//!
//! What isn't allowed is denied: a command without a rule, and queries without a `read` rule, are for nobody. A command
//! passes [`early`] in the api, which knows the actor and perhaps the input but not the state, and then [`may_send`] in the
//! decider, which knows all and has the last word. A query passes [`visible`], which turns the `read` rule, for one
//! actor, into a [`Predicate`] over the fields of the state, and the rules for fields into a set of names; what translates
//! that to SQL needs to know no CEL. The rows of an SQL projection are read by the same rules ([`visible_rows`]).
//!
//! Before the rule, what the [`Actor`] brings along counts: what the scopes of an API key leave out is denied, what a
//! [`Permission`] of a role covers is allowed, and only else the rule is asked.
//!
//! `may_send` evaluates a rule as guards are evaluated. `early` and `readable` work on the same typed tree: what depends on
//! the actor alone is evaluated, the rest stays open (`early`) or becomes a test (`readable`). Their answers never differ
//! from the evaluation, which tests hold them to.

mod channel;
mod early;
mod permission;
mod predicate;
mod translate;
mod visible;

pub use channel::{Deed, Of, may_use};
pub use early::{Early, Known, early};
pub use permission::{Access, Action, Error as PermissionError, Permission, Permissions};
pub use predicate::{Comparison, Kind, Path, Predicate, Readable, Test};
pub use visible::{Visible, sees_everything, visible, visible_rows};

use indexmap::IndexMap;

use crate::decide::Actor;
use crate::declaration::{Field, Model, Rule};
use crate::expression::{Compiled, EvalError, Scope};
use crate::value::{Timestamp, Value};

pub(crate) use translate::check as check_read_rule;

/// The name of the rule for queries. No command is called like this.
pub const READ: &str = "read";

/// Why a command is refused. For the log: the caller learns no more than that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no rule, so nobody may send it.
    #[error("`{model}` has no `allow` rule for `{command}`")]
    NoRule {
        /// The model.
        model: String,
        /// The command.
        command: String,
    },
    /// The API key isn't for that.
    #[error("the scopes of the key don't cover `{model}.{access}`")]
    OutOfScope {
        /// The model.
        model: String,
        /// The command.
        access: String,
    },
    /// The rule doesn't hold for this actor.
    #[error("the rule `{rule}` doesn't hold")]
    NotAllowed {
        /// The rule as written.
        rule: String,
    },
    /// The rule has no value: a null, an overflow, too costly. Who wrote it has to guard that case.
    #[error("a rule can't be evaluated")]
    Failed(#[from] EvalError),
}

/// Whether the command may be sent, with everything known: the input as [`crate::decide()`] reads it, the state that it
/// decides on. Whether there is such a command and such an aggregate is the decision's question, not this one's.
pub fn may_send(model: &Model, command: &str, scope: &Scope<'_>) -> Result<(), Denied> {
    match door(&model.name, scope.actor, Access::Command(command)) {
        Door::Open => return Ok(()),
        Door::Closed => {
            return Err(Denied::OutOfScope { model: model.name.clone(), access: command.to_owned() });
        }
        Door::ByRule => {}
    }
    let rule = rule(model, command).filter(|_| command != READ);
    let Some(rule) = rule else {
        return Err(Denied::NoRule { model: model.name.clone(), command: command.to_owned() });
    };
    match rule.that.evaluate(scope)? {
        Value::Boolean(true) => Ok(()),
        _ => Err(Denied::NotAllowed { rule: rule.that.source.clone() }),
    }
}

/// What the actor may read of a model at the time `now`: the `read` rule with all that it says of the actor worked out. For
/// every aggregate it holds exactly where the rule evaluates to true; where the evaluation fails (a null that the rule
/// doesn't guard), the aggregate isn't readable. One difference: the cost limit of expressions isn't counted here.
pub fn readable(model: &Model, actor: &Actor, now: Timestamp) -> Readable {
    let rule = rule(model, READ).map(|rule| &rule.that);
    rows(&model.name, rule, &model.fields, actor, now)
}

fn rows(
    name: &str,
    rule: Option<&Compiled>,
    fields: &IndexMap<String, Field>,
    actor: &Actor,
    now: Timestamp,
) -> Readable {
    match (door(name, actor, Access::Read), rule) {
        (Door::Open, _) => Readable::All,
        (Door::ByRule, Some(rule)) => translate::readable(rule, fields, actor, now),
        (Door::Closed, _) | (Door::ByRule, None) => Readable::Nothing,
    }
}

/// What the actor's permissions and scopes say, before any rule.
enum Door {
    /// Allowed.
    Open,
    /// Denied.
    Closed,
    /// The rule decides.
    ByRule,
}

/// `name`: of a model or a projection; they share their names.
fn door(name: &str, actor: &Actor, access: Access<'_>) -> Door {
    if actor.scopes.as_ref().is_some_and(|scopes| !scopes.allow(name, access)) {
        Door::Closed
    } else if actor.permissions.allow(name, access) {
        Door::Open
    } else {
        Door::ByRule
    }
}

/// Whether the rule is true for everyone and everything, because it names nothing.
pub(crate) fn is_open(rule: &Compiled) -> bool {
    use crate::expression::tree::Node;
    let names_something = rule.root().any(&|node| {
        matches!(
            node,
            Node::Input(_)
                | Node::State(_)
                | Node::Now
                | Node::Id
                | Node::ActorId
                | Node::ActorRoles
                | Node::Role(_)
        )
    });
    let (actor, input) = (Actor::default(), crate::value::Object::new());
    let scope = Scope { id: uuid::Uuid::nil(), input: &input, state: None, now: Timestamp(0), actor: &actor };
    !names_something && rule.evaluate(&scope) == Ok(Value::Boolean(true))
}

fn rule<'m>(model: &'m Model, name: &str) -> Option<&'m Rule> {
    model.allow.iter().find(|rule| rule.applies_to.iter().any(|known| known == name))
}

#[cfg(test)]
mod tests;
