//! What happened: `GET /v1/events`, `GET /v1/{model}/{id}/events`, and one row as it was: `GET /v1/{model}/{id}` with
//! `as_of` or `diff`.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::{ALLOW, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;
use writ_model::Model;
use writ_model::access::Readable;
use writ_model::diff::Change;
use writ_projections::history::{
    AsOf, Difference, Entry, EventsOfOne, EventsRequest, MAX_EVENTS, NoState, Page, Past,
};
use writ_projections::positions::Reads;
use writ_projections::query::Subject;

use crate::app::{App, Shared};
use crate::caller::Caller;
use crate::problem::{Kind, Problem};
use crate::queries::{self, unavailable, unknown_parameter};

/// The last part of an aggregate's address that gives its events.
const EVENTS: &str = "events";
/// Every answer may be another one in a moment.
const CACHING: (http::HeaderName, &str) = (CACHE_CONTROL, "private, no-cache");

/// An event as the API shows it.
#[derive(Debug, Serialize)]
struct Item {
    id: Uuid,
    #[serde(rename = "type")]
    type_name: String,
    model: String,
    aggregate_id: Uuid,
    version: u64,
    time: String,
    actor: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    position: String,
    data: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passed_over: Option<String>,
}

impl From<Entry> for Item {
    fn from(entry: Entry) -> Self {
        Item {
            id: entry.id,
            type_name: entry.type_name,
            model: entry.model,
            aggregate_id: entry.aggregate_id,
            version: entry.version,
            time: entry.time,
            actor: entry.actor,
            correlation_id: entry.correlation_id,
            causation_id: entry.causation_id,
            position: entry.position.to_string(),
            data: entry.data,
            unreadable: entry.unreadable,
            passed_over: entry.passed_over,
        }
    }
}

#[derive(Debug, Serialize)]
struct List {
    items: Vec<Item>,
    next: Option<String>,
}

impl From<Page> for List {
    fn from(page: Page) -> Self {
        List { items: page.items.into_iter().map(Item::from).collect(), next: page.next }
    }
}

/// A row as it was.
#[derive(Debug, Serialize)]
struct PastItem {
    id: Uuid,
    version: u64,
    state: Value,
    created_at: String,
    updated_at: String,
    /// The moment that was asked for: a version or a time.
    as_of: Value,
    /// Why later events before that moment are not in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<String>,
}

#[derive(Debug, Serialize)]
struct Changes {
    id: Uuid,
    from: u64,
    to: u64,
    changes: Vec<Change>,
    events: Vec<Item>,
}

/// All events.
pub(crate) async fn all(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let models = &app.api.models;
    let request = EventsRequest::parse(models, &queries::parameters(query)?)
        .map_err(|errors| Problem::of_errors(Kind::InvalidQuery, errors))?;
    let reader = queries::reader(&caller);
    queries::wait(&app, Reads::EventLog, &headers).await?;
    if !reader.sees_everything() {
        // The rows say what is readable.
        queries::wait(&app, Reads::Rows, &headers).await?;
    }
    let page = app.api.history.events(models, reader, &request).await.map_err(unavailable)?;
    Ok(([CACHING], Json(List::from(page))).into_response())
}

/// The events of one aggregate. The address is that of a command too, so everything else at its end is one.
pub(crate) async fn of_one(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((name, segment, last)) = path.map_err(queries::invalid_path)?;
    if last != EVENTS {
        let mut response = Kind::MethodNotAllowed
            .because(
                "This is the address of a command, which takes POST; only `events` can be read below an id.",
            )
            .into_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(response);
    }
    let model = queries::model(&app.api.models, &name)?;
    let id = model.parse_id(&segment).ok_or_else(|| queries::no_id(&name, &segment))?;
    let request = EventsOfOne::parse(model, id, &queries::parameters(query)?)
        .map_err(|errors| Problem::of_errors(Kind::InvalidQuery, errors))?;
    let subject = queries::reader(&caller).asks(model);
    wait(&app, &subject, &headers).await?;
    let page = app.api.history.of(&subject, id, &request).await.map_err(unavailable)?;
    let page = page.ok_or_else(|| never(model, id))?;
    Ok(([CACHING], Json(List::from(page))).into_response())
}

