//! `GET /v1/{model}/{id}` and `GET /v1/{model}`: one row, or a page of rows, of a read model.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::{CACHE_CONTROL, ETAG, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;
use writ_model::{FieldError, Model, Models, Position};
use writ_projections::Reader;
use writ_projections::positions::{NotReached, Reads};
use writ_projections::query::{self, Cached, ListRequest, Shown};

use crate::app::{App, Shared};
use crate::caller::Caller;
use crate::problem::{Kind, Problem};
use crate::{clock, export, headers, history};

/// A row as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Item {
    id: Uuid,
    version: u64,
    state: Box<RawValue>,
    created_at: String,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expanded: Option<Box<RawValue>>,
}

impl From<query::Row> for Item {
    fn from(row: query::Row) -> Self {
        let query::Row { id, version, created_at, updated_at, state, expanded } = row;
        Item { id, version, state, created_at, updated_at, expanded }
    }
}

#[derive(Debug, Serialize)]
struct List<Item> {
    items: Vec<Item>,
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<Counted>,
}

#[derive(Debug, Serialize)]
struct Counted {
    value: i64,
    exact: bool,
}

/// A page as the API shows it.
pub(crate) fn page<From, Item: Serialize>(page: query::Page<From>, item: impl Fn(From) -> Item) -> Response {
    let query::Page { items, next, count } = page;
    let count = count.map(|count| Counted { value: count.value, exact: count.exact });
    let list = List { items: items.into_iter().map(item).collect(), next, count };
    // The same address gives another form to those who accept it.
    ([(CACHE_CONTROL, "private, no-cache"), (VARY, "accept")], Json(list)).into_response()
}

/// One row. The version is its entity tag.
pub(crate) async fn one(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((name, segment)) = path.map_err(invalid_path)?;
    let model = model(&app.api.models, &name)?;
    let parameters = parameters(query)?;
    let id = model.parse_id(&segment).ok_or_else(|| no_id(&name, &segment))?;
    let subject = reader(&caller).asks((&*app.api.models, model));
    if history::is_asked(&parameters) {
        return history::past(&app, &subject, id, &parameters, &headers).await;
    }
    let shown = Shown::parse(&subject, &parameters)
        .map_err(|errors| Problem::of_errors(Kind::InvalidQuery, errors))?;
    let positions = positions(&app, &headers)?;
    let queries = &app.api.queries;
    let row = if parameters.is_empty() {
        match queries.cached(&subject, id, &positions).await {
            Cached::Found(row) => Some(row),
            Cached::Absent(keep) => {
                reach(&app, Reads::Rows, &positions).await?;
                queries.get_keeping(&subject, id, keep).await.map_err(unavailable)?
            }
        }
    } else {
        reach(&app, Reads::Rows, &positions).await?;
        queries.get_shown(&subject, id, &shown).await.map_err(unavailable)?
    };
    let row = row.ok_or_else(|| {
        Kind::NotFound.because(format!(
            "There is no {name} with the id {id}. If it was written just now, send the `Writ-Position` of that answer."
        ))
    })?;
    let (version, etag) = (row.version, headers::etag(row.version));
    // Another row may have changed that is shown with this one.
    let mut response = if !shown.expands() && headers::has_version(&headers, version) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(Item::from(row)).into_response()
    };
    response.headers_mut().insert(ETAG, etag);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

/// A page of rows, or all of them as a stream.
pub(crate) async fn list(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(name) = path.map_err(invalid_path)?;
    let model = model(&app.api.models, &name)?;
    let subject = reader(&caller).asks((&*app.api.models, model));
    let parameters = export::with_format(parameters(query)?, &headers);
    let request = ListRequest::parse(subject, &parameters)
        .map_err(|errors| Problem::of_errors(Kind::InvalidQuery, errors))?;
    let (positions, queries) = (positions(&app, &headers)?, &app.api.queries);
    if let Some(format) = request.format {
        reach(&app, Reads::Rows, &positions).await?;
        return export::all(&app, &request, format).await;
    }
    let asked = serde_json::json!(parameters).to_string();
    let found = match queries.cached_list(&request, &asked, &positions).await {
        Cached::Found(found) => found,
        Cached::Absent(keep) => {
            reach(&app, Reads::Rows, &positions).await?;
            queries.list_keeping(&request, keep).await.map_err(unavailable)?
        }
    };
    Ok(page(found, Item::from))
}

