//! `cargo dev bench projector`: how many events a second a projector reads from Kafka into rows and event log, beside the
//! bare statements on the same PostgreSQL in the same minutes.

mod bare;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgPool};

use crate::dataset::{self, Dataset};
use crate::machine::Machine;
use crate::report::save;
use crate::server::Server;
use bare::Bare;

/// The part of the bare statements' rate that the projector must reach.
const GOAL: f64 = 0.5;
/// A projector that does nothing for so long has failed: longer than a consumer group waits for the members of before.
const STILL: Duration = Duration::from_secs(60);

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    dataset: dataset::Flags,
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    orders: usize,
    events: u64,
    rows: u64,
    bare_per_second: f64,
    projector_per_second: f64,
    ratio: f64,
}

/// Runs the benchmark.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    let dataset = Dataset::open(&options.dataset).await?;
    let result = measure(&dataset).await;
    dataset.close().await?;
    let report = result?;
    let goal = if report.ratio >= GOAL { "met" } else { "MISSED" };
    println!("\n| | events/s |\n|---|---|");
    println!("| bare statements, 1000 events a transaction | {:.0} |", report.bare_per_second);
    println!("| projector | {:.0} |", report.projector_per_second);
    println!(
        "\nThe projector reaches {:.0} % of the bare statements; goal {:.0} %: {goal}.",
        100.0 * report.ratio,
        100.0 * GOAL
    );
    println!("As JSON: {}", save("projector", &report)?.display());
    Ok(ExitCode::SUCCESS)
}

async fn measure(dataset: &Dataset) -> Result<Report> {
    let pool = dataset.postgres(&[("synchronous_commit", "off")]).await?;
    // The projector itself makes the tables that are copied. The api beside it tells when it is ready.
    let mut server = Server::start(&dataset.setup, "projector", "api,projector")?;
    until_tables(dataset, &pool).await?;
    server.until_ready("projector").await?;
    server.terminate().await?;
    let bare = Bare::copy_tables(dataset, &pool).await?;
    forget(dataset, &pool).await?;

    dataset.fill().await?;
    let batches = tokio::task::block_in_place(|| bare.prepare(dataset))?;
    settle(&pool).await?;
    let statements = bare.run(&pool, &batches).await?;
    drop(batches);
    let bare_per_second = statements.events as f64 / statements.took.as_secs_f64();
    println!(
        "Bare statements: {} events as {} rows and {} entries of the log in {:.1} s.",
        statements.events,
        statements.rows,
        statements.events,
        statements.took.as_secs_f64()
    );
    bare.drop(&pool).await?;

    settle(&pool).await?;
    let ends = tokio::task::block_in_place(|| dataset.ends())?;
    let started = Instant::now();
    let mut server = Server::start(&dataset.setup, "projector", "projector")?;
    let progress = dataset.until_projected(&pool, &ends, STILL).await?;
    println!(
        "Projector: {} events in {:.1} s from the start of its process.",
        progress.events,
        progress.done.duration_since(started).as_secs_f64()
    );
    server.terminate().await?;
    let projector_per_second = progress.per_second();
    Ok(Report {
        machine: Machine::new(),
        orders: dataset.orders,
        events: statements.events,
        rows: statements.rows,
        bare_per_second,
        projector_per_second,
        ratio: projector_per_second / bare_per_second,
    })
}

/// Waits until all tables are there, with their indexes.
async fn until_tables(dataset: &Dataset, pool: &PgPool) -> Result<()> {
    let deadline = Instant::now() + STILL;
    // The places are written after the tables are complete.
    while dataset.places(pool).await?.is_empty() {
        if Instant::now() > deadline {
            bail!(
                "the projector hasn't made its tables within {STILL:?}; its log is in {}",
                dataset.setup.dir.display()
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Deletes the projector's tables: it begins anew.
async fn forget(dataset: &Dataset, pool: &PgPool) -> Result<()> {
    let sql = format!("DROP SCHEMA {} CASCADE", dataset.schema);
    sqlx::query(AssertSqlSafe(sql)).execute(pool).await?;
    Ok(())
}

/// What was written before is on the disk and doesn't disturb what is measured next.
async fn settle(pool: &PgPool) -> Result<()> {
    sqlx::query("CHECKPOINT").execute(pool).await.context("a checkpoint needs the rights of a superuser")?;
    Ok(())
}
