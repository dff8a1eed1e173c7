//! Writers and readers at a fixed rate, whatever the answers take: a latency counts from the moment at which its request
//! was due, so a server that stands still is seen by all who would have come meanwhile.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgPool, Row as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::connection::{Ask, Connection};
use crate::dataset::Dataset;
use crate::load::{Source as _, histogram, quantile};
use crate::shop::{Places, Shop, id_of};

/// The names of the parts of a run: before, during and after what is looked at.
pub(crate) type Phases = [&'static str; 3];

/// Connections for each kind. More than are needed at the rate, so that a slow answer holds nobody else up.
const CONNECTIONS: usize = 32;
/// Requests that are due and not sent yet, at most; more would mean that the server stands still for minutes.
const QUEUE: usize = 100_000;
/// New orders that readers ask for are among the last of these.
const RECENT: usize = 200;
/// Different old orders and days that readers ask for.
const SAMPLES: i64 = 5_000;

/// What the readers know beforehand. The writers don't change it.
#[derive(Debug)]
pub(crate) struct Known {
    orders: Vec<Uuid>,
    /// Days, with the number of orders of each that were called off.
    days: Vec<(String, usize)>,
}

impl Known {
    /// Asks PostgreSQL.
    pub(crate) async fn read(dataset: &Dataset, pool: &PgPool) -> Result<Known> {
        let table = format!("{}.\"order\"", dataset.schema);
        let sql = format!("SELECT id FROM {table} ORDER BY md5(id::text) LIMIT {SAMPLES}");
        let orders = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await?;
        let sql =
            format!("SELECT ordered_on::text, count(*) FROM {table} WHERE status = 'cancelled' GROUP BY 1");
        let days = sqlx::query(AssertSqlSafe(sql)).fetch_all(pool).await?;
        let days = days.iter().map(|row| Ok((row.try_get(0)?, usize::try_from(row.try_get::<i64, _>(1)?)?)));
        Ok(Known { orders, days: days.collect::<Result<_>>()? })
    }
}

/// Latencies of one part of the run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Phase {
    name: &'static str,
    pub(crate) reads: Latency,
    pub(crate) writes: Latency,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    max_ms: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Latency {
        Latency {
            count: histogram.len(),
            p50_ms: quantile(histogram, 0.5),
            p99_ms: quantile(histogram, 0.99),
            max_ms: quantile(histogram, 1.0),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", self.name)?;
        for Latency { count, p50_ms, p99_ms, max_ms } in [&self.reads, &self.writes] {
            write!(f, " {count} | {p50_ms:.1} | {p99_ms:.1} | {max_ms:.1} |")?;
        }
        Ok(())
    }
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) phases: Vec<Phase>,
    pub(crate) acknowledged: Vec<Uuid>,
    pub(crate) reads: u64,
    pub(crate) failed_reads: Vec<String>,
    pub(crate) failed_writes: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    address: String,
    phases: Phases,
    known: Known,
    log: Mutex<Log>,
}

/// What the connections write down.
#[derive(Debug, Default)]
struct Log {
    phase: &'static str,
    reads: HashMap<&'static str, Histogram<u64>>,
    writes: HashMap<&'static str, Histogram<u64>>,
    /// With the positions of their answers.
    acknowledged: Vec<(Uuid, String)>,
    failed_reads: Vec<String>,
    failed_writes: Vec<String>,
}

/// Running writers and readers.
#[derive(Debug)]
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<()>>,
}

impl Traffic {
    /// Starts them.
    pub(crate) async fn start(
        address: &str,
        phases: Phases,
        shop: Arc<Shop>,
        known: Known,
        writes: u32,
        reads: u32,
        cancel: CancellationToken,
    ) -> Result<Traffic> {
        let log = Log { phase: phases[0], ..Log::default() };
        let shared = Arc::new(Shared { address: address.to_owned(), phases, known, log: Mutex::new(log) });
        let mut tasks = JoinSet::new();
        let (due, wanted) = mpsc::channel(QUEUE);
        tasks.spawn(clock(writes, due, cancel.clone()));
        let wanted = Arc::new(tokio::sync::Mutex::new(wanted));
        for nth in 0..CONNECTIONS {
            let places = Places::new(shop.clone(), CONNECTIONS, nth);
            tasks.spawn(write(shared.clone(), Connection::open(address).await?, places, wanted.clone()));
        }
        let (due, wanted) = mpsc::channel(QUEUE);
        tasks.spawn(clock(reads, due, cancel));
        let wanted = Arc::new(tokio::sync::Mutex::new(wanted));
        for nth in 0..CONNECTIONS {
            let rng = ChaCha8Rng::seed_from_u64(nth as u64);
            tasks.spawn(read(shared.clone(), Connection::open(address).await?, rng, wanted.clone()));
        }
        Ok(Traffic { shared, tasks })
    }

    /// The next part of the run begins.
    pub(crate) fn enter(&self, phase: &'static str) {
        self.shared.log.lock().phase = phase;
    }

