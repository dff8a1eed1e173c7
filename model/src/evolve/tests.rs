use indexmap::IndexMap;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::avro::EventCodec;
use crate::testing::{declared_object, field, fields, integer, optional, text};

fn model(fields: IndexMap<String, Field>) -> Model {
    Model {
        app: "shop".into(),
        name: "order".into(),
        doc: None,
        fields,
        key: None,
        state_field: None,
        commands: IndexMap::new(),
        events: IndexMap::new(),
        allow: Vec::new(),
        uniques: Vec::new(),
        indexes: Vec::new(),
        search: Vec::new(),
        reactions: Vec::new(),
        field_rules: Vec::new(),
    }
}

fn event(fields: IndexMap<String, Field>, creates: bool, deletes: bool) -> Event {
    Event {
        name: "placed".into(),
        type_name: "shop.order.Placed".into(),
        codec: EventCodec::new("shop.order.Placed", &fields).unwrap(),
        fields,
        creates,
        deletes,
    }
}

fn object(members: &[(&str, Value)]) -> Object {
    members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

#[test]
fn an_aggregate_begins_changes_ends_and_begins_again() {
    let model = model(fields([field("name", text()), optional("note", text())]));
    let created = event(fields([field("name", text()), field("reason", text())]), true, false);
    let noted = event(fields([optional("note", text())]), false, false);
    let deleted = event(fields([]), false, true);

    let first = object(&[("name", Value::Text("a".into())), ("reason", Value::Text("only recorded".into()))]);
    let state = evolve(&model, None, &created, &first, Timestamp(10));
    assert_eq!((state.version, state.created_at, state.updated_at), (1, Timestamp(10), Timestamp(10)));
    assert_eq!(state.public_json(), json!({ "name": "a", "note": null }));

    let note = object(&[("note", Value::Text("b".into()))]);
    let state = evolve(&model, Some(state), &noted, &note, Timestamp(20));
    assert_eq!((state.version, state.created_at, state.updated_at), (2, Timestamp(10), Timestamp(20)));
    assert_eq!(state.public_json(), json!({ "name": "a", "note": "b" }));

    let state = evolve(&model, Some(state), &deleted, &Object::new(), Timestamp(30));
    assert!(state.deleted);
    assert_eq!(state.version, 3);

    let state = evolve(&model, Some(state), &created, &first, Timestamp(40));
    assert_eq!((state.version, state.deleted, state.created_at), (4, false, Timestamp(40)));
    assert_eq!(state.public_json(), json!({ "name": "a", "note": null }));
}

#[test]
fn a_stored_state_and_a_replayed_one_agree_on_added_fields() {
    let created = event(fields([field("name", text())]), true, false);
    let old = model(fields([field("name", text())]));
    let new = model(fields([
        field("name", text()),
        Field { default: Some(Value::Integer(3)), ..field("rank", integer()) },
        Field { default: Some(Value::Integer(4)), ..optional("grade", integer()) },
    ]));
    let recorded = object(&[("name", Value::Text("a".into()))]);
    let stored = evolve(&old, None, &created, &recorded, Timestamp(1)).to_json(&old);
    let replayed = evolve(&new, None, &created, &recorded, Timestamp(1));
    assert_eq!(State::from_json(&new, &stored), Ok(replayed.clone()));
    assert_eq!(replayed.public_json(), json!({ "name": "a", "rank": 3, "grade": null }));
}

#[test]
fn a_damaged_state_is_named() {
    let model = model(fields([field("name", text())]));
    assert!(State::from_json(&model, &json!(null)).is_err());
    assert!(
        State::from_json(&model, &json!({ "fields": { "name": "a" }, "version": -1 }))
            .unwrap_err()
            .contains("version")
    );
    let damaged =
        json!({ "version": 1, "deleted": false, "created_at": 0, "updated_at": 0, "fields": { "name": 1 } });
    assert!(State::from_json(&model, &damaged).unwrap_err().contains("/name"));
}

proptest! {
    #[test]
    fn a_state_is_stored_without_loss(
        (declared, fields) in declared_object(),
        version in any::<u64>(), deleted in any::<bool>(), created in any::<i64>(), updated in any::<i64>(),
    ) {
        let model = model(declared);
        let state = State { version, deleted, created_at: Timestamp(created), updated_at: Timestamp(updated), fields };
        let text = state.to_json(&model).to_string();
        let read = State::from_json(&model, &serde_json::from_str(&text).unwrap());
        prop_assert_eq!(read, Ok(state));
    }

    /// What goes through Kafka folds to what the decider holds.
    #[test]
    fn a_decoded_event_folds_to_the_same_state((declared, recorded) in declared_object()) {
        let event = event(declared.clone(), true, false);
        let model = model(declared);
        let mut datum = Vec::new();
        event.codec.encode(&recorded, &mut datum).unwrap();
        let decoded = event.codec.decode(&event.codec.schema, &datum).unwrap();
        let here = evolve(&model, None, &event, &recorded, Timestamp(1));
        let there = evolve(&model, None, &event, &decoded, Timestamp(1));
        prop_assert_eq!(there.to_json(&model), here.to_json(&model));
        prop_assert_eq!(there.fields, recorded);
    }
}
