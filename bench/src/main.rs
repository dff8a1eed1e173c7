//! `cargo dev bench …`: what Writ does per second, beside the limits of the same machine in the same minute.
//!
//! The modules stand in the order of a run: where the servers are ([`target`]), one connection ([`connection`]), many
//! of them in a closed loop ([`load`]), what they send ([`shop`]), the two ceilings ([`ceiling`]), the comparison of
//! what was acknowledged with what is in Kafka and in the read model ([`audit`]), and the table ([`report`]).

#![allow(clippy::print_stdout, reason = "a command for people at a terminal")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod ceiling;
mod command;
mod connection;
mod load;
mod machine;
mod report;
mod restart;
mod shop;
mod target;

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
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().benchmark {
        Benchmark::Command(options) => command::run(&options).await,
        Benchmark::Restart(options) => restart::run(&options).await,
    }
}