/// Waits for the event log; and for the rows, if they say what the reader may read.
async fn wait(app: &App, subject: &Subject<'_>, headers: &HeaderMap) -> Result<(), Problem> {
    queries::wait(app, Reads::EventLog, headers).await?;
    match subject.visible().rows {
        Readable::Where(_) => queries::wait(app, Reads::Rows, headers).await,
        Readable::All | Readable::Nothing => Ok(()),
    }
}

/// Whether one row is asked for as it was, and not as it is.
pub(crate) fn is_asked(parameters: &[(String, String)]) -> bool {
    parameters.iter().any(|(name, _)| matches!(name.as_str(), "as_of" | "diff"))
}

/// One row as it was, or what changed in it.
pub(crate) async fn past(
    app: &App,
    subject: &Subject<'_>,
    id: Uuid,
    parameters: &[(String, String)],
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (name, value) = match parameters {
        [(name, value)] => (name.as_str(), value.as_str()),
        many => return Err(alone(many)),
    };
    let invalid =
        |detail: String| Problem::at(Kind::InvalidQuery, &format!("/{name}"), "invalid_value", detail);
    if name == "diff" {
        let versions = value.parse().map_err(invalid)?;
        wait(app, subject, headers).await?;
        let found = app.api.history.diff(subject, id, versions).await.map_err(unavailable)?;
        let Difference { from, to, changes, events } = found.map_err(|none| match none {
            NoState::NoSuchVersion { .. } | NoState::TooFar => invalid(no_state(subject.name(), id, &none)),
            none => Kind::NotFound.because(no_state(subject.name(), id, &none)),
        })?;
        let events = events.into_iter().map(Item::from).collect();
        return Ok(([CACHING], Json(Changes { id, from, to, changes, events })).into_response());
    }
    let at: AsOf = value.parse().map_err(invalid)?;
    wait(app, subject, headers).await?;
    let found = app.api.history.as_of(subject, id, at).await.map_err(unavailable)?;
    let Past { state, halt } =
        found.map_err(|none| Kind::NotFound.because(no_state(subject.name(), id, &none)))?;
    let item = PastItem {
        id,
        version: state.version,
        state: state.public_json(),
        created_at: state.created_at.to_string(),
        updated_at: state.updated_at.to_string(),
        as_of: match at {
            AsOf::Version(version) => version.into(),
            AsOf::Time(time) => time.to_string().into(),
        },
        incomplete: halt.map(|halt| format!("{halt}.")),
    };
    Ok(([CACHING], Json(item)).into_response())
}

/// `as_of` and `diff` take no other parameter beside them, and stand once.
fn alone(parameters: &[(String, String)]) -> Problem {
    let mut seen = false;
    let mut errors = Vec::new();
    for (name, _) in parameters {
        if matches!(name.as_str(), "as_of" | "diff") && !std::mem::replace(&mut seen, true) {
            continue;
        }
        errors.push(unknown_parameter(name, "beside the first `as_of` or `diff` an address takes none"));
    }
    Problem::of_errors(Kind::InvalidQuery, errors)
}

fn never(model: &Model, id: Uuid) -> Problem {
    Kind::NotFound.because(no_state(&model.name, id, &NoState::Never))
}

/// What there is instead.
fn no_state(name: &str, id: Uuid, none: &NoState) -> String {
    match none {
        NoState::Never => format!(
            "There has never been a {name} with the id {id}. If it was written just now, send the `Writ-Position` of \
             that answer."
        ),
        NoState::NotYet(began) => format!("The {name} {id} did not exist then; it began at {began}."),
        NoState::Deleted { version, at } => {
            format!(
                "The {name} {id} did not exist then; its event with version {version} deleted it at {at}."
            )
        }
        NoState::NoSuchVersion { last, halt } => {
            let there = match last {
                0 => format!("No event of the {name} {id} can be folded"),
                1 => format!("The {name} {id} has only version 1"),
                last => format!("The {name} {id} has the versions 1 to {last}"),
            };
            match halt {
                Some(halt) => format!("{there}; {halt}."),
                None => format!("{there}."),
            }
        }
        NoState::TooFar => {
            format!("More than {MAX_EVENTS} versions lie between the two; compare a shorter stretch.")
        }
    }
}
