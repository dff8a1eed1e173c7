//! What the clients saw: each command with its times and its outcome, and what each fault did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

/// Microseconds since the run began.
pub(crate) type Micros = u64;

/// What a client sends. The parts that a check needs stand in fields of their own.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Request {
    pub(crate) model: &'static str,
    pub(crate) command: &'static str,
    /// The natural key or id of the aggregate; empty when the idempotency key makes the id.
    pub(crate) target: String,
    /// The amount, or the register's new value.
    pub(crate) value: Option<i64>,
    /// The member's e-mail address.
    pub(crate) email: Option<String>,
    pub(crate) if_match: Option<u64>,
    /// Sent once, without an idempotency key: its outcome may stay unknown.
    pub(crate) once: bool,
    /// The same for both halves of a transfer.
    pub(crate) transfer: Option<Uuid>,
}

/// What an answer said about a committed command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Acknowledged {
    pub(crate) aggregate: Uuid,
    pub(crate) version: u64,
    /// Id and version of each event.
    pub(crate) events: Vec<(Uuid, u64)>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// The value of a register after the command.
    pub(crate) register: Option<i64>,
}

/// What became of a command, as far as the client knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Outcome {
    Committed(Acknowledged),
    /// Nothing was written. `version`: of the `ETag` of a 412.
    Refused {
        kind: String,
        version: Option<u64>,
    },
    /// It may be there or not.
    Unknown,
}

/// A command with what became of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Operation {
    /// Unique; sent as input and recorded in the event.
    pub(crate) tag: String,
    pub(crate) request: Request,
    pub(crate) invoked: Micros,
    /// When the outcome was known; the last attempt's end when it is not.
    pub(crate) returned: Micros,
    pub(crate) attempts: u32,
    pub(crate) outcome: Outcome,
    /// The id of the command, where an answer told it.
    pub(crate) command_id: Option<Uuid>,
    /// The outcome of one more send with the same key, after the outcome was known.
    pub(crate) repeat: Option<Outcome>,
}

impl Operation {
    pub(crate) fn acknowledged(&self) -> Option<&Acknowledged> {
        match &self.outcome {
            Outcome::Committed(acknowledged) => Some(acknowledged),
            _ => None,
        }
    }

    /// `purse.deposit`.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.request.model, self.request.command)
    }
}

/// One fault and how long it hurt.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FaultRecord {
    pub(crate) kind: &'static str,
    pub(crate) began: Micros,
    pub(crate) healed: Micros,
    /// Every client had an outcome again, of a command that it sent after the heal.
    pub(crate) recovered: Micros,
    /// Another fault overlapped it.
    pub(crate) overlapped: bool,
}

/// Collects the history while it happens.
#[derive(Debug)]
pub(crate) struct Recorder {
    start: Instant,
    operations: Mutex<Vec<Operation>>,
    /// For each client, the number of the commands that it began and whose outcome it knows.
    completed: Vec<AtomicU64>,
    /// What an answer should never be, with the first texts.
    surprises: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Recorder {
    pub(crate) fn new(clients: usize) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            operations: Mutex::default(),
            completed: (0..clients).map(|_| AtomicU64::new(0)).collect(),
            surprises: Mutex::default(),
            stopped: AtomicBool::new(false),
        })
    }

    pub(crate) fn now(&self) -> Micros {
        u64::try_from(self.start.elapsed().as_micros()).expect("a run is short")
    }

    pub(crate) fn record(&self, client: usize, operation: Operation) {
        self.operations.lock().push(operation);
        self.completed[client].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn surprise(&self, text: String) {
        self.surprises.lock().push(text);
    }

    /// How many commands each client has finished.
    pub(crate) fn completed(&self) -> Vec<u64> {
        self.completed.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// No client begins another command.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Everything so far, in the order in which it was known.
    pub(crate) fn take(&self) -> (Vec<Operation>, Vec<String>) {
        (std::mem::take(&mut self.operations.lock()), std::mem::take(&mut self.surprises.lock()))
    }
}

/// The longest time between two acknowledged commands that overlaps `from..to`. `times` is sorted.
pub(crate) fn longest_gap(times: &[Micros], from: Micros, to: Micros) -> Micros {
    let first = times.partition_point(|time| *time <= from).saturating_sub(1);
    let after = (times.partition_point(|time| *time <= to) + 1).min(times.len());
    let inside = times.get(first..after).unwrap_or_default();
    inside.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_when_it_overlaps() {
        let times = [0, 10, 50, 60, 200];
        assert_eq!(longest_gap(&times, 0, 20), 40);
        assert_eq!(longest_gap(&times, 20, 30), 40);
        assert_eq!(longest_gap(&times, 50, 55), 10);
        assert_eq!(longest_gap(&times, 100, 150), 140);
        assert_eq!(longest_gap(&[], 0, 20), 0);
    }
}
