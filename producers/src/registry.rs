//! The schema registry: registers event schemas, finds a writer's schema by its id. Confluent API.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

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
    /// Not reachable or an answer that makes no sense: try again.
    #[error("the schema registry at {url} doesn't answer: {detail}")]
    Unavailable { url: String, detail: String },
    /// The registry refuses the schema.
    #[error("the registry refuses the schema of {subject}: {detail}")]
    Refused { subject: String, detail: String },
}

/// A cheap handle with a cache of schemas by id.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<()>,
}

impl Registry {
    /// A handle; connects on first use.
    pub fn new(options: &Options) -> Self {
        let _ = options;
        Registry { inner: Arc::new(()) }
    }
    /// The schema with this id, from the cache or the registry.
    pub async fn schema(&self, id: u32) -> Result<Arc<apache_avro::Schema>, Error> {
        let _ = (id, &self.inner);
        todo!()
    }
}
