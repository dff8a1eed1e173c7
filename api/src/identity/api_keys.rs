//! API keys: made by their owner in a session, shown once. Revoking one is an ordinary command of the model `api_key`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use writ_identity::api_key::{ApiKey, StoredApiKey};
use writ_identity::models::API_KEY;
use writ_model::access::Permissions;

use super::passwords::own_account;
use super::system::{self, Own};
use crate::app::Shared;
use crate::body;
use crate::caller::Caller;
use crate::commands::Wait;
use crate::middleware::Trace;
use crate::problem::Problem;

/// An API key, which acts for the caller's account.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    /// What it is for.
    #[schemars(length(min = 1, max = 100))]
    name: String,
    /// What it may be used for, of what the account may do: `model.command`, `model.read`, `model.*`, `*.read` or `*`.
    #[schemars(with = "Vec<String>", length(max = 200))]
    scopes: Permissions,
    /// Without it the key is good until it is revoked.
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
}

/// A new API key.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Created<'a> {
    id: Uuid,
    /// The key itself. It isn't shown again.
    key: &'a str,
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
    let account = own_account(&app, &caller).await?;
    let id = Uuid::now_v7();
    let key = ApiKey::generate(id);
    let stored = StoredApiKey::new(&key, scopes, None);
    let input = json!({
        "account": account.id, "owner": account.owner(), "name": name, "scopes": stored.scopes(), "hash": stored.hash(), "expires_at": expires_at,
    });
    // The key is good as soon as this is answered.
    let wait = Wait::Projected;
    let own =
        Own { model: API_KEY, aggregate: id, command: "create", input, account: Some(account.id), wait };
    system::send(&app, &trace, own).await?;
    let text = key.to_text();
    let shown = Created { id, key: &text };
    let headers = [(CACHE_CONTROL, "no-store".to_owned()), (LOCATION, format!("/v1/{API_KEY}/{id}"))];
    Ok((StatusCode::CREATED, headers, Json(shown)).into_response())
}
