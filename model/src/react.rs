//! What follows on an event by a model's reactions. Pure, as [`crate::decide()`] is: the same event gives the same firings with the
//! same ids, however often and wherever it is asked. That is what makes a repeat recognisable.

mod case;
mod commands;
mod ids;
mod rejected;
#[cfg(test)]
mod tests;

use serde_json::Value as Json;
use uuid::Uuid;

use self::case::{Case, Names};
use crate::decide::Rejection;
use crate::declaration::{Action, Backoff, Model, Models, NotificationChannel, Reaction, Sending, Trigger};
use crate::evolve::State;
use crate::expression::EvalError;
use crate::value::{FieldError, Object, Timestamp};

pub use ids::{firing_id, rejected_id};

/// In place of an event's name: the time has come. No event is called so.
pub const TICK: &str = "";

/// An event, or the tick of a reaction by time.
#[derive(Debug, Clone, Copy)]
pub struct Happened<'a> {
    /// The event's id.
    pub event_id: Uuid,
    /// Whose event it is.
    pub aggregate: Uuid,
    /// The aggregate's version after it.
    pub version: u64,
    /// The event's name in the model, or [`TICK`].
    pub event: &'a str,
    /// What it records.
    pub data: &'a Object,
    /// The aggregate after it; asked for where [`Reaction::uses_state`].
    pub state: Option<&'a State>,
    /// When it happened; of a tick, for when it was meant.
    pub at: Timestamp,
    /// Who caused it.
    pub actor: Option<Uuid>,
}

/// One thing that is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    /// What a repeat is recognised by: the id of the command, or of the task.
    pub id: Uuid,
    /// The number of the item of `for_each`, from 0; 0 without one.
    pub item: usize,
    /// When; `None`: at once.
    pub due: Option<Timestamp>,
    /// Events of the aggregate that call it off while it waits.
    pub unless: Vec<String>,
    /// What.
    pub effect: Effect,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send a command. Its id is that of the firing.
    Command(Planned),
    /// Put work into a queue.
    Queue {
        /// The queue.
        queue: String,
        /// What the worker gets: an object.
        input: Json,
        /// How it is tried.
        trying: Trying,
    },
    /// Call the webhooks of a type.
    Webhook {
        /// The type, such as `order.shipped`.
        kind: String,
        /// What they get: an object. It has what happened, without secrets.
        data: Json,
        /// How it is tried.
        trying: Trying,
    },
    /// Tell somebody.
    Notify {
        /// Whom.
        account: Uuid,
        /// In which ways.
        channels: Vec<NotificationChannel>,
        /// A template, as written.
        title: String,
        /// A template, as written.
        body: Option<String>,
    },
}

/// A command that is to be sent. Its input is one that the command takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The command's model.
    pub model: String,
    /// Its name there.
    pub command: String,
    /// The aggregate.
    pub aggregate: Uuid,
    /// The JSON body.
    pub input: Json,
}

/// How a task is tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Trying {
    /// 0 to 9; the highest first.
    pub priority: u8,
    /// How often at most.
    pub attempts: u32,
    /// The pauses in between.
    pub backoff: Backoff,
    /// How long one attempt may take, in milliseconds.
    pub timeout: i64,
    /// Another task with the same id isn't made for so many milliseconds.
    pub unique: Option<(Uuid, i64)>,
}

/// Why a reaction couldn't be worked out. It would fail again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReactError {
    /// An expression has no value: a division by zero, a null, too costly.
    #[error("`{place}` has no value")]
    Expression {
        /// The key of the reaction.
        place: String,
        /// What went wrong.
        #[source]
        error: EvalError,
    },
    /// The command doesn't take what the expressions gave.
    #[error("`{command}` doesn't take this input: {}", faults(.errors))]
    Input {
        /// The command, with its model.
        command: String,
        /// Every fault.
        errors: Vec<FieldError>,
    },
    /// The id of a new aggregate follows from its natural key, and this one gives none.
    #[error("`{command}` would create an aggregate without a key")]
    Key {
        /// The command, with its model.
        command: String,
    },
    /// The time would lie outside of the years 0001 to 9999.
    #[error("`{place}` gives no time that can be kept")]
    Time {
        /// The key of the reaction.
        place: String,
    },
    /// The reaction names `state`, and there is none.
    #[error("the state after the event isn't known")]
    NoState,
    /// The command isn't declared any more, or the list has no such item: the models are others than at the time of the event.
    #[error("the models have changed since: {what}")]
    Changed {
        /// What is missing.
        what: String,
    },
}

fn faults(errors: &[FieldError]) -> String {
    let fault = |FieldError { pointer, detail, .. }: &FieldError| match pointer.as_str() {
        "" => detail.clone(),
        pointer => format!("{pointer}: {detail}"),
    };
    errors.iter().map(fault).collect::<Vec<_>>().join("; ")
}

impl Reaction {
    /// Whether the event of this name sets it off.
    pub fn is_on(&self, event: &str) -> bool {
        matches!(&self.trigger, Trigger::On(events) if events.iter().any(|name| name == event))
    }

    /// Whether this version runs it: a command that is sent at once. What is done later, by time or outside isn't.
    pub fn is_run(&self) -> bool {
        let is_command = matches!(self.action, Action::Command { .. });
        is_command && self.delay.is_none() && matches!(self.trigger, Trigger::On(_))
    }

    /// What is sent when its command is refused.
    pub fn on_rejected(&self) -> Option<&Sending> {
        match &self.action {
            Action::Command { on_rejected, .. } => on_rejected.as_ref(),
            Action::Notify(_) | Action::Webhook(_) | Action::Queue(_) => None,
        }
    }
}

/// What one reaction makes of what happened: a firing for each item of `for_each`, or one; none for an event that it isn't on, or
/// for a tick if it is on events, and none where `when` doesn't hold. All or nothing: an error for one item is one for all.
pub fn react(
    models: &Models,
    model: &Model,
    reaction: &Reaction,
    happened: &Happened<'_>,
) -> Result<Vec<Firing>, ReactError> {
    let is_meant = match &reaction.trigger {
        Trigger::On(_) => reaction.is_on(happened.event),
        Trigger::Every(_) => happened.event == TICK,
    };
    if !is_meant {
        return Ok(Vec::new());
    }
    let case = Case::new(models, model, reaction, happened)?;
    let mut firings = Vec::new();
    for (number, item) in case.items()?.iter().enumerate() {
        firings.extend(case.fire(number, item.as_ref())?);
    }
    Ok(firings)
}

/// What follows when the command of a firing is refused. `None`: nothing, or the reaction doesn't say.
pub fn on_rejected(
    models: &Models,
    model: &Model,
    reaction: &Reaction,
    happened: &Happened<'_>,
    item: usize,
    error: &Rejection,
) -> Result<Option<Planned>, ReactError> {
    let (Some(next), Action::Command { send, .. }) = (reaction.on_rejected(), &reaction.action) else {
        return Ok(None);
    };
    let case = Case::new(models, model, reaction, happened)?;
    let items = case.items()?;
    let Some(value) = items.get(item) else {
        return Err(ReactError::Changed { what: format!("`for_each` has no item {item}") });
    };
    let error = rejected::value(send, error);
    let names = Names::new(&case, value.as_ref(), Some(&error));
    case.planned("on_rejected", next, &names, rejected_id(case.id(item)))
}
