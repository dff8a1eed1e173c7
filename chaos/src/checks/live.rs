//! Those who watched have seen what they should: each change of their filter once, in the order of its aggregate, and they have
//! the rows that there are.

use std::collections::HashMap;

use uuid::Uuid;
use writ_model::{Models, State, evolve};

use super::Check;
use crate::events::Event;
use crate::watchers::{Seen, Watch};

/// Differences that are told of one who watched.
const TOLD: usize = 3;

/// Compares what was seen with what follows from the events.
pub(crate) fn everybody_saw_all(watched: &[(Watch, Seen)], events: &[Event], models: &Models) -> Check {
    let mut check = Check::new(
        "Everybody who watched has seen every change of their filter once, and has the rows that there are.",
    );
    let steps = steps(events, models);
    let mut changes = 0;
    for (nth, (watch, seen)) in watched.iter().enumerate() {
        changes += seen.changes.len();
        let expected = Expected::of(watch, &steps);
        for difference in expected.differences(seen).into_iter().take(TOLD) {
            check.violated(format!("watcher {nth} ({} {}): {difference}", watch.model, watch.filter()));
        }
        for surprise in &seen.surprises {
            check.violated(format!("watcher {nth}: unexpected: {surprise}"));
        }
    }
    let sum = |of: fn(&Seen) -> u64| watched.iter().map(|(_, seen)| of(seen)).sum::<u64>();
    check.examined(watched.len(), "watchers");
    check.examined.push((sum(|seen| seen.connections), "connections"));
    check.examined.push((sum(|seen| seen.lagged), "times too slow"));
    check.examined(changes, "changes");
    check
}

/// An event with the states around it.
struct Step<'e> {
    event: &'e Event,
    before: Option<State>,
    after: State,
}

fn steps<'e>(events: &'e [Event], models: &Models) -> Vec<Step<'e>> {
    let mut states: HashMap<(&str, Uuid), State> = HashMap::new();
    let mut steps = Vec::new();
    for event in events {
        let Some(model) = models.get(&event.model) else { continue };
        let Some(declared) = model.events.get(&event.name) else { continue };
        let before = states.get(&(event.model.as_str(), event.aggregate)).cloned();
        let after = evolve(model, before.clone(), declared, &event.fields, event.time);
        states.insert((&event.model, event.aggregate), after.clone());
        steps.push(Step { event, before, after });
    }
    steps
}

#[derive(Default)]
struct Expected {
    /// By aggregate: kind and place.
    changes: HashMap<Uuid, Vec<(&'static str, String)>>,
    rows: HashMap<Uuid, State>,
}

impl Expected {
    fn of(watch: &Watch, steps: &[Step<'_>]) -> Expected {
        let mut expected = Expected::default();
        for Step { event, before, after } in steps.iter().filter(|step| step.event.model == watch.model) {
            let id = event.aggregate;
            let kind = match (before.as_ref().is_some_and(|state| watch.holds(state)), watch.holds(after)) {
                (false, true) => "enter",
                (true, true) => "change",
                (true, false) => "leave",
                (false, false) => continue,
            };
            match kind {
                "leave" => drop(expected.rows.remove(&id)),
                _ => drop(expected.rows.insert(id, after.clone())),
            }
            let position = format!("{}:{}:{}", event.model, event.partition, event.offset);
            expected.changes.entry(id).or_default().push((kind, position));
        }
        expected
    }

    fn differences(&self, seen: &Seen) -> Vec<String> {
        let mut found: HashMap<Uuid, Vec<(&str, &str)>> = HashMap::new();
        for (kind, id, position) in &seen.changes {
            found.entry(*id).or_default().push((kind, position));
        }
        let mut differences = Vec::new();
        for (id, expected) in &self.changes {
            let expected: Vec<(&str, &str)> =
                expected.iter().map(|(kind, at)| (*kind, at.as_str())).collect();
            let found = found.remove(id).unwrap_or_default();
            if found != expected {
                differences.push(format!("of {id} it saw {found:?}, not {expected:?}"));
            }
        }
        differences.extend(
            found.iter().map(|(id, found)| format!("of {id} it saw {found:?}, and nothing was to see")),
        );
        for (id, state) in &self.rows {
            let row = seen.copy.get(id);
            let same =
                row.is_some_and(|row| row["version"] == state.version && row["state"] == state.public_json());
            if !same {
                differences.push(format!(
                    "of {id} it has {row:?}, not version {}: {}",
                    state.version,
                    state.public_json()
                ));
            }
        }
        let others = seen.copy.keys().filter(|id| !self.rows.contains_key(*id));
        differences.extend(others.map(|id| format!("it has a row of {id}, and there is none for it")));
        differences
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use serde_json::json;
    use writ_model::Value;

    use super::*;
    use crate::checks::testing::{event, models};

    /// A purse that has 5, then 8, and is watched whatever it has.
    fn world() -> (Vec<(Watch, Seen)>, Vec<Event>) {
        let events = vec![
            event("purse", "opened", 1, 1, "a").with("balance", Value::Integer(5)),
            event("purse", "deposited", 1, 2, "b").with("balance", Value::Integer(8)),
        ];
        let id = Uuid::from_u128(1);
        let row = json!({ "id": id, "version": 2, "state": { "number": null, "balance": 8 } });
        let change = |kind: &str, offset: u64| (kind.to_owned(), id, format!("purse:0:{offset}"));
        let seen = Seen {
            changes: vec![change("enter", 1), change("change", 2)],
            copy: HashMap::from([(id, row)]),
            ..Seen::default()
        };
        (vec![(all_purses(), seen)], events)
    }

    fn all_purses() -> Watch {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        std::iter::repeat_with(|| Watch::choose(&mut rng))
            .find(|watch| watch.model == "purse" && watch.filter() == json!({}))
            .unwrap()
    }

    fn violations(change: impl FnOnce(&mut Seen)) -> Vec<String> {
        let (mut watched, events) = world();
        change(&mut watched[0].1);
        everybody_saw_all(&watched, &events, &models()).violations
    }

    #[test]
    fn a_change_that_is_missing_repeated_or_in_the_wrong_order_is_found() {
        assert_eq!(violations(|_| {}), Vec::<String>::new());
        assert_eq!(violations(|seen| drop(seen.changes.pop())).len(), 1);
        assert_eq!(violations(|seen| seen.changes.push(seen.changes[1].clone())).len(), 1);
        assert_eq!(violations(|seen| seen.changes.reverse()).len(), 1);
        assert_eq!(violations(|seen| seen.changes[1].0 = "leave".into()).len(), 1);
        assert_eq!(
            violations(|seen| seen.changes.push(("enter".into(), Uuid::nil(), "purse:0:9".into()))).len(),
            1
        );
    }

    #[test]
    fn a_copy_that_differs_is_found() {
        let id = Uuid::from_u128(1);
        assert_eq!(violations(|seen| seen.copy.clear()).len(), 1);
        assert_eq!(violations(|seen| seen.copy.get_mut(&id).unwrap()["version"] = json!(1)).len(), 1);
        assert_eq!(
            violations(|seen| seen.copy.get_mut(&id).unwrap()["state"]["balance"] = json!(5)).len(),
            1
        );
        assert_eq!(violations(|seen| drop(seen.copy.insert(Uuid::nil(), json!({})))).len(), 1);
        assert_eq!(violations(|seen| seen.surprises.push("what?".into())).len(), 1);
    }
}
