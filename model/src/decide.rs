//! The decision: a pure function from a command and a state to an event or a rejection.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::access::{Permission, Permissions, may_send, readable};
use crate::declaration::{Command, Event, Model};
use crate::evolve::State;
use crate::expression::Scope;
use crate::value::{FieldError, Object, Timestamp, Value};

/// Who sends a command or a query. By default nobody: not signed in, with no more than what the rules give to everyone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The account.
    pub id: Option<Uuid>,
    /// Names of roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// What the roles allow beyond the rules of the models.
    #[serde(default, skip_serializing_if = "Permissions::is_empty")]
    pub permissions: Permissions,
    /// What an API key is for. `None`: all that its account may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Permissions>,
}

impl Actor {
    /// Nobody in particular, who may do everything: whoever reaches an open server, and the server's own tools.
    pub fn unrestricted() -> Actor {
        Actor { permissions: [Permission::Everything].into_iter().collect(), ..Actor::default() }
    }
}

/// What a decision may depend on beside model and state.
#[derive(Debug)]
pub struct Request<'a> {
    /// The aggregate.
    pub id: Uuid,
    /// The command's name.
    pub command: &'a str,
    /// The JSON body, not yet checked, its secrets sealed.
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
    UnknownCommand {
        /// As asked for.
        command: String,
    },
    /// The input is not what the command takes.
    Invalid {
        /// Every fault.
        errors: Vec<FieldError>,
    },
    /// The aggregate doesn't exist, or was deleted; or the actor may neither send the command nor read it, and learns no
    /// more of it than that.
    NotFound,
    /// The actor may not send it.
    Forbidden,
    /// A creating command on an aggregate that exists.
    AlreadyExists {
        /// Its present version, for who may read it.
        version: Option<u64>,
    },
    /// `If-Match` names another version.
    VersionMismatch {
        /// The version that the caller saw.
        expected: u64,
        /// The present version.
        actual: u64,
    },
    /// The state machine doesn't allow it.
    WrongState {
        /// The enum field that is the state machine.
        field: String,
        /// Its present value.
        actual: String,
        /// The values that allow the command.
        allowed: Vec<String>,
    },
    /// A `require` doesn't hold.
    GuardFailed {
        /// The `else` of the guard.
        detail: String,
    },
    /// An expression couldn't be evaluated: overflow, a null, too costly.
    Failed {
        /// The expression or field, and what is wrong.
        detail: String,
    },
    /// Another aggregate has these values, or is about to.
    NotUnique {
        /// The fields of the constraint.
        fields: Vec<String>,
    },
    /// The same idempotency key with another body.
    KeyReused,
}

/// Decides. Pure: equal arguments, equal result. What says something of the aggregate comes after the question whether the
/// actor may know it; else the checks run in the order in which a caller can act on them: the command, the aggregate, the
/// input, the permission, the version, the state machine, the guards, the assignments.
pub fn decide(model: &Model, state: Option<&State>, request: &Request<'_>) -> Result<Decision, Rejection> {
    let command = model
        .commands
        .get(request.command)
        .ok_or_else(|| Rejection::UnknownCommand { command: request.command.to_owned() })?;
    let event =
        model.events.get(&command.emits).expect("invariant: a checked model declares every emitted event");
    let state = state.filter(|state| !state.deleted);
    if !command.creates && state.is_none() {
        return Err(Rejection::NotFound);
    }
    let mut input =
        command.parse_sealed_input(request.input).map_err(|errors| Rejection::Invalid { errors })?;
    // In expressions an input that was left out is null; in the event it is what it was before.
    let absent: Vec<&String> = command.input.keys().filter(|name| !input.contains_key(*name)).collect();
    input.extend(absent.iter().map(|name| ((*name).clone(), Value::Null)));
    let scope = Scope {
        id: request.id,
        input: &input,
        state: state.map(|state| &state.fields),
        now: request.now,
        actor: request.actor,
    };
    // The state of the rule is the one that is decided on: between the two there is no moment for another writer.
    let may_read =
        |state: &State| readable(model, request.actor, request.now).holds(request.id, &state.fields);
    if may_send(model, request.command, &scope).is_err() {
        let is_known = command.creates || state.is_some_and(may_read);
        return Err(if is_known { Rejection::Forbidden } else { Rejection::NotFound });
    }
    check_existence(command, state, request.expected_version, may_read)?;
    check_transition(model, command, state)?;
    check_guards(command, &scope)?;
    let assigned = assign(model, command, event, &scope)?;
    for name in absent {
        input.swap_remove(name);
    }
    let fields = record(event, state, input, assigned)?;
    if command.creates {
        check_key(model, request.id, &fields)?;
    }
    check_encodable(event, &fields)?;
    Ok(Decision { event: event.name.clone(), fields })
}

