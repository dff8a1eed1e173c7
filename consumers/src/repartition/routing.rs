//! Which partition a record of `writ.state` belongs to.

use writ_model::unique::RESERVED;
use writ_producers::partitioner::partition_of;

use crate::state_key::{CONSTRAINTS, NEXT, PENDING, WAITING};

/// How a record of `writ.state` finds its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// By this key: that of its commands in `writ.commands`.
    Key(&'a str),
    /// It speaks of the partition in which it stands, and never moves.
    Stays,
    /// This version of writ doesn't write such records.
    Unknown,
}

/// By the form of the record's key.
pub(super) fn route(key: &str) -> Route<'_> {
    match key {
        NEXT | CONSTRAINTS => return Route::Stays,
        _ => {}
    }
    // A reservation: its claims have the same key.
    if key.strip_prefix(RESERVED).is_some_and(|rest| rest.starts_with('/')) {
        return Route::Key(key);
    }
    let aggregate = if let Some(aggregate) = key.strip_prefix(PENDING) {
        Some(aggregate)
    } else if let Some(waiting) = key.strip_prefix(WAITING) {
        // With the place in the queue at its end.
        waiting.rsplit_once('/').map(|(aggregate, _)| aggregate)
    } else {
        // A state, or with its command's id behind `#` an outcome.
        key.split('#').next()
    };
    match aggregate {
        Some(aggregate) if is_aggregate(aggregate) => Route::Key(aggregate),
        _ => Route::Unknown,
    }
}

/// `model/uuid`.
fn is_aggregate(text: &str) -> bool {
    let Some((model, id)) = text.split_once('/') else { return false };
    !model.is_empty() && !model.starts_with('@') && uuid::Uuid::try_parse(id).is_ok()
}

/// The partition of a key among `partitions`.
pub(super) fn home(key: &str, partitions: i32) -> i32 {
    partition_of(key.as_bytes(), partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_an_aggregate_goes_where_its_commands_go() {
        const ID: &str = "order/0190b3a4-7c1e-7000-8000-000000000001";
        for key in [
            ID.to_owned(),
            format!("{ID}#0190b3a4-7c1e-7000-8000-000000000002"),
            format!("@pending/{ID}"),
            format!("@waiting/{ID}/00000000000000000017"),
        ] {
            assert_eq!(route(&key), Route::Key(ID), "{key}");
        }
        let reservation = "@unique/customer/email/5f3a";
        assert_eq!(route(reservation), Route::Key(reservation));
        for key in ["@next", "@constraints"] {
            assert_eq!(route(key), Route::Stays, "{key}");
        }
        for key in
            ["", "@", "@later/thing", "order", "order/7", "@pending/order", "@waiting/order/7", "@next/1"]
        {
            assert_eq!(route(key), Route::Unknown, "{key}");
        }
    }
}
