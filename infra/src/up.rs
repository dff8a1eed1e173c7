//! `cargo dev up`: from nothing to a running system.

use std::collections::BTreeMap;
use std::fs;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nix::fcntl::Flock;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::interrupt::Interrupt;
use crate::ports::{PortFlags, Ports, is_free};
use crate::prerequisites::{self, Tools};
use crate::process::POLL;
use crate::progress::{Progress, say};
use crate::server::{Server, Started, log_tail, start, stop};
use crate::stack::{Stack, last_ports};
use crate::{access, cargo, commands, maven, table};

/// Options of `cargo dev up`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Return when everything runs; `cargo dev down` stops it
    #[arg(long)]
    detach: bool,
    /// Start Kafka, the registry, PostgreSQL and Redis only, to run `writ` by other means
    #[arg(long)]
    no_server: bool,
    /// Let whoever reaches the server do everything, without signing in
    #[arg(long)]
    open: bool,
    /// Don't load the sample data
    #[arg(long)]
    no_sample: bool,
    #[command(flatten)]
    ports: PortFlags,
}

/// The servers that this command started.
type Children = BTreeMap<Server, Child>;

/// Starts what doesn't run yet, and stays until Ctrl-C stops all of it (without `--detach`).
pub(crate) async fn up(stack: &Stack, options: &Options, interrupt: &Interrupt) -> Result<()> {
    let tools = prerequisites::find()?;
    let progress = Progress::new();
    // Before the ports are chosen, so that what is free then is still free at the start.
    maven::fetch(&tools, &progress, &interrupt.stop).await?;
    let lock = stack.lock()?;
    let last = last_ports(stack.dir())?;
    let stack = Stack::with_ports(stack.dir(), choose_ports(stack, last, &options.ports)?)?;
    stack.save()?;
    let mut children = Children::new();
    let brought = bring_up(&stack, tools, options, &progress, interrupt, &mut children).await;
    let password = match brought {
        Ok(password) => password,
        Err(error) => {
            eprintln!("Stopping what was started.");
            stop_all(&stack, |server| children.contains_key(&server), &interrupt.force).await?;
            // What didn't work is no precedent for the next start.
            stack.save_ports(last)?;
            return Err(error);
        }
    };
    say(&format!("\n{}", addresses(&stack, options, password.as_deref())));
    if options.detach {
        say("It runs in the background. `cargo dev status` shows it, `cargo dev down` stops it.");
        return Ok(());
    }
    say("Ctrl-C stops all of it.");
    drop(lock);
    supervise(&stack, children, interrupt).await
}

/// The ports for this start: see [`PortFlags::choose`].
///
/// # Errors
/// A server that runs listens on another port than the flags say.
fn choose_ports(stack: &Stack, last: Option<Ports>, flags: &PortFlags) -> Result<Ports> {
    let running: Vec<_> = Server::ALL
        .into_iter()
        .filter_map(|server| Some((server, stack.run_file(server).living()?.port)))
        .collect();
    let is_own = |port| {
        running.iter().any(|(server, own)| {
            *own == port
                || (*server == Server::Kafka && last.is_some_and(|last| last.kafka_controller == port))
        })
    };
    let ports = flags.choose(last, |port| is_own(port) || is_free(port));
    for (server, port) in running {
        if server.port(&ports) != port {
            bail!(
                "{} of this stack runs on port {port}, not {}; stop it first with `cargo dev down`",
                server.title(),
                server.port(&ports)
            );
        }
    }
    Ok(ports)
}

/// The password of the administrator, if it is a new one.
async fn bring_up(
    stack: &Stack,
    mut tools: Tools,
    options: &Options,
    progress: &Progress,
    interrupt: &Interrupt,
    children: &mut Children,
) -> Result<Option<String>> {
    let cancel = &interrupt.stop;
    start_backing(stack, &tools, progress, cancel, children).await?;
    if options.no_server {
        return Ok(None);
    }
    eprintln!("Building writ.");
    tools = tools.with_writ(cargo::build_writ(cancel).await?);
    let running = stack.run_file(Server::Writ).living();
    if running.is_some_and(|process| process.version != tools.writ_version()) {
        eprintln!("writ was built anew; it is started again.");
        stop(Server::Writ, stack, &interrupt.force).await?;
    }
    access::make_keys(stack, &tools).await?;
    tools = tools.with_open(options.open);
    children.extend(start_shown(Server::Writ, stack, &tools, progress, cancel).await?);
    let password = access::make(stack, &tools).await?;
    if !options.no_sample {
        load_sample_once(stack, progress, cancel).await?;
    }
    Ok(password)
}

