//! Random rules, actors and states: what is worked out beforehand never differs from the evaluation.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::expression::{Compiled, Env, Expected};
use crate::value::Decimal;

/// Expressions of one type, from the given ones, `orElse` and `?:` of them.
fn values(plain: &[&'static str], condition: &BoxedStrategy<String>) -> BoxedStrategy<String> {
    let plain = select(plain.to_vec()).prop_map(str::to_owned).boxed();
    let (first, second) = (plain.clone(), plain.clone());
    prop_oneof![
        8 => plain.clone(),
        1 => (first, second).prop_map(|(a, b)| format!("orElse({a}, {b})")),
        1 => (condition.clone(), plain.clone(), plain).prop_map(|(c, a, b)| format!("({c} ? {a} : {b})")),
    ]
    .boxed()
}

fn pairs(of: BoxedStrategy<String>, operators: &[&'static str]) -> BoxedStrategy<String> {
    (of.clone(), select(operators.to_vec()), of).prop_map(|(a, op, b)| format!("{a} {op} {b}")).boxed()
}

/// A name whose value may be null on the right of `== null`, and `has`.
const FIELDS_AND_PARTS: [&str; 14] = [
    "state.owner",
    "state.customer",
    "state.note",
    "state.most",
    "state.public",
    "state.billing",
    "state.billing.city",
    "state.billing.contact",
    "state.billing.since",
    "state.address.geo",
    "state.address.geo.name",
    "state.extra",
    "state.members",
    "state.amount",
];

/// Conditions without connectives, of which a query can do everything.
fn atom(condition: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let equality = ["==", "!="];
    let order = ["==", "!=", "<", "<=", ">", ">="];
    let listed = [
        "state.owner",
        "state.deputy",
        "state.customer",
        "state.billing.contact",
        "id",
        "uuid('00000000-0000-0000-0000-000000000001')",
    ];
    // The actor's id stands by itself, or a rule is none.
    let ids = prop_oneof![5 => values(&listed, &condition), 2 => Just("actor.id".to_owned())].boxed();
    let texts = values(
        &[
            "state.code",
            "state.note",
            "state.team",
            "state.address.city",
            "state.billing.city",
            "state.address.geo.name",
            "'a'",
            "'ab'",
            "''",
            "actor.roles[0]",
            "string(size(actor.roles))",
        ],
        &condition,
    );
    let integers = ["state.amount", "state.most", "0", "1", "size(actor.roles)", "1 / size(actor.roles)"];
    let numbers = values(
        &[&integers[..], &["state.price", "state.address.geo.height", "1.00", "0.5"]].concat(),
        &condition,
    );
    let times = values(&["state.at", "state.until", "now", "now - duration('1h')"], &condition);
    let days = values(&["state.day", "state.billing.since", "date(now)"], &condition);
    let flags = values(&["state.paid", "state.public", "role('a')", "true"], &condition);
    let fields = select(FIELDS_AND_PARTS.to_vec());
    prop_oneof![
        4 => pairs(ids.clone(), &equality),
        2 => pairs(texts.clone(), &order),
        2 => pairs(numbers.clone(), &order),
        1 => pairs(times, &order),
        1 => pairs(days, &order),
        1 => pairs(values(&["state.grace", "duration('1h')"], &condition), &order),
        1 => pairs(flags.clone(), &equality),
        1 => flags,
        2 => (fields.clone(), select(vec!["==", "!="])).prop_map(|(field, op)| format!("{field} {op} null")),
        1 => Just("actor.id == null".to_owned()),
        1 => fields.prop_filter("parts", |field| field.contains('.')).prop_map(|field| format!("has({field})")),
        1 => (ids, prop::collection::vec(select(listed.to_vec()), 1..4))
            .prop_map(|(item, list)| format!("{item} in [{}]", list.join(", "))),
        1 => (numbers, select(vec!["[0, 1]", "[1.0]", "[0.5, null]", "[]"]))
            .prop_map(|(item, list)| format!("{item} in {list}")),
        1 => (texts, select(vec!["['a', 'b']", "['', null]", "actor.roles", "actor.roles.filter(r, r != 'a')"]))
            .prop_map(|(item, list)| format!("{item} in {list}")),
        2 => select(vec![
            "actor.id in state.members",
            "orElse(actor.id, uuid('00000000-0000-0000-0000-000000000002')) in state.members",
            "'a' in state.tags",
            "actor.roles[0] in state.tags",
            "1 in state.ranks",
            "role(state.team)",
            "role(state.billing.city)",
            "state.status == 'live'",
            "state.status in ['live', 'draft']",
            "state.status == state.code",
            "state.note in [actor.roles[0], 'ab', null]",
            "actor.id in [null]",
            "size(actor.roles) > 1",
            "actor.roles.exists(r, r == 'ab')",
        ]).prop_map(str::to_owned),
        1 => (
            select(vec!["state.code", "state.note", "state.billing.city"]),
            select(vec!["contains", "startsWith", "endsWith"]),
            select(vec!["'a'", "''", "'b'", "actor.roles[0]"]),
        ).prop_map(|(text, function, part)| format!("{text}.{function}({part})")),
    ]
    .boxed()
}

fn conditions(atoms: fn(BoxedStrategy<String>) -> BoxedStrategy<String>) -> BoxedStrategy<String> {
    let simple = select(vec!["state.paid", "role('a')", "state.most > 0", "state.owner == actor.id"]);
    atoms(simple.prop_map(str::to_owned).boxed())
        .prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|a| format!("!({a})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
                (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            ]
        })
        .boxed()
}

/// The same and what only the evaluation can do.
fn any_atom(condition: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![
        3 => atom(condition),
        1 => select(vec![
            "size(state.tags) > 1",
            "1 / state.amount == 1",
            "state.tags.exists(t, t == actor.roles[0])",
            "state.tags[0] == 'a'",
            "state.members == []",
            "state.at + duration('1h') > now",
            "(state.paid == role('a'))",
            "state.extra == state.extra",
            "9223372036854775807 + state.amount > 0",
        ]).prop_map(str::to_owned),
    ]
    .boxed()
}

fn an_id() -> BoxedStrategy<Uuid> {
    (1u128..=3).prop_map(Uuid::from_u128).boxed()
}

fn an_actor() -> impl Strategy<Value = Actor> {
    let roles = subsequence(vec!["a", "ab", "b", "live"], 0..=3);
    (prop::option::weighted(0.7, an_id()), roles).prop_map(|(id, roles)| actor(id, &roles))
}

/// The value, or null: in any field, whatever it declares, because a failing evaluation is no leak either.
fn or_null(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 4 => value].boxed()
}

