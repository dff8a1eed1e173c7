//! `writ serve`: loads the models, starts the roles, and stops them all when one fails or a signal comes.

mod start;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use writ_model::Models;
use writ_model::compatibility::Finding;
use writ_producers::registry;

use crate::config::{Loaded, Override, Role};
use crate::{Failure, check, config, logs};

/// How long the roles have to finish what they began. Longer than a transaction or a query may take.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// What the shell's convention says of a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// What `writ serve` takes. Everything else comes from `writ.toml` and `WRIT_*` variables.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The folder of model files.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// What this process runs, separated by commas: api, decider, projector, reactions.
    #[arg(long, value_enum, value_delimiter = ',')]
    roles: Option<Vec<Role>>,
    /// Let whoever reaches the server do everything, without signing in. Only on a loopback address; for development.
    #[arg(long)]
    open: bool,
    /// Address and port of the HTTP server.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The folder of the node id and the state store.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Flags {
    fn overrides(&self) -> Vec<Override> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned().into();
        let mut found = Vec::new();
        let mut add = |key, flag, value: Option<figment::value::Value>| {
            found.extend(value.map(|value| Override { key, flag, value }));
        };
        add("models", "--models", self.models.as_ref().map(path));
        add(
            "roles",
            "--roles",
            self.roles.as_ref().map(|roles| config::list(roles.iter().map(|role| role.name()))),
        );
        add("http.listen", "--listen", self.listen.map(|address| address.to_string().into()));
        add("http.open", "--open", self.open.then(|| true.into()));
        add("data", "--data", self.data.as_ref().map(path));
        found
    }
}

