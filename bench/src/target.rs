//! Where the servers are: flags, then `WRIT_*` variables, then the `.writ/stack.json` that `cargo dev up` wrote, then
//! the defaults of `writ serve`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Address of the API [default: that of the running stack]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Kafka's brokers [default: those of the running stack]
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// First part of the topic names
    #[arg(long, env = "WRIT_KAFKA_TOPIC_PREFIX", value_name = "NAME", default_value = "writ")]
    topic_prefix: String,
}

/// The servers to measure.
#[derive(Debug)]
pub(crate) struct Target {
    /// `host:port` of the API.
    pub(crate) api: String,
    /// Kafka's brokers.
    pub(crate) brokers: String,
    /// The topic of the order events.
    pub(crate) events: String,
    /// Base URL of the registry.
    pub(crate) registry: String,
    /// Connection URL of PostgreSQL.
    pub(crate) postgres: String,
}

impl Flags {
    /// Resolves the addresses.
    pub(crate) fn target(&self) -> Result<Target> {
        let stack = stack_file(&workspace().join(".writ/stack.json"))?;
        let found = |flag: &Option<String>, name: &str, default: &str| {
            flag.clone()
                .or_else(|| std::env::var(name).ok())
                .or_else(|| stack.as_ref()?["addresses"][name].as_str().map(str::to_owned))
                .unwrap_or_else(|| default.to_owned())
        };
        let url = found(&self.url, "WRIT_HTTP_LISTEN", "127.0.0.1:8080");
        Ok(Target {
            api: url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            brokers: found(&self.brokers, "WRIT_KAFKA_BROKERS", "127.0.0.1:9092"),
            events: format!("{}.order", self.topic_prefix),
            registry: found(&None, "WRIT_REGISTRY_URL", "http://127.0.0.1:8081/apis/ccompat/v7"),
            postgres: found(&None, "WRIT_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres"),
        })
    }
}

/// The addresses of the running stack, as the variables that `writ` reads; those that are set already are left out.
pub(crate) fn stack_variables() -> Result<Vec<(String, String)>> {
    let stack = stack_file(&workspace().join(".writ/stack.json"))?;
    let addresses = stack.as_ref().and_then(|stack| stack["addresses"].as_object());
    let addresses = addresses.into_iter().flatten();
    Ok(addresses
        .filter(|(name, _)| std::env::var_os(name).is_none())
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect())
}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is a folder of the workspace").to_owned()
}

fn stack_file(path: &Path) -> Result<Option<Value>> {
    let Ok(text) = std::fs::read(path) else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).with_context(|| format!("{} is damaged", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_first() {
        let flags = Flags {
            url: Some("http://10.0.0.1:80/".into()),
            brokers: Some("10.0.0.2:9092".into()),
            topic_prefix: "test".into(),
        };
        let target = flags.target().unwrap();
        assert_eq!(
            (target.api.as_str(), target.brokers.as_str(), target.events.as_str()),
            ("10.0.0.1:80", "10.0.0.2:9092", "test.order")
        );
    }
}
