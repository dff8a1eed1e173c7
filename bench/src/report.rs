//! The result as a table for people and as JSON for comparing runs.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::audit::Verdict;
use crate::ceiling::kafka;
use crate::load::Measured;
use crate::machine::Machine;
use crate::target::workspace;

/// The limit of a single command in an idle system, median, milliseconds.
const IDLE_LIMIT_MS: f64 = 15.0;

/// One number of connections.
#[derive(Debug, Serialize)]
pub(crate) struct Stage {
    /// Open connections.
    pub(crate) connections: usize,
    /// The empty handler.
    pub(crate) empty: Measured,
    /// `place`.
    pub(crate) place: Measured,
    /// `pay`.
    pub(crate) pay: Measured,
}

/// The whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// When it began, RFC 3339.
    pub(crate) time: String,
    /// Seconds of each measurement.
    pub(crate) seconds: u64,
    /// The machine.
    pub(crate) machine: Machine,
    /// By number of connections.
    pub(crate) stages: Vec<Stage>,
    /// Bytes of a record in the bare transactions: the mean of the run's events.
    pub(crate) record_bytes: usize,
    /// Bare transactions, one size for each number of connections.
    pub(crate) transactions: Vec<kafka::Measured>,
    /// At most these milliseconds after the last command the read model had everything.
    pub(crate) caught_up_ms: u64,
    /// The comparison.
    pub(crate) verdict: Verdict,
}

/// Writes a result as JSON into `bench/results/`. Answers with the file's path.
pub(crate) fn save(benchmark: &str, report: &impl Serialize) -> Result<PathBuf> {
    let dir = workspace().join("bench/results");
    std::fs::create_dir_all(&dir).with_context(|| format!("{} can't be created", dir.display()))?;
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ");
    let path = dir.join(format!("{benchmark}-{time}.json"));
    std::fs::write(&path, serde_json::to_vec_pretty(report)?)
        .with_context(|| format!("{} can't be written", path.display()))?;
    Ok(path)
}

impl Report {
    /// The records per second of the bare transaction with as many records as `connections`.
    fn transaction_rate(&self, connections: usize) -> Option<f64> {
        self.transactions
            .iter()
            .find(|measured| measured.records == connections)
            .map(|found| found.per_second)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(
            f,
            "{} × {}, {} MiB, {}; writ {} ({}), librdkafka {}; {} s each\n",
            machine.cores,
            machine.processor,
            machine.memory_mib,
            machine.system,
            machine.version,
            machine.commit,
            machine.librdkafka,
            self.seconds
        )?;
        if !machine.optimised {
            writeln!(f, "The generator was built without optimisation: the numbers mean nothing.\n")?;
        }
        writeln!(
            f,
            "conns  what                    per second    p50 ms    p99 ms  errors  of empty  of bare transaction"
        )?;
        for stage in &self.stages {
            let bare = self.transactions.iter().find(|measured| measured.records == stage.connections);
            write_row(f, stage.connections, "empty handler", &stage.empty)?;
            writeln!(f)?;
            if let Some(bare) = bare {
                writeln!(
                    f,
                    "{:>5}  {:<22} {:>11.0} {:>9.2} {:>9.2}",
                    stage.connections, "bare transaction", bare.per_second, bare.p50_ms, bare.p99_ms
                )?;
            }
            for (what, measured) in [("order.place", &stage.place), ("order.pay", &stage.pay)] {
                write_row(f, stage.connections, what, measured)?;
                write!(f, " {:>8}", percent(measured.per_second, Some(stage.empty.per_second)))?;
                writeln!(
                    f,
                    " {:>20}",
                    percent(measured.per_second, self.transaction_rate(stage.connections))
                )?;
            }
        }
        writeln!(
            f,
            "\nA bare transaction writes one record of {} bytes for each connection.",
            self.record_bytes
        )?;
        for stage in &self.stages {
            for (what, measured) in
                [("empty handler", &stage.empty), ("order.place", &stage.place), ("order.pay", &stage.pay)]
            {
                if let Some(error) = &measured.first_error {
                    writeln!(f, "{} connections, {what}: first error: {error}", stage.connections)?;
                }
            }
        }
        if let Some(idle) = self.stages.iter().find(|stage| stage.connections == 1) {
            let slowest = idle.place.p50_ms.max(idle.pay.p50_ms);
            let met = if slowest < IDLE_LIMIT_MS { "met" } else { "MISSED" };
            writeln!(
                f,
                "One connection, idle system: place {:.2} ms, pay {:.2} ms at the median; limit {IDLE_LIMIT_MS} ms: {met}.",
                idle.place.p50_ms, idle.pay.p50_ms
            )?;
        }
        writeln!(
            f,
            "The read model had everything at most {} ms after the last command.\n",
            self.caught_up_ms
        )?;
        write!(f, "{}", self.verdict)
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, connections: usize, what: &str, measured: &Measured) -> fmt::Result {
    write!(
        f,
        "{connections:>5}  {what:<22} {:>11.0} {:>9.2} {:>9.2} {:>7}",
        measured.per_second, measured.p50_ms, measured.p99_ms, measured.errors
    )
}

fn percent(part: f64, whole: Option<f64>) -> String {
    match whole {
        Some(whole) if whole > 0.0 => format!("{:.1} %", 100.0 * part / whole),
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_need_a_ceiling() {
        assert_eq!(percent(50.0, Some(200.0)), "25.0 %");
        assert_eq!(percent(50.0, Some(0.0)), "–");
        assert_eq!(percent(50.0, None), "–");
    }
}
