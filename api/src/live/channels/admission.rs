//! Whether somebody may join a channel, or send into it: by permission, else by the rules, asked of the state that the aggregate has.
//!
//! Who joins a channel of an aggregate follows that aggregate by the live feed, as a subscription to it alone would: from a snapshot on, so that no
//! change of it is missed behind the state that the rules were asked of. What isn't readable is as what doesn't exist.

use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;
use writ_model::access::{Deed, Of, may_use};
use writ_model::declaration::{Channel, Each};
use writ_model::{Model, Object, Value};
use writ_projections::query::Queries;

use super::Declared;
use crate::app::App;
use crate::caller::Caller;
use crate::live::feed::{Frame, Item, Kind as Change, Subscription};
use crate::live::message::Given;
use crate::live::wanted::{self, Ask};
use crate::problem::{Kind, Problem};
use crate::{clock, queries};

/// Bytes of a key as text.
const MAX_KEY: usize = 255;

/// Which of the channels of a declaration.
#[derive(Debug, Clone)]
pub(super) struct Which {
    pub(super) channel: Declared,
    pub(super) of: Target,
}

#[derive(Debug, Clone)]
pub(super) enum Target {
    Single,
    Aggregate(Uuid),
    Key(Value),
}

/// The channel of this name.
pub(super) fn declared<'a>(app: &'a App, name: &str) -> Result<&'a Declared, Problem> {
    let channels = &app.api.models.channels;
    channels.get(name).ok_or_else(|| {
        let names: Vec<_> = channels.keys().map(String::as_str).collect();
        let known = match names.is_empty() {
            true => "None is declared.".to_owned(),
            false => format!("There are: {}.", names.join(", ")),
        };
        Kind::UnknownChannel.because(format!("There is no channel `{name}`. {known}"))
    })
}

impl Which {
    /// The channel that `id` or `key` names.
    pub(super) fn read(
        app: &App,
        name: &str,
        id: Option<String>,
        key: Option<Given>,
    ) -> Result<Which, Problem> {
        let channel = declared(app, name)?.clone();
        let invalid = |member: &str, detail: String| {
            Problem::at(Kind::InvalidInput, &format!("/{member}"), "invalid_value", detail)
        };
        let of = match (&channel.each, id, key) {
            (Each::Single, None, None) => Target::Single,
            (Each::Aggregate(model), Some(id), None) => {
                let declared = queries::model(&app.api.models, model)?;
                Target::Aggregate(declared.parse_id(&id).ok_or_else(|| queries::no_id(model, &id))?)
            }
            (Each::Key(field), None, Some(key)) => {
                let text = String::from(key);
                if text.len() > MAX_KEY {
                    return Err(invalid("key", format!("A key has at most {MAX_KEY} bytes.")));
                }
                let key = Channel::key(field, &text)
                    .map_err(|errors| Problem::of_errors(Kind::InvalidInput, errors))?;
                Target::Key(key)
            }
            (Each::Single, id, _) => {
                let member = if id.is_some() { "id" } else { "key" };
                let detail = format!("There is one channel `{name}`: leave `{member}` out.");
                return Err(invalid(member, detail));
            }
            (Each::Aggregate(model), ..) => {
                let detail = format!(
                    "There is a channel `{name}` of each {model}: name it by `id`, and by nothing else."
                );
                return Err(invalid("id", detail));
            }
            (Each::Key(_), ..) => {
                let detail = format!(
                    "There is a channel `{name}` of each key: name it by `key`, and by nothing else."
                );
                return Err(invalid("key", detail));
            }
        };
        Ok(Which { channel, of })
    }

    /// Tells the channels of one declaration apart.
    pub(super) fn name(&self) -> String {
        match &self.of {
            Target::Single => String::new(),
            Target::Aggregate(id) => id.to_string(),
            Target::Key(key) => key.to_text().unwrap_or_default(),
        }
    }

    /// Whether the rules let the caller, with the aggregate's state.
    pub(super) fn check(&self, deed: Deed, state: Option<&Object>, caller: &Caller) -> Result<(), Problem> {
        let of = Of {
            aggregate: match &self.of {
                Target::Aggregate(id) => state.map(|state| (*id, state)),
                Target::Single | Target::Key(_) => None,
            },
            key: match &self.of {
                Target::Key(key) => Some(key),
                Target::Single | Target::Aggregate(_) => None,
            },
        };
        may_use(&self.channel, deed, of, &caller.actor, clock::now()).map_err(|denied| {
            tracing::debug!(error = %denied, channel = self.channel.name, deed = deed.name(), "a channel is denied");
            let kind = if caller.is_anonymous() { Kind::Unauthenticated } else { Kind::Forbidden };
            let name = &self.channel.name;
            kind.because(match deed {
                Deed::Join => format!("You may not join this channel `{name}`."),
                Deed::Send => format!("You may not send into this channel `{name}`."),
            })
        })
    }

