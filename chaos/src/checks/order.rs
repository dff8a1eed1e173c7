//! Versions follow time: a command that was sent after another one was answered has the higher version.

use std::collections::HashMap;

use super::Check;
use crate::history::{Micros, Operation};

pub(super) fn is_that_of_time(operations: &[Operation]) -> Check {
    let mut check = Check::new(
        "A command that was sent after the answer to another one of its aggregate has a later version.",
    );
    let mut by_aggregate: HashMap<_, Vec<(u64, &Operation)>> = HashMap::new();
    for operation in operations {
        if let Some(answer) = operation.acknowledged() {
            let key = (operation.request.model, answer.aggregate);
            by_aggregate.entry(key).or_default().push((answer.version, operation));
        }
    }
    for ((model, aggregate), commands) in &mut by_aggregate {
        commands.sort_unstable_by_key(|(version, _)| *version);
        // From the last version to the first: nothing later may have been answered before this one was sent.
        let mut earliest_answer = (Micros::MAX, 0);
        for (version, operation) in commands.iter().rev() {
            if operation.invoked > earliest_answer.0 {
                check.violated(format!(
                    "{model} {aggregate}: version {version} was sent after version {} was answered",
                    earliest_answer.1
                ));
            }
            earliest_answer = earliest_answer.min((operation.returned, *version));
        }
    }
    check.examined(by_aggregate.len(), "aggregates");
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{event, operation, request};

    #[test]
    fn an_answer_from_the_past_is_found() {
        let command = |version: u64, invoked, returned| Operation {
            invoked,
            returned,
            ..operation(&event("purse", "deposited", 1, version, "a"), request("purse", "deposit"))
        };
        let violations = |operations: &[Operation]| is_that_of_time(operations).violations.len();
        assert_eq!(violations(&[command(1, 0, 10), command(2, 20, 30)]), 0);
        assert_eq!(violations(&[command(1, 0, 30), command(2, 5, 10)]), 0);
        assert_eq!(violations(&[command(1, 20, 30), command(2, 0, 10)]), 1);
    }
}
