//! Every route, on one page.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::CONTENT_TYPE;
use http::{Method, Uri};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::Shared;
use crate::problem::{Kind, Problem};
use crate::{
    caller, client_address, commands, docs, hardening, health, history, metrics, middleware, projections,
    queries, rate_limit, stalled,
};

pub(crate) fn new(app: Shared) -> Router {
    let data = Router::new()
        .route("/v1/commands", post(commands::batch::post))
        .route("/v1/events", get(history::all))
        .route("/v1/projections", get(projections::states))
        .route("/v1/projections/{name}", get(projections::list))
        .route("/v1/{model}", get(queries::list))
        .route("/v1/{model}/{id_or_command}", get(queries::one).post(commands::single::create))
        .route("/v1/{model}/{id}/{events_or_command}", get(history::of_one).post(commands::single::change))
        .route_layer(axum::middleware::from_fn(caller::identify))
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), middleware::admit))
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), rate_limit::layer::limit_address))
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), client_address::identify));
    let pages = Router::new()
        .route("/", get(docs::redirect))
        .route("/docs", get(docs::redirect))
        .route("/docs/", get(docs::index))
        .route("/docs/{*path}", get(docs::asset))
        .route("/openapi.json", get(openapi))
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

async fn unknown_route(uri: Uri) -> Problem {
    Kind::UnknownRoute.because(format!("There is nothing at {}; /docs lists every address.", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Kind::MethodNotAllowed
        .because(format!("{} doesn't take {method}; `Allow` names what it takes.", uri.path()))
}
