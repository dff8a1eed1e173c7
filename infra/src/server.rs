//! The servers of a stack, and what they have in common: start, wait until ready, stop.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::ports::{Ports, is_free};
use crate::prerequisites::Tools;
use crate::process::{POLL, Process};
use crate::stack::Stack;
use crate::{kafka, postgres, redis, registry, writ};

/// A server that isn't ready after this time won't be: the slowest needs 5 seconds on two idle cores.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// One server of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Server {
    Kafka,
    Registry,
    Postgres,
    Redis,
    Writ,
}

impl Server {
    /// The servers that Writ runs on, in the order of the tables.
    pub(crate) const BACKING: [Self; 4] = [Self::Kafka, Self::Registry, Self::Postgres, Self::Redis];
    /// All servers, in the order of the tables.
    pub(crate) const ALL: [Self; 5] = [Self::Kafka, Self::Registry, Self::Postgres, Self::Redis, Self::Writ];
    /// All servers, in the order in which they are stopped: a client before the servers that it uses.
    pub(crate) const STOP_ORDER: [Self; 5] =
        [Self::Writ, Self::Registry, Self::Kafka, Self::Postgres, Self::Redis];

    /// The name in file names and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Registry => "registry",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Writ => "writ",
        }
    }

    /// The name in sentences.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka",
            Self::Registry => "the schema registry",
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
            Self::Writ => "writ",
        }
    }

    /// The port that clients connect to.
    pub(crate) fn port(self, ports: &Ports) -> u16 {
        match self {
            Self::Kafka => ports.kafka,
            Self::Registry => ports.registry,
            Self::Postgres => ports.postgres,
            Self::Redis => ports.redis,
            Self::Writ => ports.http,
        }
    }

    /// Every port that the server listens on, with the flag that chooses it.
    fn listens(self, ports: &Ports) -> Vec<(u16, &'static str)> {
        match self {
            Self::Kafka => {
                vec![(ports.kafka, "--kafka-port"), (ports.kafka_controller, "--kafka-controller-port")]
            }
            Self::Registry => vec![(ports.registry, "--registry-port")],
            Self::Postgres => vec![(ports.postgres, "--postgres-port")],
            Self::Redis => vec![(ports.redis, "--redis-port")],
            Self::Writ => vec![(ports.http, "--http-port")],
        }
    }

    /// The signal that asks the server to end, and how long that may take.
    fn stop_signal(self) -> (Signal, Duration) {
        match self {
            // What PostgreSQL calls fast shutdown: sessions are ended, the data is written.
            Self::Postgres => (Signal::SIGINT, Duration::from_secs(15)),
            Self::Kafka => (Signal::SIGTERM, Duration::from_secs(20)),
            Self::Registry => (Signal::SIGTERM, Duration::from_secs(15)),
            // It gives its roles 20 seconds to finish what they began.
            Self::Writ => (Signal::SIGTERM, Duration::from_secs(25)),
            Self::Redis => (Signal::SIGTERM, Duration::from_secs(5)),
        }
    }

    /// Prepares the data and gives the command that runs the server in the foreground.
    async fn command(self, stack: &Stack, tools: &Tools) -> Result<Command> {
        match self {
            Self::Kafka => kafka::command(stack, tools).await,
            Self::Registry => registry::command(stack, tools),
            Self::Postgres => postgres::command(stack).await,
            Self::Redis => redis::command(stack),
            Self::Writ => writ::command(stack, tools),
        }
    }

    /// Asks the server by its own protocol whether it serves. The error says what it answered instead.
    pub(crate) async fn check(self, ports: &Ports) -> Result<()> {
        let port = self.port(ports);
        let answer = async {
            match self {
                Self::Kafka => kafka::check(port).await,
                Self::Registry => registry::check(port).await,
                Self::Postgres => postgres::check(port).await,
                Self::Redis => redis::check(port).await,
                Self::Writ => writ::check(port).await,
            }
        };
        tokio::time::timeout(Duration::from_secs(5), answer).await.context("no answer in 5 seconds")?
    }
}

/// Whether [`start`] had anything to do.
#[derive(Debug)]
pub(crate) enum Started {
    /// It ran already.
    Before,
    /// This command started it; the child is kept so that its exit status can be read.
    Now(Child),
}

/// Starts `server` unless it runs, and waits until it answers.
///
/// # Errors
/// A taken port (with the flag that chooses another), a server that ends at start (with the end of its log), one that isn't
/// ready in time, and a cancelled `cancel`. A server that this call started isn't left running after an error.
pub(crate) async fn start(
    server: Server,
    stack: &Stack,
    tools: &Tools,
    cancel: &CancellationToken,
) -> Result<Started> {
    if let Some(process) = stack.run_file(server).living() {
        wait_until_ready(server, stack, &process, None, cancel).await?;
        return Ok(Started::Before);
    }
    for (port, flag) in server.listens(&stack.ports) {
        if !is_free(port) {
            bail!(
                "port {port}, where {} should listen, is taken by another program; name another port with \
                 `{flag} PORT`, or let `--free-ports` find free ones",
                server.title()
            );
        }
    }
    let mut attempts = 0;
    loop {
        let error = match launch(server, stack, tools, cancel).await {
            Ok(child) => return Ok(Started::Now(child)),
            Err(error) => error,
        };
        attempts += 1;
        let log = last_lines(&stack.log(server.name()), 20).unwrap_or_default();
        let again = server == Server::Postgres && attempts < 20 && postgres::predecessor_is_leaving(&log);
        if !again || cancel.is_cancelled() {
            return Err(error);
        }
        sleep(Duration::from_millis(250)).await;
    }
}

