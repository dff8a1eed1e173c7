//! Tables of rules with what is made of them, and both held against the evaluation.

mod channel;
mod properties;
mod visible;

use uuid::Uuid;

use super::*;
use crate::Models;
use crate::diagnostic::Source;
use crate::value::Object;

const OWNER: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
/// 2026-01-02T00:00:00Z.
const NOW: Timestamp = Timestamp(1_767_312_000_000);

const FIELDS: &str = "
model: thing
fields:
  owner: { type: ref, to: thing, optional: true }
  deputy: { type: ref, to: thing, optional: true }
  customer: { type: ref, to: thing }
  status: { type: enum, values: [draft, live] }
  code: text
  note: { type: text, optional: true }
  team: { type: text, optional: true }
  amount: integer
  most: { type: integer, optional: true }
  price: { type: decimal, precision: 12, scale: 2 }
  paid: boolean
  public: { type: boolean, optional: true }
  at: timestamp
  until: { type: timestamp, optional: true }
  day: date
  grace: duration
  members: { type: list, of: { type: ref, to: thing } }
  tags: { type: list, of: text }
  ranks: { type: list, of: integer }
  address: { type: object, fields: { city: text, geo: { type: object, optional: true, fields: { name: text, height: { type: decimal, precision: 9, scale: 3 } } } } }
  billing: { type: object, optional: true, fields: { city: text, contact: { type: ref, to: thing, optional: true }, since: { type: date, optional: true }, days: duration } }
  extra: { type: json, optional: true }
  token: { type: text, secret: true, optional: true }
crud: true
";

/// The model with these lines in `allow`.
fn model(rules: &str) -> Result<std::sync::Arc<Model>, Vec<String>> {
    let source = Source { name: "thing.yaml".into(), text: format!("{FIELDS}allow:\n{rules}") };
    match Models::check("shop", std::slice::from_ref(&source)) {
        Ok(models) => Ok(models.models["thing"].clone()),
        Err(found) => Err(found.iter().map(|found| found.one_line(&source)).collect()),
    }
}

/// The model with one rule for `read`, `create` or `update`.
fn ruled(name: &str, rule: &str) -> std::sync::Arc<Model> {
    model(&format!("  {name}: >-\n    {rule}\n")).unwrap()
}

fn actor(id: Option<Uuid>, roles: &[&str]) -> Actor {
    Actor { id, roles: roles.iter().map(|role| (*role).to_owned()).collect(), ..Actor::default() }
}

fn nobody() -> Actor {
    Actor::default()
}

