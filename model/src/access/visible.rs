//! What one actor sees at one time: which rows, and which of their fields. Worked out once for each request, so that all
//! of its parts (filters, order, what is shown, what a reference leads to) agree.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::{Action, Permission, Permissions, Readable, readable, rows};
use crate::decide::Actor;
use crate::declaration::{Field, FieldRule, Model, Projection};
use crate::expression::{Compiled, Scope};
use crate::value::{Object, Timestamp, Value};

/// What an actor sees of a model or an SQL projection.
#[derive(Debug, Clone, PartialEq)]
pub struct Visible {
    /// Which rows.
    pub rows: Readable,
    /// The fields of the declaration that no row shows: not in answers, not in filters, orders and searches, not in the data
    /// of events. What is secret is always among them.
    pub hidden: BTreeSet<String>,
    /// A permission for all of the model lets the actor see every field but secret ones, also what today's declaration doesn't
    /// name.
    pub every_field: bool,
}

impl Visible {
    /// Whether rows show the field.
    pub fn shows(&self, field: &str) -> bool {
        !self.hidden.contains(field)
    }

    /// Takes the hidden fields away.
    pub fn strip(&self, fields: &mut Object) {
        if !self.hidden.is_empty() {
            fields.retain(|name, _| self.shows(name));
        }
    }
}

/// What the actor sees of a model at the time `now`.
pub fn visible(model: &Model, actor: &Actor, now: Timestamp) -> Visible {
    let rows = readable(model, actor, now);
    of(&model.name, rows, &model.fields, &model.field_rules, actor, now)
}

/// What the actor sees of an SQL projection at the time `now`.
pub fn visible_rows(projection: &Projection, actor: &Actor, now: Timestamp) -> Visible {
    let Projection { name, fields, read, field_rules, .. } = projection;
    let rows = rows(name, read.as_ref(), fields, actor, now);
    of(name, rows, fields, field_rules, actor, now)
}

/// Whether the actor may do everything, and so see what no declaration speaks of: events of models that are no longer
/// declared, the texts of errors.
pub fn sees_everything(actor: &Actor) -> bool {
    has(actor, Permission::Everything)
}

/// Whether a role gives the permission, and the key, if it is one, has it too.
fn has(actor: &Actor, permission: Permission) -> bool {
    let one: Permissions = [permission].into_iter().collect();
    actor.permissions.cover(&one) && actor.scopes.as_ref().is_none_or(|scopes| scopes.cover(&one))
}

fn of(
    name: &str,
    rows: Readable,
    fields: &IndexMap<String, Field>,
    rules: &[FieldRule],
    actor: &Actor,
    now: Timestamp,
) -> Visible {
    let every_field = has(actor, Permission::Model { model: name.to_owned(), action: Action::Any });
    let mut hidden: BTreeSet<String> =
        fields.values().filter(|field| field.secret).map(|field| field.name.clone()).collect();
    if !every_field {
        let refused = rules.iter().filter(|rule| !holds(&rule.that, actor, now));
        hidden.extend(refused.flat_map(|rule| rule.fields.iter().cloned()));
    }
    Visible { rows, hidden, every_field }
}

/// A rule for fields asks for the actor and the time only. One without a value hides.
fn holds(rule: &Compiled, actor: &Actor, now: Timestamp) -> bool {
    let nothing = Object::new();
    let scope = Scope { id: uuid::Uuid::nil(), input: &nothing, state: None, now, actor };
    rule.evaluate(&scope) == Ok(Value::Boolean(true))
}
