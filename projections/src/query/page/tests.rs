//! The arms are checked without PostgreSQL, by what their conditions mean.

use std::cmp::Ordering;

use proptest::prelude::*;
use writ_model::decide::Actor;
use writ_model::diagnostic::Source;
use writ_model::{Models, Timestamp};

use super::*;
use crate::reader::Reader;

type Keys = Vec<Option<i64>>;

fn keys(directions: &[bool]) -> Vec<SortKey> {
    let text = "
model: m
fields:
  a: { type: integer }
  b: { type: integer }
  c: { type: integer }
crud: true
";
    let models = Models::check("test", &[Source { name: "m.yaml".into(), text: text.into() }]).unwrap();
    let actor = Actor::default();
    let subject = Reader { actor: &actor, now: Timestamp(0) }.asks(models.get("m").unwrap());
    // The last one is the version: no row is without it.
    let names = ["a", "b", "c"][..directions.len() - 1].iter().chain(&["version"]);
    names
        .zip(directions)
        .map(|(name, descending)| SortKey {
            target: subject.target(name, "sort by", &[]).unwrap(),
            descending: *descending,
        })
        .collect()
}

/// Null is the greatest.
fn compare(a: &Option<i64>, b: &Option<i64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}

fn order(keys: &[SortKey], a: &Keys, b: &Keys) -> Ordering {
    keys.iter().zip(a.iter().zip(b)).fold(Ordering::Equal, |so_far, (key, (a, b))| {
        let one = compare(a, b);
        so_far.then(if key.descending { one.reverse() } else { one })
    })
}

/// As PostgreSQL has it: unknown is no match.
fn holds(condition: &Condition, keys: &[SortKey], row: &Keys, cursor: &Keys) -> bool {
    match condition {
        Condition::Null(place) => row[*place].is_none(),
        Condition::NotNull(place) => row[*place].is_some(),
        Condition::Equal(place) => row[*place].is_some() && row[*place] == cursor[*place],
        Condition::Beyond(places) => {
            for place in places.clone() {
                let (Some(value), Some(after)) = (row[place], cursor[place]) else { return false };
                if value != after {
                    return (value < after) == keys[places.start].descending;
                }
            }
            false
        }
    }
}

proptest! {
    #[test]
    fn the_arms_are_what_is_after_the_cursor(
        directions in prop::collection::vec(any::<bool>(), 1..=4),
        rows in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.7, 0..3i64), 4), 1..40),
        at in any::<prop::sample::Index>(),
    ) {
        let keys = keys(&directions);
        let rows: Vec<Keys> = rows
            .into_iter()
            .map(|mut row| {
                row.truncate(keys.len());
                let last = row.last_mut().unwrap();
                *last = Some(last.unwrap_or(3));
                row
            })
            .collect();
        let cursor = at.get(&rows);
        let values: Vec<Option<String>> = cursor.iter().map(|value| value.map(|value| value.to_string())).collect();
        let arms = arms(&keys, &values);
        for row in &rows {
            let matching = arms
                .iter()
                .filter(|arm| arm.iter().all(|condition| holds(condition, &keys, row, cursor)))
                .count();
            let after = order(&keys, row, cursor) == Ordering::Greater;
            prop_assert_eq!(matching, usize::from(after), "{:?} after {:?}: {:?}", row, cursor, arms);
        }
    }
}

#[test]
fn one_direction_without_nulls_is_one_range() {
    let values = [Some("1".to_owned()), Some("2".to_owned())];
    assert_eq!(arms(&keys(&[true, true]), &values), [vec![Condition::Beyond(0..2)]]);
    assert_eq!(
        arms(&keys(&[false, false]), &values),
        [vec![Condition::Beyond(0..2)], vec![Condition::Null(0)]]
    );
}
