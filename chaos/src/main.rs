//! `cargo dev chaos`: breaks a running Writ on purpose, under load, and checks that nothing was lost or doubled.
//!
//! The modules stand in the order of a run: the servers ([`stack`]), the cables ([`proxy`]) and processes ([`node`]) of
//! the [`cluster`], the clients ([`workload`]) and what they see ([`history`]), those who watch ([`watchers`]), the [`nemesis`] or the [`kills`]; then the
//! [`events`] in Kafka, the [`tables`] in PostgreSQL, the [`logs`], the [`checks`] of them all, and the [`report`].
//! The guide is `docs/chaos.md`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people at a terminal")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod checks;
mod cluster;
mod events;
mod history;
mod kills;
mod logs;
mod nemesis;
mod node;
mod proxy;
mod report;
mod run;
mod stack;
mod tables;
mod watchers;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The application of the run: first part of its event types.
const APP: &str = "chaos";
/// Partitions of each topic: enough to be shared, few enough to be taken over fast.
const PARTITIONS: &str = "8";

/// Breaks a running Writ on purpose, under load, and checks that nothing was lost or doubled.
#[derive(Debug, Parser)]
#[command(name = "cargo dev chaos")]
struct Options {
    /// The folder of the run: data, logs, report
    #[arg(long)]
    dir: PathBuf,
    /// The program `writ`
    #[arg(long)]
    writ: PathBuf,
    /// The program of `cargo dev`, which starts the servers
    #[arg(long)]
    infra: PathBuf,
    /// Decides what is sent and what is broken when
    #[arg(long)]
    seed: u64,
    /// How long things are broken
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The same in seconds
    #[arg(long, conflicts_with = "minutes")]
    seconds: Option<f64>,
    /// Concurrent clients
    #[arg(long, default_value_t = 128)]
    clients: usize,
    /// Clients of the live feed, whose connections end at random
    #[arg(long, default_value_t = 40)]
    watchers: usize,
    /// Mean pause of a client between two commands, milliseconds
    #[arg(long, default_value_t = 20)]
    pause_ms: u64,
    /// Acknowledged commands per minute below which a run means nothing
    #[arg(long, default_value_t = 5000.0)]
    floor: f64,
    /// Only faults whose name contains this text; can be given several times
    #[arg(long = "fault", value_name = "TEXT")]
    faults: Vec<String>,
    /// Instead of all faults: kill -9 of the only projector, so many times, at random moments
    #[arg(long, value_name = "N", conflicts_with = "faults")]
    kills: Option<u32>,
    /// Leave data and logs also when all is well
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let stop = CancellationToken::new();
    let result = async {
        listen(&stop)?;
        run::run(&options, &stop).await
    };
    result.await.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The first signal ends the run: everything that it started is killed.
fn listen(stop: &CancellationToken) -> Result<()> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind).context("cannot listen to signals")?;
        let stop = stop.clone();
        // Runs until the process ends.
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                stop.cancel();
            }
        });
    }
    Ok(())
}
