//! `cargo dev chaos`: the faults harness (`chaos/`), which starts a stack of its own and breaks it on purpose.
//!
//! The harness starts, kills and restarts its servers through the hidden command `server` of this program, so that
//! there is one place that knows how a server is run.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;

use crate::interrupt::Interrupt;
use crate::job::run_in_terminal;
use crate::process::RunFile;
use crate::server::{Server, start, stop};
use crate::stack::{Stack, workspace};
use crate::up::stop_all;
use crate::{cargo, maven, prerequisites, progress};

/// The seed of the run that belongs to `cargo dev test`: always the same faults in the same order.
const TEST_SEED: u64 = 7;
/// How long that run breaks things, in seconds.
const TEST_SECONDS: &str = "60";
/// Acknowledged commands per minute that it needs: the programs are built without optimisation.
const TEST_FLOOR: &str = "500";

/// Options of `cargo dev chaos`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long things are broken
    #[arg(long, default_value = "10", value_name = "N")]
    minutes: String,
    /// Decides what is sent and what is broken when [default: another one each time]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// More arguments for the harness; `-- --help` shows them
    #[arg(last = true)]
    args: Vec<String>,
}

/// What the harness does to a server.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Action {
    /// Start it unless it runs, and wait until it is ready.
    Start,
    /// Ask it to end.
    Stop,
    /// SIGKILL.
    Kill,
}

/// Builds `writ` and the harness, and runs it. Returns its exit code.
pub(crate) async fn chaos(options: &Options, interrupt: &Interrupt) -> Result<u8> {
    let seed = options.seed.unwrap_or_else(new_seed);
    let writ = cargo::build_writ(&interrupt.stop).await?;
    let mut args = vec!["--minutes".to_owned(), options.minutes.clone()];
    args.extend(options.args.iter().cloned());
    run(&["--profile", "up"], &writ, seed, &seed.to_string(), &args, interrupt).await
}

/// The short run of `cargo dev test`, with the programs that the tests have built.
pub(crate) async fn short(interrupt: &Interrupt) -> Result<u8> {
    let writ = cargo::build_writ_for_tests(&interrupt.stop).await?;
    let args = ["--seconds", TEST_SECONDS, "--floor", TEST_FLOOR].map(str::to_owned);
    run(&[], &writ, TEST_SEED, "test", &args, interrupt).await
}

async fn run(
    profile: &[&str],
    writ: &Path,
    seed: u64,
    folder: &str,
    args: &[String],
    interrupt: &Interrupt,
) -> Result<u8> {
    let dir = workspace().join("target/chaos").join(folder);
    let mut command = cargo::cargo();
    command.arg("run").args(profile).args(["--package", "writ-chaos", "--"]);
    command.arg("--dir").arg(&dir).arg("--writ").arg(writ).arg("--infra").arg(own_program()?);
    command.args(["--seed", &seed.to_string()]).args(args);
    let result = run_in_terminal(command, &interrupt.stop).await;
    // The harness does this itself, unless it was killed.
    stop_all(&Stack::open(&dir)?, |_| true, &interrupt.force).await?;
    Ok(result?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Starts, stops or kills one server of the stack. Takes no lock: the harness that calls it owns the stack.
pub(crate) async fn act(stack: &Stack, action: Action, server: Server, interrupt: &Interrupt) -> Result<()> {
    match action {
        Action::Start => {
            let tools = prerequisites::find()?;
            maven::fetch(&tools, &progress::Progress::new(), &interrupt.stop).await?;
            start(server, stack, &tools, &interrupt.stop).await?;
        }
        Action::Stop => {
            stop(server, stack, &interrupt.force).await?;
        }
        Action::Kill => kill(&stack.run_file(server)).await?,
    }
    Ok(())
}

async fn kill(file: &RunFile) -> Result<()> {
    if let Some(process) = file.living() {
        process.stop(Signal::SIGKILL, std::time::Duration::ZERO, std::future::pending()).await?;
    }
    file.remove()
}

fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context("the path of this program is not known")
}

fn new_seed() -> u64 {
    // Short enough to be typed again.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() % 1_000_000
}
