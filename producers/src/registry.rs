//! The schema registry: compares the declarations with what is registered ([`versions`]), registers event schemas before
//! the first event is written, and finds the schema that an event was written with by the id in its frame. Speaks the
//! Confluent API, so any compatible registry serves.

mod versions;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_schema_by_id, post_schema};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SchemaType, SuppliedSchema};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use writ_model::Models;
use writ_model::compatibility::{self, Finding};

use crate::readiness::Readiness;
use crate::topics::Topics;

/// Limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks at whether the registry is there.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// The same while it isn't.
const RETRY: Duration = Duration::from_millis(500);
/// Consumers of other teams read tomorrow's events with yesterday's schema, and the other way round (DESIGN 5).
const COMPATIBILITY: &str = "FULL_TRANSITIVE";
/// What the Confluent API says of an id that it never gave.
const NO_SUCH_SCHEMA: u32 = 40403;
/// Of bodies in the Confluent API.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Where the registry is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Base URL of the Confluent-compatible API.
    pub url: String,
}

impl Default for Options {
    fn default() -> Self {
        Options { url: "http://127.0.0.1:8081/apis/ccompat/v7".into() }
    }
}

/// A failed registry operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not reachable, or an answer that makes no sense: try again.
    #[error("the schema registry at {url} doesn't answer: {detail}")]
    Unavailable {
        /// Where it was looked for.
        url: String,
        /// What happened.
        detail: String,
    },
    /// Events have changed in a way that breaks what is there: trying again changes nothing.
    #[error(
        "{} in the models would break the reading of events: {}. `writ check --against` shows every one with its place \
         and the way out",
        match findings.len() { 1 => "a change".to_owned(), many => format!("{many} changes") },
        findings.first().map_or("", |finding| finding.message.as_str())
    )]
    Incompatible {
        /// Every one, at least one.
        findings: Vec<Finding>,
    },
    /// The registry refuses the schema although our comparison let it pass: trying again changes nothing.
    #[error(
        "the registry refuses the schema of {subject}: {detail}. Readers of the event could not read both the old and \
         the new form; give new fields a `default` or make them `optional`, or emit a new event"
    )]
    Refused {
        /// The subject: `<topic>-<event type>`.
        subject: String,
        /// What the registry said.
        detail: String,
    },
    /// The registry has no usable schema with this id.
    #[error("schema {id} can't be used: {detail}")]
    Schema {
        /// As in the frame of the event.
        id: u32,
        /// Why.
        detail: String,
    },
}

/// The ids under which the event schemas are registered, by event type.
#[derive(Debug, Clone, Default)]
pub struct SchemaIds {
    ids: HashMap<String, u32>,
    base_url: String,
}

impl SchemaIds {
    /// The id of an event type (`shop.order.Placed`).
    pub fn id(&self, type_name: &str) -> Option<u32> {
        self.ids.get(type_name).copied()
    }

    /// The URL under which anyone can fetch that schema: CloudEvents `dataschema`.
    pub fn url(&self, id: u32) -> String {
        format!("{}/schemas/ids/{id}", self.base_url)
    }
}

/// A cheap handle with a cache of schemas by id.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: String,
    settings: SrSettings,
    http: reqwest::Client,
    schemas: RwLock<HashMap<u32, Arc<apache_avro::Schema>>>,
}