fn object<const N: usize>(parts: [(&str, Value); N]) -> Object {
    parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn field(name: &str, kind: Kind) -> Path {
    Path::Field { names: name.split('.').map(str::to_owned).collect(), kind }
}

fn equals(path: Path, value: Value) -> Predicate {
    Predicate::Test(Test::Compare(path, Comparison::Equal, value))
}

fn owner() -> Path {
    field("owner", Kind::Uuid)
}

/// What `actor` may read under the rule.
fn read_by(actor: &Actor, rule: &str) -> Readable {
    readable(&ruled("read", rule), actor, NOW)
}

#[test]
fn what_the_actor_decides_leaves_no_test() {
    let rule = "role('staff') || state.owner == actor.id";
    assert_eq!(read_by(&actor(Some(OWNER), &["staff"]), rule), Readable::All);
    assert_eq!(read_by(&actor(Some(OWNER), &[]), rule), Readable::Where(equals(owner(), Value::Uuid(OWNER))));
    assert_eq!(read_by(&nobody(), rule), Readable::Nothing, "nobody owns what has no owner");
    assert_eq!(read_by(&nobody(), "role('staff')"), Readable::Nothing);
    assert_eq!(
        read_by(&nobody(), "actor.id != null || now > timestamp('2026-01-01T00:00:00Z')"),
        Readable::All
    );
    // The evaluation of the left side fails first: there is no item 0.
    assert_eq!(read_by(&nobody(), "actor.roles[0] == 'a' || true"), Readable::Nothing);
    assert_eq!(read_by(&nobody(), "true || actor.roles[0] == 'a'"), Readable::All);
    assert_eq!(readable(&model("  update: role('a')\n").unwrap(), &nobody(), NOW), Readable::Nothing);
}

#[test]
fn tests_are_as_simple_as_they_can_be() {
    let me = actor(Some(OWNER), &["a", "b"]);
    let check = |rule: &str, predicate: Predicate| {
        assert_eq!(read_by(&me, rule), Readable::Where(predicate), "{rule}");
    };
    let is_null = |path: Path| Predicate::Test(Test::IsNull(path));
    let present = |path: Path| Predicate::Not(Test::IsNull(path));
    check("state.owner == null", is_null(owner()));
    check("id == actor.id", equals(Path::Id, Value::Uuid(OWNER)));
    check("state.paid", equals(field("paid", Kind::Boolean), Value::Boolean(true)));
    // The test is false of null, so nothing more has to be said.
    check("state.public && true", equals(field("public", Kind::Boolean), Value::Boolean(true)));
    check(
        "state.most < 5",
        Predicate::Test(Test::Compare(field("most", Kind::Integer), Comparison::Less, Value::Integer(5))),
    );
    check("state.billing.city == 'Bonn'", equals(field("billing.city", Kind::Text), text("Bonn")));
    check("has(state.billing.city)", present(field("billing.city", Kind::Text)));
    // Here it has to: a null has no order, so the negation has none either.
    let most = || field("most", Kind::Integer);
    check(
        "!(5 > state.most)",
        Predicate::And(vec![
            present(most()),
            Predicate::Not(Test::Compare(most(), Comparison::Less, Value::Integer(5))),
        ]),
    );
    check(
        "state.owner != actor.id",
        Predicate::Not(Test::Compare(owner(), Comparison::Equal, Value::Uuid(OWNER))),
    );
    check(
        "state.owner == state.deputy",
        Predicate::Or(vec![
            Predicate::Test(Test::CompareFields(owner(), Comparison::Equal, field("deputy", Kind::Uuid))),
            Predicate::And(vec![is_null(owner()), is_null(field("deputy", Kind::Uuid))]),
        ]),
    );
    check(
        "role(state.team)",
        Predicate::Test(Test::In(field("team", Kind::Text), vec![text("a"), text("b")])),
    );
    check(
        "state.team in actor.roles",
        Predicate::Test(Test::In(field("team", Kind::Text), vec![text("a"), text("b")])),
    );
    check(
        "actor.id in state.members",
        Predicate::Test(Test::HasItem(field("members", Kind::List), Value::Uuid(OWNER))),
    );
    check(
        "actor.id in [state.owner, state.deputy]",
        Predicate::Or(vec![
            equals(owner(), Value::Uuid(OWNER)),
            equals(field("deputy", Kind::Uuid), Value::Uuid(OWNER)),
        ]),
    );
    check(
        "state.code.startsWith('X')",
        Predicate::Test(Test::StartsWith(field("code", Kind::Text), "X".into())),
    );
    check(
        "orElse(state.public, false) || state.owner == actor.id",
        Predicate::Or(vec![
            equals(field("public", Kind::Boolean), Value::Boolean(true)),
            equals(owner(), Value::Uuid(OWNER)),
        ]),
    );
}

#[test]
fn a_role_with_a_nul_matches_no_text() {
    let me = actor(Some(OWNER), &["a\0"]);
    for rule in [
        "state.team in actor.roles",
        "role(state.team)",
        "state.code == actor.roles[0]",
        "actor.roles[0] in state.tags",
    ] {
        assert_eq!(read_by(&me, rule), Readable::Nothing, "{rule}");
    }
}

/// What `may_send` says of `update` for a thing with these fields.
fn sends(rule: &str, actor: &Actor, state: &Object) -> Result<(), Denied> {
    let input = Object::new();
    let scope = Scope { id: OTHER, input: &input, state: Some(state), now: NOW, actor };
    may_send(&ruled("update", rule), "update", &scope)
}

#[test]
fn only_what_a_rule_allows_may_be_sent() {
    let mine = object([("owner", Value::Uuid(OWNER)), ("most", Value::Null)]);
    let me = actor(Some(OWNER), &[]);
    assert_eq!(sends("state.owner == actor.id", &me, &mine), Ok(()));
    let denied = sends("state.owner == actor.id", &nobody(), &mine).unwrap_err();
    assert_eq!(denied.to_string(), "the rule `state.owner == actor.id` doesn't hold");
    let failed = sends("state.most > 1", &me, &mine).unwrap_err();
    assert!(
        matches!(&failed, Denied::Failed(error) if error.to_string() == "`state.most` is null in `state.most > 1`")
    );

    let model = ruled("read", "true");
    let scope = Scope { id: OTHER, input: &mine, state: Some(&mine), now: NOW, actor: &me };
    let missing = may_send(&model, "delete", &scope).unwrap_err();
    assert_eq!(missing.to_string(), "`thing` has no `allow` rule for `delete`");
    let missing = may_send(&model, "read", &scope).unwrap_err();
    assert!(matches!(missing, Denied::NoRule { .. }), "`read` is no command");
}

#[test]
fn the_early_answer_is_given_where_the_actor_decides() {
    let input = object([("code", text("x")), ("customer", Value::Uuid(OWNER))]);
    let me = actor(Some(OWNER), &["staff"]);
    let other = actor(Some(OTHER), &[]);
    let check = |rule: &str, actor: &Actor, expected: Early| {
        let known = Known { actor, id: Some(OTHER), input: Some(&input), now: Some(NOW) };
        assert_eq!(early(&ruled("update", rule), "update", &known), expected, "{rule} for {actor:?}");
    };
    let rule = "role('staff') || state.owner == actor.id";
    check(rule, &me, Early::Yes);
    check(rule, &other, Early::Depends);
    let rule = "state.owner == actor.id || role('staff')";
    check(rule, &me, Early::Yes);
    check(rule, &other, Early::Depends);
    check("role('staff')", &other, Early::No);
    check("role('staff') && state.paid", &other, Early::No);
    check("role('staff') && state.paid", &me, Early::Depends);
    check("size(state.tags) > 1 && role('staff')", &other, Early::No);
    // The left side may have no value, and then the right one doesn't count.
    check("state.most > 1 || role('staff')", &me, Early::Depends);
    check("state.most == 1 || role('staff')", &me, Early::Yes);
    check("state.note == state.code || role('staff')", &me, Early::Depends);
    check("!(state.paid && role('staff'))", &other, Early::Depends);
    check("state.status == 'live' ? role('staff') : role('admin')", &other, Early::No);
    check("input.customer == actor.id", &me, Early::Yes);
    check("input.customer == actor.id", &other, Early::No);
    check("id == actor.id", &other, Early::Yes);
    check("id == actor.id", &me, Early::No);
    check("actor.roles[0] == 'staff' || state.paid", &other, Early::No);

    let model = ruled("update", "input.customer == actor.id && id != null && now > now - duration('1h')");
    let known = Known { actor: &me, id: None, input: None, now: None };
    assert_eq!(early(&model, "update", &known), Early::Depends);
    assert_eq!(early(&model, "update", &Known { input: Some(&Object::new()), ..known }), Early::No);
    assert_eq!(early(&model, "delete", &known), Early::No, "there is no rule");
    assert_eq!(early(&ruled("read", "true"), "read", &known), Early::No, "`read` is no command");
}

/// Each half costs less than the limit, both together more.
#[test]
fn what_may_be_too_costly_is_no_early_yes() {
    let half = format!("[{0}].all(a, [{0}].all(b, a == b || a != b))", vec!["1"; 100].join(","));
    let rule = format!("({half} && state.owner == actor.id) || {half}");
    let me = actor(Some(OWNER), &[]);
    assert_eq!(sends(&half, &me, &Object::new()), Ok(()));
    let denied = sends(&rule, &me, &Object::new()).unwrap_err();
    assert!(denied.to_string().contains("can't be evaluated"), "{denied}");
    let known = Known { actor: &me, id: None, input: None, now: None };
    assert_eq!(early(&ruled("update", &half), "update", &known), Early::Yes);
    assert_eq!(early(&ruled("update", &rule), "update", &known), Early::Depends);
}

#[test]
fn a_rule_that_grows_beyond_bounds_is_refused() {
    let refused =
        |rule: &str| model(&format!("  read: >-\n    {rule}\n")).err().unwrap_or_default().join("\n");
    let mut rule = "state.paid".to_owned();
    for _ in 0..25 {
        rule = format!("({rule} ? state.public : role('a'))");
    }
    assert!(refused(&rule).contains("of more than 500 conditions"), "{}", refused(&rule));
    // What is said once need not be said again.
    let rule = (0..100).map(|at| format!("state.amount < {at}")).collect::<Vec<_>>().join(" || ");
    assert_eq!(refused(&rule), "");
    assert!(
        matches!(read_by(&nobody(), &rule), Readable::Where(predicate) if format!("{predicate:?}").len() < 20_000)
    );
}

fn permissions(texts: &[&str]) -> Permissions {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_permission_adds_to_the_rules_and_a_scope_takes_away() {
    let model = model("  read: state.owner == actor.id\n  update: state.owner == actor.id\n").unwrap();
    let (fields, input) = (Object::new(), Object::new());
    let check = |command: &str, actor: &Actor| {
        let scope = Scope { id: OWNER, input: &input, state: Some(&fields), now: NOW, actor };
        let known = Known { actor, id: None, input: None, now: None };
        (may_send(&model, command, &scope).is_ok(), early(&model, command, &known))
    };
    let owner = actor(Some(OWNER), &[]);
    let with = |own: &[&str], scopes: Option<&[&str]>| Actor {
        permissions: permissions(own),
        scopes: scopes.map(permissions),
        ..owner.clone()
    };
    // No rule: nobody, but for who has a permission.
    assert_eq!(check("delete", &owner), (false, Early::No));
    assert_eq!(check("delete", &with(&["thing.delete"], None)), (true, Early::Yes));
    assert_eq!(check("delete", &with(&["thing.read", "other.*"], None)), (false, Early::No));
    // A rule that doesn't hold.
    assert_eq!(check("update", &owner), (false, Early::Depends));
    assert_eq!(check("update", &with(&["*"], None)), (true, Early::Yes));
    // A scope closes what a permission has opened.
    assert_eq!(check("update", &with(&["*"], Some(&["thing.read"]))), (false, Early::No));
    assert_eq!(check("update", &with(&["*"], Some(&["thing.update"]))), (true, Early::Yes));
    assert_eq!(check("delete", &with(&[], Some(&["*"]))), (false, Early::No));

    let all = |actor: &Actor| readable(&model, actor, NOW);
    assert!(matches!(all(&owner), Readable::Where(_)));
    assert_eq!(all(&with(&["*.read"], None)), Readable::All);
    assert_eq!(all(&with(&["*.read"], Some(&["thing.update"]))), Readable::Nothing);
    assert!(matches!(all(&with(&[], Some(&["thing.read"]))), Readable::Where(_)));
}
