//! The load generator: a closed loop on each connection, which sends its next request when the last one is answered.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::connection::{Answer, Ask, Connection};

/// The longest latency that a histogram holds, in microseconds.
const LONGEST: u64 = 120_000_000;

/// What happened to one request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// 2xx.
    Accepted(Answer),
    /// The server said no: nothing was written.
    Refused(String),
    /// No answer, or a failure on the way such as 504: it may have been written, or still be.
    Unknown(String),
}

/// What one connection sends, and who learns what became of it.
pub(crate) trait Source: Send + 'static {
    /// The next request; `None` when there is nothing left to send.
    fn next(&mut self) -> Option<Ask>;
    /// The outcome of the last request.
    fn take(&mut self, outcome: Outcome);
}

/// How long a stage lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Not measured at first.
    pub(crate) warmup: Duration,
    /// Measured then.
    pub(crate) measured: Duration,
}

/// The measurement of one stage.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// Answers per second.
    pub(crate) per_second: f64,
    /// Median latency, milliseconds.
    pub(crate) p50_ms: f64,
    /// 99th percentile, milliseconds.
    pub(crate) p99_ms: f64,
    /// The longest, milliseconds.
    pub(crate) max_ms: f64,
    /// Requests measured.
    pub(crate) count: u64,
    /// Requests without success, of the whole stage.
    pub(crate) errors: u64,
    /// What the first of them met.
    pub(crate) first_error: Option<String>,
}

/// Latencies in microseconds, and what they become.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are valid")
}

/// A quantile in milliseconds.
pub(crate) fn quantile(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

struct Part<S> {
    source: S,
    latencies: Histogram<u64>,
    last: Option<Instant>,
    errors: u64,
    first_error: Option<String>,
}

/// Runs one stage: a connection to `address` for each source. The sources come back with what they learned.
pub(crate) async fn run<S: Source>(
    address: &str,
    window: Window,
    sources: Vec<S>,
) -> Result<(Measured, Vec<S>)> {
    let mut connections = Vec::with_capacity(sources.len());
    for _ in &sources {
        connections.push(Connection::open(address).await?);
    }
    let begin = Instant::now() + window.warmup;
    let end = begin + window.measured;
    let mut tasks = JoinSet::new();
    for (connection, source) in connections.into_iter().zip(sources) {
        let address = address.to_owned();
        tasks.spawn(async move { drive(&address, connection, source, begin, end).await });
    }
    let mut latencies = histogram();
    let (mut last, mut errors, mut first_error, mut sources) = (begin, 0, None, Vec::new());
    while let Some(part) = tasks.join_next().await {
        let part: Part<S> = part.context("a connection's task failed")??;
        latencies.add(&part.latencies).expect("histograms of the same bounds");
        last = part.last.map_or(last, |at| last.max(at));
        errors += part.errors;
        first_error = first_error.or(part.first_error);
        sources.push(part.source);
    }
    let seconds = last.duration_since(begin).as_secs_f64();
    let measured = Measured {
        per_second: if seconds > 0.0 { latencies.len() as f64 / seconds } else { 0.0 },
        p50_ms: quantile(&latencies, 0.5),
        p99_ms: quantile(&latencies, 0.99),
        max_ms: quantile(&latencies, 1.0),
        count: latencies.len(),
        errors,
        first_error,
    };
    Ok((measured, sources))
}

async fn drive<S: Source>(
    address: &str,
    mut connection: Connection,
    source: S,
    begin: Instant,
    end: Instant,
) -> Result<Part<S>> {
    let mut part = Part { source, latencies: histogram(), last: None, errors: 0, first_error: None };
    loop {
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        let Some(ask) = part.source.next() else { break };
        let answer = connection.send(ask).await;
        let answered = Instant::now();
        let broken = answer.is_err();
        let outcome = classify(answer);
        if let Outcome::Refused(error) | Outcome::Unknown(error) = &outcome {
            part.errors += 1;
            part.first_error.get_or_insert_with(|| error.clone());
        } else if answered >= begin && answered <= end {
            let latency = answered.duration_since(sent).as_micros();
            part.latencies.saturating_record(u64::try_from(latency).unwrap_or(u64::MAX));
            part.last = Some(answered);
        }
        part.source.take(outcome);
        if broken {
            connection.close().await;
            connection = Connection::open(address).await?;
        }
    }
    connection.close().await;
    Ok(part)
}

fn classify(answer: Result<Answer>) -> Outcome {
    match answer {
        Ok(answer) if answer.status.is_success() => Outcome::Accepted(answer),
        Ok(answer) => {
            let error = format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
            let overloaded = answer.status == hyper::StatusCode::SERVICE_UNAVAILABLE;
            if answer.status.is_server_error() && !overloaded {
                Outcome::Unknown(error)
            } else {
                Outcome::Refused(error)
            }
        }
        Err(error) => Outcome::Unknown(format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::StatusCode;

    use super::*;

    fn answer(status: u16) -> Result<Answer> {
        Ok(Answer { status: StatusCode::from_u16(status).unwrap(), position: None, body: Bytes::new() })
    }

    #[test]
    fn only_a_clear_no_counts_as_refused() {
        assert!(matches!(classify(answer(201)), Outcome::Accepted(_)));
        assert!(matches!(classify(answer(422)), Outcome::Refused(_)));
        assert!(matches!(classify(answer(503)), Outcome::Refused(_)));
        assert!(matches!(classify(answer(504)), Outcome::Unknown(_)));
        assert!(matches!(classify(Err(anyhow::anyhow!("reset"))), Outcome::Unknown(_)));
    }
}
