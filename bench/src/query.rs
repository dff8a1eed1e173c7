//! `cargo dev bench query`: how long queries take over a large shop, with an api of their own and nothing else to do for the
//! machine: first by one connection, then by eight.
//!
//! Each kind of query is a closed loop with values that change from one request to the next, so that neither a cache of
//! answers nor PostgreSQL's of one page is what is measured.

mod cases;
mod pages;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::connection::Ask;
use crate::dataset::{self, Dataset};
use crate::load::{self, Measured, Outcome, Source, Window};
use crate::machine::Machine;
use crate::report::save;
use crate::server::Server;
use cases::{Case, Goal, Shop};
use pages::Deep;

/// The limit of what an index answers, at the 99th percentile with one connection.
const GOAL_MS: f64 = 10.0;
/// A deep page costs as much as the first one: at most so many times its median, and a millisecond.
const DEEP_FACTOR: f64 = 1.5;
const WARMUP: Duration = Duration::from_millis(500);
const STILL: Duration = Duration::from_secs(60);
const BUSY: usize = 8;

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    dataset: dataset::Flags,
    /// Length of each measurement
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

/// One kind of query.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    goal: Goal,
    example: String,
    idle: Measured,
    busy: Measured,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    orders: usize,
    seconds: u64,
    lines: Vec<Line>,
    missed: Vec<String>,
}

/// Runs the benchmark.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    let dataset = Dataset::open(&options.dataset).await?;
    let result = measure(options, &dataset).await;
    dataset.close().await?;
    let report = result?;
    println!();
    match report.missed.is_empty() {
        true => println!(
            "Every indexed query: under {GOAL_MS} ms at p99 with one connection; deep pages cost as much as first ones: met."
        ),
        false => println!("MISSED:\n- {}", report.missed.join("\n- ")),
    }
    println!("As JSON: {}", save("query", &report)?.display());
    Ok(ExitCode::SUCCESS)
}

async fn measure(options: &Options, dataset: &Dataset) -> Result<Report> {
    let pool = dataset.postgres(&[]).await?;
    dataset.fill().await?;
    let ends = tokio::task::block_in_place(|| dataset.ends())?;
    // The api beside it tells when it is ready; before, a signal to end would just end the process.
    let mut projector = Server::start(&dataset.setup, "projector", "api,projector")?;
    projector.until_ready("projector").await?;
    let progress = dataset.until_projected(&pool, &ends, STILL).await?;
    println!("The rows are there ({:.0} events/s).", progress.per_second());
    projector.terminate().await?;
    // What autovacuum would have done by the time that a shop has so many orders.
    for model in dataset.models.models.keys() {
        let sql = format!("VACUUM ANALYZE {}.\"{model}\"", dataset.schema);
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await?;
    }
    sqlx::query("CHECKPOINT").execute(&pool).await?;

    let shop = Shop::read(dataset, &pool).await?;
    let mut server = Server::start(&dataset.setup, "api", "api")?;
    server.until_ready("postgres").await?;
    println!(
        "\n| query | 1 connection: /s | p50 ms | p99 ms | max ms | {BUSY} connections: /s | p50 ms | p99 ms | goal |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let window = Window { warmup: WARMUP, measured: Duration::from_secs(options.seconds) };
    let mut lines = Vec::new();
    for case in cases::all() {
        lines.push(line(&server.address, window, case, &shop).await?);
    }
    for deep in Deep::walk(&server.address, &shop).await? {
        lines.push(line(&server.address, window, deep.case(), &shop).await?);
    }
    server.terminate().await?;
    let missed = missed(&lines);
    Ok(Report { machine: Machine::new(), orders: dataset.orders, seconds: options.seconds, lines, missed })
}

async fn line(address: &str, window: Window, case: Case, shop: &Shop) -> Result<Line> {
    let mut results = Vec::new();
    for connections in [1, BUSY] {
        let sources = (0..connections)
            .map(|n| Queries {
                case: case.clone(),
                shop: shop.clone(),
                rng: ChaCha8Rng::seed_from_u64((connections * 100 + n) as u64),
            })
            .collect();
        let (measured, _) = load::run(address, window, sources).await?;
        results.push(measured);
    }
    let [idle, busy] = results.try_into().expect("invariant: two numbers of connections");
    let example = case.path(shop, &mut ChaCha8Rng::seed_from_u64(0));
    let line = Line { name: case.name, goal: case.goal, example, idle, busy };
    println!("{}", row(&line));
    Ok(line)
}

fn row(line: &Line) -> String {
    let Line { name, goal, idle, busy, .. } = line;
    let goal = match goal {
        _ if idle.errors > 0 => "FAILED",
        Goal::Indexed if idle.p99_ms < GOAL_MS => "met",
        Goal::Indexed => "MISSED",
        Goal::None => "",
    };
    format!(
        "| {name} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {goal} |",
        idle.per_second, idle.p50_ms, idle.p99_ms, idle.max_ms, busy.per_second, busy.p50_ms, busy.p99_ms
    )
}

/// What doesn't reach its goal. Deep pages follow the first page of the same list.
fn missed(lines: &[Line]) -> Vec<String> {
    let mut missed = Vec::new();
    for line in lines {
        if let Some(error) = line.idle.first_error.as_ref().or(line.busy.first_error.as_ref()) {
            missed.push(format!("{}: {} failed: {error}", line.name, line.example));
        }
    }
    for line in lines.iter().filter(|line| line.goal == Goal::Indexed) {
        if line.idle.p99_ms >= GOAL_MS {
            missed.push(format!("{}: {:.2} ms at p99, goal {GOAL_MS} ms", line.name, line.idle.p99_ms));
        }
        let list = line.name.split(pages::PAGE).next().unwrap_or_default();
        let first = lines.iter().find(|first| first.name == format!("{list}{}1", pages::PAGE));
        if let Some(first) = first
            && line.idle.p50_ms > DEEP_FACTOR * first.idle.p50_ms + 1.0
        {
            missed.push(format!(
                "{}: {:.2} ms, page 1: {:.2} ms",
                line.name, line.idle.p50_ms, first.idle.p50_ms
            ));
        }
    }
    missed
}

/// One connection's queries.
#[derive(Debug)]
struct Queries {
    case: Case,
    shop: Shop,
    rng: ChaCha8Rng,
}

impl Source for Queries {
    fn next(&mut self) -> Option<Ask> {
        Some(Ask::get(self.case.path(&self.shop, &mut self.rng)))
    }

    fn take(&mut self, _: Outcome) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, p50_ms: f64, p99_ms: f64) -> Line {
        let measured = Measured {
            per_second: 1.0,
            p50_ms,
            p99_ms,
            max_ms: p99_ms,
            count: 1,
            errors: 0,
            first_error: None,
        };
        Line {
            name: name.into(),
            goal: Goal::Indexed,
            example: String::new(),
            idle: measured.clone(),
            busy: measured,
        }
    }

    #[test]
    fn a_slow_query_and_a_slow_deep_page_miss() {
        let page = |n: u32| format!("by date{}{n}", pages::PAGE);
        let lines = [line("one", 1.0, 11.0), line(&page(1), 1.0, 2.0), line(&page(1000), 5.0, 6.0)];
        let missed = missed(&lines);
        assert_eq!(missed.len(), 2, "{missed:?}");
        assert!(missed[0].starts_with("one") && missed[1].contains("1000"), "{missed:?}");
        assert!(super::missed(&lines[1..2]).is_empty());
    }
}
