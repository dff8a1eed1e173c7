//! The event log holds Kafka's records: each once, and nothing else.

use std::collections::HashMap;

use super::Check;
use crate::events::Event;
use crate::tables::Entry;

/// Every event of the topics has exactly one entry, with the same contents and place.
pub(super) fn is_complete(events: &[Event], log: &[Entry]) -> Check {
    let mut check = Check::new("The event log holds every event in Kafka once, with the same contents.");
    let mut entries: HashMap<(&str, i32, i64), Vec<&Entry>> = HashMap::new();
    for entry in log {
        entries.entry((&*entry.model, entry.partition, entry.offset)).or_default().push(entry);
    }
    for event in events {
        let found = entries.remove(&(&*event.model, event.partition, event.offset)).unwrap_or_default();
        let [entry] = found[..] else {
            check.violated(format!("{} is in the log {} times", event.place(), found.len()));
            continue;
        };
        let expected = entry_of(event);
        if *entry != expected {
            check.violated(format!("{} is {expected:?}, the log has {entry:?}", event.place()));
        }
    }
    for (model, partition, offset) in entries.keys() {
        check.violated(format!("the log has {model}[{partition}]@{offset}, Kafka has not"));
    }
    check.examined(log.len(), "entries");
    check
}

fn entry_of(event: &Event) -> Entry {
    Entry {
        time: event.time.0,
        model: event.model.clone(),
        aggregate: event.aggregate,
        version: event.version.cast_signed(),
        id: event.id,
        type_name: event.type_name.clone(),
        actor: event.actor.clone(),
        correlation: event.correlation.clone(),
        causation: Some(event.causation.to_string()),
        partition: event.partition,
        offset: event.offset,
        data: event.data.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checks::testing::event;

    fn violations(change: impl FnOnce(&mut Vec<Entry>)) -> usize {
        let events = [event("purse", "opened", 1, 1, "a"), event("purse", "deposited", 1, 2, "b")];
        let mut log: Vec<Entry> = events.iter().map(entry_of).collect();
        change(&mut log);
        is_complete(&events, &log).violations.len()
    }

    #[test]
    fn a_missing_a_doubled_a_foreign_and_another_entry_are_found() {
        assert_eq!(violations(|_| {}), 0);
        assert_eq!(violations(|log| drop(log.pop())), 1);
        assert_eq!(violations(|log| log.push(log[0].clone())), 1);
        assert_eq!(violations(|log| log.push(Entry { offset: 9, ..log[0].clone() })), 1);
        assert_eq!(violations(|log| log[0].data = json!({})), 1);
        assert_eq!(violations(|log| log[0].correlation = None), 1);
    }
}