/// Starts Kafka, the registry, PostgreSQL and Redis, all at once.
pub(crate) async fn start_backing(
    stack: &Stack,
    tools: &Tools,
    progress: &Progress,
    cancel: &CancellationToken,
    children: &mut Children,
) -> Result<()> {
    let mut starts = JoinSet::new();
    for server in Server::BACKING {
        let (stack, tools, cancel, progress) =
            (stack.clone(), tools.clone(), cancel.clone(), progress.clone());
        starts.spawn(async move { start_shown(server, &stack, &tools, &progress, &cancel).await });
    }
    let mut errors = Vec::new();
    for started in starts.join_all().await {
        match started {
            Ok(child) => children.extend(child),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    if cancel.is_cancelled() {
        bail!("interrupted");
    }
    if !errors.is_empty() {
        bail!("{}", errors.join("\nerror: "));
    }
    Ok(())
}

async fn start_shown(
    server: Server,
    stack: &Stack,
    tools: &Tools,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Option<(Server, Child)>> {
    let mut step = progress.step(server.title());
    step.note("starting");
    match start(server, stack, tools, cancel).await? {
        Started::Before => {
            step.done(&format!("runs already at {}", stack.address(server)));
            Ok(None)
        }
        Started::Now(child) => {
            step.done(&format!("ready at {}", stack.address(server)));
            Ok(Some((server, child)))
        }
    }
}

/// Loads the sample data unless this stack's data has it.
async fn load_sample_once(stack: &Stack, progress: &Progress, cancel: &CancellationToken) -> Result<()> {
    // Beside the data that it describes, and deleted with it.
    let loaded = stack.dir().join("data/sample-loaded");
    if loaded.exists() {
        return Ok(());
    }
    commands::send_sample(stack, progress, cancel).await?;
    fs::write(&loaded, "").with_context(|| format!("cannot write {}", loaded.display()))
}

fn addresses(stack: &Stack, options: &Options, password: Option<&str>) -> String {
    let shown: &[Server] = if options.no_server { &Server::BACKING } else { &Server::ALL };
    let rows: Vec<_> =
        shown.iter().map(|server| [server.name().to_owned(), stack.address(*server)]).collect();
    let mut text = table::render(["SERVER", "ADDRESS"], &rows);
    if !options.no_server {
        let url = stack.base_url();
        let file = access::api_key_file(stack);
        text.push_str(&format!(
            "\nTry:\n  export TOKEN=$(cat {})\n  curl -H \"Authorization: Bearer $TOKEN\" \
             '{url}/v1/order?status=shipped&limit=2'\n  curl -H \"Authorization: Bearer $TOKEN\" \
             '{url}/v1/customer/ALFKI'\n  curl -H \"Authorization: Bearer $TOKEN\" -X POST {url}/v1/order/10248/cancel   \
             # it is shipped: the answer says why not\n\nThe API's documentation: {url}/docs\n",
            file.display()
        ));
        if let Some(password) = password {
            text.push_str(&format!(
                "\nThe administrator, shown this once and stored nowhere in clear:\n  {}\n  {password}\n",
                access::EMAIL
            ));
        }
    }
    text
}

/// Stays until a signal comes or another command has stopped the stack. Says once when a server ends by itself.
async fn supervise(stack: &Stack, mut children: Children, interrupt: &Interrupt) -> Result<()> {
    let mut seen: BTreeMap<Server, i32> = BTreeMap::new();
    loop {
        tokio::select! {
            () = interrupt.stop.cancelled() => break,
            () = sleep(Duration::from_millis(250)) => {}
        }
        let mut any = false;
        for server in Server::ALL {
            let run_file = stack.run_file(server);
            // Taken from the system also when another command stopped it.
            let exit = children.get_mut(&server).and_then(|child| child.try_wait().ok().flatten());
            let Some(process) = run_file.recorded() else {
                seen.remove(&server);
                continue;
            };
            any = true;
            if process.is_alive() {
                seen.insert(server, process.pid);
            } else if seen.remove(&server).is_some() {
                let exit = exit.map_or_else(String::new, |status| format!(" ({status})"));
                eprintln!(
                    "{} ended{exit}; the others go on, and `cargo dev up` in another terminal starts it again{}",
                    server.title(),
                    log_tail(stack, server)
                );
            }
        }
        if !any {
            say("The stack was stopped by another command.");
            return Ok(());
        }
    }
    eprintln!("\nStopping. Ctrl-C once more kills what is left.");
    let _lock = wait_for_lock(stack).await?;
    stop_all(stack, |_| true, &interrupt.force).await?;
    eprintln!("Everything is stopped.");
    Ok(())
}

/// Another command that stops this stack is done in seconds.
async fn wait_for_lock(stack: &Stack) -> Result<Flock<fs::File>> {
    loop {
        match stack.lock() {
            Ok(lock) => return Ok(lock),
            Err(_) => sleep(POLL).await,
        }
    }
}

/// Stops the chosen servers in order. Goes on after an error, and gives the first.
pub(crate) async fn stop_all(
    stack: &Stack,
    chosen: impl Fn(Server) -> bool,
    force: &CancellationToken,
) -> Result<Vec<Server>> {
    let mut stopped = Vec::new();
    let mut first_error = None;
    for server in Server::STOP_ORDER.into_iter().filter(|server| chosen(*server)) {
        match stop(server, stack, force).await {
            Ok(true) => stopped.push(server),
            Ok(false) => {}
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(stopped), Err)
}