fn check_existence(
    command: &Command,
    state: Option<&State>,
    expected: Option<u64>,
    may_read: impl Fn(&State) -> bool,
) -> Result<(), Rejection> {
    match (command.creates, state) {
        (true, Some(state)) => {
            Err(Rejection::AlreadyExists { version: may_read(state).then_some(state.version) })
        }
        (false, None) => Err(Rejection::NotFound),
        (true, None) if expected.is_some() => Err(Rejection::NotFound),
        (true, None) => Ok(()),
        (false, Some(state)) => match expected {
            Some(expected) if expected != state.version => {
                Err(Rejection::VersionMismatch { expected, actual: state.version })
            }
            _ => Ok(()),
        },
    }
}

fn check_transition(model: &Model, command: &Command, state: Option<&State>) -> Result<(), Rejection> {
    let (Some(field), Some(state)) = (&model.state_field, state) else { return Ok(()) };
    if command.from.is_empty() {
        return Ok(());
    }
    let actual = match state.fields.get(field) {
        Some(Value::Text(actual)) => actual.as_str(),
        _ => "",
    };
    if command.from.iter().any(|allowed| allowed == actual) {
        return Ok(());
    }
    Err(Rejection::WrongState {
        field: field.clone(),
        actual: actual.to_owned(),
        allowed: command.from.clone(),
    })
}

fn check_guards(command: &Command, scope: &Scope<'_>) -> Result<(), Rejection> {
    for guard in &command.require {
        match guard.that.evaluate(scope) {
            Ok(Value::Boolean(true)) => {}
            Ok(Value::Boolean(false)) => {
                return Err(Rejection::GuardFailed { detail: guard.otherwise.clone() });
            }
            Ok(_) => {
                let detail = format!("`{}` is neither true nor false", guard.that.source);
                return Err(Rejection::Failed { detail });
            }
            Err(error) => return Err(Rejection::Failed { detail: error.to_string() }),
        }
    }
    Ok(())
}

/// The values of `set` and `to`. Every expression sees the old state.
fn assign(model: &Model, command: &Command, event: &Event, scope: &Scope<'_>) -> Result<Object, Rejection> {
    let mut assigned = Object::new();
    for (name, expression) in &command.set {
        let field = event
            .fields
            .get(name)
            .or_else(|| model.fields.get(name))
            .expect("invariant: a checked model assigns declared fields");
        let value =
            expression.evaluate(scope).map_err(|error| Rejection::Failed { detail: error.to_string() })?;
        let mut errors = Vec::new();
        match value.conform(field, &format!("/{name}"), &mut errors) {
            Some(value) => drop(assigned.insert(name.clone(), value)),
            None => {
                let faults: Vec<String> =
                    errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
                let detail = format!(
                    "`{}` gives a value that `{name}` can't hold: {}",
                    expression.source,
                    faults.join("; ")
                );
                return Err(Rejection::Failed { detail });
            }
        }
    }
    if let (Some(field), Some(to)) = (&model.state_field, &command.to) {
        assigned.insert(field.clone(), Value::Text(to.clone()));
    }
    Ok(assigned)
}

/// Every field that the event records, with its value after the command.
fn record(
    event: &Event,
    state: Option<&State>,
    mut input: Object,
    mut assigned: Object,
) -> Result<Object, Rejection> {
    let mut fields = Object::with_capacity(event.fields.len());
    for (name, field) in &event.fields {
        let given = input.swap_remove(name);
        let was_given = given.is_some();
        let value = given
            .or_else(|| assigned.swap_remove(name))
            .or_else(|| state.and_then(|state| state.fields.get(name)).cloned())
            .or_else(|| field.default.clone())
            .unwrap_or(Value::Null);
        if value == Value::Null && !field.optional {
            let pointer = format!("/{name}");
            return Err(if was_given {
                let detail = "must not be null".to_owned();
                Rejection::Invalid {
                    errors: vec![FieldError { pointer, code: "required".to_owned(), detail }],
                }
            } else {
                Rejection::Failed { detail: format!("`{name}` has no value, but the event has to record it") }
            });
        }
        fields.insert(name.clone(), value);
    }
    Ok(fields)
}

/// The id of an aggregate with a natural key is derived from it, so no other id may carry it.
fn check_key(model: &Model, id: Uuid, fields: &Object) -> Result<(), Rejection> {
    let Some(key) = &model.key else { return Ok(()) };
    let text = fields.get(key).and_then(Value::to_text).unwrap_or_default();
    if model.id_of_key(&text) == Some(id) {
        return Ok(());
    }
    Err(Rejection::Failed { detail: format!("{id} is not the id of the {} with {key} `{text}`", model.name) })
}

/// A kept value can be older than the declaration, say a decimal of more digits. That is the command's failure, here,
/// not the failure of the batch that would write the event.
fn check_encodable(event: &Event, fields: &Object) -> Result<(), Rejection> {
    event
        .codec
        .encode(fields, &mut Vec::new())
        .map_err(|error| Rejection::Failed { detail: error.to_string() })
}

#[cfg(test)]
mod tests;
