//! `GET /v1/projections`: how each projection is; `GET /v1/projections/{name}`: the rows of a SQL projection.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::HeaderMap;
use http::header::CACHE_CONTROL;
use indexmap::IndexMap;
use serde::Serialize;
use writ_model::Models;
use writ_model::declaration::Projection;
use writ_projections::positions::Reads;
use writ_projections::query::{ListRequest, State as Stage, Status};

use crate::app::Shared;
use crate::caller::Caller;
use crate::export;
use crate::problem::{Kind, Problem};
use crate::queries::{invalid_path, page, parameters, reader, unavailable, unknown_parameter, wait};

/// A projection as the API shows it.
#[derive(Debug, Serialize)]
struct Item {
    name: String,
    kind: String,
    /// Of what answers queries; `building` if nothing does yet.
    state: Stage,
    generation: i32,
    error: Option<String>,
    error_at: Option<String>,
    changed_at: Option<String>,
    /// What is being built beside it.
    building: Option<Building>,
}

#[derive(Debug, Serialize)]
struct Building {
    generation: i32,
    done: Option<i64>,
    total: Option<i64>,
    started_at: Option<String>,
}

/// Every projection of which the caller may read something: models, the event log, SQL projections.
pub(crate) async fn states(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    let parameters = parameters(query)?;
    if !parameters.is_empty() {
        let faults = parameters.iter().map(|(name, _)| unknown_parameter(name, "this address takes none"));
        return Err(Problem::of_errors(Kind::InvalidQuery, faults.collect()));
    }
    let states = app.api.queries.states(&app.api.models, reader(&caller)).await.map_err(unavailable)?;
    let items: Vec<Item> = by_name(states);
    Ok(([(CACHE_CONTROL, "private, no-cache")], Json(serde_json::json!({ "items": items }))).into_response())
}

/// One item for each name, whose generations come one after the other.
fn by_name(states: Vec<Status>) -> Vec<Item> {
    let mut items: IndexMap<String, Item> = IndexMap::new();
    for status in states {
        let building = (status.state == Stage::Building).then_some(Building {
            generation: status.generation,
            done: status.done,
            total: status.total,
            started_at: status.started_at,
        });
        match (items.get_mut(&status.name), building) {
            (Some(item), Some(building)) => item.building = Some(building),
            (_, building) => {
                let Status { name, kind, generation, state, error, error_at, changed_at, .. } = status;
                let item = Item {
                    name: name.clone(),
                    kind,
                    state,
                    generation,
                    error,
                    error_at,
                    changed_at,
                    building,
                };
                items.insert(name, item);
            }
        }
    }
    items.into_values().collect()
}

/// A page of rows of a SQL projection, or all of them as a stream.
pub(crate) async fn list(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(name) = path.map_err(invalid_path)?;
    let projection = projection(&app.api.models, &name)?;
    let parameters = export::with_format(parameters(query)?, &headers);
    let request = ListRequest::parse(reader(&caller).asks(projection), &parameters)
        .map_err(|errors| Problem::of_errors(Kind::InvalidQuery, errors))?;
    wait(&app, Reads::Projection(projection), &headers).await?;

    match request.format {
        Some(format) => export::all(&app, &request, format).await,
        None => {
            let rows = app.api.queries.list_projection(&request).await.map_err(unavailable)?;
            Ok(page(rows, |item| item))
        }
    }
}

/// The SQL projection of this name, or a problem that says where the name leads.
pub(crate) fn projection<'a>(models: &'a Models, name: &str) -> Result<&'a Projection, Problem> {
    models.projections.get(name).map(AsRef::as_ref).ok_or_else(|| {
        let hint = if models.get(name).is_some() {
            format!("The rows of the model are at /v1/{name}.")
        } else if name == writ_projections::tables::EVENT_LOG {
            "The events are at /v1/events.".to_owned()
        } else if models.projections.is_empty() {
            "None is declared.".to_owned()
        } else {
            let names: Vec<_> = models.projections.keys().map(String::as_str).collect();
            format!("There are: {}.", names.join(", "))
        };
        Kind::UnknownProjection
            .because(format!("There is no SQL projection `{}`. {hint}", name.escape_debug()))
    })
}
