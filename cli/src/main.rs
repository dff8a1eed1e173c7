//! `writ`: the one binary of the server and its tools. Every subcommand has a file of its own; errors come up to
//! [`main`] and are printed here, once, with their causes and what to do.

#![expect(clippy::print_stdout, reason = "the tools answer on standard output")]
#![expect(clippy::print_stderr, reason = "errors are printed here, once")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin;
mod check;
mod config;
mod dead_letters;
mod keys;
mod logs;
mod model_files;
mod projections;
mod rebuild;
mod repartition;
mod serve;
mod tail;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    `check` has findings, a dead letter could not be replayed, a projection could not be built, or the server or a tool ended with an error
  2    wrong usage or configuration; nothing was started
  130  stopped at once by a second SIGINT or SIGTERM; `rebuild` by the first one, while the server goes on building

Configuration: defaults, then `writ.toml` (here or in a parent folder), then `WRIT_*` variables, then flags.
`writ config` shows what is in force and where it came from.";

/// Declare your models; every write becomes a Kafka event.
#[derive(Debug, Parser)]
#[command(name = "writ", version, after_help = EXIT_CODES, max_term_width = 110)]
struct Arguments {
    /// The configuration file, in place of the `writ.toml` of this folder or the nearest parent that has one.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: the api, the decider and the projector, or some of them.
    Serve(serve::Flags),
    /// Follow a model's rows as they change, from the live feed of a server.
    Tail(tail::Flags),
    /// Check the model files and report every error with its place and what would be right.
    Check(check::Flags),
    /// Make and renew the keys that sign access tokens and seal secrets.
    #[command(subcommand)]
    Keys(keys::Flags),
    /// Make an administrator, or give an account another password.
    #[command(subcommand)]
    Admin(admin::Flags),
    /// Look after records that could not be used: list, show, replay, drop.
    #[command(subcommand)]
    DeadLetters(dead_letters::Flags),
    /// List what is read from PostgreSQL: how far behind it is, what has stopped, what is being built anew.
    Projections(projections::Flags),
    /// Build a model's table, a SQL projection or the event log anew from Kafka, while the old one serves.
    Rebuild(rebuild::Flags),
    /// Give the commands more partitions, while all servers are stopped.
    Repartition(repartition::Flags),
    /// Print the configuration in force, one key per line, and where each value came from.
    Config,
    /// Print the version.
    Version,
}

/// What ended a command early: its report, and the code for the shell.
#[derive(Debug)]
pub(crate) struct Failure {
    report: miette::Report,
    code: u8,
}

impl Failure {
    /// The models or the server failed.
    pub(crate) fn failed(report: impl Into<miette::Report>) -> Self {
        Failure { report: report.into(), code: 1 }
    }

    /// The user asked for something that can't be.
    pub(crate) fn usage(report: impl Into<miette::Report>) -> Self {
        Failure { report: report.into(), code: 2 }
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Failure::usage(error)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let file = arguments.config.as_deref();
    let result = match arguments.command {
        Command::Serve(flags) => serve::run(file, &flags),
        Command::Check(flags) => check::run(file, &flags),
        Command::Admin(flags) => admin::run(file, &flags),
        Command::Keys(flags) => keys::run(file, &flags),
        Command::DeadLetters(flags) => dead_letters::run(file, &flags),
        Command::Projections(flags) => projections::run(file, &flags),
        Command::Rebuild(flags) => rebuild::run(file, &flags),
        Command::Repartition(flags) => repartition::run(file, &flags),
        Command::Tail(flags) => tail::run(flags),
        Command::Config => config::show::run(file),
        Command::Version => version::run(),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("{:?}", failure.report);
        ExitCode::from(failure.code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
