//! What follows on an event by a model's reactions. Pure, as [`crate::decide()`] is: the same event gives the same firings with the
//! same ids, however often and wherever it is asked. That is what makes a repeat recognisable.

mod commands;
mod ids;
mod rejected;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use crate::decide::{Actor, Rejection};
use crate::declaration::{
    Action, Backoff, Delay, Model, Models, NotificationChannel, Reaction, Sending, TaskOptions, Trigger,
};
use crate::evolve::State;
use crate::expression::{Compiled, EvalError, Scope};
use crate::value::{FieldError, Object, Timestamp, Value};

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
    if reaction.uses_state && happened.state.is_none() {
        return Err(ReactError::NoState);
    }
    let case =
        Case { models, model, reaction, happened, actor: Actor { id: happened.actor, ..Actor::default() } };
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
    if reaction.uses_state && happened.state.is_none() {
        return Err(ReactError::NoState);
    }
    let case =
        Case { models, model, reaction, happened, actor: Actor { id: happened.actor, ..Actor::default() } };
    let items = case.items()?;
    let Some(value) = items.get(item) else {
        return Err(ReactError::Changed { what: format!("`for_each` has no item {item}") });
    };
    let error = rejected::value(send, error);
    let names = Names::new(&case, value.as_ref(), Some(&error));
    case.planned("on_rejected", next, &names, rejected_id(case.id(item)))
}

/// A reaction to something that happened.
struct Case<'a> {
    models: &'a Models,
    model: &'a Model,
    reaction: &'a Reaction,
    happened: &'a Happened<'a>,
    actor: Actor,
}

/// The values of the names beside those of a [`Scope`], in the order in which the declaration gives them.
struct Names<'a> {
    version: Option<Value>,
    others: Vec<&'a Value>,
}

impl<'a> Names<'a> {
    fn new(case: &Case<'_>, item: Option<&'a Value>, error: Option<&'a Value>) -> Self {
        let version = i64::try_from(case.happened.version).unwrap_or(i64::MAX);
        let has_event = matches!(&case.reaction.trigger, Trigger::On(_));
        let version = has_event.then_some(Value::Integer(version));
        Names { version, others: item.into_iter().chain(error).collect() }
    }
}

