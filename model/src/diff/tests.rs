use proptest::prelude::*;
use serde_json::json;

use super::*;

/// As a reader of the changes would apply them.
fn apply(state: &mut Json, changes: &[Change]) {
    for change in changes {
        let Some((parent, last)) = change.pointer.rsplit_once('/') else {
            *state = change.after.clone().unwrap();
            continue;
        };
        let last = last.replace("~1", "/").replace("~0", "~");
        match (state.pointer_mut(parent).unwrap(), &change.after) {
            (Json::Object(members), Some(after)) => {
                assert_eq!(members.insert(last, after.clone()), change.before);
            }
            (Json::Object(members), None) => assert_eq!(members.shift_remove(&last), change.before),
            (Json::Array(items), after) => {
                let index: usize = last.parse().unwrap();
                assert!(items.get(index).is_none_or(|item| Some(item) == change.before.as_ref()));
                match after {
                    Some(after) if index == items.len() => items.push(after.clone()),
                    Some(after) => items[index] = after.clone(),
                    None => items.truncate(index),
                }
            }
            (other, _) => panic!("{other} has no parts"),
        }
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (0..3i64).prop_map(Json::from),
        "[ab~/]{0,2}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec(("[ab~/]{0,2}", inner), 0..4)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_changes_lead_from_one_to_the_other(before in any_json(), after in any_json()) {
        let changes = diff(&before, &after);
        let mut changed = before.clone();
        apply(&mut changed, &changes);
        prop_assert_eq!(changed, after);
    }

    #[test]
    fn nothing_changes_between_equals(state in any_json()) {
        prop_assert_eq!(diff(&state, &state), []);
    }
}

fn shown(before: &Json, after: &Json) -> Json {
    serde_json::to_value(diff(before, after)).unwrap()
}

#[test]
fn members_are_compared_one_by_one() {
    let before = json!({ "status": "placed", "note": null, "at": { "city": "Bern", "zip": "3000" } });
    let after =
        json!({ "status": "paid", "note": null, "at": { "city": "Basel", "zip": "3000" }, "by": "Ada" });
    let expected = json!([
        { "pointer": "/status", "before": "placed", "after": "paid" },
        { "pointer": "/at/city", "before": "Bern", "after": "Basel" },
        { "pointer": "/by", "after": "Ada" },
    ]);
    assert_eq!(shown(&before, &after), expected);
}

#[test]
fn an_item_that_changed_or_came_at_the_end_is_one_change() {
    let lines = json!({ "lines": [{ "quantity": 1 }, { "quantity": 2 }] });
    let changed = json!({ "lines": [{ "quantity": 1 }, { "quantity": 9 }] });
    assert_eq!(shown(&lines, &changed), json!([{ "pointer": "/lines/1/quantity", "before": 2, "after": 9 }]));
    let longer = json!({ "lines": [{ "quantity": 1 }, { "quantity": 2 }, { "quantity": 3 }] });
    assert_eq!(shown(&lines, &longer), json!([{ "pointer": "/lines/2", "after": { "quantity": 3 } }]));
    assert_eq!(shown(&longer, &lines), json!([{ "pointer": "/lines/2", "before": { "quantity": 3 } }]));
}

#[test]
fn lists_that_lost_an_item_in_the_middle_are_shown_whole() {
    assert_eq!(
        shown(&json!({ "tags": ["a", "b", "c"] }), &json!({ "tags": ["a", "c"] })),
        json!([{ "pointer": "/tags", "before": ["a", "b", "c"], "after": ["a", "c"] }])
    );
}

#[test]
fn what_was_not_there_before_is_one_change() {
    let state = json!({ "a": 1 });
    assert_eq!(shown(&Json::Null, &state), json!([{ "pointer": "", "before": null, "after": { "a": 1 } }]));
}
