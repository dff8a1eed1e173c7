//! Channels for who has no socket: `POST /v1/channels/{channel}/broadcast`, `GET /v1/channels/{channel}/members`.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use writ_model::access::Deed;

use super::admission::{Which, away};
use super::joined;
use crate::app::Shared;
use crate::caller::Caller;
use crate::live::message::{self, Given};
use crate::problem::{Kind, Problem};
use crate::{body, queries};

/// What a service says in a channel.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Broadcast {
    /// Of a channel of each aggregate: its id or natural key.
    #[serde(default)]
    id: Option<String>,
    /// Of a channel of each key.
    #[serde(default)]
    key: Option<Given>,
    event: String,
    #[serde(default = "message::empty")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    payload: serde_json::Value,
}

/// Publishes it. 202: whoever is there hears it, unless Redis or a connection is lost just then.
pub(crate) async fn broadcast(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let Path(channel) = path.map_err(queries::invalid_path)?;
    let Broadcast { id, key, event, payload } = body::typed(&app, &headers, body).await?;
    let which = Which::read(&app, &channel, id, key)?;
    which.admits(&app, Deed::Send, &caller).await?;
    // As a message of a socket.
    let most = app.options.live.message_limit;
    if super::text::json(&payload).len() > most {
        return Err(Kind::TooLarge.because(format!("The payload has more than {most} bytes.")));
    }
    joined::publish(&app, &caller, &which, (&event, &payload), (None, false)).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Who is there.
pub(crate) async fn members(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path(channel) = path.map_err(queries::invalid_path)?;
    let (mut id, mut key) = (None, None);
    for (name, value) in queries::parameters(query)? {
        let target = match name.as_str() {
            "id" => &mut id,
            "key" => &mut key,
            _ => {
                let error = queries::unknown_parameter(&name, "there are `id` and `key`");
                return Err(Problem::of_errors(Kind::InvalidQuery, vec![error]));
            }
        };
        if target.replace(value).is_some() {
            let detail = format!("`{name}` is given twice.");
            return Err(Problem::at(Kind::InvalidQuery, &format!("/{name}"), "repeated", detail));
        }
    }
    // The same faults, of a query.
    let which =
        Which::read(&app, &channel, id, key.map(Given::Text)).map_err(|problem| match problem.kind {
            Kind::InvalidInput => Problem { kind: Kind::InvalidQuery, ..problem },
            _ => problem,
        })?;
    which.admits(&app, Deed::Join, &caller).await?;
    if which.channel.presence.is_none() {
        return Err(Kind::NotFound.because(format!("The channel `{channel}` has no presence.")));
    }
    let members = app.live.channels.members(&channel, &which.name()).await.map_err(|_| away())?;
    let members: Vec<_> = members.iter().map(|entry| &**entry).collect();
    Ok(([(CACHE_CONTROL, "no-store")], Json(json!({ "members": members }))).into_response())
}
