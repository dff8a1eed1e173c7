use crate::access::{Deed, Of, Permissions, may_use};
use crate::declaration::{Channel, Each};

use serde_json::json;

use super::*;

const CHANNELS: &str = "
---
channel: desk
of: thing
allow:
  join: role('staff') || state.owner == actor.id || id == actor.id
---
channel: board
key: { type: text, max_length: 5 }
allow: { 'join, send': key != 'shut' && actor.id != null }
---
channel: lobby
messages: { waved: null, moved: { to: { type: integer, min: 0 }, how: { type: text, default: fast } } }
";

fn models() -> Models {
    let source = Source { name: "thing.yaml".into(), text: format!("{FIELDS}{CHANNELS}") };
    Models::check("shop", &[source]).map_err(|found| format!("{found:?}")).unwrap()
}

fn permitted(texts: &[&str]) -> Permissions {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_channel_is_used_by_rule_or_by_permission() {
    let models = models();
    let (desk, board) = (&models.channels["desk"], &models.channels["board"]);
    let state = object([("owner", Value::Uuid(OWNER))]);
    let thing = Uuid::from_u128(9);
    let of = Of { aggregate: Some((thing, &state)), key: None };
    let joins = |actor: &Actor| may_use(desk, Deed::Join, of, actor, NOW);
    assert_eq!(joins(&actor(Some(OWNER), &[])), Ok(()));
    assert_eq!(joins(&actor(Some(thing), &[])), Ok(()), "`id` is the aggregate's");
    assert_eq!(joins(&actor(Some(OTHER), &["staff"])), Ok(()));
    assert!(matches!(joins(&actor(Some(OTHER), &[])), Err(Denied::NotAllowed { .. })));
    let staff = actor(Some(OTHER), &["staff"]);
    assert!(matches!(may_use(desk, Deed::Send, of, &staff, NOW), Err(Denied::NoRule { .. })));
    for (permission, join, send) in
        [("desk.send", false, true), ("desk.*", true, true), ("*", true, true), ("*.read", false, false)]
    {
        let actor = Actor { permissions: permitted(&[permission]), ..actor(Some(OTHER), &[]) };
        let may = |deed| may_use(desk, deed, of, &actor, NOW).is_ok();
        assert_eq!((may(Deed::Join), may(Deed::Send)), (join, send), "{permission}");
    }
    let key = Actor { scopes: Some(permitted(&["desk.send"])), ..staff };
    assert!(matches!(joins(&key), Err(Denied::OutOfScope { .. })), "the rule would hold");

    let on = |key: &str| {
        may_use(
            board,
            Deed::Send,
            Of { aggregate: None, key: Some(&text(key)) },
            &actor(Some(OTHER), &[]),
            NOW,
        )
    };
    assert_eq!((on("open").is_ok(), on("shut").is_ok()), (true, false));
    let nobody = may_use(board, Deed::Join, Of { aggregate: None, key: Some(&text("x")) }, &nobody(), NOW);
    assert!(nobody.is_err());
}

#[test]
fn what_is_said_fits_the_declaration() {
    let models = models();
    let Each::Key(field) = &models.channels["board"].each else { panic!("it has a key") };
    assert_eq!(Channel::key(field, "abcde"), Ok(text("abcde")));
    assert_eq!(Channel::key(field, "abcdef").unwrap_err()[0].pointer, "/key");
    let lobby = &models.channels["lobby"];
    let said = |event: &str, json: serde_json::Value| {
        lobby.payload(event, &json).map_err(|errors| (errors[0].pointer.clone(), errors[0].code.to_string()))
    };
    assert_eq!(said("moved", json!({ "to": 1 })), Ok(json!({ "to": 1, "how": "fast" })));
    assert_eq!(said("waved", json!({})), Ok(json!({})));
    assert_eq!(said("moved", json!({ "to": -1 })).unwrap_err().0, "/payload/to");
    assert_eq!(said("moved", json!([])).unwrap_err().0, "/payload");
    assert_eq!(said("left", json!({})).unwrap_err(), ("/event".to_owned(), "unknown_event".to_owned()));
    let desk = &models.channels["desk"];
    assert_eq!(desk.payload("any", &json!({ "a": [1] })), Ok(json!({ "a": [1] })));
    assert_eq!(desk.payload("any", &json!([1])).unwrap_err()[0].pointer, "/payload");
    assert_eq!(desk.payload("No Name", &json!({})).unwrap_err()[0].pointer, "/event");
}
