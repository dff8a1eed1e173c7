//! `cargo dev bench live`: what open sockets cost, and how fast a change reaches those who follow it.
//!
//! A server of its own with the roles api and projector reads an order topic of its own, into which transactions are written as
//! the decider writes them, but without commands: so the time of each commit is known. A change has arrived when a client's socket has
//! handed out its text. Clients live in this process, on the same machine.

mod events;
mod socket;

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::dataset::{self, Dataset};
use crate::machine::Machine;
use crate::report::save;
use crate::server::Server;
use events::{Committed, Writer};
use socket::{Arrival, Arrivals, Socket};

/// Lifts the limits that are there for people.
const SETTINGS: [(&str, &str); 2] =
    [("WRIT_HTTP_LIVE_MAX_OPEN", "100000"), ("WRIT_HTTP_LIVE_MAX_OPEN_PER_ADDRESS", "100000")];
/// A change that hasn't arrived after so long is lost.
const LOST: Duration = Duration::from_secs(30);
/// Sockets that are opened at the same time.
const OPENING: usize = 64;
/// Transactions per second, at most: events that are due meanwhile share one.
const TICK: Duration = Duration::from_millis(10);
/// Fan-outs of which the median counts.
const ROUNDS: usize = 11;
/// Subscriptions of others beside which a change is measured.
const FEW: usize = 10;

/// Resident bytes of an idle socket.
const MEMORY_LIMIT: f64 = 12.0 * 1024.0;
/// By which part a change may cost more beside many subscriptions than beside few.
const INDEX_LIMIT: f64 = 0.2;
const P50_LIMIT_MS: f64 = 5.0;
const P99_LIMIT_MS: f64 = 20.0;
const FAN_OUT_LIMIT_MS: f64 = 250.0;

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    dataset: dataset::Flags,
    /// Sockets that do nothing, and that one change goes to
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..))]
    sockets: u32,
    /// Sockets that changes are measured for, each with changes of its own
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    subscribers: u32,
    /// Events per second for these
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    per_second: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    sockets: u32,
    /// Resident bytes of the server for each idle socket.
    bytes_each: f64,
    /// Microseconds of the server's processor time for each change: beside few subscriptions, and beside many.
    cost_us: [f64; 2],
    subscribers: u32,
    per_second: u32,
    events: u64,
    /// From the commit to the arrival.
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// From the commit to the last arrival, the median of some rounds, and the slowest.
    fan_out_ms: f64,
    slowest_fan_out_ms: f64,
}

