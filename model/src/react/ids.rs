//! The ids of what reactions cause, derived in this one place. Another derivation would make every server of another version
//! do again what was done.

use uuid::Uuid;

const FIRINGS: Uuid = Uuid::from_u128(0x8f1d_52c7_0b8e_4a67_9d3f_41c6_7ae2_905b);
const UNIQUE: Uuid = Uuid::from_u128(0x2c6a_e9b4_53d1_4f08_b7ce_96d0_18f3_64ad);
const AGGREGATE: &[u8] = b"aggregate";
const ON_REJECTED: &[u8] = b"on_rejected";

/// The id of one firing: UUIDv5 of the parts, separated by NUL, which none of them contains. It doesn't depend on what the
/// reaction does, nor on its place among others.
pub fn firing_id(app: &str, model: &str, reaction: &str, event: Uuid, item: usize) -> Uuid {
    named(&FIRINGS, &[app, model, reaction, &event.hyphenated().to_string(), &item.to_string()])
}

/// The id of the command that follows when the one with the id `command` is refused.
pub fn rejected_id(command: Uuid) -> Uuid {
    Uuid::new_v5(&command, ON_REJECTED)
}

/// The id of an aggregate without a natural key that the command creates; as of commands with an idempotency key.
pub(super) fn created(command: Uuid) -> Uuid {
    Uuid::new_v5(&command, AGGREGATE)
}

/// What two tasks of a reaction with the same key have in common.
pub(super) fn unique(app: &str, model: &str, reaction: &str, key: &str) -> Uuid {
    named(&UNIQUE, &[app, model, reaction, key])
}

/// Some number from 0 to `whole`, not included, that follows from the id.
pub(super) fn part_of(id: Uuid, whole: i64) -> i64 {
    let whole = u128::from(whole.max(1).unsigned_abs());
    i64::try_from(id.as_u128() % whole).expect("invariant: less than an i64")
}

fn named(namespace: &Uuid, parts: &[&str]) -> Uuid {
    Uuid::new_v5(namespace, parts.join("\0").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derived_ids_never_change() {
        let id = firing_id("shop", "order", "placed_product_reserve", Uuid::from_u128(1), 2);
        let ids = [id, rejected_id(id), created(id), unique("shop", "order", "placed_queue_invoices", "a")];
        insta::assert_snapshot!(ids.map(|id| id.to_string()).join("\n"));
        assert_ne!(id, firing_id("shop", "order", "placed_product_reserve", Uuid::from_u128(1), 3));
        assert_ne!(id, firing_id("shop", "order", "placed_product_reserve", Uuid::from_u128(2), 2));
        assert_ne!(id, firing_id("shop", "order", "placed_product_release", Uuid::from_u128(1), 2));
        assert_ne!(id, firing_id("shop", "cart", "placed_product_reserve", Uuid::from_u128(1), 2));
        assert_ne!(id, firing_id("other", "order", "placed_product_reserve", Uuid::from_u128(1), 2));
    }

    #[test]
    fn a_part_is_less_than_the_whole() {
        assert_eq!(part_of(Uuid::max(), 1), 0);
        assert_eq!(part_of(Uuid::max(), -5), 0);
        assert!(part_of(Uuid::max(), i64::MAX) < i64::MAX);
        assert_ne!(part_of(Uuid::from_u128(7), 300_000), part_of(Uuid::from_u128(8), 300_000));
    }
}
