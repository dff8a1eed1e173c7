//! The SQL projections of the run, computed a second time from the events. Both are sums: an event that was applied twice,
//! or not at all, makes a difference that stays.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value as Json, json};

use super::Check;
use crate::events::Event;
use crate::tables::Projected;

/// What went into each purse and out of it.
pub(super) fn flow(events: &[Event], found: &HashMap<String, Projected>) -> Check {
    #[derive(Default)]
    struct Flow {
        paid_in: i64,
        paid_out: i64,
        movements: i64,
        last_version: u64,
    }
    let mut purses: BTreeMap<String, Flow> = BTreeMap::new();
    for event in events.iter().filter(|event| event.model == "purse") {
        let flow = purses.entry(event.aggregate.to_string()).or_default();
        let amount = event.integer("amount").unwrap_or_default();
        match event.name.as_str() {
            "withdrawn" => flow.paid_out += amount,
            _ => flow.paid_in += amount,
        }
        flow.movements += 1;
        flow.last_version = event.version;
    }
    let row = |(purse, Flow { paid_in, paid_out, movements, last_version }): (String, Flow)| {
        let row = json!({
            "purse": purse,
            "paid_in": paid_in,
            "paid_out": paid_out,
            "movements": movements,
            "last_version": last_version,
        });
        (purse, row)
    };
    let expected = purses.into_iter().map(row).collect();
    compare(
        "The SQL projection `flow` is what its statements make of each purse's events.",
        &expected,
        found.get("flow"),
    )
}

/// How often each thing happened.
pub(super) fn activity(events: &[Event], found: &HashMap<String, Projected>) -> Check {
    let mut types: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for event in events {
        let (count, versions) = types.entry(event.type_name.clone()).or_default();
        *count += 1;
        *versions += event.version;
    }
    let row = |(name, (events, versions)): (String, (u64, u64))| {
        let row = json!({ "type": name, "events": events, "versions": versions });
        (name, row)
    };
    let expected = types.into_iter().map(row).collect();
    compare(
        "The SQL projection `activity` counts every event of every partition once.",
        &expected,
        found.get("activity"),
    )
}

fn compare(claim: &'static str, expected: &Projected, found: Option<&Projected>) -> Check {
    let mut check = Check::new(claim);
    let nothing = Projected::new();
    let found = found.unwrap_or(&nothing);
    for (key, row) in expected {
        let other = found.get(key);
        if other != Some(row) {
            let other = other.map_or_else(|| "not there".to_owned(), Json::to_string);
            check.violated(format!("the events give {row}, the row is {other}"));
        }
    }
    for (key, row) in found.iter().filter(|(key, _)| !expected.contains_key(*key)) {
        check.violated(format!("{key} has the row {row} and no event"));
    }
    check.examined(found.len(), "rows");
    check
}

#[cfg(test)]
mod tests {
    use writ_model::Value;

    use super::*;
    use crate::checks::testing::event;

    fn events() -> Vec<Event> {
        let amount = |event: Event, amount| event.with("amount", Value::Integer(amount));
        vec![
            amount(event("purse", "opened", 1, 1, "a"), 100),
            amount(event("purse", "withdrawn", 1, 2, "b"), 30),
            event("register", "created", 2, 1, "c"),
        ]
    }

    /// By the name of the projection, one row each or two.
    fn tables() -> HashMap<String, Projected> {
        let purse = events()[0].aggregate.to_string();
        let row =
            json!({ "purse": purse, "paid_in": 100, "paid_out": 30, "movements": 2, "last_version": 2 });
        let types = [("chaos.purse.opened", 1), ("chaos.purse.withdrawn", 2), ("chaos.register.created", 1)];
        let types = types.map(|(name, version)| {
            (name.to_owned(), json!({ "type": name, "events": 1, "versions": version }))
        });
        HashMap::from([
            ("flow".to_owned(), Projected::from([(purse, row)])),
            ("activity".to_owned(), Projected::from(types)),
        ])
    }

    #[test]
    fn what_agrees_passes() {
        assert_eq!(flow(&events(), &tables()).violations, Vec::<String>::new());
        assert_eq!(activity(&events(), &tables()).violations, Vec::<String>::new());
    }

    #[test]
    fn an_event_that_was_applied_twice_is_found() {
        let mut events = events();
        events.push(events[1].clone());
        assert_eq!(flow(&events, &tables()).violations.len(), 1);
        assert_eq!(activity(&events, &tables()).violations.len(), 1);
    }

    #[test]
    fn a_missing_and_a_foreign_row_are_found() {
        assert_eq!(flow(&events(), &HashMap::new()).violations.len(), 1);
        assert_eq!(activity(&events()[..2], &tables()).violations.len(), 1);
    }
}
