//! The ids of a command and of the aggregate that it creates. With an idempotency key both are derived, so that every
//! repeat, on any server, is the same command on the same partition.

use uuid::Uuid;
use writ_model::decide::Actor;

/// Changing it makes servers of both versions disagree about what a repeat is.
const NAMESPACE: Uuid = Uuid::from_u128(0x5f0c_9b1e_7d7a_5a43_9c1d_2f6b_8e04_c7a1);
const AGGREGATE: &[u8] = b"aggregate";

/// Which command it is, of which aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) command: Uuid,
    pub(crate) aggregate: Uuid,
}

/// `known` is the aggregate by the path or the natural key; without it the command creates one with a new id.
///
/// A key counts for one actor and one aggregate: the outcome is kept where the aggregate is decided.
pub(crate) fn of(model: &str, known: Option<Uuid>, actor: &Actor, key: Option<&str>) -> Identity {
    let Some(key) = key else {
        return Identity { command: Uuid::now_v7(), aggregate: known.unwrap_or_else(Uuid::now_v7) };
    };
    let command = Uuid::new_v5(&NAMESPACE, &name(model, known, actor, key));
    Identity { command, aggregate: known.unwrap_or_else(|| Uuid::new_v5(&command, AGGREGATE)) }
}

/// The parts, separated by NUL, which none of them contains: no two different requests have the same name.
fn name(model: &str, known: Option<Uuid>, actor: &Actor, key: &str) -> Vec<u8> {
    let text = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    [&text(actor.id), model, &text(known), key].join("\0").into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: Uuid = Uuid::from_u128(1);

    #[test]
    fn a_repeat_is_the_same_command_on_the_same_aggregate() {
        let actor = Actor::default();
        assert_eq!(of("order", None, &actor, Some("k")), of("order", None, &actor, Some("k")));
        assert_eq!(of("order", Some(ID), &actor, Some("k")), of("order", Some(ID), &actor, Some("k")));
        assert_eq!(of("order", Some(ID), &actor, Some("k")).aggregate, ID);
    }

    #[test]
    fn the_derived_ids_never_change() {
        let identity = of("order", None, &Actor::default(), Some("k"));
        insta::assert_snapshot!(format!("{} {}", identity.command, identity.aggregate), @"87f49004-608e-53c5-8541-cb668934949c dfdd4041-29cd-51a4-b0f3-01a61e50da72");
    }

    #[test]
    fn without_a_key_every_command_is_a_new_one() {
        let (first, second) =
            (of("order", None, &Actor::default(), None), of("order", None, &Actor::default(), None));
        assert_ne!(first.command, second.command);
        assert_ne!(first.aggregate, second.aggregate);
        assert_eq!(of("order", Some(ID), &Actor::default(), None).aggregate, ID);
    }

    proptest! {
        #[test]
        fn different_requests_are_different_commands(
            a in ("[a-z_]{1,8}", proptest::option::of(0u128..3), proptest::option::of(0u128..3), "[!-~]{1,8}"),
            b in ("[a-z_]{1,8}", proptest::option::of(0u128..3), proptest::option::of(0u128..3), "[!-~]{1,8}"),
        ) {
            let identity = |(model, known, actor, key): &(String, Option<u128>, Option<u128>, String)| {
                let actor = Actor { id: actor.map(Uuid::from_u128), ..Actor::default() };
                of(model, known.map(Uuid::from_u128), &actor, Some(key))
            };
            prop_assert_eq!(identity(&a).command == identity(&b).command, a == b);
        }
    }
}
