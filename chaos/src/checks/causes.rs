//! Nothing stands in Kafka that nobody asked for, and no command has two outcomes.

use std::collections::HashMap;

use uuid::Uuid;

use super::Check;
use crate::events::Event;
use crate::history::{Operation, Outcome};

/// Every event has a command that a client sent and that wasn't refused, and no two events have the same.
pub(super) fn each_event_has_one(operations: &[Operation], events: &[Event]) -> Check {
    let mut check = Check::new(
        "No event without a command that was sent; a command whose answer was lost is there once or not at all; \
         what was refused left nothing.",
    );
    let sent: HashMap<&str, &Operation> =
        operations.iter().map(|operation| (operation.tag.as_str(), operation)).collect();
    let mut causes: HashMap<Uuid, String> = HashMap::new();
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for event in events {
        if let Some(first) = causes.insert(event.causation, event.place()) {
            check.violated(format!("{} and {first} have the same cause {}", event.place(), event.causation));
        }
        let Some(operation) = sent.get(event.tag()) else {
            check.violated(format!("nobody sent a command for {} (tag `{}`)", event.place(), event.tag()));
            continue;
        };
        *seen.entry(event.tag()).or_default() += 1;
        if let Outcome::Refused { kind, .. } = &operation.outcome {
            let name = operation.name();
            check.violated(format!(
                "{name} ({}) was refused ({kind}), yet there is {}",
                operation.tag,
                event.place()
            ));
        }
        if operation.command_id.is_some_and(|id| id != event.causation) {
            check.violated(format!(
                "{} names the cause {}, the answer named the command {:?}",
                event.place(),
                event.causation,
                operation.command_id
            ));
        }
    }
    let (mut there, mut absent) = (0, 0);
    for operation in operations.iter().filter(|operation| operation.outcome == Outcome::Unknown) {
        match seen.get(operation.tag.as_str()) {
            None => absent += 1,
            Some(1) => there += 1,
            Some(count) => check.violated(format!(
                "{} ({}), whose answer was lost, is there {count} times",
                operation.name(),
                operation.tag
            )),
        }
    }
    check.examined(events.len(), "events");
    check.examined(there, "unanswered commands that are there");
    check.examined(absent, "that are not");
    check
}

/// Everything that was repeated has an outcome in the end.
pub(super) fn outcomes_are_known(operations: &[Operation]) -> Check {
    let mut check = Check::new("Every command with an idempotency key has a known outcome in the end.");
    let keyed = operations.iter().filter(|operation| !operation.request.once);
    let mut count = 0;
    for operation in keyed {
        count += 1;
        if operation.outcome == Outcome::Unknown {
            check.violated(format!(
                "{} ({}) has no outcome after {} attempts in {:.1} s",
                operation.name(),
                operation.tag,
                operation.attempts,
                (operation.returned - operation.invoked) as f64 / 1e6
            ));
        }
    }
    check.examined(count, "commands");
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{event, operation, refused, request};

    #[test]
    fn a_lost_answer_allows_one_event_or_none() {
        let events = [event("purse", "deposited", 1, 1, "a")];
        let mut lost = operation(&events[0], request("purse", "deposit"));
        lost.outcome = Outcome::Unknown;
        let lost = [lost];
        assert!(each_event_has_one(&lost, &events).violations.is_empty());
        assert!(each_event_has_one(&lost, &[]).violations.is_empty());
        let twice = [events[0].clone(), Event { causation: Uuid::nil(), ..events[0].clone() }];
        assert_eq!(each_event_has_one(&lost, &twice).violations.len(), 1);
    }

    #[test]
    fn an_event_from_nowhere_is_found() {
        assert_eq!(each_event_has_one(&[], &[event("purse", "deposited", 1, 1, "a")]).violations.len(), 1);
    }

    #[test]
    fn an_event_of_a_refused_command_is_found() {
        let events = [event("purse", "withdrawn", 1, 1, "a")];
        let mut operation = operation(&events[0], request("purse", "withdraw"));
        operation.outcome = refused("guard-failed");
        assert_eq!(each_event_has_one(&[operation], &events).violations.len(), 1);
    }

    #[test]
    fn two_events_with_one_cause_are_found() {
        let first = event("purse", "deposited", 1, 1, "a");
        let second = Event { causation: first.causation, ..event("purse", "deposited", 1, 2, "b") };
        let operations =
            [operation(&first, request("purse", "deposit")), operation(&second, request("purse", "deposit"))];
        assert_eq!(each_event_has_one(&operations, &[first, second]).violations.len(), 1);
    }

    #[test]
    fn another_command_id_than_that_of_the_answer_is_found() {
        let events = [event("purse", "deposited", 1, 1, "a")];
        let mut operation = operation(&events[0], request("purse", "deposit"));
        operation.command_id = Some(events[0].causation);
        assert!(each_event_has_one(std::slice::from_ref(&operation), &events).violations.is_empty());
        operation.command_id = Some(Uuid::nil());
        assert_eq!(each_event_has_one(&[operation], &events).violations.len(), 1);
    }

    #[test]
    fn only_what_is_sent_once_may_stay_unknown() {
        let event = event("purse", "deposited", 1, 1, "a");
        let mut operation = operation(&event, request("purse", "deposit"));
        operation.outcome = Outcome::Unknown;
        assert_eq!(outcomes_are_known(std::slice::from_ref(&operation)).violations.len(), 1);
        operation.request.once = true;
        assert!(outcomes_are_known(&[operation]).violations.is_empty());
    }
}
