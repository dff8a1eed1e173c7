//! API keys: made by their owner in a session, shown once. Revoking one is an ordinary command of the model `api_key`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;
use writ_identity::api_key::{ApiKey, StoredApiKey};
use writ_identity::models::API_KEY;
use writ_model::access::Permissions;

use super::system::{self, Own};
use crate::app::Shared;
use crate::body;
use crate::caller::Caller;
use crate::commands::Wait;
use crate::middleware::Trace;
use crate::problem::Problem;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    scopes: Permissions,
    expires_at: Option<String>,
}

/// `POST /v1/auth/api-keys`.
pub(crate) async fn create(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Create { name, scopes, expires_at } = body::typed(&app, &headers, body).await?;
    let (account, _) = caller.session()?;
    let id = Uuid::now_v7();
    let key = ApiKey::generate(id);
    let stored = StoredApiKey::new(&key, scopes, None);
    let input = json!({
        "account": account, "name": name, "scopes": stored.scopes(), "hash": stored.hash(), "expires_at": expires_at,
    });
    // The key is good as soon as this is answered.
    let wait = Wait::Projected;
    let own = Own { model: API_KEY, aggregate: id, command: "create", input, account: Some(account), wait };
    system::send(&app, &trace, own).await?;
    let shown = json!({ "id": id, "key": *key.to_text() });
    let headers = [(CACHE_CONTROL, "no-store".to_owned()), (LOCATION, format!("/v1/{API_KEY}/{id}"))];
    Ok((StatusCode::CREATED, headers, Json(shown)).into_response())
}