async fn launch(server: Server, stack: &Stack, tools: &Tools, cancel: &CancellationToken) -> Result<Child> {
    let mut command = tokio::select! {
        command = server.command(stack, tools) => command,
        () = cancel.cancelled() => bail!("interrupted"),
    }
    .with_context(|| format!("cannot prepare {}", server.title()))?;
    let log = open_log(&stack.log(server.name()))?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share the log between two outputs")?)
        .stderr(log)
        .process_group(0);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {}", Path::new(command.get_program()).display()))?;
    let process = Process::of(child.id().cast_signed(), server.port(&stack.ports));
    let mut process = process.with_context(|| format!("cannot see the process of {}", server.title()))?;
    process.version = (server == Server::Writ).then(|| tools.writ_version()).flatten();
    let run_file = stack.run_file(server);
    run_file.write(&process)?;
    if let Err(error) = wait_until_ready(server, stack, &process, Some(&mut child), cancel).await {
        process.stop(Signal::SIGTERM, Duration::from_secs(5), std::future::pending()).await?;
        // Gone by now, so this doesn't block; it takes the exit status from the system.
        child.wait().ok();
        run_file.remove()?;
        return Err(error);
    }
    Ok(child)
}

async fn wait_until_ready(
    server: Server,
    stack: &Stack,
    process: &Process,
    mut child: Option<&mut Child>,
    cancel: &CancellationToken,
) -> Result<()> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        let exit = match child.as_deref_mut() {
            Some(child) => {
                child.try_wait().context("cannot ask for the exit status")?.map(|status| status.to_string())
            }
            None => (!process.is_alive()).then(|| "it is gone".to_owned()),
        };
        if let Some(exit) = exit {
            bail!("{} ended at start ({exit}){}", server.title(), log_tail(stack, server));
        }
        let answer = tokio::select! {
            answer = server.check(&stack.ports) => answer,
            () = cancel.cancelled() => bail!("interrupted"),
        };
        let answer = match (server, &child) {
            (Server::Kafka, Some(_)) => answer.and_then(|()| kafka::has_joined(&stack.log(server.name()))),
            _ => answer,
        };
        let Err(answer) = answer else { return Ok(()) };
        if Instant::now() >= deadline {
            bail!(
                "{} isn't ready after {} seconds: {answer:#}{}",
                server.title(),
                READY_LIMIT.as_secs(),
                log_tail(stack, server)
            );
        }
        sleep(POLL).await;
    }
}

/// Stops `server` if it runs. Returns whether it did.
///
/// # Errors
/// The process can't be signalled, or survives SIGKILL.
pub(crate) async fn stop(server: Server, stack: &Stack, force: &CancellationToken) -> Result<bool> {
    let run_file = stack.run_file(server);
    let Some(process) = run_file.living() else {
        run_file.remove()?;
        return Ok(false);
    };
    let (signal, limit) = server.stop_signal();
    process
        .stop(signal, limit, force.cancelled())
        .await
        .with_context(|| format!("cannot stop {}", server.title()))?;
    run_file.remove()?;
    Ok(true)
}

/// A new log; the one of the start before is kept as `NAME.log.1`.
fn open_log(path: &Path) -> Result<File> {
    let mut before = path.as_os_str().to_owned();
    before.push(".1");
    if path.exists() {
        fs::rename(path, &before).with_context(|| format!("cannot rename {}", path.display()))?;
    }
    let log = File::options().create(true).append(true).open(path);
    log.with_context(|| format!("cannot create {}", path.display()))
}

/// The last 20 lines of the server's log, introduced, for the end of an error message.
pub(crate) fn log_tail(stack: &Stack, server: Server) -> String {
    let path = stack.log(server.name());
    match last_lines(&path, 20) {
        Ok(lines) if lines.is_empty() => format!("; its log {} is empty", path.display()),
        Ok(lines) => format!("; the end of its log {}:\n{}", path.display(), indent(&lines)),
        Err(error) => format!("; its log {} can't be read: {error}", path.display()),
    }
}

fn indent(lines: &[String]) -> String {
    lines.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// The last `count` lines of a file, of which at most the last 256 KiB are read.
pub(crate) fn last_lines(path: &Path, count: usize) -> std::io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(256 * 1024)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kafka.log");
        let content: String = (0..100_000).map(|line| format!("line {line}\n")).collect();
        fs::write(&path, content).unwrap();
        assert_eq!(last_lines(&path, 2).unwrap(), ["line 99998", "line 99999"]);
        fs::write(&path, "only").unwrap();
        assert_eq!(last_lines(&path, 20).unwrap(), ["only"]);
    }

    #[test]
    fn the_log_of_the_start_before_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kafka.log");
        fs::write(&path, "before").unwrap();
        open_log(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        assert_eq!(fs::read_to_string(folder.path().join("kafka.log.1")).unwrap(), "before");
    }

    #[test]
    fn every_server_is_stopped() {
        let mut order = Server::STOP_ORDER;
        order.sort();
        assert_eq!(order, Server::ALL);
    }
}