fn a_text() -> BoxedStrategy<Value> {
    or_null(select(vec!["", "a", "ab", "b", "ba", "live", "é"]).prop_map(text))
}

fn an_instant() -> BoxedStrategy<Value> {
    or_null((-2i64..3).prop_map(|hours| Value::Timestamp(Timestamp(NOW.0 + hours * 3_600_000))))
}

fn a_day() -> BoxedStrategy<Value> {
    or_null((1i8..4).prop_map(|day| Value::Date(jiff::civil::date(2026, 1, day))))
}

fn a_decimal() -> BoxedStrategy<Value> {
    or_null(
        (select(vec![0i64, 50, 100, 150]), 2i64..4)
            .prop_map(|(cents, scale)| Value::Decimal(Decimal::new(cents.into(), 2).with_scale(scale))),
    )
}

fn list_of(item: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    or_null(prop::collection::vec(item, 0..3).prop_map(Value::List))
}

fn parts(parts: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Object> {
    let mut object: BoxedStrategy<Object> = Just(Object::new()).boxed();
    for (name, value) in parts {
        // A field that is left out is null as well.
        object = (object, prop::option::weighted(0.95, value))
            .prop_map(move |(mut object, value)| {
                object.extend(value.map(|value| (name.to_owned(), value)));
                object
            })
            .boxed();
    }
    object
}

fn fields() -> BoxedStrategy<Object> {
    let id = || or_null(an_id().prop_map(Value::Uuid));
    let integer = || or_null((-1i64..3).prop_map(Value::Integer));
    let flag = || or_null(any::<bool>().prop_map(Value::Boolean));
    let duration = || or_null(select(vec![0i64, 3_600_000]).prop_map(Value::Duration));
    let geo = parts(vec![("name", a_text()), ("height", a_decimal())]);
    let address = parts(vec![("city", a_text()), ("geo", or_null(geo.prop_map(Value::Object)))]);
    let billing =
        parts(vec![("city", a_text()), ("contact", id()), ("since", a_day()), ("days", duration())]);
    parts(vec![
        ("owner", id()),
        ("deputy", id()),
        ("customer", id()),
        ("status", or_null(select(vec!["draft", "live"]).prop_map(text))),
        ("code", a_text()),
        ("note", a_text()),
        ("team", a_text()),
        ("amount", integer()),
        ("most", integer()),
        ("price", a_decimal()),
        ("paid", flag()),
        ("public", flag()),
        ("at", an_instant()),
        ("until", an_instant()),
        ("day", a_day()),
        ("grace", duration()),
        ("members", list_of(an_id().prop_map(Value::Uuid))),
        ("tags", list_of(select(vec!["a", "ab"]).prop_map(text))),
        ("ranks", list_of((0i64..2).prop_map(Value::Integer))),
        ("address", or_null(address.prop_map(Value::Object))),
        ("billing", or_null(billing.prop_map(Value::Object))),
        ("extra", or_null(Just(Value::Json(serde_json::json!([1]))))),
    ])
}

static MODEL: LazyLock<Arc<Model>> = LazyLock::new(|| ruled("update", "true"));

fn compiled(rule: &str) -> Compiled {
    let env = Env { input: Some(&MODEL.fields), state: Some(&MODEL.fields), channel: None };
    Compiled::compile(rule, env, Expected::Boolean).unwrap_or_else(|faults| panic!("{rule}: {faults:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_predicate_holds_where_the_rule_is_true(
        rule in conditions(atom), actor in an_actor(), id in an_id(), states in prop::collection::vec(fields(), 8)
    ) {
        let compiled = compiled(&rule);
        let checked = translate::check(&compiled, &MODEL.fields);
        prop_assert!(checked.is_ok(), "{rule}: {checked:?}");
        let readable = translate::readable(&compiled, &MODEL.fields, &actor, NOW);
        let nothing = Object::new();
        for state in &states {
            let scope = Scope { id, input: &nothing, state: Some(state), now: NOW, actor: &actor };
            let evaluated = compiled.evaluate(&scope);
            let expected = evaluated == Ok(Value::Boolean(true));
            prop_assert_eq!(readable.holds(id, state), expected, "{}: {:?}, {:?}", rule, evaluated, readable);
        }
    }

    #[test]
    fn an_early_answer_is_the_last_one(
        rule in conditions(any_atom),
        of_input in prop::collection::vec(any::<bool>(), 32),
        actor in an_actor(),
        id in an_id(),
        input in fields(),
        known in (any::<bool>(), any::<bool>(), any::<bool>()),
        states in prop::collection::vec(fields(), 8),
    ) {
        // Some of the fields are those of the input.
        let mut of_input = of_input.into_iter().cycle();
        let mut pieces = rule.split("state.");
        let first = pieces.next().unwrap_or_default().to_owned();
        let rule = pieces.fold(first, |rule, piece| {
            rule + if of_input.next() == Some(true) { "input." } else { "state." } + piece
        });
        let compiled = compiled(&rule);
        let known = Known {
            actor: &actor,
            id: known.0.then_some(id),
            input: known.1.then_some(&input),
            now: known.2.then_some(NOW),
        };
        let early = early::of_rule(&compiled, &known);
        for state in &states {
            let scope = Scope { id, input: &input, state: Some(state), now: NOW, actor: &actor };
            let evaluated = compiled.evaluate(&scope);
            match early {
                Early::Yes => prop_assert_eq!(evaluated, Ok(Value::Boolean(true)), "{}", rule),
                Early::No => prop_assert_ne!(evaluated, Ok(Value::Boolean(true)), "{}", rule),
                Early::Depends => {}
            }
        }
    }
}
