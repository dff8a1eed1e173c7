//! The whole router, asked as a client asks it, with nothing else running: no Kafka, no registry, no PostgreSQL.
//! What it answers then is real behaviour; what needs the others is tested on the whole system.

mod batch;
mod commands;
mod cors;
mod history;
mod http_2;
mod limits;
mod pages;
mod queries;
mod rate_limit;
mod server;
mod sign_in_guard;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value as Json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use writ_consumers::live::Live;
use writ_identity::directory::Directory;
use writ_model::Models;
use writ_model::diagnostic::Source;
use writ_producers::commands::{Answers, Commands};
use writ_producers::readiness::{Part, Readiness};
use writ_producers::registry::Registry;
use writ_producers::topics::Topics;
use writ_projections::query::Queries;

use crate::app::{Api, App};
use crate::client_address::Peer;
use crate::identity::keys::Keys;
use crate::identity::{self, Identity};
use crate::options::Options;
use crate::rate_limit::RateLimiter;

pub(crate) fn models() -> Models {
    let text = include_str!("../tests/models/note.yaml");
    let channels = include_str!("../tests/models/board.yaml");
    let source = |name: &str, text: &str| Source { name: name.into(), text: text.into() };
    let sources = [source("note.yaml", text), source("board.yaml", channels)];
    writ_identity::models::check("desk", &sources).unwrap()
}

/// Handles on a surrounding that isn't there, and the readiness of Kafka.
fn api(options: &Options) -> (Api, watch::Sender<Readiness>) {
    let (kafka, part) = Part::new("kafka", "Kafka at 127.0.0.1:1 can't be reached");
    let commands =
        Commands::new(&writ_producers::kafka::Options::default(), Answers::new(), 0, part.state.clone())
            .unwrap();
    // Nothing listens on port 1.
    let postgres = writ_projections::Options {
        url: "postgres://nobody@127.0.0.1:1/nothing".into(),
        ..writ_projections::Options::default()
    };
    let queries = Queries::new(&postgres, None).unwrap();
    let limiter = RateLimiter::new(&options.limits, "redis://127.0.0.1:1", "writ").unwrap();
    let keys = tempfile::tempdir().unwrap();
    let identity = identity::Options { keys: keys.path().to_owned(), ..identity::Options::default() };
    identity::keys::init(&identity).unwrap();
    let models = Arc::new(models());
    let directory = Directory::new(models.clone());
    let kafka_options = writ_producers::kafka::Options::default();
    let registry = Registry::new(&writ_producers::registry::Options::default()).unwrap();
    let (state, _) = Part::new("live", "waiting for Kafka");
    // Its role doesn't run either: subscriptions wait.
    let (live, _) = Live::new(&Default::default(), &kafka_options, &registry, &models, &queries, state);
    let loaded = Keys::load(&identity).unwrap();
    let identity = Identity::start(identity, loaded, directory, &limiter).unwrap();
    let api = Api {
        models,
        identity,
        commands: Some(commands),
        history: queries.history(Topics::new("writ")),
        positions: queries.positions(Topics::new("writ")),
        queries,
        position_wait: Duration::from_millis(100),
        // Nothing listens there either, so every instance counts for itself.
        limiter,
        live,
        mailer: None,
        parts: vec![part],
        metrics: PrometheusBuilder::new().build_recorder().handle(),
    };
    (api, kafka)
}

/// A server whose surroundings are all missing.
struct Alone {
    router: Router,
    kafka: watch::Sender<Readiness>,
    cancel: CancellationToken,
}

/// What came back.
#[derive(Debug)]
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Alone {
    fn new() -> Alone {
        Alone::with(Options { reference_wait_ms: 0, open: true, ..Options::default() })
    }

    fn with(options: Options) -> Alone {
        let (api, kafka) = api(&options);
        let cancel = CancellationToken::new();
        let router = crate::router::new(Arc::new(App::new(api, options, cancel.clone())));
        // As the server does with every request of a connection.
        let router =
            router.layer(axum::middleware::map_request(|mut request: axum::extract::Request| async {
                request.extensions_mut().get_or_insert(Peer { address: ([127, 0, 0, 1], 40_000).into() });
                request
            }));
        Alone { router, kafka, cancel }
    }

    async fn send(&self, request: Request<Body>) -> Got {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Got { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    async fn get(&self, path: &str) -> Got {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Got {
        self.post_with(path, &[("content-type", "application/json")], body).await
    }

    async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Got {
        let request =
            headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
        self.send(request.body(body.into()).unwrap()).await
    }
}

impl Got {
    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{name} in {:?}", self.headers)).to_str().unwrap()
    }

    /// Asserts that it is a problem document of this status and type; gives its detail.
    #[track_caller]
    fn problem(&self, status: u16, slug: &str) -> String {
        let json = self.json();
        assert_eq!(
            (self.status.as_u16(), json["type"].as_str()),
            (status, Some(&*format!("urn:writ:problem:{slug}"))),
            "{json}"
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(json["status"], status);
        assert!(!json["title"].as_str().unwrap().is_empty());
        json["detail"].as_str().unwrap().to_owned()
    }

    /// The pointers of the faults, with their codes.
    fn errors(&self) -> Vec<String> {
        let json = self.json();
        let text = |error: &Json, member: &str| error[member].as_str().unwrap().to_owned();
        json["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| format!("{} {}", text(e, "pointer"), text(e, "code")))
            .collect()
    }
}