    /// Whether the caller may do it, for somebody who doesn't stay.
    pub(super) async fn admits(&self, app: &App, deed: Deed, caller: &Caller) -> Result<(), Problem> {
        let Target::Aggregate(id) = self.of else { return self.check(deed, None, caller) };
        let model = self.model(app)?;
        let subject = queries::reader(caller).asks((&*app.api.models, model));
        let is_readable = app.api.queries.get(&subject, id).await.map_err(queries::unavailable)?.is_some();
        let state = match is_readable {
            true => state_of(&app.api.queries, model, id).await?,
            false => None,
        };
        let state = state.ok_or_else(|| self.missing(id))?;
        self.check(deed, Some(&state), caller)
    }

    fn model<'a>(&self, app: &'a App) -> Result<&'a Model, Problem> {
        queries::model(&app.api.models, self.channel.model().unwrap_or_default())
    }

    /// The same for what doesn't exist and for what isn't readable.
    fn missing(&self, id: Uuid) -> Problem {
        let model = self.channel.model().unwrap_or_default();
        Kind::NotFound.because(format!("There is no {model} with the id {id}."))
    }
}

/// An aggregate whose channel somebody is in.
#[derive(Debug)]
pub(super) struct Followed {
    /// As the rules were asked of it last.
    pub(super) state: Arc<Object>,
    pub(super) feed: Subscription,
}

impl Which {
    /// Whether the caller may join; with it the aggregate that is to be followed, if there is one.
    pub(super) async fn join(&self, app: &App, caller: &Caller) -> Result<Option<Followed>, Problem> {
        let Target::Aggregate(id) = self.of else {
            return self.check(Deed::Join, None, caller).map(|()| None);
        };
        let model = self.model(app)?;
        let ask = Ask {
            name: model.name.clone(),
            of: wanted::Of::Model,
            id: Some(id.to_string()),
            from: "snapshot".to_owned(),
            ..Ask::default()
        };
        let (wanted, from) = wanted::read(app, caller, ask)?;
        let mut feed = app.api.live.subscribe(wanted, from);
        let mut version = None;
        loop {
            match feed.next().await {
                Some(Item::Snapshot { rows }) => version = rows.first().map(|row| row.version).or(version),
                Some(Item::Ready { .. }) => break,
                Some(Item::Change(frame)) => version = version_of(&frame),
                Some(Item::Failed(error)) => return Err(wanted::failed(error)),
                Some(Item::Lagged { .. }) | None => return Err(interrupted()),
                Some(_) => {}
            }
        }
        let Some(version) = version else { return Err(self.missing(id)) };
        let state = self.state_at(app, id, version).await?;
        self.check(Deed::Join, Some(&state), caller)?;
        Ok(Some(Followed { state, feed }))
    }

    /// Whether the caller may still be there, now that the aggregate has changed: its state, at this version or a later one.
    pub(super) async fn stay(
        &self,
        app: &App,
        caller: &Caller,
        version: u64,
    ) -> Result<Arc<Object>, Problem> {
        let Target::Aggregate(id) = self.of else { return Err(interrupted()) };
        let state = self.state_at(app, id, version).await?;
        self.check(Deed::Join, Some(&state), caller)?;
        Ok(state)
    }

    async fn state_at(&self, app: &App, id: Uuid, version: u64) -> Result<Arc<Object>, Problem> {
        let model = self.model(app)?;
        let found = app.api.queries.whole_at(model, id, version, app.api.position_wait).await;
        // It may be deleted by now.
        let row = found.map_err(queries::unavailable)?.ok_or_else(|| self.missing(id))?;
        match row.version >= version {
            true => Ok(Arc::new(row.fields)),
            false => Err(Kind::ReadSideUnavailable.because("The read model is not there yet; try again.")),
        }
    }
}

/// The aggregate's version behind a change. `None`: it isn't there for the reader any more.
pub(super) fn version_of(frame: &Frame) -> Option<u64> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    if frame.kind == Change::Leave {
        return None;
    }
    let body: Versioned = serde_json::from_str(&format!("{{{}}}", frame.body())).ok()?;
    Some(body.version)
}

async fn state_of(queries: &Queries, model: &Model, id: Uuid) -> Result<Option<Object>, Problem> {
    Ok(queries.whole(model, id).await.map_err(queries::unavailable)?.map(|row| row.fields))
}

pub(super) fn interrupted() -> Problem {
    Kind::LiveUnavailable.because("The feed of this model can't be had at the moment; try again.")
}

/// Redis is away.
pub(super) fn away() -> Problem {
    Kind::LiveUnavailable.because("Redis, which carries channels, doesn't answer; try again in a moment.")
}
