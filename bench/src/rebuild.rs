//! `cargo dev bench rebuild`: the orders of a large shop are built anew by `writ rebuild order` while others place orders and
//! read them. Nobody may notice: no read fails, no row is missing, and in the end the rows are the fold of the events.

mod compare;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::dataset::{self, Dataset};
use crate::machine::Machine;
use crate::report::save;
use crate::server::Server;
use crate::shop::Shop;
use crate::traffic::{self, Phase, Phases, Traffic};
use compare::Compared;

/// The parts of a run.
const PHASES: Phases = ["before", "during the rebuild", "after"];
/// A projector that does nothing for so long has failed.
const STILL: Duration = Duration::from_secs(60);
/// How long the traffic is watched before the rebuild and after it.
const AROUND: Duration = Duration::from_secs(15);
/// A rebuild that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    dataset: dataset::Flags,
    /// Orders placed per second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    writes: u32,
    /// Reads per second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    reads: u32,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    orders: usize,
    rebuild_seconds: f64,
    phases: Vec<Phase>,
    acknowledged: usize,
    reads: u64,
    failed_reads: Vec<String>,
    failed_writes: Vec<String>,
    compared: Compared,
}

impl Report {
    /// Nobody noticed.
    fn is_clean(&self) -> bool {
        self.failed_reads.is_empty() && self.compared.differences.is_empty()
    }
}

/// Runs the benchmark. Fails with exit code 1 when somebody noticed the rebuild.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    let dataset = Dataset::open(&options.dataset).await?;
    let result = measure(options, &dataset).await;
    dataset.close().await?;
    let report = result?;
    println!("\nThe rebuild took {:.1} s.\n", report.rebuild_seconds);
    println!("| | reads | p50 ms | p99 ms | max ms | writes | p50 ms | p99 ms | max ms |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for phase in &report.phases {
        println!("{phase}");
    }
    println!("\n{} reads failed, {} writes failed.", report.failed_reads.len(), report.failed_writes.len());
    for failure in report.failed_reads.iter().chain(&report.failed_writes).take(10) {
        println!("- {failure}");
    }
    println!("{}", report.compared);
    println!("As JSON: {}", save("rebuild", &report)?.display());
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(options: &Options, dataset: &Dataset) -> Result<Report> {
    let pool = dataset.postgres(&[]).await?;
    dataset.fill().await?;
    let mut server = Server::start(&dataset.setup, "server", "api,decider,projector")?;
    server.until_ready("decider").await?;
    let ends = tokio::task::block_in_place(|| dataset.ends())?;
    let progress = dataset.until_projected(&pool, &ends, STILL).await?;
    println!("The rows are there ({:.0} events/s).", progress.per_second());
    sqlx::query("CHECKPOINT").execute(&pool).await?;

    let shop = Arc::new(Shop::create(&server.address).await?);
    let cancel = CancellationToken::new();
    let known = traffic::Known::read(dataset, &pool).await?;
    let traffic =
        Traffic::start(&server.address, PHASES, shop, known, options.writes, options.reads, cancel.clone())
            .await?;
    traffic.enter(PHASES[0]);
    tokio::time::sleep(AROUND).await;
    traffic.enter(PHASES[1]);
    println!("Rebuilding …");
    let started = Instant::now();
    let rebuilt = rebuild(dataset).await;
    let rebuild_seconds = started.elapsed().as_secs_f64();
    traffic.enter(PHASES[2]);
    tokio::time::sleep(AROUND).await;
    cancel.cancel();
    let seen = traffic.finish().await?;
    rebuilt?;

    println!("Comparing {} rows with the events …", dataset.orders + seen.acknowledged.len());
    let compared = compare(dataset, &pool, &seen.acknowledged).await?;
    server.terminate().await?;
    Ok(Report {
        machine: Machine::new(),
        orders: dataset.orders,
        rebuild_seconds,
        phases: seen.phases,
        acknowledged: seen.acknowledged.len(),
        reads: seen.reads,
        failed_reads: seen.failed_reads,
        failed_writes: seen.failed_writes,
        compared,
    })
}

/// Runs `writ rebuild order`, whose progress goes to the terminal.
async fn rebuild(dataset: &Dataset) -> Result<()> {
    let mut child = dataset.setup.writ(&["rebuild", "order"])?.spawn().context("`writ` can't be started")?;
    match tokio::time::timeout(LIMIT, child.wait()).await {
        Ok(status) => match status?.success() {
            true => Ok(()),
            false => {
                bail!("`writ rebuild order` failed; the server's log is in {}", dataset.setup.dir.display())
            }
        },
        Err(_) => bail!("`writ rebuild order` isn't done after {LIMIT:?}"),
    }
}

async fn compare(dataset: &Dataset, pool: &PgPool, acknowledged: &[uuid::Uuid]) -> Result<Compared> {
    let ends = tokio::task::block_in_place(|| dataset.ends())?;
    dataset.until_projected(pool, &ends, STILL).await?;
    compare::orders(dataset, pool, acknowledged).await
}
