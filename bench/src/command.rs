//! `cargo dev bench command`: places and pays orders over HTTP, at several numbers of connections.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use uuid::Uuid;

use crate::audit::{Acknowledged, Events, Rows, Start, Verdict};
use crate::ceiling::http::EmptyServer;
use crate::ceiling::kafka;
use crate::connection;
use crate::load::{self, Measured, Window};
use crate::machine::Machine;
use crate::report::{Report, Stage, save};
use crate::shop::{Echoes, Pays, Places, Shop, Unpaid};
use crate::target;

/// Not measured at the start of a stage.
const WARMUP: Duration = Duration::from_secs(1);

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: target::Flags,
    /// Length of each measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Numbers of connections, measured one after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    connections: Vec<u16>,
}

/// Runs the benchmark. Fails with exit code 1 when something acknowledged isn't in Kafka once and in the read model.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    connection::sign_in();
    let target = options.target.target()?;
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let measured = Duration::from_secs(options.seconds);
    let window = Window { warmup: WARMUP, measured };

    let shop = Arc::new(Shop::create(&target.api).await?);
    let (brokers, topic) = (target.brokers.clone(), target.events.clone());
    let start = blocking(move || Start::remember(&brokers, &topic)).await?;

    let mut acknowledged = Acknowledged::default();
    // Each number once: it is part of the order numbers.
    let numbers: BTreeSet<usize> =
        options.connections.iter().map(|&n| usize::from(n)).filter(|&n| n > 0).collect();
    let mut stages = Vec::new();
    let empty = EmptyServer::start().await?;
    for &connections in &numbers {
        println!("{connections} connections …");
        let (ceiling, _) = load::run(&empty.address, window, echoes(&shop, connections)).await?;
        let (place, placed) = place(&target.api, window, &shop, connections, &mut acknowledged).await?;
        let pay = pay(&target.api, window, connections, placed, &mut acknowledged).await?;
        stages.push(Stage { connections, empty: ceiling, place, pay });
    }
    empty.stop().await?;
    let finished = Instant::now();

    println!("Counting events and rows …");
    let partitions = start.partitions();
    let (acknowledged, events) = blocking(move || {
        let events = Events::read(&start, &acknowledged)?;
        Ok((acknowledged, events))
    })
    .await?;
    let rows = Rows::read(&target.api, shop.customer, &events, finished).await?;
    let verdict = Verdict::new(&acknowledged, &events, &rows);

    println!("Bare transactions …\n");
    let record_bytes = events.mean_bytes();
    let plan = kafka::Plan {
        brokers: target.brokers,
        partitions,
        record_bytes,
        records: numbers.into_iter().collect(),
        measured,
    };
    let transactions = kafka::run(plan).await?;

    let report = Report {
        time,
        seconds: options.seconds,
        machine: Machine::new(),
        stages,
        record_bytes,
        transactions,
        caught_up_ms: u64::try_from(rows.caught_up.as_millis()).unwrap_or(u64::MAX),
        verdict,
    };
    println!("{report}");
    let file = save("command", &report)?;
    println!("\nAs JSON: {}", file.display());
    Ok(if report.verdict.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn echoes(shop: &Arc<Shop>, connections: usize) -> Vec<Echoes> {
    (0..connections).map(|n| Echoes(Places::new(shop.clone(), connections, n))).collect()
}

/// Places orders for one window. Answers with the orders that were placed.
async fn place(
    api: &str,
    window: Window,
    shop: &Arc<Shop>,
    connections: usize,
    acknowledged: &mut Acknowledged,
) -> Result<(Measured, Vec<Uuid>)> {
    let sources = (0..connections).map(|n| Places::new(shop.clone(), connections, n)).collect();
    let (measured, sources) = load::run(api, window, sources).await?;
    let mut placed = Vec::new();
    for source in sources {
        acknowledged.unknown_places += source.unknown;
        acknowledged.placed.extend(source.placed.iter().copied());
        placed.extend(source.placed);
    }
    Ok((measured, placed))
}

/// Pays `orders` until the window is over or all are paid.
async fn pay(
    api: &str,
    window: Window,
    connections: usize,
    orders: Vec<Uuid>,
    acknowledged: &mut Acknowledged,
) -> Result<Measured> {
    let unpaid = Unpaid::new(orders);
    let sources = (0..connections).map(|_| Pays::new(unpaid.clone())).collect();
    let (measured, sources) = load::run(api, window, sources).await?;
    for source in sources {
        acknowledged.payments.extend(source.outcomes);
    }
    Ok(measured)
}

/// Runs what blocks on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a blocking task failed")?
}
