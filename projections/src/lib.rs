//! Everything PostgreSQL: tables derived from the models, the projector that writes them, the queries that read them.

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
    /// How long a query waits for a `Writ-Position`, milliseconds.
    pub position_wait_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            url: "postgres://postgres@127.0.0.1:5432/postgres".into(),
            schema: "writ".into(),
            max_connections: 8,
            position_wait_ms: 5_000,
        }
    }
}
