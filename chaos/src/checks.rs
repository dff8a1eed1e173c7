//! What must hold at the end, whatever was broken meanwhile. Each check is a function of what the clients saw, of the
//! events in Kafka and of the rows in PostgreSQL; each can fail, and has a test in which it does.

mod acknowledged;
mod catalog;
mod causes;
mod fold;
mod linearizable;
mod live;
mod log;
mod order;
mod projections;
mod sums;
#[cfg(test)]
mod testing;
mod unique;
mod versions;

pub(crate) use live::everybody_saw_all;
use serde::Serialize;
use writ_model::Models;

use crate::events::{Event, Log};
use crate::history::Operation;
use crate::tables::Tables;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What holds, as a sentence.
    pub(crate) claim: &'static str,
    /// How many things were looked at, with what they are.
    pub(crate) examined: Vec<(u64, &'static str)>,
    /// Whatever contradicts the claim.
    pub(crate) violations: Vec<String>,
}

impl Check {
    fn new(claim: &'static str) -> Self {
        Self { claim, examined: Vec::new(), violations: Vec::new() }
    }

    /// A check whose violations were found elsewhere.
    pub(crate) fn of(claim: &'static str, violations: Vec<String>) -> Self {
        Self { violations, ..Self::new(claim) }
    }

    fn examined(&mut self, count: usize, what: &'static str) {
        self.examined.push((count as u64, what));
    }

    fn violated(&mut self, text: String) {
        self.violations.push(text);
    }
}

/// Every check of what projectors made of the events.
pub(crate) fn tables(events: &[Event], tables: &Tables, models: &Models) -> Vec<Check> {
    vec![
        fold::rows(events, &tables.rows, models),
        log::is_complete(events, &tables.log),
        projections::flow(events, &tables.projections),
        projections::activity(events, &tables.projections),
        catalog::all_are_live(&tables.unsettled),
    ]
}

/// Every check of the commands and the events.
pub(crate) fn all(operations: &[Operation], log: &Log, models: &Models) -> Vec<Check> {
    vec![
        acknowledged::each_has_its_events(operations, &log.events),
        acknowledged::repeats_agree(operations),
        causes::each_event_has_one(operations, &log.events),
        causes::outcomes_are_known(operations),
        versions::have_no_gap(&log.events),
        order::is_that_of_time(operations),
        linearizable::registers(operations),
        unique::values(operations, &log.events, models),
        sums::are_conserved(operations, &log.events, models),
        Check::of("Every record of an event topic is a readable event.", log.unreadable.clone()),
        Check::of("There are no dead letters.", log.dead_letters.clone()),
    ]
}