impl Case<'_> {
    fn id(&self, item: usize) -> Uuid {
        firing_id(&self.model.app, &self.model.name, &self.reaction.name, self.happened.event_id, item)
    }

    /// The items that it is done for: one without a value, if there is no `for_each`.
    fn items(&self) -> Result<Vec<Option<Value>>, ReactError> {
        let Some((_, list)) = &self.reaction.for_each else { return Ok(vec![None]) };
        match self.evaluate("for_each", list, &Names::new(self, None, None))? {
            Value::List(items) => Ok(items.into_iter().map(Some).collect()),
            _ => Ok(Vec::new()),
        }
    }

    fn fire(&self, number: usize, item: Option<&Value>) -> Result<Option<Firing>, ReactError> {
        let names = Names::new(self, item, None);
        if let Some(when) = &self.reaction.when
            && self.evaluate("when", when, &names)? != Value::Boolean(true)
        {
            return Ok(None);
        }
        let id = self.id(number);
        let Some(due) = self.due(&names, id)? else { return Ok(None) };
        let Some(effect) = self.effect(&names, id, item)? else { return Ok(None) };
        Ok(Some(Firing { id, item: number, due, unless: self.reaction.unless.clone(), effect }))
    }

    /// When it is done: `Some(None)` is at once, `None` is never.
    fn due(&self, names: &Names<'_>, id: Uuid) -> Result<Option<Option<Timestamp>>, ReactError> {
        let no_time = |place: &str| ReactError::Time { place: place.to_owned() };
        let later = |millis: i64, place: &str| {
            let at = Timestamp(self.happened.at.0.saturating_add(millis.max(0)));
            if at.is_in_range() { Ok(Some(Some(at))) } else { Err(no_time(place)) }
        };
        if let Trigger::Every(every) = &self.reaction.trigger {
            return match every.jitter {
                0 => Ok(Some(None)),
                jitter => later(ids::part_of(id, jitter), "jitter"),
            };
        }
        match &self.reaction.delay {
            None => Ok(Some(None)),
            Some(Delay::After(after)) => match self.evaluate("after", after, names)? {
                Value::Duration(millis) => later(millis, "after"),
                _ => Err(no_time("after")),
            },
            Some(Delay::At(at)) => match self.evaluate("at", at, names)? {
                Value::Null => Ok(None),
                Value::Timestamp(at) if at.is_in_range() => Ok(Some(Some(at))),
                _ => Err(no_time("at")),
            },
        }
    }

    /// What is done. `None`: nothing, since there is nobody to do it to.
    fn effect(
        &self,
        names: &Names<'_>,
        id: Uuid,
        item: Option<&Value>,
    ) -> Result<Option<Effect>, ReactError> {
        Ok(Some(match &self.reaction.action {
            Action::Command { send, .. } => {
                let Some(planned) = self.planned("command", send, names, id)? else { return Ok(None) };
                Effect::Command(planned)
            }
            Action::Queue(queue) => {
                let mut input = Map::new();
                for (name, value) in &queue.input {
                    let value = self.evaluate(&format!("input.{name}"), value, names)?;
                    input.insert(name.clone(), value.to_json());
                }
                let trying = self.trying(&queue.options, names)?;
                Effect::Queue { queue: queue.name.clone(), input: Json::Object(input), trying }
            }
            Action::Webhook(webhook) => {
                let trying = self.trying(&webhook.options, names)?;
                Effect::Webhook { kind: webhook.kind.clone(), data: self.described(item), trying }
            }
            Action::Notify(notify) => {
                let Value::Uuid(account) = self.evaluate("notify", &notify.account, names)? else {
                    return Ok(None);
                };
                let (channels, title) = (notify.channels.clone(), notify.title.clone());
                Effect::Notify { account, channels, title, body: notify.body.clone() }
            }
        }))
    }

    fn trying(&self, options: &TaskOptions, names: &Names<'_>) -> Result<Trying, ReactError> {
        let TaskOptions { priority, attempts, backoff, timeout, .. } = *options;
        let unique = match &options.unique {
            None => None,
            Some(unique) => {
                let key = self.evaluate("unique.key", &unique.key, names)?.to_text();
                let id =
                    |key: String| ids::unique(&self.model.app, &self.model.name, &self.reaction.name, &key);
                key.map(|key| (id(key), unique.within))
            }
        };
        Ok(Trying { priority, attempts, backoff, timeout, unique })
    }

    /// What happened, for those who only hear of it.
    fn described(&self, item: Option<&Value>) -> Json {
        let mut described = match &self.reaction.trigger {
            Trigger::Every(_) => {
                json!({ "reaction": self.reaction.name, "time": self.happened.at.to_string() })
            }
            Trigger::On(_) => {
                let event = self.model.events.get(self.happened.event);
                let is_secret = |name: &str| {
                    event.and_then(|event| event.fields.get(name)).is_none_or(|field| field.secret)
                };
                let data = self.happened.data.iter().filter(|(name, _)| !is_secret(name));
                let data: Map<String, Json> =
                    data.map(|(name, value)| (name.clone(), value.to_json())).collect();
                json!({
                    "type": event.map(|event| event.type_name.as_str()),
                    "id": self.happened.aggregate,
                    "version": self.happened.version,
                    "time": self.happened.at.to_string(),
                    "data": data,
                })
            }
        };
        if let (Some((name, _)), Some(item)) = (&self.reaction.for_each, item) {
            described["item"] = json!({ name: item.to_json() });
        }
        described
    }

    fn evaluate(&self, place: &str, expression: &Compiled, names: &Names<'_>) -> Result<Value, ReactError> {
        let scope = Scope {
            id: self.happened.aggregate,
            input: self.happened.data,
            state: self.happened.state.map(|state| &state.fields),
            now: self.happened.at,
            actor: &self.actor,
        };
        let values: Vec<&Value> = names.version.iter().chain(names.others.iter().copied()).collect();
        expression
            .evaluate_given(&scope, &values)
            .map_err(|error| ReactError::Expression { place: place.to_owned(), error })
    }
}
