//! Every route, on one page.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{Method, Uri};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::Shared;
use crate::clock::now;
use crate::identity::{api_keys, links, oidc, passwords, second_factor, sessions, sign_in};
use crate::live::channels::routes as channels;
use crate::live::{follow, handshake, tickets};
use crate::problem::{Kind, Problem};
use crate::{
    caller, client_address, commands, docs, hardening, health, history, metrics, middleware, projections,
    queries, rate_limit, stalled,
};

pub(crate) fn new(app: Shared) -> Router {
    // What needs no sign-in, because it makes one; a token that has expired must not stand in its way.
    let of_anyone = Router::new()
        .route("/v1/auth/sign-in", post(sign_in::sign_in))
        .route("/v1/auth/oidc/{name}", get(oidc::routes::begin))
        .route("/v1/auth/oidc/{name}/callback", get(oidc::routes::callback))
        .route("/v1/auth/register", post(sign_in::register))
        .route("/v1/auth/refresh", post(sessions::refresh))
        .route("/v1/auth/password/forgot", post(links::forgot_password))
        .route("/v1/auth/password/reset", post(passwords::reset_password))
        .route("/v1/auth/email/verify", post(passwords::verify_email));
    let of_callers = Router::new()
        .route("/v1/auth/me", get(sign_in::me))
        .route("/v1/auth/sign-out", post(sessions::sign_out))
        .route("/v1/auth/password", post(passwords::change_password))
        .route("/v1/auth/email/send", post(links::send_verification))
        .route("/v1/auth/totp", post(second_factor::offer))
        .route("/v1/auth/totp/activate", post(second_factor::activate))
        .route("/v1/auth/totp/remove", post(second_factor::remove))
        .route("/v1/auth/api-keys", post(api_keys::create))
        .route("/v1/auth/accounts", post(sign_in::create_account));
    let data = Router::new()
        .route("/v1/commands", post(commands::batch::post))
        .route("/v1/live/tickets", post(tickets::issue))
        .route("/v1/channels/{channel}/broadcast", post(channels::broadcast))
        .route("/v1/channels/{channel}/members", get(channels::members))
        .route("/v1/events", get(history::all))
        .route("/v1/projections", get(projections::states))
        .route("/v1/projections/{name}", get(projections::list))
        .route("/v1/{model}", get(queries::list))
        .route("/v1/{model}/{id_or_command}", get(queries::one).post(commands::single::create))
        .route("/v1/{model}/{id}/{events_or_command}", get(history::of_one).post(commands::single::change))
        .merge(of_callers)
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), caller::identify))
        .merge(of_anyone)
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), middleware::admit));
    // What stays open holds no place among the requests, and no limit of theirs in time; it has limits of its own.
    let open = Router::new()
        .route("/v1/live/{model}", get(follow::follow))
        // Here and above: a model may be called `tickets`.
        .route("/v1/live/tickets", get(follow::follow))
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), caller::identify))
        // Finds out by itself who calls: a ticket is no header.
        .route("/v1/live", get(handshake::open));
    let data = data
        .merge(open)
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), rate_limit::layer::limit_address))
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), client_address::identify));
    let pages = Router::new()
        .route("/", get(docs::redirect))
        .route("/docs", get(docs::redirect))
        .route("/docs/", get(docs::index))
        .route("/docs/{*path}", get(docs::asset))
        .route("/openapi.json", get(openapi))
        .route("/asyncapi.json", get(asyncapi))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::get));
    let routes = data
        .merge(pages)
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(middleware::panicked));
    // A preflight is answered here, before anybody asks who sends it.
    let routes = match app.options.cors.layer() {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes
        .layer(axum::middleware::from_fn_with_state(app.clone(), stalled::end))
        .layer(axum::middleware::from_fn_with_state(app.clone(), hardening::harden))
        .layer(axum::middleware::from_fn(middleware::observe))
        .with_state(app)
}

async fn openapi(State(app): State<Shared>) -> Response {
    ([(CONTENT_TYPE, "application/json")], app.openapi.clone()).into_response()
}

async fn asyncapi(State(app): State<Shared>) -> Response {
    ([(CONTENT_TYPE, "application/json")], app.asyncapi.clone()).into_response()
}

/// The public keys by which anyone verifies access tokens (RFC 7517).
async fn jwks(State(app): State<Shared>) -> Response {
    let keys = app.identity().keys.signing().jwks(now());
    // Shorter than a new key is published before it signs.
    ([(CACHE_CONTROL, "public, max-age=3600")], Json(keys)).into_response()
}

async fn unknown_route(uri: Uri) -> Problem {
    Kind::UnknownRoute.because(format!("There is nothing at {}; /docs lists every address.", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Kind::MethodNotAllowed
        .because(format!("{} doesn't take {method}; `Allow` names what it takes.", uri.path()))
}
