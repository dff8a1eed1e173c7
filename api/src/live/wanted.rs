//! What is to be followed, and from where: by the rules of lists, for a message and an address alike.

use writ_model::Models;
use writ_model::access::visible;
use writ_model::decide::Actor;
use writ_projections::query::ListRequest;

use super::feed::{Error, From, Resume, Wanted};
use crate::app::App;
use crate::caller::Caller;
use crate::problem::{Kind, Problem};
use crate::{clock, queries};

/// What of a model somebody wants to follow.
#[derive(Debug, Default)]
pub(super) struct Ask {
    pub(super) model: String,
    /// Id or natural key.
    pub(super) id: Option<String>,
    /// Filters and `fields`, as lists take them.
    pub(super) parameters: Vec<(String, String)>,
    /// `now`, `snapshot` or a resume.
    pub(super) from: String,
}

/// Checks it, so that the faults are told at once.
pub(super) fn read(app: &App, caller: &Caller, ask: Ask) -> Result<(Wanted, From), Problem> {
    let Ask { model: name, id, parameters, from } = ask;
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
            Kind::LiveUnavailable.because("The feed of this model can't be had at the moment; try again.")
        }
        Error::Failed(_) => {
            tracing::error!(%error, "a subscription failed");
            Kind::Internal.because("The feed of this model failed; the server's log says why.")
        }
    }
}

/// Whether somebody sees of a model what they saw before their rights have changed.
pub(super) fn sees_the_same(models: &Models, model: &str, before: &Actor, after: &Actor) -> bool {
    let Some(model) = models.get(model) else { return false };
    let now = clock::now();
    before == after || visible(model, before, now) == visible(model, after, now)
}

fn start(model: &str, text: &str) -> Result<From, Problem> {
    let invalid = |detail: String| Problem::at(Kind::InvalidQuery, "/from", "invalid_value", detail);
    match text {
        "now" => Ok(From::Now),
        "snapshot" => Ok(From::Snapshot),
        text => {
            let resume: Resume = text.parse().map_err(|error| {
                invalid(format!("`from` is `now`, `snapshot` or a `resume`, and {error}."))
            })?;
            match resume.model() == model {
                true => Ok(From::Resume(resume)),
                false => Err(invalid(format!("This `resume` is of {}, not of {model}.", resume.model()))),
            }
        }
    }
}
