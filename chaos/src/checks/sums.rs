//! Money is neither made nor lost: the balances are what was paid in less what was paid out, and transfers move it only.

use std::collections::HashMap;

use uuid::Uuid;
use writ_model::{Models, Value};

use super::Check;
use super::fold::fold;
use crate::events::Event;
use crate::history::Operation;

pub(super) fn are_conserved(operations: &[Operation], events: &[Event], models: &Models) -> Check {
    let mut check = Check::new(
        "The balances are what was paid in less what was paid out, none is negative, and transfers conserve money.",
    );
    let transfers: HashMap<&str, Uuid> = operations
        .iter()
        .filter_map(|operation| Some((operation.tag.as_str(), operation.request.transfer?)))
        .collect();
    let (mut paid, mut moved, mut open) = (0_i64, 0_i64, HashMap::<Uuid, i64>::new());
    for event in events.iter().filter(|event| event.model == "purse") {
        let Some(amount) = event.integer("amount") else {
            check.violated(format!("{} has no amount", event.place()));
            continue;
        };
        let amount = if event.name == "withdrawn" { -amount } else { amount };
        paid += amount;
        if let Some(transfer) = transfers.get(event.tag()) {
            *open.entry(*transfer).or_default() += amount;
            moved += amount.max(0);
        }
    }
    let mut balances = 0;
    let states = fold(events, models);
    for ((_, id), state) in states.iter().filter(|((model, _), _)| model == "purse") {
        match state.fields.get("balance") {
            Some(Value::Integer(balance)) if *balance >= 0 => balances += balance,
            other => check.violated(format!("purse {id} has the balance {other:?}")),
        }
    }
    if balances != paid {
        check.violated(format!("the balances are {balances} together, what was paid is {paid}"));
    }
    for (transfer, rest) in open.iter().filter(|(_, rest)| **rest != 0) {
        check.violated(format!("transfer {transfer} left {rest}"));
    }
    check.examined(open.len(), "transfers");
    check.examined(usize::try_from(moved).unwrap_or(0), "moved");
    check.examined(usize::try_from(balances).unwrap_or(0), "in all purses");
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{event, models, operation, request};
    use crate::history::Request;

    fn change(purse: u128, name: &str, version: u64, amount: i64, balance: i64) -> Event {
        event("purse", name, purse, version, &format!("{purse}-{version}"))
            .with("number", Value::Text(purse.to_string()))
            .with("amount", Value::Integer(amount))
            .with("balance", Value::Integer(balance))
    }

    /// Two purses, and 30 that go from the first to the second.
    fn world() -> (Vec<Operation>, Vec<Event>) {
        let events = vec![
            change(1, "opened", 1, 100, 100),
            change(1, "withdrawn", 2, 30, 70),
            change(2, "opened", 1, 100, 100),
            change(2, "deposited", 2, 30, 130),
        ];
        let half = |event: &Event, command| {
            let transfer = Some(Uuid::from_u128(9));
            operation(event, Request { transfer, ..request("purse", command) })
        };
        (vec![half(&events[1], "withdraw"), half(&events[3], "deposit")], events)
    }

    fn violations(change: impl FnOnce(&mut Vec<Event>)) -> usize {
        let (operations, mut events) = world();
        change(&mut events);
        are_conserved(&operations, &events, &models()).violations.len()
    }

    #[test]
    fn money_that_appears_or_is_lost_is_found() {
        assert_eq!(violations(|_| {}), 0);
        assert_eq!(violations(|events| drop(events.pop())), 1);
        let wrong_balance = |events: &mut Vec<Event>| events[3] = change(2, "deposited", 2, 30, 131);
        assert_eq!(violations(wrong_balance), 1);
        let negative = |events: &mut Vec<Event>| events[1] = change(1, "withdrawn", 2, 30, -70);
        assert!(violations(negative) > 0);
    }
}
