//! The development stack of Writ: `cargo dev`.
//!
//! It stands outside the system: it starts the real servers that Writ runs on, then Writ itself, and knows both only by
//! their command lines, ports and logs. The guide is `docs/development.md`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod cargo;
mod chaos;
mod commands;
mod interrupt;
mod job;
mod kafka;
mod maven;
mod ports;
mod postgres;
mod prerequisites;
mod process;
mod progress;
mod redis;
mod registry;
mod sample;
mod server;
mod stack;
mod table;
mod test;
mod up;
mod writ;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::interrupt::Interrupt;
use crate::server::Server;
use crate::stack::{Stack, workspace};

/// The development stack: real servers, in user space, without Docker.
#[derive(Debug, Parser)]
#[command(name = "cargo dev", bin_name = "cargo dev", disable_help_subcommand = true)]
struct Arguments {
    /// The folder of the stack [default: .writ in the workspace]
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the servers, build and start writ, load the sample data; Ctrl-C stops everything
    Up(up::Options),
    /// Stop everything
    Down,
    /// Show what runs
    Status,
    /// Print the log of a server
    Logs {
        server: Server,
        /// Print what is added, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
    },
    /// Stop everything and delete the data
    Reset {
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
    /// Load the sample data into the running server
    Sample,
    /// Run the tests of the workspace on a stack of their own
    Test {
        /// Leave the data and the logs of the servers for a look
        #[arg(long)]
        keep: bool,
        /// Arguments for `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run a benchmark against the running stack
    Bench {
        /// Which one: `command`, `restart`, `projector`, `query`, `rebuild`
        name: String,
        /// Arguments for the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Break a stack of its own on purpose, under load, and check that nothing was lost or doubled
    Chaos(chaos::Options),
    /// Start, stop or kill one server; for the faults harness
    #[command(hide = true)]
    Server { action: chaos::Action, server: Server },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return fail(&error),
    };
    match run(arguments, &interrupt).await {
        Ok(code) => ExitCode::from(code),
        Err(_) if interrupt.stop.is_cancelled() => {
            eprintln!("Interrupted.");
            // What a shell gives for a program that SIGINT ended.
            ExitCode::from(130)
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

async fn run(arguments: Arguments, interrupt: &Interrupt) -> Result<u8> {
    let dir = arguments.dir.unwrap_or_else(|| workspace().join(".writ"));
    let stack = || Stack::open(&dir);
    match arguments.command {
        Command::Up(options) => up::up(&stack()?, &options, interrupt).await?,
        Command::Down => commands::down(&stack()?, interrupt).await?,
        Command::Status => commands::status(&stack()?).await?,
        Command::Logs { server, follow } => commands::logs(&stack()?, server, follow, interrupt).await?,
        Command::Reset { yes } => commands::reset(&stack()?, yes, interrupt).await?,
        Command::Sample => commands::load_sample(&stack()?, interrupt).await?,
        Command::Test { keep, args } => return test::test(&args, keep, interrupt).await,
        Command::Bench { name, args } => return commands::bench(&stack()?, &name, &args, interrupt).await,
        Command::Chaos(options) => return chaos::chaos(&options, interrupt).await,
        Command::Server { action, server } => chaos::act(&stack()?, action, server, interrupt).await?,
    }
    Ok(0)
}
