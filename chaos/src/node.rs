//! One `writ serve`: started, killed, paused, and started again with the same data folder and address.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::proxy::Proxy;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Api,
    Decider,
    Projector,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Decider => "decider",
            Self::Projector => "projector",
        }
    }
}

/// The cables of one process.
#[derive(Debug, Clone)]
pub(crate) struct Cables {
    pub(crate) kafka: Arc<Proxy>,
    pub(crate) registry: Arc<Proxy>,
    pub(crate) postgres: Arc<Proxy>,
    /// Its port; a cache needs no proxy to be gone.
    pub(crate) redis: u16,
}

/// A process of the cluster, whether it runs or not.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Where the HTTP interface of an api listens, through all restarts.
    pub(crate) port: u16,
    pub(crate) cables: Cables,
    pub(crate) program: PathBuf,
    pub(crate) models: PathBuf,
    pub(crate) dir: PathBuf,
    child: Mutex<Option<Child>>,
}

/// How long an orderly end may take: longer than the server gives its roles.
const STOP_LIMIT: Duration = Duration::from_secs(30);

impl Node {
    pub(crate) fn new(
        name: String,
        role: Role,
        port: u16,
        cables: Cables,
        files: (PathBuf, PathBuf, PathBuf),
    ) -> Self {
        let (program, models, dir) = files;
        Self { name, role, port, cables, program, models, dir, child: Mutex::new(None) }
    }

    /// Starts the process unless it runs.
    pub(crate) async fn start(&self) -> Result<()> {
        let mut child = self.child.lock().await;
        if child.is_some() {
            return Ok(());
        }
        let path = self.dir.join("logs").join(format!("{}.log", self.name));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let mut command = self.command();
        command
            .args(["serve", "--open", "--roles", self.role.name()])
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--models")
            .arg(&self.models)
            .arg("--data")
            .arg(self.dir.join("data").join(&self.name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        *child = Some(command.spawn().with_context(|| format!("cannot run {}", self.program.display()))?);
        Ok(())
    }

    /// `writ` with the addresses of this process.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WRIT_") {
                command.env_remove(name);
            }
        }
        let address = |proxy: &Proxy| format!("127.0.0.1:{}", proxy.port());
        command
            .env("WRIT_APP", crate::APP)
            .env("WRIT_KAFKA_BROKERS", address(&self.cables.kafka))
            .env("WRIT_KAFKA_PARTITIONS", crate::PARTITIONS)
            .env("WRIT_REGISTRY_URL", format!("http://{}/apis/ccompat/v7", address(&self.cables.registry)))
            .env(
                "WRIT_POSTGRES_URL",
                format!("postgres://postgres@{}/postgres", address(&self.cables.postgres)),
            )
            .env("WRIT_REDIS_URL", format!("redis://127.0.0.1:{}", self.cables.redis))
            // Short, so that the clients' repeats are exercised too.
            .env("WRIT_HTTP_COMMAND_TIMEOUT_MS", "3000")
            .env("WRIT_LOG_FORMAT", "json")
            .env("WRIT_LOG_LEVEL", "info")
            .current_dir(&self.dir);
        command
    }

    /// Runs a tool of `writ` beside the process.
    ///
    /// # Errors
    /// It fails, with what it says.
    pub(crate) async fn tool(&self, arguments: &[&str]) -> Result<()> {
        let output = self.command().args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
        let output = output.await.with_context(|| format!("cannot run {}", self.program.display()))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("`writ {}` failed: {}", arguments.join(" "), text.trim());
        }
        Ok(())
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(&self) -> Result<()> {
        if let Some(mut child) = self.child.lock().await.take() {
            child.kill().await.with_context(|| format!("cannot kill {}", self.name))?;
        }
        Ok(())
    }

    /// SIGTERM, then SIGKILL when that takes too long.
    pub(crate) async fn stop(&self) -> Result<()> {
        let mut child = self.child.lock().await;
        if let Some(running) = child.as_mut() {
            signal(running, Signal::SIGTERM)?;
            if tokio::time::timeout(STOP_LIMIT, running.wait()).await.is_err() {
                running.kill().await.with_context(|| format!("cannot kill {}", self.name))?;
            }
            *child = None;
        }
        Ok(())
    }

    /// SIGSTOP: the process is there and does nothing.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.child.lock().await.as_ref().map_or(Ok(()), |child| signal(child, Signal::SIGSTOP))
    }

    /// SIGCONT.
    pub(crate) async fn go_on(&self) -> Result<()> {
        self.child.lock().await.as_ref().map_or(Ok(()), |child| signal(child, Signal::SIGCONT))
    }

    /// The status of a process that ended though nobody killed it; it counts as stopped from then on.
    pub(crate) async fn ended(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().await;
        let status = child.as_mut()?.try_wait().ok().flatten()?;
        *child = None;
        Some(status)
    }
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    // Without an id it has ended, and `ended` will say so.
    let Some(pid) = child.id() else { return Ok(()) };
    kill(Pid::from_raw(pid.cast_signed()), signal).with_context(|| format!("cannot send {signal} to {pid}"))
}
