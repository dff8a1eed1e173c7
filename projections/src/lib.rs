//! Everything PostgreSQL. In the order in which data passes: [`tables`] (derived from the models), [`projector`]
//! (events become rows), [`rebuild`] (the same beside what is live), [`query`] (rows become answers), [`history`] (events
//! become answers), [`cache`] (before rows), [`positions`] (read your writes).

#![cfg_attr(test, allow(clippy::unwrap_used))]

use serde::{Deserialize, Serialize};

pub mod cache;
mod catalog;
mod database;
mod declared;
pub mod history;
mod metrics;
pub mod positions;
pub mod projector;
pub mod query;
mod reader;
pub mod rebuild;
pub mod tables;

pub use reader::Reader;

/// Options that can't work.
#[derive(Debug, thiserror::Error)]
pub enum InvalidOptions {
    /// `postgres.url` is no connection URL.
    #[error("postgres.url is no connection URL such as postgres://user@host:5432/database: {0}")]
    Url(String),
}

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
