//! Unique values: nobody shares an e-mail address, a contested one has a winner, and a freed one can be had again.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;
use writ_model::{Models, Value};

use super::Check;
use super::fold::fold;
use crate::events::Event;
use crate::history::{Operation, Outcome};

pub(super) fn values(operations: &[Operation], events: &[Event], models: &Models) -> Check {
    let mut check = Check::new(
        "No two members have the same e-mail address; of those who want one, exactly one gets it; a freed one can be \
         had again.",
    );
    let states = fold(events, models);
    let mut owners: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
    for ((model, id), state) in &states {
        if let ("member", false, Some(Value::Text(email))) =
            (model.as_str(), state.deleted, state.fields.get("email"))
        {
            owners.entry(email).or_default().push(*id);
        }
    }
    for (email, ids) in owners.iter().filter(|(_, ids)| ids.len() > 1) {
        check.violated(format!("{email} belongs to {} members: {ids:?}", ids.len()));
    }
    let freed = freed(events);
    let mut wanted: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.request.model == "member") {
        if let Some(email) = &operation.request.email {
            wanted.entry(email).or_default().push(operation);
        }
    }
    let mut contested = 0;
    let mut taken_again = 0;
    for (email, commands) in &wanted {
        let granted: Vec<_> = commands.iter().filter(|command| command.acknowledged().is_some()).collect();
        let lost = commands.iter().any(|command| command.outcome == Outcome::Unknown);
        if commands.len() > 1 && !freed.contains(*email) {
            contested += 1;
            let missing = granted.is_empty() && !lost && !owners.contains_key(*email);
            if granted.len() > 1 || missing {
                check.violated(format!(
                    "{email} was granted to {} of the {} commands that wanted it",
                    granted.len(),
                    commands.len()
                ));
            }
        }
        // Its last taker came when nobody had it and nothing was broken.
        if freed.contains(*email) && commands.len() > 1 {
            taken_again += 1;
            let last = commands.iter().max_by_key(|command| command.invoked);
            if let Some(Outcome::Refused { kind, .. }) = last.map(|command| &command.outcome) {
                check.violated(format!("{email} was given up, but who wanted it then was refused ({kind})"));
            }
        }
    }
    let odd = operations.iter().filter(|operation| operation.request.model == "member").filter(|operation| {
        let alone = operation.request.email.as_deref().is_some_and(|email| wanted[email].len() == 1);
        alone && matches!(&operation.outcome, Outcome::Refused { kind, .. } if kind == "not-unique")
    });
    for operation in odd {
        check.violated(format!(
            "{:?} was refused as taken, though nobody else wanted it",
            operation.request.email
        ));
    }
    check.examined(owners.len(), "addresses");
    check.examined(contested, "contested");
    check.examined(taken_again, "taken again after they were freed");
    check
}

/// The addresses that a member had and gave up.
fn freed(events: &[Event]) -> HashSet<String> {
    let mut present: HashMap<Uuid, String> = HashMap::new();
    let mut freed = HashSet::new();
    for event in events.iter().filter(|event| event.model == "member") {
        let before = match event.fields.get("email") {
            Some(Value::Text(email)) => present.insert(event.aggregate, email.clone()),
            _ => present.remove(&event.aggregate),
        };
        freed.extend(before);
    }
    freed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{event, models, operation, refused, request};
    use crate::history::Request;

    fn join(id: u128, email: &str) -> (Operation, Event) {
        let tag = format!("{id}-{email}");
        let event = event("member", "joined", id, 1, &tag).with("email", Value::Text(email.to_owned()));
        let request = Request { email: Some(email.to_owned()), ..request("member", "join") };
        (operation(&event, request), event)
    }

    fn violations(operations: &[Operation], events: &[Event]) -> usize {
        values(operations, events, &models()).violations.len()
    }

    #[test]
    fn two_owners_are_found() {
        let (first, one) = join(1, "a");
        let (second, two) = join(2, "a");
        assert!(violations(&[first.clone(), second.clone()], &[one.clone(), two]) > 0);
        let second = Operation { outcome: refused("not-unique"), ..second };
        assert_eq!(violations(&[first, second], &[one]), 0);
    }

    #[test]
    fn a_contest_without_a_winner_is_found() {
        let nobody = |id| Operation { outcome: refused("not-unique"), ..join(id, "a").0 };
        assert_eq!(violations(&[nobody(1), nobody(2)], &[]), 1);
    }

    #[test]
    fn a_refusal_without_a_rival_is_found() {
        let alone = Operation { outcome: refused("not-unique"), ..join(1, "a").0 };
        assert_eq!(violations(&[alone], &[]), 1);
    }

    #[test]
    fn a_freed_value_that_stays_taken_is_found() {
        let (first, one) = join(1, "a");
        let left = event("member", "left", 1, 2, "left");
        let (again, two) = join(2, "a");
        let again = Operation { invoked: 100, ..again };
        assert_eq!(violations(&[first.clone(), again.clone()], &[one.clone(), left.clone(), two]), 0);
        let again = Operation { outcome: refused("not-unique"), ..again };
        assert_eq!(violations(&[first, again], &[one, left]), 1);
    }
}