/// Why the server ended.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum Error {
    #[error("the server can't start: {action}")]
    #[diagnostic(help("Read the cause below; the limits of the system (ulimit) are the usual suspects."))]
    Start { action: &'static str, source: std::io::Error },
    #[error("the {part} can't start")]
    #[diagnostic(help(
        "Correct the configuration; `writ config` shows what is in force and where it comes from."
    ))]
    Part { part: &'static str, source: BoxError },
    #[error("the {role} ended with an error")]
    #[diagnostic(help("Read the cause; the log has what came before it. Starting again is safe."))]
    Role { role: &'static str, source: BoxError },
    #[error("the {role} panicked: {detail}")]
    #[diagnostic(help("This is a fault of writ. Starting again is safe; please report it with the log."))]
    Panicked { role: &'static str, detail: String },
    #[error("the {role} ended though nobody asked for it")]
    #[diagnostic(help("This is a fault of writ. Starting again is safe; please report it with the log."))]
    EndedEarly { role: &'static str },
    #[error("these roles didn't stop within {limit:?}: {roles}")]
    #[diagnostic(help("They were cut off, which loses nothing: Kafka holds what was committed."))]
    Stuck { roles: String, limit: Duration },
}

impl Error {
    /// What the comparison with the registry has found, if that is why the server ended.
    fn incompatible(&self) -> Option<&[Finding]> {
        let Error::Role { source, .. } = self else { return None };
        match source.downcast_ref()? {
            registry::Error::Incompatible { findings } => Some(findings),
            _ => None,
        }
    }
}

/// The error of a role, of whatever type.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs the server until a signal or an error.
pub(crate) fn run(file: Option<&Path>, flags: &Flags) -> Result<ExitCode, Failure> {
    let loaded = config::load(file, flags.overrides())?;
    logs::start(&loaded).map_err(Failure::usage)?;
    let folder = loaded.config.models.clone();
    let (models, files) = check::load(&loaded.config.app, &folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::failed(Error::Start { action: "there is no runtime", source }))?;
    let result = runtime.block_on(serve(loaded, Arc::new(models)));
    // What is left are blocking calls of tasks that were cut off; the process doesn't wait for them.
    runtime.shutdown_background();
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(match error.incompatible() {
            Some(findings) => check::incompatible(&folder, &files, findings),
            None => Failure::failed(error),
        }),
    }
}

async fn serve(loaded: Loaded, models: Arc<Models>) -> Result<(), Error> {
    let Loaded { config, .. } = loaded;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    let mut roles = Roles::new(stop);
    let names: Vec<_> = config.roles.iter().map(|role| role.name()).collect();
    tracing::info!(
        roles = names.join(","),
        models = models.models.len(),
        kafka.brokers = %config.kafka.brokers,
        kafka.topic_prefix = %config.kafka.topic_prefix,
        "the server starts",
    );
    start::start(config, models, &mut roles).await?;
    roles.join().await
}

/// The first signal asks the roles to stop, the second ends the process at once.
fn stop_on_signals(stop: CancellationToken) -> Result<(), Error> {
    let listen =
        |kind| signal(kind).map_err(|source| Error::Start { action: "signals can't be received", source });
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    // Not joined: it waits for signals as long as the process lives.
    tokio::spawn(async move {
        for nth in 1.. {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if nth > 1 {
                tracing::warn!(signal = name, "second signal: the server ends at once");
                std::process::exit(EXIT_INTERRUPTED);
            }
            tracing::info!(signal = name, "the server stops; a second signal ends it at once");
            stop.cancel();
        }
    });
    Ok(())
}

/// The running roles: each a task; the end of one, if nobody asked for it, is the end of all.
///
/// They stop in two steps: first the front, which takes requests and waits for what the others make of them, then the
/// others. Stopped all at once, requests that are under way would wait for an answer that never comes.
struct Roles {
    /// Asks the front to stop.
    stop: CancellationToken,
    /// Asks the others to stop.
    stop_others: CancellationToken,
    tasks: JoinSet<(&'static str, Result<(), BoxError>)>,
    names: HashMap<tokio::task::Id, &'static str>,
    front: HashSet<tokio::task::Id>,
}

impl Roles {
    fn new(stop: CancellationToken) -> Self {
        Roles {
            stop,
            stop_others: CancellationToken::new(),
            tasks: JoinSet::new(),
            names: HashMap::new(),
            front: HashSet::new(),
        }
    }

    /// Starts a role. It gets the token that tells it to stop.
    fn spawn<F, E>(&mut self, role: &'static str, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.spawn_task(role, run(self.stop_others.child_token()));
    }

    /// Starts a role that stops before the others, which it needs to end what it began.
    fn spawn_front<F, E>(&mut self, role: &'static str, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let id = self.spawn_task(role, run(self.stop.child_token()));
        self.front.insert(id);
    }

    fn spawn_task<F, E>(&mut self, role: &'static str, run: F) -> tokio::task::Id
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let task = self.tasks.spawn(async move { (role, run.await.map_err(Into::into)) });
        self.names.insert(task.id(), role);
        task.id()
    }

    /// Waits until all have ended. The first error stops the others and is the result.
    async fn join(mut self) -> Result<(), Error> {
        let mut first_error = None;
        let deadline = async {
            self.stop.clone().cancelled_owned().await;
            tokio::time::sleep(STOP_LIMIT).await;
        };
        tokio::pin!(deadline);
        loop {
            let front_is_gone = self.front.is_empty() && !self.stop_others.is_cancelled();
            let ended = tokio::select! {
                () = self.stop.cancelled(), if front_is_gone => {
                    self.stop_others.cancel();
                    continue;
                }
                ended = self.tasks.join_next_with_id() => ended,
                () = &mut deadline => {
                    let mut stuck: Vec<_> = self.names.into_values().collect();
                    stuck.sort_unstable();
                    self.tasks.abort_all();
                    return Err(first_error.unwrap_or(Error::Stuck { roles: stuck.join(", "), limit: STOP_LIMIT }));
                }
            };
            let Some(ended) = ended else { break };
            let error = match ended {
                Ok((id, (role, result))) => {
                    self.names.remove(&id);
                    self.front.remove(&id);
                    match result {
                        Ok(()) if self.stop.is_cancelled() => {
                            tracing::info!(role, "the role has stopped");
                            continue;
                        }
                        Ok(()) => Error::EndedEarly { role },
                        Err(source) => Error::Role { role, source },
                    }
                }
                Err(failed) => {
                    let role = self.names.remove(&failed.id()).unwrap_or("server");
                    self.front.remove(&failed.id());
                    Error::Panicked { role, detail: failed.to_string() }
                }
            };
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(error = %error, error.cause = cause, "the server stops because of an error");
            self.stop.cancel();
            // The later ones are consequences.
            first_error.get_or_insert(error);
        }
        first_error.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    async fn until_stopped(stop: CancellationToken) -> Result<(), Infallible> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn all_stop_when_asked() {
        let stop = CancellationToken::new();
        let mut roles = Roles::new(stop.clone());
        roles.spawn("api", until_stopped);
        roles.spawn("decider", until_stopped);
        stop.cancel();
        assert!(roles.join().await.is_ok());
    }

    #[tokio::test]
    async fn the_first_error_stops_the_others_and_is_the_result() {
        let stop = CancellationToken::new();
        let mut roles = Roles::new(stop.clone());
        roles.spawn("api", |stop| async move {
            stop.cancelled().await;
            Err("a consequence")
        });
        roles.spawn("decider", |_| async { Err("the cause") });
        let Err(Error::Role { role: "decider", source }) = roles.join().await else { panic!() };
        assert_eq!(source.to_string(), "the cause");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn the_front_ends_what_it_began_before_the_others_stop() {
        let stop = CancellationToken::new();
        let mut roles = Roles::new(stop.clone());
        let (answer, mut answered) = tokio::sync::oneshot::channel();
        roles.spawn_front("api", |stop| async move {
            stop.cancelled().await;
            answered.try_recv().expect_err("the decider goes on");
            tokio::time::timeout(Duration::from_millis(50), answered)
                .await
                .expect_err("it waits for the api");
            Ok::<_, Infallible>(())
        });
        roles.spawn("decider", |stop| async move {
            stop.cancelled().await;
            let _ = answer.send(());
            Ok::<_, Infallible>(())
        });
        stop.cancel();
        assert!(roles.join().await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_and_an_early_end_are_errors() {
        let mut roles = Roles::new(CancellationToken::new());
        roles.spawn::<_, Infallible>("api", |_| async { panic!("on purpose") });
        assert!(matches!(roles.join().await, Err(Error::Panicked { role: "api", .. })));

        let mut roles = Roles::new(CancellationToken::new());
        roles.spawn("projector", |_| async { Ok::<_, Infallible>(()) });
        assert!(matches!(roles.join().await, Err(Error::EndedEarly { role: "projector" })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_does_not_stop_is_named() {
        let stop = CancellationToken::new();
        let mut roles = Roles::new(stop.clone());
        roles.spawn("api", until_stopped);
        roles.spawn("projector", |_| std::future::pending::<Result<(), Infallible>>());
        stop.cancel();
        let Err(Error::Stuck { roles, .. }) = roles.join().await else { panic!() };
        assert_eq!(roles, "projector");
    }
}