/// Runs the benchmark. Fails with exit code 1 when a goal is missed or a change is lost.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    let dataset = Dataset::open(&options.dataset).await?;
    let result = measure(options, &dataset).await;
    dataset.close().await?;
    let report = result?;
    let worse = report.cost_us[1] / report.cost_us[0] - 1.0;
    let goals = [
        report.bytes_each <= MEMORY_LIMIT,
        worse <= INDEX_LIMIT,
        report.p50_ms < P50_LIMIT_MS && report.p99_ms < P99_LIMIT_MS,
        report.fan_out_ms < FAN_OUT_LIMIT_MS,
    ];
    let met = |met: bool| if met { "met" } else { "missed" };
    println!("\n| | measured | goal | |");
    println!("|---|---|---|---|");
    let kib = report.bytes_each / 1024.0;
    println!(
        "| memory of each of {} idle sockets | {kib:.1} KiB | 12 KiB | {} |",
        report.sockets,
        met(goals[0])
    );
    let [few, many] = report.cost_us;
    println!(
        "| a change beside {FEW} and beside {} other subscriptions | {few:.0} µs and {many:.0} µs ({:+.0} %) | +20 % | {} |",
        report.sockets,
        worse * 100.0,
        met(goals[1])
    );
    println!(
        "| commit to arrival, {} events/s, {} subscribers | p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms | 5 ms, 20 ms | {} |",
        report.per_second,
        report.subscribers,
        report.p50_ms,
        report.p99_ms,
        report.max_ms,
        met(goals[2])
    );
    println!(
        "| one event to {} sockets | {:.0} ms, slowest {:.0} ms | 250 ms | {} |",
        report.sockets,
        report.fan_out_ms,
        report.slowest_fan_out_ms,
        met(goals[3])
    );
    println!("\nAs JSON: {}", save("live", &report)?.display());
    Ok(if goals.iter().all(|goal| *goal) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(options: &Options, dataset: &Dataset) -> Result<Report> {
    let mut setup = dataset.setup.clone();
    setup.settings = SETTINGS.to_vec();
    let mut server = Server::start(&setup, "server", "api,projector")?;
    server.until_ready("live").await?;
    server.until_ready("projector").await?;
    let mut run = Run { server, writer: Writer::open(dataset).await?, arrivals: socket::arrivals() };

    println!("{} subscribers, {} events/s …", options.subscribers, options.per_second);
    let latency = run.latency(options).await?;
    println!("One change beside {FEW} other subscriptions …");
    let few = run.cost_beside(FEW, options.seconds).await?;
    println!("{} idle sockets …", options.sockets);
    let sockets = usize::try_from(options.sockets)?;
    let (idle, bytes_each) = run.idle(sockets).await?;
    println!("One change beside {sockets} other subscriptions …");
    let many = run.cost(options.seconds).await?;
    close(idle).await;
    println!("One event to {sockets} sockets …");
    let fan_outs = run.fan_outs(sockets).await?;
    run.server.terminate().await?;

    let ms = |microseconds: u64| microseconds as f64 / 1000.0;
    Ok(Report {
        machine: Machine::new(),
        sockets: options.sockets,
        bytes_each,
        cost_us: [few, many],
        subscribers: options.subscribers,
        per_second: options.per_second,
        events: latency.len(),
        p50_ms: ms(latency.value_at_quantile(0.5)),
        p99_ms: ms(latency.value_at_quantile(0.99)),
        max_ms: ms(latency.max()),
        fan_out_ms: ms(fan_outs.value_at_quantile(0.5)),
        slowest_fan_out_ms: ms(fan_outs.max()),
    })
}

struct Run {
    server: Server,
    writer: Writer,
    arrivals: Arrivals,
}

impl Run {
    /// Opens sockets, many at a time.
    async fn open(&self, subscriptions: Vec<serde_json::Value>) -> Result<Vec<Socket>> {
        let (wanted, mut sockets) = (subscriptions.len(), Vec::with_capacity(subscriptions.len()));
        let mut opening = JoinSet::new();
        let mut left = subscriptions.into_iter();
        while sockets.len() < wanted {
            while opening.len() < OPENING
                && let Some(subscription) = left.next()
            {
                let (address, arrivals) = (self.server.address.clone(), self.arrivals.sender.clone());
                opening.spawn(async move { Socket::open(&address, &subscription, arrivals).await });
            }
            let opened = opening.join_next().await.context("no socket is left to be opened")?;
            sockets.push(opened.context("a socket's task failed")??);
        }
        Ok(sockets)
    }

    /// From commits to arrivals, in microseconds.
    async fn latency(&mut self, options: &Options) -> Result<Histogram<u64>> {
        let customers: Vec<Uuid> = (0..options.subscribers).map(|_| Uuid::new_v4()).collect();
        let sockets = self.open(customers.iter().map(|id| of_customer(*id)).collect()).await?;
        // What is measured first would pay for what is cold.
        self.follow(&customers, options.per_second, Duration::from_secs(options.seconds / 4)).await?;
        let seen = self.follow(&customers, options.per_second, Duration::from_secs(options.seconds)).await;
        close(sockets).await;
        seen
    }

    /// Writes events of these customers' orders, and waits for each of them to arrive once.
    async fn follow(
        &mut self,
        customers: &[Uuid],
        per_second: u32,
        time: Duration,
    ) -> Result<Histogram<u64>> {
        let started = Instant::now();
        let mut committed: HashMap<(Uuid, u64), Instant> = HashMap::new();
        let (mut wanted, mut next) = (0_u64, started);
        while started.elapsed() < time {
            let due = (started.elapsed().as_secs_f64() * f64::from(per_second)) as u64 - wanted;
            if due > 0 {
                let Committed { at, events } = self.writer.write(customers, usize::try_from(due)?).await?;
                wanted += due;
                committed.extend(events.into_iter().map(|event| (event, at)));
            }
            next += TICK;
            tokio::time::sleep_until(next.max(Instant::now()).into()).await;
        }
        let mut histogram = Histogram::new(3)?;
        let last = Instant::now();
        while !committed.is_empty() {
            let arrival =
                tokio::time::timeout(LOST.saturating_sub(last.elapsed()), self.arrivals.next()).await;
            let Ok(Some(Arrival { event, at })) = arrival else {
                bail!("{} of {wanted} changes have not arrived", committed.len());
            };
            let sent = committed.remove(&event).with_context(|| format!("{event:?} has arrived twice"))?;
            // A commit can be seen before the one who has made it is told.
            histogram.record(u64::try_from(at.saturating_duration_since(sent).as_micros())?)?;
        }
        Ok(histogram)
    }

    /// Opens sockets that follow one order each, to which nothing happens. Also what each takes of the server's memory, in bytes.
    async fn idle(&mut self, count: usize) -> Result<(Vec<Socket>, f64)> {
        let before = self.server.rss_kib();
        let sockets = self.open((0..count).map(|_| of_order(Uuid::new_v4())).collect()).await?;
        // What was needed to open them is given back, or isn't.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let used = self.server.rss_kib().saturating_sub(before);
        Ok((sockets, used as f64 * 1024.0 / count as f64))
    }

    /// The server's processor time for one change that one socket wants, beside so many subscriptions to other orders.
    async fn cost_beside(&mut self, others: usize, seconds: u64) -> Result<f64> {
        let sockets = self.open((0..others).map(|_| of_order(Uuid::new_v4())).collect()).await?;
        let cost = self.cost(seconds).await;
        close(sockets).await;
        cost
    }

    /// The same, beside what is open. In microseconds.
    async fn cost(&mut self, seconds: u64) -> Result<f64> {
        const PER_SECOND: u32 = 500;
        self.writer.forget();
        let customer = [Uuid::new_v4()];
        let sockets = self.open(vec![of_customer(customer[0])]).await?;
        let time = Duration::from_secs(seconds);
        self.follow(&customer, PER_SECOND, time / 4).await?;
        let idle_before = self.server.cpu()?;
        tokio::time::sleep(time / 2).await;
        let before = self.server.cpu()?;
        let seen = self.follow(&customer, PER_SECOND, time).await?;
        let after = self.server.cpu()?;
        close(sockets).await;
        // What the server does anyway, pings of idle sockets most of all, is no part of it.
        let idle = (before - idle_before).mul_f64(2.0);
        Ok((after - before).saturating_sub(idle).as_secs_f64() * 1e6 / seen.len() as f64)
    }

    /// From a commit to the last of many arrivals, in microseconds.
    async fn fan_outs(&mut self, count: usize) -> Result<Histogram<u64>> {
        self.writer.forget();
        let customer = [Uuid::new_v4()];
        let sockets = self.open((0..count).map(|_| of_customer(customer[0])).collect()).await?;
        let mut histogram = Histogram::new(3)?;
        for _ in 0..ROUNDS {
            let Committed { at, .. } = self.writer.write(&customer, 1).await?;
            let mut last = at;
            for arrived in 0..count {
                let arrival = tokio::time::timeout(LOST, self.arrivals.next()).await;
                let Ok(Some(arrival)) = arrival else { bail!("it has reached {arrived} of {count} sockets") };
                last = last.max(arrival.at);
            }
            histogram.record(u64::try_from((last - at).as_micros())?)?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        close(sockets).await;
        Ok(histogram)
    }
}

fn of_customer(id: Uuid) -> serde_json::Value {
    json!({ "type": "subscribe", "sub": "a", "model": "order", "filter": { "customer": id } })
}

fn of_order(id: Uuid) -> serde_json::Value {
    json!({ "type": "subscribe", "sub": "a", "model": "order", "id": id })
}

async fn close(sockets: Vec<Socket>) {
    for socket in sockets {
        socket.close().await;
    }
}
