//! Which fields are hidden from whom, and what an SQL projection shows.

use super::*;
use crate::declaration::Projection;

const RULES: &str = "  read: role('staff') || state.owner == actor.id
  fields:
    note, team: role('staff') && actor.id != null
    price: now < timestamp('2026-01-02T00:00:00Z')
    code: actor.roles[1] == 'b'
";

const DAILY: &str = "
projection: daily
fields:
  day: { type: date, key: true }
  owner: { type: ref, to: thing, optional: true }
  total: integer
allow:
  read: role('staff') || state.owner == actor.id
  fields: { total: role('staff') }
on:
  thing.created: INSERT INTO daily (day, total) VALUES (:day, 1)
";

fn permitted(actor: Actor, permission: &str) -> Actor {
    Actor { permissions: permissions(permission), ..actor }
}

fn permissions(text: &str) -> Permissions {
    [text.parse().unwrap()].into_iter().collect()
}

fn hidden(visible: &Visible) -> Vec<&str> {
    visible.hidden.iter().map(String::as_str).collect()
}

#[test]
fn fields_are_hidden_by_role_and_time() {
    let model = model(RULES).unwrap();
    let see = |actor: &Actor, now| visible(&model, actor, now);
    let before = Timestamp(NOW.0 - 1);
    let all = ["code", "note", "price", "team", "token"];
    assert_eq!(hidden(&see(&nobody(), NOW)), all, "a rule without a value hides: there is no second role");
    assert_eq!(hidden(&see(&actor(None, &["staff"]), NOW)), all);
    assert_eq!(hidden(&see(&actor(Some(OWNER), &["staff"]), NOW)), ["code", "price", "token"]);
    assert_eq!(hidden(&see(&actor(Some(OWNER), &["staff", "b"]), before)), ["token"]);

    // Reading all rows is not seeing all fields.
    for (permission, expected) in [
        ("thing.read", &all[..]),
        ("*.read", &all[..]),
        ("other.*", &all[..]),
        ("thing.*", &["token"][..]),
        ("*", &["token"][..]),
    ] {
        let visible = see(&permitted(nobody(), permission), NOW);
        assert_eq!(hidden(&visible), expected, "{permission}");
        assert_eq!(visible.every_field, expected.len() == 1, "{permission}");
        assert_eq!(visible.rows == Readable::All, permission != "other.*", "{permission}");
    }
    // A key has no more than it is for.
    let key = Actor { scopes: Some(permissions("thing.read")), ..permitted(nobody(), "*") };
    assert_eq!(hidden(&see(&key, NOW)), all);
    assert!(!sees_everything(&key) && sees_everything(&permitted(nobody(), "*")));
    assert!(!sees_everything(&permitted(nobody(), "thing.*")));
}

#[test]
fn what_is_hidden_is_taken_away() {
    let mut fields = object([("note", text("a")), ("code", text("b")), ("status", text("live"))]);
    visible(&model(RULES).unwrap(), &nobody(), NOW).strip(&mut fields);
    assert_eq!(fields, object([("status", text("live"))]));
}

#[test]
fn a_projection_has_rules_by_its_own_name() {
    let text = format!("{FIELDS}---{DAILY}");
    let models = Models::check("shop", &[Source { name: "daily.yaml".into(), text }]).unwrap();
    let daily: &Projection = &models.projections["daily"];
    let see = |actor: &Actor| visible_rows(daily, actor, NOW);
    assert_eq!(see(&nobody()).rows, Readable::Nothing);
    let own = see(&actor(Some(OWNER), &[]));
    assert_eq!(own.rows, Readable::Where(equals(owner(), Value::Uuid(OWNER))));
    assert_eq!(hidden(&own), ["total"]);
    assert_eq!(see(&permitted(nobody(), "daily.read")).rows, Readable::All);
    assert_eq!(see(&permitted(nobody(), "thing.*")).rows, Readable::Nothing);
    let key = Actor { scopes: Some(permissions("thing.read")), ..actor(None, &["staff"]) };
    assert_eq!(see(&key).rows, Readable::Nothing);
}
