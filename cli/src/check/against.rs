//! `writ check --against`: the declarations and what the registry has of them.

use writ_model::Models;
use writ_model::compatibility::{self, Comparison};
use writ_producers::registry::{self, Registry};
use writ_producers::topics::Topics;

use super::count;
use crate::Failure;
use crate::config::Config;

/// Why nothing was compared.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the events can't be compared with the schema registry")]
#[diagnostic(help(
    "`--against URL` names the Confluent API of a registry, such as http://127.0.0.1:8081/apis/ccompat/v7; without a URL \
     it is `registry.url` of the configuration. A folder of models stands before `--against`."
))]
struct NotCompared {
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn not_compared(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::usage(NotCompared { source: source.into() })
}

/// Asks the registry and compares. Nothing is changed there.
pub(super) fn compare(config: &Config, url: Option<&str>, models: &Models) -> Result<Comparison, Failure> {
    let options = match url {
        Some(url) => registry::Options { url: url.to_owned() },
        None => config.registry.clone(),
    };
    let registry = Registry::new(&options).map_err(not_compared)?;
    let topics = Topics::new(&config.kafka.topic_prefix);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(not_compared)?;
    let registered = runtime.block_on(registry.registered(models, &topics)).map_err(not_compared)?;
    Ok(compatibility::compare(models, &registered))
}

/// What came out, after the findings.
pub(super) fn print_summary(prefix: &str, comparison: &Comparison) {
    let Comparison { findings, changes } = comparison;
    println!("Compared with what the registry has of `{prefix}.*`:");
    for change in changes {
        println!("  {change}");
    }
    match (findings.len(), changes.len()) {
        (0, 0) => println!("No change."),
        (0, changes) => println!("{}. Every reader bears them.", count(changes, "change")),
        (findings, changes) => {
            println!("{} refused (shown above), {} fine.", count(findings, "change"), changes)
        }
    }
}
