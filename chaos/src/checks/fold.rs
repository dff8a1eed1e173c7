//! The rows are the fold of the events.

use std::collections::HashMap;

use uuid::Uuid;
use writ_model::{Models, State, evolve};

use super::Check;
use crate::events::Event;
use crate::tables::Rows;

/// The state of every aggregate, by model and id, folded as the projector and the decider fold it.
pub(super) fn fold(events: &[Event], models: &Models) -> HashMap<(String, Uuid), State> {
    let mut states: HashMap<(String, Uuid), State> = HashMap::new();
    for event in events {
        let Some(model) = models.get(&event.model) else { continue };
        let Some(declared) = model.events.get(&event.name) else { continue };
        let key = (event.model.clone(), event.aggregate);
        let state = states.remove(&key);
        states.insert(key, evolve(model, state, declared, &event.fields, event.time));
    }
    states
}

/// Every aggregate has its row, with the version and the fields of the fold, and there are no other rows.
pub(super) fn rows(events: &[Event], rows: &Rows, models: &Models) -> Check {
    let mut check =
        Check::new("The rows in PostgreSQL are the fold of the events in Kafka, versions included.");
    let states = fold(events, models);
    for (key, state) in &states {
        let (model, id) = key;
        let Some(row) = rows.get(key) else {
            check.violated(format!("{model} {id} has version {} and no row", state.version));
            continue;
        };
        let fields = state.public_json();
        let same = (row.version, row.deleted, row.created_at, row.updated_at)
            == (state.version, state.deleted, state.created_at.0, state.updated_at.0);
        if !same || row.fields != fields {
            check.violated(format!(
                "{model} {id}: the events give version {} with {fields}, the row is {row:?}",
                state.version
            ));
        }
    }
    for (model, id) in rows.keys().filter(|key| !states.contains_key(*key)) {
        check.violated(format!("{model} {id} has a row and no event"));
    }
    check.examined(rows.len(), "rows");
    check
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use writ_model::Value;

    use super::*;
    use crate::checks::testing::{event, models};
    use crate::tables::Row;

    fn world() -> (Vec<Event>, Rows) {
        let text = |text: &str| Value::Text(text.to_owned());
        let events = vec![
            event("purse", "opened", 1, 1, "a").with("number", text("n")).with("balance", Value::Integer(5)),
            event("purse", "deposited", 1, 2, "b").with("balance", Value::Integer(8)),
        ];
        let row = Row {
            version: 2,
            deleted: false,
            created_at: 1,
            updated_at: 2,
            fields: json!({ "number": "n", "balance": 8 }),
        };
        (events, Rows::from([(("purse".to_owned(), Uuid::from_u128(1)), row)]))
    }

    fn violations(change: impl FnOnce(&mut Row)) -> usize {
        let (events, mut found) = world();
        let key = found.keys().next().cloned().unwrap();
        change(found.get_mut(&key).unwrap());
        rows(&events, &found, &models()).violations.len()
    }

    #[test]
    fn a_row_that_differs_is_found() {
        assert_eq!(violations(|_| {}), 0);
        assert_eq!(violations(|row| row.version = 1), 1);
        assert_eq!(violations(|row| row.deleted = true), 1);
        assert_eq!(violations(|row| row.updated_at = 1), 1);
        assert_eq!(violations(|row| row.fields["balance"] = json!(5)), 1);
    }

    #[test]
    fn a_missing_and_a_foreign_row_are_found() {
        let (events, found) = world();
        assert_eq!(rows(&events, &Rows::new(), &models()).violations.len(), 1);
        assert_eq!(rows(&[], &found, &models()).violations.len(), 1);
    }
}
