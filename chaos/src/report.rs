//! The report: for people as text, for programs as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::checks::Check;
use crate::history::{FaultRecord, Micros, Operation, Outcome, longest_gap};

/// Violations of one check that the text shows; the JSON has all.
const SHOWN: usize = 10;

/// Everything about a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    pub(crate) commands: BTreeMap<String, Counts>,
    pub(crate) total: Counts,
    pub(crate) faults: BTreeMap<&'static str, Hurt>,
    /// Each fault in its order.
    pub(crate) fault_list: Vec<FaultRecord>,
    /// The longest time without any acknowledged command.
    pub(crate) longest_gap_seconds: f64,
    pub(crate) checks: Vec<Check>,
}

/// Outcomes of the commands of one kind.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Counts {
    pub(crate) committed: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    /// Sent more than once.
    pub(crate) repeated: u64,
}

/// What one kind of fault did.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Hurt {
    pub(crate) count: u64,
    /// Those that no other fault overlapped; the times below are theirs.
    pub(crate) alone: u64,
    /// The longest time without any acknowledged command.
    pub(crate) longest_gap_seconds: f64,
    /// The longest time that one command took, its repeats included.
    pub(crate) longest_wait_seconds: f64,
}

impl Report {
    pub(crate) fn new(
        seed: u64,
        seconds: f64,
        operations: &[Operation],
        faults: Vec<FaultRecord>,
        checks: Vec<Check>,
    ) -> Self {
        let mut commands: BTreeMap<String, Counts> = BTreeMap::new();
        let mut total = Counts::default();
        for operation in operations {
            for counts in [commands.entry(operation.name()).or_default(), &mut total] {
                match operation.outcome {
                    Outcome::Committed(_) => counts.committed += 1,
                    Outcome::Refused { .. } => counts.refused += 1,
                    Outcome::Unknown => counts.unknown += 1,
                }
                counts.repeated += u64::from(operation.attempts > 1);
            }
        }
        let committed = || operations.iter().filter(|operation| operation.acknowledged().is_some());
        let mut times: Vec<Micros> = committed().map(|operation| operation.returned).collect();
        times.sort_unstable();
        let mut hurts: BTreeMap<&'static str, Hurt> = BTreeMap::new();
        for fault in &faults {
            let hurt = hurts.entry(fault.kind).or_default();
            hurt.count += 1;
            if fault.overlapped {
                continue;
            }
            hurt.alone += 1;
            let gap = seconds_of(longest_gap(&times, fault.began, fault.recovered));
            let waits = committed()
                .filter(|operation| operation.returned > fault.began && operation.invoked < fault.recovered)
                .map(|operation| operation.returned - operation.invoked);
            hurt.longest_gap_seconds = hurt.longest_gap_seconds.max(gap);
            hurt.longest_wait_seconds = hurt.longest_wait_seconds.max(seconds_of(waits.max().unwrap_or(0)));
        }
        let longest = longest_gap(&times, times.first().copied().unwrap_or(0), Micros::MAX);
        Self {
            seed,
            seconds,
            commands,
            total,
            faults: hurts,
            fault_list: faults,
            longest_gap_seconds: seconds_of(longest),
            checks,
        }
    }

    pub(crate) fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.violations.is_empty())
    }
}

fn seconds_of(micros: Micros) -> f64 {
    micros as f64 / 1e6
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {:.0} s under faults\n", self.seed, self.seconds)?;
        writeln!(
            f,
            "{:<34}{:>10}{:>10}{:>10}{:>10}",
            "COMMANDS", "committed", "refused", "unknown", "repeated"
        )?;
        let all = [("all".to_owned(), self.total)];
        for (name, counts) in self.commands.iter().chain(all.iter().map(|(name, total)| (name, total))) {
            let Counts { committed, refused, unknown, repeated } = counts;
            writeln!(f, "{name:<34}{committed:>10}{refused:>10}{unknown:>10}{repeated:>10}")?;
        }
        writeln!(
            f,
            "\n{:<34}{:>10}{:>10}{:>15}{:>15}",
            "FAULTS", "count", "alone", "longest gap", "longest wait"
        )?;
        for (kind, hurt) in &self.faults {
            let shown =
                |seconds: f64| if hurt.alone > 0 { format!("{seconds:.1} s") } else { "-".to_owned() };
            let (gap, wait) = (shown(hurt.longest_gap_seconds), shown(hurt.longest_wait_seconds));
            writeln!(f, "{kind:<34}{:>10}{:>10}{gap:>15}{wait:>15}", hurt.count, hurt.alone)?;
        }
        let count: u64 = self.faults.values().map(|hurt| hurt.count).sum();
        writeln!(f, "{:<34}{count:>10}{:>10}{:>13.1} s\n", "all", "", self.longest_gap_seconds)?;
        for check in &self.checks {
            let mark = if check.violations.is_empty() { "ok  " } else { "FAIL" };
            let examined: Vec<_> =
                check.examined.iter().map(|(count, what)| format!("{count} {what}")).collect();
            let examined =
                if examined.is_empty() { String::new() } else { format!(" ({})", examined.join(", ")) };
            writeln!(f, "{mark} {}{examined}", check.claim)?;
            for violation in check.violations.iter().take(SHOWN) {
                writeln!(f, "       {violation}")?;
            }
            if check.violations.len() > SHOWN {
                writeln!(f, "       and {} more", check.violations.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}