    /// Waits for the last answers, once the traffic is cancelled.
    pub(crate) async fn finish(mut self) -> Result<Seen> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a connection's task failed")??;
        }
        let log = std::mem::take(&mut *self.shared.log.lock());
        let empty = histogram();
        let of = |found: &HashMap<_, _>, name| Latency::of(found.get(name).unwrap_or(&empty));
        let phases = self.shared.phases.map(|name| Phase {
            name,
            reads: of(&log.reads, name),
            writes: of(&log.writes, name),
        });
        Ok(Seen {
            reads: phases.iter().map(|phase| phase.reads.count).sum(),
            phases: phases.into(),
            acknowledged: log.acknowledged.into_iter().map(|(id, _)| id).collect(),
            failed_reads: log.failed_reads,
            failed_writes: log.failed_writes,
        })
    }
}

type Due = Arc<tokio::sync::Mutex<mpsc::Receiver<Instant>>>;

/// Says when each request is due.
pub(crate) async fn clock(
    per_second: u32,
    due: mpsc::Sender<Instant>,
    cancel: CancellationToken,
) -> Result<()> {
    let begin = Instant::now();
    for nth in 0u32.. {
        let at = begin + Duration::from_secs(1) * nth / per_second;
        tokio::select! {
            () = cancel.cancelled() => break,
            () = tokio::time::sleep_until(at.into()) => {}
        }
        due.send(at).await.context("nobody takes requests any more")?;
    }
    Ok(())
}

async fn next(due: &Due) -> Option<Instant> {
    due.lock().await.recv().await
}

async fn write(shared: Arc<Shared>, mut connection: Connection, mut places: Places, due: Due) -> Result<()> {
    while let Some(at) = next(&due).await {
        let ask = places.next().context("there is always another order to place")?;
        let failure = match connection.send(ask).await {
            Ok(answer) if answer.status.is_success() => match (id_of(&answer.body), answer.position) {
                (Some(id), Some(position)) => {
                    let log = &mut *shared.log.lock();
                    log.acknowledged.push((id, position));
                    record(log, at, false);
                    continue;
                }
                _ => "place: an answer without id or position".to_owned(),
            },
            Ok(answer) => format!("place: {}: {}", answer.status, String::from_utf8_lossy(&answer.body)),
            Err(error) => format!("place: {error:#}"),
        };
        shared.log.lock().failed_writes.push(failure);
        connection = reopen(connection, &shared.address).await?;
    }
    connection.close().await;
    Ok(())
}

async fn read(shared: Arc<Shared>, mut connection: Connection, mut rng: ChaCha8Rng, due: Due) -> Result<()> {
    while let Some(at) = next(&due).await {
        let (ask, rows) = question(&shared, &mut rng);
        let path = ask.path.clone();
        let answer = connection.send(ask).await;
        let failure = match answer {
            Ok(answer) if answer.status.as_u16() == 200 => rows.and_then(|rows| {
                let found = serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
                let found = found["items"].as_array().map_or(0, Vec::len);
                (found != rows).then(|| format!("{path}: {found} rows instead of {rows}"))
            }),
            Ok(answer) => {
                Some(format!("{path}: {}: {}", answer.status, String::from_utf8_lossy(&answer.body)))
            }
            Err(error) => Some(format!("{path}: {error:#}")),
        };
        match failure {
            None => record(&mut shared.log.lock(), at, true),
            Some(failure) => {
                shared.log.lock().failed_reads.push(failure);
                connection = reopen(connection, &shared.address).await?;
            }
        }
    }
    connection.close().await;
    Ok(())
}

/// What a reader asks, and how many rows it must get, where that is known.
fn question(shared: &Shared, rng: &mut ChaCha8Rng) -> (Ask, Option<usize>) {
    let known = &shared.known;
    match rng.random_range(0..10) {
        // Rows that nobody changes: a table that is half full has fewer.
        0..4 => {
            let (day, rows) = known.days.choose(rng).expect("invariant: orders were called off");
            (Ask::get(format!("/v1/order?status=cancelled&ordered_on={day}&limit=1000")), Some(*rows))
        }
        4..7 => {
            let id = known.orders.choose(rng).expect("invariant: there are orders");
            (Ask::get(format!("/v1/order/{id}")), None)
        }
        _ => {
            let log = shared.log.lock();
            let recent = &log.acknowledged[log.acknowledged.len().saturating_sub(RECENT)..];
            match recent.choose(rng) {
                Some((id, position)) => {
                    (Ask::get(format!("/v1/order/{id}")).header("writ-position", position), None)
                }
                None => (Ask::get("/v1/order?limit=50"), Some(50)),
            }
        }
    }
}

fn record(log: &mut Log, due: Instant, is_read: bool) {
    let latency = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
    let phase = log.phase;
    let histograms = if is_read { &mut log.reads } else { &mut log.writes };
    histograms.entry(phase).or_insert_with(histogram).saturating_record(latency);
}

/// A connection on which something went wrong is not used again.
async fn reopen(connection: Connection, address: &str) -> Result<Connection> {
    connection.close().await;
    Connection::open(address).await
}
