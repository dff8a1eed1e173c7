//! What an answer said is what stands in Kafka: nothing acknowledged is lost, doubled or somewhere else.

use std::collections::HashMap;

use uuid::Uuid;

use super::Check;
use crate::events::Event;
use crate::history::Operation;

/// Every acknowledged command has exactly its events, with the ids, versions and place of the answer.
pub(super) fn each_has_its_events(operations: &[Operation], events: &[Event]) -> Check {
    let mut check =
        Check::new("Every acknowledged command has exactly its events, once, where its answer says.");
    let mut by_id: HashMap<Uuid, Vec<&Event>> = HashMap::new();
    let mut by_tag: HashMap<&str, usize> = HashMap::new();
    for event in events {
        by_id.entry(event.id).or_default().push(event);
        *by_tag.entry(event.tag()).or_default() += 1;
    }
    let mut count = 0;
    for operation in operations {
        let Some(answer) = operation.acknowledged() else { continue };
        count += 1;
        let what = || format!("{} ({})", operation.name(), operation.tag);
        let in_kafka = by_tag.get(operation.tag.as_str()).copied().unwrap_or(0);
        if answer.events.is_empty() || in_kafka != answer.events.len() {
            check.violated(format!(
                "{} was answered with {} events, Kafka has {in_kafka}",
                what(),
                answer.events.len()
            ));
        }
        for (id, version) in &answer.events {
            let found = by_id.get(id).map_or(&[][..], Vec::as_slice);
            let [event] = found else {
                check.violated(format!("event {id} of {} is in Kafka {} times", what(), found.len()));
                continue;
            };
            if event.tag() != operation.tag
                || event.aggregate != answer.aggregate
                || event.version != *version
            {
                check.violated(format!("event {id} of {} is another one: {}", what(), event.place()));
            }
        }
        // The position is that of the last event.
        let last = answer.events.last().and_then(|(id, _)| by_id.get(id)?.first());
        if let Some(event) = last
            && (event.partition, event.offset, event.version)
                != (answer.partition, answer.offset, answer.version)
        {
            check.violated(format!(
                "{} was answered with version {} at [{}]@{}, Kafka has version {} at {}",
                what(),
                answer.version,
                answer.partition,
                answer.offset,
                event.version,
                event.place()
            ));
        }
    }
    check.examined(count, "acknowledged commands");
    check
}

/// A repeat with the same idempotency key gets the first outcome.
pub(super) fn repeats_agree(operations: &[Operation]) -> Check {
    let mut check = Check::new("A repeat with the same idempotency key gets the first outcome.");
    let mut count = 0;
    for operation in operations {
        let Some(repeat) = &operation.repeat else { continue };
        count += 1;
        if *repeat != operation.outcome {
            check.violated(format!(
                "{} ({}) gave {:?}, then {repeat:?}",
                operation.name(),
                operation.tag,
                operation.outcome
            ));
        }
    }
    check.examined(count, "repeats after the answer");
    check.examined(
        operations.iter().filter(|operation| operation.attempts > 1).count(),
        "commands sent again",
    );
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{event, operation, refused, request};

    fn history() -> (Vec<Operation>, Vec<Event>) {
        let events = vec![event("purse", "opened", 1, 1, "a"), event("purse", "deposited", 1, 2, "b")];
        let operations = vec![
            operation(&events[0], request("purse", "open")),
            operation(&events[1], request("purse", "deposit")),
        ];
        (operations, events)
    }

    fn violations(change: impl FnOnce(&mut Vec<Operation>, &mut Vec<Event>)) -> usize {
        let (mut operations, mut events) = history();
        change(&mut operations, &mut events);
        each_has_its_events(&operations, &events).violations.len()
    }

    #[test]
    fn what_agrees_passes() {
        assert_eq!(violations(|_, _| {}), 0);
    }

    #[test]
    fn a_lost_event_is_found() {
        assert!(violations(|_, events| drop(events.pop())) > 0);
    }

    #[test]
    fn a_doubled_event_is_found_also_under_another_id() {
        assert!(violations(|_, events| events.push(events[1].clone())) > 0);
        let again = |_: &mut Vec<Operation>, events: &mut Vec<Event>| {
            events.push(Event { id: Uuid::nil(), version: 3, ..events[1].clone() });
        };
        assert!(violations(again) > 0);
    }

    #[test]
    fn another_place_or_version_is_found() {
        assert!(violations(|_, events| events[1].offset = 9) > 0);
        assert!(violations(|_, events| events[1].version = 3) > 0);
        assert!(violations(|_, events| events[1].aggregate = Uuid::nil()) > 0);
    }

    #[test]
    fn a_repeat_with_another_outcome_is_found() {
        let (mut operations, _) = history();
        operations[0].repeat = Some(operations[0].outcome.clone());
        assert!(repeats_agree(&operations).violations.is_empty());
        operations[0].repeat = Some(refused("already-exists"));
        assert_eq!(repeats_agree(&operations).violations.len(), 1);
    }
}
