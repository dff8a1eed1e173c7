//! `cargo dev bench guess`: somebody guesses passwords while others place orders and read them, and how much longer these wait.
//!
//! The limits on sign-ins are off and each guess is for another account, so every one of them is hashed if a thread is free: what is
//! seen is the worst that many addresses can do together.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connection::{Ask, Connection};
use crate::dataset::{self, Dataset};
use crate::machine::Machine;
use crate::report::save;
use crate::server::Server;
use crate::shop::Shop;
use crate::traffic::{self, Phase, Phases, Traffic, clock};

/// The parts of a run.
const PHASES: Phases = ["before", "while somebody guesses", "after"];
const SETTINGS: [(&str, &str); 2] = [
    ("WRIT_HTTP_LIMITS_SIGN_IN_ADDRESS_PER_MINUTE", "0"),
    ("WRIT_HTTP_LIMITS_SIGN_IN_ACCOUNT_PER_MINUTE", "0"),
];
/// A projector that does nothing for so long has failed.
const STILL: Duration = Duration::from_secs(60);
/// Connections of the guesser.
const CONNECTIONS: usize = 64;
/// By how much others may be slowed down.
const LIMIT: f64 = 0.1;

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    dataset: dataset::Flags,
    /// Guesses per second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    guesses: u32,
    /// Orders placed per second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    writes: u32,
    /// Reads per second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    reads: u32,
    /// Seconds of each part of the run
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    guesses: u64,
    /// The server had no thread for these: 503.
    refused: u64,
    phases: Vec<Phase>,
    failed: Vec<String>,
}

/// Runs the benchmark. Fails with exit code 1 when others were slowed down by more than a tenth, or a request of theirs failed.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    let dataset = Dataset::open(&options.dataset).await?;
    let result = measure(options, &dataset).await;
    dataset.close().await?;
    let report = result?;
    println!("\n{} guesses, {} of them refused because too many waited.\n", report.guesses, report.refused);
    println!("| | reads | p50 ms | p99 ms | max ms | writes | p50 ms | p99 ms | max ms |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for phase in &report.phases {
        println!("{phase}");
    }
    let slower = slower(&report.phases);
    println!("\nReads are {:+.1} %, writes {:+.1} % by their median.", 100.0 * slower.0, 100.0 * slower.1);
    for failure in report.failed.iter().take(10) {
        println!("- {failure}");
    }
    println!("As JSON: {}", save("guess", &report)?.display());
    let met = slower.0 <= LIMIT && slower.1 <= LIMIT && report.failed.is_empty();
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// By which part the medians of reads and writes grew, against the mean of before and after.
fn slower(phases: &[Phase]) -> (f64, f64) {
    let [before, during, after] = phases else { return (f64::NAN, f64::NAN) };
    let part = |during: f64, before: f64, after: f64| 2.0 * during / (before + after) - 1.0;
    (
        part(during.reads.p50_ms, before.reads.p50_ms, after.reads.p50_ms),
        part(during.writes.p50_ms, before.writes.p50_ms, after.writes.p50_ms),
    )
}

async fn measure(options: &Options, dataset: &Dataset) -> Result<Report> {
    let pool = dataset.postgres(&[]).await?;
    dataset.fill().await?;
    let mut setup = dataset.setup.clone();
    setup.settings = SETTINGS.to_vec();
    let mut server = Server::start(&setup, "server", "api,decider,projector")?;
    server.until_ready("decider").await?;
    let ends = tokio::task::block_in_place(|| dataset.ends())?;
    dataset.until_projected(&pool, &ends, STILL).await?;
    let shop = Arc::new(Shop::create(&server.address).await?);
    let known = traffic::Known::read(dataset, &pool).await?;
    let cancel = CancellationToken::new();
    let (address, part) = (&server.address, Duration::from_secs(options.seconds));
    let traffic =
        Traffic::start(address, PHASES, shop, known, options.writes, options.reads, cancel.clone()).await?;
    // What is measured first would pay for what is cold.
    tokio::time::sleep(part / 4).await;
    traffic.enter(PHASES[0]);
    tokio::time::sleep(part).await;
    let guessing = Guessing::start(address, options.guesses).await?;
    traffic.enter(PHASES[1]);
    tokio::time::sleep(part).await;
    let (guesses, refused) = guessing.stop().await?;
    traffic.enter(PHASES[2]);
    tokio::time::sleep(part).await;
    cancel.cancel();
    let seen = traffic.finish().await?;
    server.terminate().await?;
    let failed = seen.failed_reads.into_iter().chain(seen.failed_writes).collect();
    Ok(Report { machine: Machine::new(), guesses, refused, phases: seen.phases, failed })
}

/// Somebody who tries a password for one account after the other.
struct Guessing {
    cancel: CancellationToken,
    tasks: JoinSet<Result<()>>,
    counts: Arc<[AtomicU64; 2]>,
}

impl Guessing {
    async fn start(address: &str, per_second: u32) -> Result<Guessing> {
        let (cancel, counts) = (CancellationToken::new(), Arc::new([AtomicU64::new(0), AtomicU64::new(0)]));
        let mut tasks = JoinSet::new();
        let (due, wanted) = mpsc::channel(CONNECTIONS);
        tasks.spawn(clock(per_second, due, cancel.clone()));
        let wanted = Arc::new(tokio::sync::Mutex::new(wanted));
        for _ in 0..CONNECTIONS {
            let (mut connection, wanted) = (Connection::open(address).await?, wanted.clone());
            let counts = counts.clone();
            tasks.spawn(async move {
                while wanted.lock().await.recv().await.is_some() {
                    let number = counts[0].fetch_add(1, Ordering::Relaxed);
                    let body = format!(
                        r#"{{"email":"guess-{number}@example.org","password":"guess {number} of many"}}"#
                    );
                    let answer = connection.send(Ask::post("/v1/auth/sign-in", body)).await?;
                    match answer.status.as_u16() {
                        401 => {}
                        503 => drop(counts[1].fetch_add(1, Ordering::Relaxed)),
                        status => anyhow::bail!("a guess was answered with {status}"),
                    }
                }
                connection.close().await;
                Ok(())
            });
        }
        Ok(Guessing { cancel, tasks, counts })
    }

    /// How many guesses there were, and how many were refused.
    async fn stop(mut self) -> Result<(u64, u64)> {
        self.cancel.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("the guesser's task failed")??;
        }
        Ok((self.counts[0].load(Ordering::Relaxed), self.counts[1].load(Ordering::Relaxed)))
    }
}
