//! `cargo dev bench …`: what Writ does per second, beside the limits of the same machine in the same minute.
//!
//! The modules stand in the order of a run: where the servers are ([`target`]), one connection ([`connection`]), many
//! of them in a closed loop ([`load`]), what they send ([`shop`]), the two ceilings ([`ceiling`]), the comparison of
//! what was acknowledged with what is in Kafka and in the read model ([`audit`]), and the table ([`report`]).
//!
//! The read side is measured over a large shop ([`orders`]) whose events are written to Kafka directly ([`dataset`]), with
//! processes of its own ([`server`]): what others notice of somebody who [`guess`]es passwords, how fast a change reaches open sockets ([`live`]), what a [`projector`] takes in, how fast a [`query`] is, and what readers and
//! writers notice of a [`rebuild`].

#![allow(clippy::print_stdout, reason = "a command for people at a terminal")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod ceiling;
mod command;
mod connection;
mod dataset;
mod guess;
mod live;
mod load;
mod machine;
mod orders;
mod projector;
mod query;
mod rebuild;
mod report;
mod restart;
mod server;
mod shop;
mod target;
mod traffic;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo dev bench", about = "Benchmarks of a running Writ, with their ceilings")]
struct Cli {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Commands over HTTP: creates and pays orders, then counts the events and rows
    Command(command::Options),
    /// A decider with many aggregates: time to be ready, restored records per second, memory
    Restart(restart::Options),
    /// A projector that reads a large shop from Kafka, beside the bare statements
    Projector(projector::Options),
    /// Latency of queries over a large shop, first pages and deep ones
    Query(query::Options),
    /// What readers and writers notice of somebody who guesses passwords
    Guess(guess::Options),
    /// What open sockets cost, and how fast a change reaches those who follow it
    Live(live::Options),
    /// A rebuild of a large shop's orders while they are written and read
    Rebuild(rebuild::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().benchmark {
        Benchmark::Command(options) => command::run(&options).await,
        Benchmark::Restart(options) => restart::run(&options).await,
        Benchmark::Projector(options) => projector::run(&options).await,
        Benchmark::Query(options) => query::run(&options).await,
        Benchmark::Guess(options) => guess::run(&options).await,
        Benchmark::Live(options) => live::run(&options).await,
        Benchmark::Rebuild(options) => rebuild::run(&options).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
