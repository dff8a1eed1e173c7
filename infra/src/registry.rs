//! Apicurio Registry, which serves the Confluent Schema Registry's API under `/apis/ccompat/v7`.
//!
//! Its database is a file of its own. The schemas of the topics must outlive the deletion of PostgreSQL's data, so they
//! can't be there. (Its storage in Kafka would do as well, but takes 25 seconds to start.)

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::ports::loopback;
use crate::prerequisites::Tools;
use crate::server::Server;
use crate::stack::{Stack, servers};

pub(crate) fn command(stack: &Stack, tools: &Tools) -> Result<Command> {
    let data = stack.data(Server::Registry);
    fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
    let database = data.join("registry");
    let database = database.to_str().context("the path of the stack's folder is not UTF-8")?;
    if database.contains(';') {
        bail!(
            "the registry can't keep its data in {database}: it takes the semicolon as the start of an option"
        );
    }
    let mut command = Command::new(tools.java());
    command
        .args([
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            "-jar",
        ])
        .arg(servers().join("registry/quarkus-run.jar"))
        .env("APICURIO_STORAGE_KIND", "sql")
        .env("APICURIO_STORAGE_SQL_KIND", "h2")
        // Without the delay a schema is in the file when its registration is answered, so a kill -9 loses none.
        .env("APICURIO_DATASOURCE_URL", format!("jdbc:h2:file:{database};WRITE_DELAY=0"))
        // It cuts the list of subjects after 1000, silently; `writ check --against` needs all of an application's.
        .env("APICURIO_CCOMPAT_MAX_SUBJECTS", "1000000")
        .env("QUARKUS_HTTP_HOST", "127.0.0.1")
        .env("QUARKUS_HTTP_PORT", stack.ports.registry.to_string())
        // A second listener that nobody here uses: on loopback, on whatever port is free.
        .env("QUARKUS_MANAGEMENT_HOST", "127.0.0.1")
        .env("QUARKUS_MANAGEMENT_PORT", "0")
        .env("QUARKUS_HTTP_ACCESS_LOG_ENABLED", "false")
        .current_dir(stack.dir());
    Ok(command)
}

/// Lists the subjects, which needs the database.
pub(crate) async fn check(port: u16) -> Result<()> {
    get(&format!("http://{}/apis/ccompat/v7/subjects", loopback(port))).await
}

/// Expects `url` to answer with success.
pub(crate) async fn get(url: &str) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(4)).build()?;
    let answer = client.get(url).send().await?;
    let status = answer.status();
    if !status.is_success() {
        let body = answer.text().await.unwrap_or_default();
        bail!("GET {url} answered {status}: {}", body.chars().take(500).collect::<String>());
    }
    Ok(())
}