/// Who reads, at the time of this call: once for each request, so that all of its parts see the same.
pub(crate) fn reader(caller: &Caller) -> Reader<'_> {
    Reader { actor: &caller.actor, now: clock::now() }
}

/// Waits until what the query reads has reached every `Writ-Position` of the request.
pub(crate) async fn wait(app: &App, reads: Reads<'_>, headers: &HeaderMap) -> Result<(), Problem> {
    reach(app, reads, &positions(app, headers)?).await
}

/// Every `Writ-Position` of the request.
fn positions(app: &App, headers: &HeaderMap) -> Result<Vec<Position>, Problem> {
    let positions = headers::positions(headers)?;
    match positions.iter().find(|position| app.api.models.get(&position.model).is_none()) {
        None => Ok(positions),
        Some(unknown) => {
            Err(Kind::InvalidHeader
                .because(format!("`Writ-Position`: there is no model `{}`.", unknown.model)))
        }
    }
}

async fn reach(app: &App, reads: Reads<'_>, positions: &[Position]) -> Result<(), Problem> {
    app.api.positions.wait(reads, positions, app.api.position_wait).await.map_err(not_reached(app))
}

fn not_reached(app: &App) -> impl Fn(NotReached) -> Problem {
    |error| {
        match error {
        NotReached::TimedOut(late) => Kind::PositionNotReached
            .because(format!("Within {} ms {late}; ask again.", app.api.position_wait.as_millis())),
        NotReached::Stopped { late, at } => Kind::PositionNotReached.because(format!(
            "{late}: it has stopped at the event {at}, and gets no further until `writ rebuild {}`; /readyz says why.",
            late.projection
        )),
        NotReached::Unavailable(reason) => unavailable(query::Error::Unavailable(reason)),
    }
    }
}

/// The model of this name, or a problem that names all.
pub(crate) fn model<'a>(models: &'a Models, name: &str) -> Result<&'a Model, Problem> {
    models.get(name).map(AsRef::as_ref).ok_or_else(|| {
        let names: Vec<_> = models.models.keys().map(String::as_str).collect();
        Kind::UnknownModel.because(format!("There is no model `{name}`. There are: {}.", names.join(", ")))
    })
}

/// The problem of a path segment that names no aggregate.
pub(crate) fn no_id(model: &str, segment: &str) -> Problem {
    Kind::NotFound.because(format!("`{}` is not the id of any {model}.", segment.escape_debug()))
}

pub(crate) fn invalid_path(rejection: PathRejection) -> Problem {
    Kind::InvalidPath.because(format!("{}.", rejection.body_text()))
}

pub(crate) fn parameters(
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Vec<(String, String)>, Problem> {
    match query {
        Ok(Query(parameters)) => Ok(parameters),
        Err(rejection) => Err(Kind::InvalidQuery.because(format!("{}.", rejection.body_text()))),
    }
}

pub(crate) fn unknown_parameter(name: &str, hint: &str) -> FieldError {
    FieldError {
        pointer: format!("/{name}"),
        code: "unknown_parameter".into(),
        detail: format!("There is no query parameter `{name}`; {hint}."),
    }
}

pub(crate) fn unavailable(error: query::Error) -> Problem {
    match error {
        query::Error::Unavailable(_) => {
            tracing::warn!(error = %error, "the read models can't be asked");
            Kind::ReadSideUnavailable.because("The read models can't be asked at the moment; commands go on.")
        }
        query::Error::Failed(_) => {
            tracing::error!(error = %error, "a query failed");
            Kind::Internal.because("The query failed; the server's log says why.")
        }
    }
}
