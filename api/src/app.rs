//! What the handlers share: the handles of the other parts, the limits, and what is computed once at start.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use writ_consumers::live::Live;
use writ_model::Models;
use writ_producers::commands::Commands;
use writ_producers::readiness::Part;
use writ_projections::history::History;
use writ_projections::positions::Positions;
use writ_projections::query::Queries;

use crate::body::Bodies;
use crate::identity::Identity;
use crate::live::{Sockets, asyncapi};
use crate::mail::Mailer;
use crate::mail::outbox::Outbox;
use crate::openapi;
use crate::options::Options;
use crate::rate_limit::RateLimiter;
use crate::references::References;

/// The handles that the HTTP interface works with. All are cheap to make and need nothing to be there yet: a request
/// that needs a missing part is answered with 503.
#[derive(Debug, Clone)]
pub struct Api {
    /// The application's models.
    pub models: Arc<Models>,
    /// The way into Kafka. `None`: this process takes no commands; they are answered with 503.
    pub commands: Option<Commands>,
    /// The read models.
    pub queries: Queries,
    /// The event log.
    pub history: History,
    /// How far the read models are.
    pub positions: Positions,
    /// How long a query with `Writ-Position`, and a command with `?wait=projected`, wait for the read model.
    pub position_wait: Duration,
    /// Who someone is.
    pub identity: Identity,
    /// What happens, for those who follow it.
    pub live: Live,
    /// How often a client may ask.
    pub limiter: RateLimiter,
    /// Sends mails. `None`: nobody gets any.
    pub mailer: Option<Mailer>,
    /// The parts that `/readyz` reports.
    pub parts: Vec<Part>,
    /// Renders `/metrics`; from [`crate::metrics::install`].
    pub metrics: PrometheusHandle,
}

/// [`Api`] with the limits and what is computed from it.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) api: Api,
    pub(crate) options: Options,
    pub(crate) references: References,
    /// The OpenAPI document, as sent.
    pub(crate) openapi: Bytes,
    /// The AsyncAPI document, as sent.
    pub(crate) asyncapi: Bytes,
    pub(crate) requests: Semaphore,
    /// Those of the requests that may be commands.
    pub(crate) changes: Semaphore,
    /// Bytes of bodies and lines from when they are read until they are in the queue to Kafka.
    pub(crate) bodies: Bodies,
    pub(crate) batches: Arc<Semaphore>,
    /// Sockets and event streams.
    pub(crate) live: Sockets,
    /// Mails that are still to be written and sent.
    pub(crate) outbox: Outbox,
    /// The server stops.
    pub(crate) cancel: CancellationToken,
}

pub(crate) type Shared = Arc<App>;

impl App {
    pub(crate) fn identity(&self) -> &Identity {
        &self.api.identity
    }

    pub(crate) fn new(api: Api, options: Options, cancel: CancellationToken) -> App {
        let asyncapi = asyncapi::document(&api.models, &api.identity.options.url).to_string().into();
        let openapi = openapi::document(&api.models, api.identity.options.is_https()).to_string().into();
        App {
            openapi,
            asyncapi,
            live: Sockets::new(&options, api.limiter.link().client().clone(), api.limiter.prefix()),
            references: References::new(options.reference_wait()),
            requests: Semaphore::new(options.max_requests),
            changes: Semaphore::new((options.max_requests - options.max_requests / 4).max(1)),
            bodies: Bodies::new(options.max_body_bytes.max(options.body_limit)),
            outbox: Outbox::new(cancel.clone()),
            batches: Arc::new(Semaphore::new(options.max_batches)),
            api,
            options,
            cancel,
        }
    }
}
