//! The comparison: what was acknowledged must be in Kafka exactly once, and in the read model.

mod events;
mod rows;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use crate::shop::Payment;

pub(crate) use events::{Events, Start};
pub(crate) use rows::Rows;

/// How long the events and the rows may take to show.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the answers said.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// Every order that was placed.
    pub(crate) placed: HashSet<Uuid>,
    /// What became of the payments that were sent.
    pub(crate) payments: HashMap<Uuid, Payment>,
    /// `place` commands whose outcome is not known.
    pub(crate) unknown_places: u64,
}

impl Acknowledged {
    /// The number of acknowledged payments.
    pub(crate) fn paid(&self) -> usize {
        self.payments.values().filter(|payment| **payment == Payment::Paid).count()
    }
}

/// The result.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// Acknowledged `place` and `pay` commands.
    pub(crate) acknowledged: [usize; 2],
    /// Commands whose outcome no answer told.
    pub(crate) unknown: u64,
    /// Events of acknowledged commands in Kafka, each counted once.
    pub(crate) events: [usize; 2],
    /// Rows of acknowledged orders, and of those the paid ones.
    pub(crate) rows: [usize; 2],
    /// What doesn't agree.
    pub(crate) faults: Vec<String>,
}

impl Verdict {
    /// Compares.
    pub(crate) fn new(acknowledged: &Acknowledged, events: &Events, rows: &Rows) -> Self {
        let mut faults = Vec::new();
        let mut fault = |count: usize, what: &str| {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        };
        let unknown_pays = acknowledged.payments.len() - acknowledged.paid();
        fault(events.missing(acknowledged), "acknowledged commands have no event");
        let repeated = events.placed.values().chain(events.paid.values()).filter(|count| **count > 1).count();
        fault(repeated, "events are in Kafka more than once");
        let strangers = events.placed.keys().filter(|id| !acknowledged.placed.contains(*id)).count();
        let unexplained =
            strangers.saturating_sub(usize::try_from(acknowledged.unknown_places).unwrap_or(usize::MAX));
        fault(
            unexplained,
            "orders in Kafka were never acknowledged (did something else place orders meanwhile?)",
        );
        let unasked = events.paid.keys().filter(|id| !acknowledged.payments.contains_key(*id)).count();
        fault(unasked, "payments in Kafka were never sent (did something else pay orders meanwhile?)");

        let no_row = acknowledged.placed.iter().filter(|id| !rows.status.contains_key(*id)).count();
        fault(no_row, "acknowledged orders have no row");
        fault(usize::try_from(rows.repeated).unwrap_or(usize::MAX), "rows came twice while paging");
        let no_event = rows.status.keys().filter(|id| !events.placed.contains_key(*id)).count();
        fault(no_event, "rows have no event");
        let wrong = rows.status.iter().filter(|(id, status)| {
            let expected = if events.paid.contains_key(*id) { "paid" } else { "placed" };
            *status != expected
        });
        fault(wrong.count(), "rows have another status than their events");

        let rows_of = |status: Option<&str>| {
            let of = |id: &&Uuid| {
                rows.status.get(*id).is_some_and(|found| status.is_none_or(|status| found == status))
            };
            acknowledged.placed.iter().filter(of).count()
        };
        let paid_events = acknowledged
            .payments
            .iter()
            .filter(|(id, payment)| **payment == Payment::Paid && events.paid.contains_key(*id));
        Verdict {
            acknowledged: [acknowledged.placed.len(), acknowledged.paid()],
            unknown: acknowledged.unknown_places + unknown_pays as u64,
            events: [
                acknowledged.placed.iter().filter(|id| events.placed.contains_key(*id)).count(),
                paid_events.count(),
            ],
            rows: [rows_of(None), rows_of(Some("paid"))],
            faults,
        }
    }

    /// Nothing is lost, repeated or made up.
    pub(crate) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "                  placed        paid")?;
        for (name, [placed, paid]) in
            [("acknowledged", self.acknowledged), ("events in Kafka", self.events), ("rows", self.rows)]
        {
            writeln!(f, "{name:<15} {placed:>8} {paid:>11}")?;
        }
        if self.unknown > 0 {
            writeln!(f, "{} commands got no answer; their events, if any, are allowed.", self.unknown)?;
        }
        if self.is_clean() {
            return write!(f, "Every acknowledged command is in Kafka once, and in the read model.");
        }
        write!(f, "MISMATCH: {}", self.faults.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    /// Two orders, the second one paid; everything agrees.
    fn agreeing() -> (Acknowledged, Events, Rows) {
        let acknowledged = Acknowledged {
            placed: HashSet::from([id(1), id(2)]),
            payments: HashMap::from([(id(2), Payment::Paid)]),
            unknown_places: 0,
        };
        let mut events = Events::default();
        events.placed.extend([(id(1), 1), (id(2), 1)]);
        events.paid.extend([(id(2), 1)]);
        let rows = Rows {
            status: HashMap::from([(id(1), "placed".to_owned()), (id(2), "paid".to_owned())]),
            ..Rows::default()
        };
        (acknowledged, events, rows)
    }

    #[test]
    fn agreement_is_clean() {
        let (acknowledged, events, rows) = agreeing();
        let verdict = Verdict::new(&acknowledged, &events, &rows);
        assert!(verdict.is_clean(), "{verdict}");
        assert_eq!((verdict.events, verdict.rows), ([2, 1], [2, 1]));
    }

    #[test]
    fn each_kind_of_mismatch_is_found() {
        let faults = |change: fn(&mut Acknowledged, &mut Events, &mut Rows)| {
            let (mut acknowledged, mut events, mut rows) = agreeing();
            change(&mut acknowledged, &mut events, &mut rows);
            Verdict::new(&acknowledged, &events, &rows).faults.join("; ")
        };
        assert!(faults(|_, events, _| events.paid.clear()).contains("have no event"));
        assert!(faults(|_, events, _| events.placed.extend([(id(1), 2)])).contains("more than once"));
        assert!(faults(|_, events, _| events.placed.extend([(id(3), 1)])).contains("never acknowledged"));
        assert!(faults(|_, _, rows| drop(rows.status.remove(&id(1)))).contains("have no row"));
        assert!(
            faults(|_, _, rows| drop(rows.status.insert(id(4), "placed".into()))).contains("have no event")
        );
        assert!(
            faults(|_, _, rows| drop(rows.status.insert(id(2), "placed".into()))).contains("another status")
        );
        assert!(faults(|_, _, rows| rows.repeated = 1).contains("twice"));
    }

    #[test]
    fn an_event_without_an_answer_is_explained_by_an_unknown_outcome() {
        let (mut acknowledged, mut events, mut rows) = agreeing();
        acknowledged.unknown_places = 1;
        events.placed.insert(id(3), 1);
        rows.status.insert(id(3), "placed".into());
        assert!(Verdict::new(&acknowledged, &events, &rows).is_clean());
    }
}