impl Registry {
    /// A handle; connects on first use. Errors: the URL is none.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let url = options.url.trim_end_matches('/').to_owned();
        let invalid = |detail: String| Error::Unavailable { url: url.clone(), detail };
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        let mut builder = SrSettings::new_builder(url.clone());
        builder.set_timeout(REQUEST_TIMEOUT);
        let settings = builder.build().map_err(|error| invalid(describe(&error)))?;
        Ok(Registry { inner: Arc::new(Inner { url, settings, http, schemas: RwLock::default() }) })
    }

    /// Registers every event schema under `<topic>-<event type>` (TopicRecordNameStrategy). Idempotent: an equal
    /// schema keeps its id.
    ///
    /// # Errors
    /// [`Error::Refused`] when an event has changed in a way that breaks its readers; else [`Error::Unavailable`].
    pub async fn register(&self, models: &Models, topics: &Topics) -> Result<SchemaIds, Error> {
        let mut ids = HashMap::new();
        for model in models.models.values() {
            let topic = topics.events(&model.name);
            for event in model.events.values() {
                let subject = format!("{topic}-{}", event.type_name);
                let schema = SuppliedSchema::new(
                    Some(event.type_name.clone()),
                    SchemaType::Avro,
                    event.codec.schema_json.clone(),
                );
                let registered = post_schema(&self.inner.settings, subject.clone(), schema)
                    .await
                    .map_err(|error| self.refused_or_unavailable(&subject, &error))?;
                self.set_compatibility(&subject).await?;
                tracing::debug!(
                    registry.subject = subject,
                    registry.schema_id = registered.id,
                    "schema is registered"
                );
                ids.insert(event.type_name.clone(), registered.id);
            }
        }
        Ok(SchemaIds { ids, base_url: self.inner.url.clone() })
    }

    /// The schema with this id, from the cache or the registry.
    ///
    /// # Errors
    /// [`Error::Unavailable`] may pass with time; [`Error::Schema`] won't.
    pub async fn schema(&self, id: u32) -> Result<Arc<apache_avro::Schema>, Error> {
        if let Some(schema) = self.inner.schemas.read().get(&id) {
            return Ok(schema.clone());
        }
        let registered = get_schema_by_id(id, &self.inner.settings).await.map_err(|error| {
            // Anything else, and be it a 404 of a proxy, may pass; an event is given up on only for this.
            let known =
                std::error::Error::source(&error).and_then(|source| source.downcast_ref::<RawError>());
            match known {
                Some(RawError { error_code: NO_SUCH_SCHEMA, .. }) => {
                    Error::Schema { id, detail: describe(&error) }
                }
                _ => self.unavailable(describe(&error)),
            }
        })?;
        let schema = apache_avro::Schema::parse_str(&registered.schema)
            .map_err(|error| Error::Schema { id, detail: error.to_string() })?;
        let schema = Arc::new(schema);
        self.inner.schemas.write().insert(id, schema.clone());
        Ok(schema)
    }

    /// Compares and registers the schemas as soon as the registry is there, hands their ids over, and then reports whether
    /// the registry answers, until cancelled.
    ///
    /// # Errors
    /// [`Error::Incompatible`] or [`Error::Refused`]: an event has changed in a way that breaks its readers.
    pub async fn watch(
        &self,
        models: &Models,
        topics: &Topics,
        ids: watch::Sender<Option<SchemaIds>>,
        readiness: watch::Sender<Readiness>,
        cancel: CancellationToken,
    ) -> Result<(), Error> {
        loop {
            let ask = async {
                if ids.borrow().is_some() {
                    return self.ping().await;
                }
                self.compare(models, topics).await?;
                self.register(models, topics).await.map(|registered| drop(ids.send_replace(Some(registered))))
            };
            let Some(answer) = cancel.run_until_cancelled(ask).await else { return Ok(()) };
            let pause = match answer {
                Ok(()) => {
                    crate::readiness::report(&readiness, "the schema registry", Readiness::Ready);
                    PROBE_INTERVAL
                }
                Err(error @ (Error::Incompatible { .. } | Error::Refused { .. })) => return Err(error),
                Err(error) => {
                    let waiting = Readiness::Waiting(error.to_string());
                    crate::readiness::report(&readiness, "the schema registry", waiting);
                    RETRY
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Nothing is registered before it is known that every event that is there can still be read.
    async fn compare(&self, models: &Models, topics: &Topics) -> Result<(), Error> {
        let comparison = compatibility::compare(models, &self.registered(models, topics).await?);
        for finding in &comparison.findings {
            tracing::error!(
                model = finding.model,
                event = finding.event,
                field = finding.path.join("."),
                hint = finding.hint,
                "{}",
                finding.message
            );
        }
        if !comparison.findings.is_empty() {
            return Err(Error::Incompatible { findings: comparison.findings });
        }
        for change in &comparison.changes {
            tracing::info!(%change, "the declarations have changed, in a way that every reader bears");
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        let answer = self.inner.http.get(format!("{}/config", self.inner.url)).send().await;
        let answer = answer.map_err(|error| self.unavailable(error.to_string()))?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(self.unavailable(format!("HTTP {}", answer.status())))
    }

    async fn set_compatibility(&self, subject: &str) -> Result<(), Error> {
        let url = format!("{}/config/{subject}", self.inner.url);
        let answer = self
            .inner
            .http
            .put(url)
            .header(reqwest::header::CONTENT_TYPE, MEDIA_TYPE)
            .body(serde_json::json!({ "compatibility": COMPATIBILITY }).to_string())
            .send()
            .await
            .map_err(|error| self.unavailable(error.to_string()))?;
        let status = answer.status();
        // Another server that starts at the same moment sets it too, and the registry refuses one of the two.
        if status.is_success() || self.compatibility(subject).await?.as_deref() == Some(COMPATIBILITY) {
            return Ok(());
        }
        Err(self.unavailable(format!("setting the compatibility of {subject}: HTTP {status}")))
    }

    async fn compatibility(&self, subject: &str) -> Result<Option<String>, Error> {
        let url = format!("{}/config/{subject}", self.inner.url);
        let answer = self.inner.http.get(url).send().await;
        let answer = answer.map_err(|error| self.unavailable(error.to_string()))?;
        let config: serde_json::Value =
            answer.json().await.map_err(|error| self.unavailable(error.to_string()))?;
        Ok(config["compatibilityLevel"].as_str().map(str::to_owned))
    }

    /// The library keeps the status of a refusal (409, 422) only in the text of its error.
    fn refused_or_unavailable(&self, subject: &str, error: &SRCError) -> Error {
        let detail = describe(error);
        let refused = !error.retriable && ["409", "422"].iter().any(|status| error.error.contains(status));
        if refused {
            Error::Refused { subject: subject.to_owned(), detail }
        } else {
            self.unavailable(detail)
        }
    }

    fn unavailable(&self, detail: String) -> Error {
        Error::Unavailable { url: self.inner.url.clone(), detail }
    }
}

fn describe(error: &SRCError) -> String {
    match &error.cause {
        Some(cause) => format!("{} ({cause})", error.error),
        None => error.error.clone(),
    }
}
