//! The configuration: one typed struct per concern, each declared by the crate that uses it. [`load()`] puts the layers
//! together (defaults, `writ.toml`, `WRIT_*` variables, flags), [`show`] is `writ config`.

mod load;
pub(crate) mod show;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use load::{Error, Loaded, Override, list, load};

/// Everything that can be configured. The field names are the keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The application's name: first part of every event type. Letters, digits and `_`.
    pub(crate) app: String,
    /// The folder of the model files. From `writ.toml` or by default: relative to the folder of `writ.toml`.
    pub(crate) models: PathBuf,
    /// The folder of what the server may lose: its node id and the decider's state store. Relative as `models`.
    pub(crate) data: PathBuf,
    /// What this process runs.
    pub(crate) roles: Vec<Role>,
    pub(crate) http: writ_api::Options,
    pub(crate) identity: writ_api::identity::Options,
    pub(crate) mail: writ_api::mail::Options,
    pub(crate) kafka: writ_producers::kafka::Options,
    pub(crate) registry: writ_producers::registry::Options,
    pub(crate) decider: writ_consumers::decider::Options,
    pub(crate) live: writ_consumers::live::Options,
    pub(crate) reactions: writ_consumers::reactions::Options,
    pub(crate) postgres: writ_projections::Options,
    pub(crate) redis: writ_projections::cache::Options,
    pub(crate) log: Log,
}

/// A part of the server that scales on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// HTTP: commands and queries.
    Api,
    /// Commands become events.
    Decider,
    /// Events become rows.
    Projector,
    /// Commands follow on events.
    Reactions,
}

impl Role {
    /// As written in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Api => "api",
            Role::Decider => "decider",
            Role::Projector => "projector",
            Role::Reactions => "reactions",
        }
    }
}

/// The server's own log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    /// How a line looks.
    pub(crate) format: LogFormat,
    /// A level (`info`), or directives of `tracing_subscriber::EnvFilter` (`info,writ_consumers=debug`).
    pub(crate) level: String,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            app: "app".into(),
            models: "models".into(),
            data: ".writ/data".into(),
            roles: vec![Role::Api, Role::Decider, Role::Projector, Role::Reactions],
            http: writ_api::Options::default(),
            identity: writ_api::identity::Options::default(),
            mail: writ_api::mail::Options::default(),
            kafka: writ_producers::kafka::Options::default(),
            registry: writ_producers::registry::Options::default(),
            decider: writ_consumers::decider::Options::default(),
            live: writ_consumers::live::Options::default(),
            reactions: writ_consumers::reactions::Options::default(),
            postgres: writ_projections::Options::default(),
            redis: writ_projections::cache::Options::default(),
            log: Log { format: LogFormat::Auto, level: "info".into() },
        }
    }
}
