//! A running `writ serve`. Killed on drop; its log is shown when the test fails.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::world::{self, World};
use super::{Client, eventually, models};

/// Lines of the log that a failed test shows.
const SHOWN: usize = 80;

#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    base: String,
    log: PathBuf,
}

/// `writ` without any configuration of the surroundings.
pub(crate) fn writ() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_writ"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WRIT_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1");
    command
}

impl Server {
    /// Starts a server and waits until it listens.
    pub(super) async fn spawn(world: &World, name: &str, settings: &[(&str, &str)]) -> Server {
        let mut server = Self::spawn_headless(world, name, settings);
        let address = eventually("the server listens", async || {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the server ended with {status}");
            }
            server.address()
        })
        .await;
        server.base = format!("http://{address}");
        server
    }

    /// Starts a server that may have no HTTP interface.
    pub(super) fn spawn_headless(world: &World, name: &str, settings: &[(&str, &str)]) -> Server {
        // A server that is started again with the same name has a log of its own.
        let log = (0..)
            .map(|nth| world.folder().join(format!("{name}-{nth}.log")))
            .find(|path| !path.exists())
            .unwrap();
        let file = std::fs::File::create(&log).unwrap();
        let child = writ()
            .current_dir(world.folder())
            .args(["serve", "--listen", "127.0.0.1:0", "--models"])
            .arg(world.models())
            .arg("--data")
            .arg(world.data(name))
            .env("WRIT_APP", models::APP)
            .env("WRIT_KAFKA_BROKERS", world::brokers())
            .env("WRIT_KAFKA_TOPIC_PREFIX", &world.prefix)
            .env("WRIT_HTTP_OPEN", "true")
            .env("WRIT_IDENTITY_KEYS", world.folder().join("keys"))
            // Few, so that topics are made fast; more than one, so that order is never an accident.
            .env("WRIT_KAFKA_PARTITIONS", "4")
            .env("WRIT_REGISTRY_URL", world::registry_url())
            .env("WRIT_POSTGRES_URL", world::postgres_url())
            .env("WRIT_POSTGRES_SCHEMA", &world.schema)
            .env("WRIT_LOG_FORMAT", "json")
            .env("WRIT_LOG_LEVEL", "info")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Server { child, base: String::new(), log }
    }

    /// The address that the system chose, from the log.
    fn address(&self) -> Option<String> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let line = log.lines().find(|line| line.contains("\"server.address\""))?;
        let line: Value = serde_json::from_str(line).ok()?;
        line["server.address"].as_str().map(str::to_owned)
    }

    /// Waits until every part works.
    pub(crate) async fn ready(&self) {
        let client = self.client();
        eventually("the server is ready", async || {
            let answer = client.try_get("/readyz").await?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// `http://host:port`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Connections of its own, for the runtime of the test that calls.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.base)
    }

    /// SIGKILL: no goodbye to anybody.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the status that it ends with.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        eventually("the server stops", async || self.child.try_wait().unwrap()).await
    }

    /// Waits until it ends by itself: the status, and what it wrote.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let status = eventually("the server ends", async || self.child.try_wait().unwrap()).await;
        (status, std::fs::read_to_string(&self.log).unwrap())
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Prints the end of the log.
    pub(crate) fn show_log(&self) {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(SHOWN)..];
        eprintln!("the end of {}:\n{}", self.log.display(), tail.join("\n"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.show_log();
        }
    }
}

/// How long a request of a test may take: longer than any limit of the server.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(30);
