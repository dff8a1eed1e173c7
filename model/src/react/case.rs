//! One reaction to something that happened: its expressions, and what they give for each item.

use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use super::{Effect, Firing, Happened, ReactError, Trying, firing_id, ids};
use crate::decide::Actor;
use crate::declaration::{Action, Delay, Model, Models, Reaction, TaskOptions, Trigger};
use crate::expression::{Compiled, Scope};
use crate::value::{Timestamp, Value};

/// A reaction to something that happened.
pub(super) struct Case<'a> {
    pub(super) models: &'a Models,
    pub(super) model: &'a Model,
    pub(super) reaction: &'a Reaction,
    pub(super) happened: &'a Happened<'a>,
    pub(super) actor: Actor,
}

/// The values of the names beside those of a [`Scope`], in the order in which the declaration gives them.
pub(super) struct Names<'a> {
    version: Option<Value>,
    others: Vec<&'a Value>,
}

impl<'a> Names<'a> {
    pub(super) fn new(case: &Case<'_>, item: Option<&'a Value>, error: Option<&'a Value>) -> Self {
        let version = i64::try_from(case.happened.version).unwrap_or(i64::MAX);
        let has_event = matches!(&case.reaction.trigger, Trigger::On(_));
        let version = has_event.then_some(Value::Integer(version));
        Names { version, others: item.into_iter().chain(error).collect() }
    }
}

impl<'a> Case<'a> {
    /// Errors: the reaction asks for the state, and there is none.
    pub(super) fn new(
        models: &'a Models,
        model: &'a Model,
        reaction: &'a Reaction,
        happened: &'a Happened<'a>,
    ) -> Result<Self, ReactError> {
        if reaction.uses_state && happened.state.is_none() {
            return Err(ReactError::NoState);
        }
        let actor = Actor { id: happened.actor, ..Actor::default() };
        Ok(Case { models, model, reaction, happened, actor })
    }
}

impl Case<'_> {
    pub(super) fn id(&self, item: usize) -> Uuid {
        firing_id(&self.model.app, &self.model.name, &self.reaction.name, self.happened.event_id, item)
    }

    /// The items that it is done for: one without a value, if there is no `for_each`.
    pub(super) fn items(&self) -> Result<Vec<Option<Value>>, ReactError> {
        let Some((_, list)) = &self.reaction.for_each else { return Ok(vec![None]) };
        match self.evaluate("for_each", list, &Names::new(self, None, None))? {
            Value::List(items) => Ok(items.into_iter().map(Some).collect()),
            _ => Ok(Vec::new()),
        }
    }

    /// What is done for an item, if anything is.
    pub(super) fn fire(&self, number: usize, item: Option<&Value>) -> Result<Option<Firing>, ReactError> {
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

    pub(super) fn evaluate(
        &self,
        place: &str,
        expression: &Compiled,
        names: &Names<'_>,
    ) -> Result<Value, ReactError> {
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
