//! What is to be followed, and from where: by the rules of lists, for a message and an address alike.

use writ_model::access::{Visible, visible, visible_rows};
use writ_model::decide::Actor;
use writ_model::declaration::Projection;
use writ_model::{Models, Timestamp};
use writ_projections::query::ListRequest;

use super::feed::{Error, From, Resume, Wanted};
use crate::app::App;
use crate::caller::Caller;
use crate::problem::{Kind, Problem};
use crate::{clock, projections, queries};

/// What of a model or an SQL projection somebody wants to follow.
#[derive(Debug, Default)]
pub(super) struct Ask {
    pub(super) name: String,
    pub(super) of: Of,
    /// Id or natural key. Not of a projection.
    pub(super) id: Option<String>,
    /// Filters and `fields`, as lists take them.
    pub(super) parameters: Vec<(String, String)>,
    /// `now`, `snapshot` or a resume.
    pub(super) from: String,
}

/// What the name is said to be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Models and projections share one namespace.
    #[default]
    Either,
    Model,
    Projection,
}

/// Checks it, so that the faults are told at once.
pub(super) fn read(app: &App, caller: &Caller, ask: Ask) -> Result<(Wanted, From), Problem> {
    let models = &app.api.models;
    match ask.of {
        Of::Projection => rows(projections::projection(models, &ask.name)?, caller, ask),
        Of::Either if models.projections.contains_key(&ask.name) => {
            rows(projections::projection(models, &ask.name)?, caller, ask)
        }
        Of::Either | Of::Model => changes(app, caller, ask),
    }
}

/// Of a projection.
fn rows(projection: &Projection, caller: &Caller, ask: Ask) -> Result<(Wanted, From), Problem> {
    let Ask { name, id, parameters, from, .. } = ask;
    if id.is_some() {
        let detail = format!("Rows of {name} have no ids; filter them by `{}`.", projection.key.join("`, `"));
        return Err(Problem::at(Kind::InvalidQuery, "/id", "not_followable", detail));
    }
    let invalid = |errors| Problem::of_errors(Kind::InvalidQuery, errors);
    let subject = queries::reader(caller).asks(projection);
    ListRequest::parse(subject, &parameters).and_then(|request| request.followed()).map_err(invalid)?;
    let from = start(&name, &from)?;
    Ok((Wanted { model: name, id: None, params: parameters, actor: caller.actor.clone() }, from))
}

/// Of a model.
fn changes(app: &App, caller: &Caller, ask: Ask) -> Result<(Wanted, From), Problem> {
    let Ask { name, id, parameters, from, .. } = ask;
    let model = queries::model(&app.api.models, &name)?;
    let id = match id {
        Some(text) => Some(model.parse_id(&text).ok_or_else(|| queries::no_id(&name, &text))?),
        None => None,
    };
    let subject = queries::reader(caller).asks((&*app.api.models, model));
    let invalid = |errors| Problem::of_errors(Kind::InvalidQuery, errors);
    ListRequest::parse(subject, &parameters).and_then(|request| request.matching()).map_err(invalid)?;
    let from = start(&name, &from)?;
    Ok((Wanted { model: name, id, params: parameters, actor: caller.actor.clone() }, from))
}

/// Why a subscription can't be served.
pub(super) fn failed(error: Error) -> Problem {
    match error {
        Error::NoModel(name) => Kind::UnknownModel.because(format!("There is no model `{name}`.")),
        Error::Invalid(errors) => Problem::of_errors(Kind::InvalidQuery, errors),
        Error::TooManyRows(_) => {
            Problem::at(Kind::InvalidQuery, "/from", "too_many_rows", format!("{error}."))
        }
        Error::Unavailable(_) => {
            tracing::warn!(%error, "a subscription can't be served");
            Kind::LiveUnavailable.because("This can't be followed at the moment; try again.")
        }
        Error::Failed(_) => {
            tracing::error!(%error, "a subscription failed");
            Kind::Internal.because("This can't be followed, by a fault; the server's log says which.")
        }
    }
}

/// Whether somebody sees of a model or a projection what they saw before their rights have changed.
pub(super) fn sees_the_same(models: &Models, name: &str, before: &Actor, after: &Actor) -> bool {
    let now = clock::now();
    before == after || {
        let sees = seen(models, name, before, now);
        sees.is_some() && sees == seen(models, name, after, now)
    }
}

/// What somebody sees of a model or a projection. `None`: there is none of this name.
pub(super) fn seen(models: &Models, name: &str, actor: &Actor, now: Timestamp) -> Option<Visible> {
    match models.get(name) {
        Some(model) => Some(visible(model, actor, now)),
        None => Some(visible_rows(models.projections.get(name)?, actor, now)),
    }
}

fn start(name: &str, text: &str) -> Result<From, Problem> {
    let invalid = |detail: String| Problem::at(Kind::InvalidQuery, "/from", "invalid_value", detail);
    match text {
        "now" => Ok(From::Now),
        "snapshot" => Ok(From::Snapshot),
        text => {
            let resume: Resume = text.parse().map_err(|error| {
                invalid(format!("`from` is `now`, `snapshot` or a `resume`, and {error}."))
            })?;
            match resume.model() == name {
                true => Ok(From::Resume(resume)),
                false => Err(invalid(format!("This `resume` is of {}, not of {name}.", resume.model()))),
            }
        }
    }
}
