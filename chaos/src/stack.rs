//! The servers of the run, started and broken through the program of `cargo dev`, which knows how each is run.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

/// A server that can be stopped, killed and started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Server {
    Kafka,
    Registry,
    Postgres,
    Redis,
}

impl Server {
    pub(crate) const ALL: [Self; 4] = [Self::Kafka, Self::Registry, Self::Postgres, Self::Redis];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Registry => "registry",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }
}

/// Where the servers listen.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Ports {
    pub(crate) kafka: u16,
    pub(crate) registry: u16,
    pub(crate) postgres: u16,
    pub(crate) redis: u16,
}

/// One listener of Kafka for each process whose network can be broken: its port, and the port that its clients are
/// told, which is that of their proxy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listener {
    pub(crate) port: u16,
    pub(crate) advertised: u16,
}

/// The stack in a folder of its own.
#[derive(Debug)]
pub(crate) struct Stack {
    infra: PathBuf,
    dir: PathBuf,
    pub(crate) ports: Ports,
}

impl Stack {
    /// The stack in the folder `dir`, not started.
    pub(crate) fn new(infra: &Path, dir: &Path) -> Self {
        let ports = Ports { kafka: 0, registry: 0, postgres: 0, redis: 0 };
        Self { infra: infra.to_owned(), dir: dir.to_owned(), ports }
    }

    /// Deletes what an earlier run left, and starts the four servers on free ports.
    pub(crate) async fn start(&mut self, listeners: &[Listener]) -> Result<()> {
        self.remove().await?;
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot create {}", self.dir.display()))?;
        let list: Vec<_> = listeners
            .iter()
            .map(|listener| json!({ "port": listener.port, "advertised": listener.advertised }))
            .collect();
        fs::write(self.dir.join("kafka-listeners.json"), serde_json::to_vec(&list)?)
            .context("cannot write the list of Kafka's listeners")?;
        self.infra(&["up", "--no-server", "--free-ports", "--detach"]).await?;
        #[derive(Deserialize)]
        struct File {
            ports: Ports,
        }
        let file = fs::read(self.dir.join("stack.json")).context("the stack has no stack.json")?;
        self.ports = serde_json::from_slice::<File>(&file).context("stack.json has no ports")?.ports;
        Ok(())
    }

    /// Starts the server and waits until it is ready.
    pub(crate) async fn start_server(&self, server: Server) -> Result<()> {
        self.infra(&["server", "start", server.name()]).await
    }

    /// Asks the server to end, and waits until it has.
    pub(crate) async fn stop_server(&self, server: Server) -> Result<()> {
        self.infra(&["server", "stop", server.name()]).await
    }

    /// SIGKILL.
    pub(crate) async fn kill_server(&self, server: Server) -> Result<()> {
        self.infra(&["server", "kill", server.name()]).await
    }

    /// Kills every server; their data stays.
    pub(crate) async fn kill(&self) -> Result<()> {
        for server in Server::ALL {
            self.kill_server(server).await?;
        }
        Ok(())
    }

    /// Deletes the folder and what the servers keep elsewhere.
    pub(crate) async fn remove(&self) -> Result<()> {
        if self.dir.exists() {
            self.infra(&["reset", "--yes"]).await?;
            fs::remove_dir_all(&self.dir).with_context(|| format!("cannot delete {}", self.dir.display()))?;
        }
        Ok(())
    }

    async fn infra(&self, args: &[&str]) -> Result<()> {
        let output = Command::new(&self.infra)
            .arg("--dir")
            .arg(&self.dir)
            .args(args)
            .stdin(Stdio::null())
            // An interrupted run must not be followed by a server that is still being started.
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot run {}", self.infra.display()))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("`cargo dev {}` failed: {}", args.join(" "), text.trim());
        }
        Ok(())
    }
}

/// Ports that nobody listens on now, below the range that the system hands out for outgoing connections.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let start = u16::try_from(std::process::id() % 3000).expect("less than 3000") + 15_000;
    (start..20_000)
        .chain(12_000..start)
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .take(count)
        .collect()
}
