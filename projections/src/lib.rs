//! Everything PostgreSQL: [`tables`] derived from the models, the [`projector`] that writes them, [`query`] that reads them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where PostgreSQL is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Connection URL.
    pub url: String,
    /// The schema that holds all tables.
    pub schema: String,
    /// Most connections for queries.
    pub max_connections: u32,
    /// How long a query waits for a `Writ-Position`.
    #[serde(with = "millis")]
    pub position_wait_ms: Duration,
}
mod millis {
    use std::time::Duration;
    pub(crate) fn serialize<S: serde::Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(d.as_millis() as u64)
    }
    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        <u64 as serde::Deserialize>::deserialize(d).map(Duration::from_millis)
    }
}
