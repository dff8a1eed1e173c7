//! `read` rules as SQL: random rules, actors and rows, where PostgreSQL must select exactly those of which the predicate
//! holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_model::access::Readable;
use writ_model::decide::Actor;
use writ_model::value::Decimal;
use writ_model::{Model, Object, Timestamp, Value};
use writ_projections::Reader;
use writ_projections::query::{ListRequest, Queries};
use writ_projections::tables::{Schema, Table};

use crate::shop::Shop;
use crate::stage::{Database, models};

/// 2026-01-02T00:00:00Z.
const NOW: Timestamp = Timestamp(1_767_312_000_000);
const RULES: usize = 1_200;
const ROWS: usize = 60;

const FIELDS: &str = "
model: thing
fields:
  owner: { type: ref, to: thing, optional: true }
  deputy: { type: uuid, optional: true }
  status: { type: enum, values: [draft, live], optional: true }
  code: { type: text, optional: true }
  xmin: { type: text, optional: true }
  amount: { type: integer, optional: true }
  price: { type: decimal, precision: 12, scale: 2, optional: true }
  paid: { type: boolean, optional: true }
  at: { type: timestamp, optional: true }
  day: { type: date, optional: true }
  grace: { type: duration, optional: true }
  members: { type: list, of: { type: ref, to: thing }, optional: true }
  tags: { type: list, of: text, optional: true }
  ranks: { type: list, of: integer, optional: true }
  place: { type: object, optional: true, fields: { town: { type: text, optional: true, renamed_from: [village, city] }, geo: { type: object, optional: true, renamed_from: spot, fields: { height: { type: decimal, precision: 9, scale: 3, optional: true }, level: { type: integer, optional: true } } } } }
  terms: { type: object, optional: true, fields: { contact: { type: ref, to: thing, optional: true }, since: { type: date, optional: true }, until: { type: timestamp, optional: true }, paid: { type: boolean, optional: true }, days: { type: duration, optional: true }, labels: { type: list, of: text, optional: true } } }
  extra: { type: json, optional: true }
crud: true
index: [[status]]
allow:
  read: >-
    ";

fn model(rule: &str) -> Arc<Model> {
    models(&[&format!("{FIELDS}{rule}\n")]).get("thing").unwrap().clone()
}

fn pairs(of: &[&'static str], operators: &[&'static str]) -> BoxedStrategy<String> {
    let side = || select(of.to_vec());
    (side(), select(operators.to_vec()), side()).prop_map(|(a, op, b)| format!("{a} {op} {b}")).boxed()
}

fn atom() -> BoxedStrategy<String> {
    let equality = ["==", "!="];
    let order = ["==", "!=", "<", "<=", ">", ">="];
    let ids = [
        "state.owner",
        "state.deputy",
        "state.terms.contact",
        "id",
        "actor.id",
        "uuid('00000000-0000-0000-0000-000000000001')",
    ];
    let texts = ["state.code", "state.xmin", "state.place.town", "'a'", "'A'", "'é'", "''", "'a\\\\'"];
    let numbers =
        ["state.amount", "state.price", "state.place.geo.height", "state.place.geo.level", "0", "1", "0.5"];
    let times = ["state.at", "state.terms.until", "now", "now - duration('1h')"];
    let fields = select(vec![
        "state.owner",
        "state.code",
        "state.amount",
        "state.grace",
        "state.members",
        "state.place",
        "state.place.town",
        "state.place.geo",
        "state.place.geo.level",
        "state.terms",
        "state.terms.days",
        "state.terms.labels",
        "state.extra",
    ]);
    prop_oneof![
        4 => pairs(&ids, &equality),
        3 => pairs(&texts, &order),
        3 => pairs(&numbers, &order),
        1 => pairs(&times, &order),
        1 => pairs(&["state.day", "state.terms.since", "date(now)"], &order),
        1 => pairs(&["state.grace", "duration('1h')"], &order),
        1 => pairs(&["state.paid", "state.terms.paid", "role('a')"], &equality),
        1 => select(vec!["state.paid", "state.terms.paid", "role('a')"]).prop_map(str::to_owned),
        2 => (fields.clone(), select(equality.to_vec())).prop_map(|(field, op)| format!("{field} {op} null")),
        1 => fields.prop_filter("parts", |field| field.matches('.').count() > 1).prop_map(|field| format!("has({field})")),
        3 => select(vec![
            "actor.id in state.members",
            "'a' in state.tags",
            "'a' in state.terms.labels",
            "1 in state.ranks",
            "role(state.code)",
            "role(state.place.town)",
            "state.owner in [state.deputy, id]",
            "state.amount in [0, 1]",
            "state.amount in [0.5, 1.0]",
            "state.price in [0.5, 1.0]",
            "state.place.geo.height in [0.5]",
            "state.place.geo.level in [0, 1]",
            "state.status in ['live', null]",
            "state.place.town in ['a', 'é']",
            "orElse(state.price, 1.0) > 0.5",
        ]).prop_map(str::to_owned),
        2 => (
            select(vec!["state.code", "state.xmin", "state.place.town"]),
            select(vec!["contains", "startsWith", "endsWith"]),
            select(vec!["'a'", "''", "'é'", "'%'", "'\\''"]),
        ).prop_map(|(text, function, part)| format!("{text}.{function}({part})")),
    ]
    .boxed()
}

fn rule() -> impl Strategy<Value = String> {
    atom().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

fn actor() -> impl Strategy<Value = Actor> {
    let roles = subsequence(vec!["a", "é", "live"], 0..=2);
    (prop::option::weighted(0.8, 1u128..=3), roles).prop_map(|(id, roles)| Actor {
        id: id.map(Uuid::from_u128),
        roles: roles.into_iter().map(str::to_owned).collect(),
        ..Actor::default()
    })
}

fn or_null(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 3 => value].boxed()
}

fn a_text() -> BoxedStrategy<Value> {
    let texts = vec!["", "a", "A", "b", "ab", "é", "ß", "a\\", "'", "100%", "live", "\u{1F600}"];
    or_null(select(texts).prop_map(|text| Value::Text(text.into())))
}

fn parts(parts: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Object> {
    parts.into_iter().fold(Just(Object::new()).boxed(), |object, (name, value)| {
        (object, value)
            .prop_map(move |(mut object, value)| {
                object.insert(name.to_owned(), value);
                object
            })
            .boxed()
    })
}

fn row() -> BoxedStrategy<Object> {
    let id = || or_null((1u128..=3).prop_map(|id| Value::Uuid(Uuid::from_u128(id))));
    let integer = || or_null((-1i64..3).prop_map(Value::Integer));
    let flag = || or_null(any::<bool>().prop_map(Value::Boolean));
    let duration = || or_null(select(vec![0i64, 3_600_000, 86_400_000]).prop_map(Value::Duration));
    let instant =
        || or_null((-2i64..3).prop_map(|hours| Value::Timestamp(Timestamp(NOW.0 + hours * 3_600_000))));
    let day = || or_null((1i8..4).prop_map(|day| Value::Date(jiff::civil::date(2026, 1, day))));
    let decimal = |scale: i64| {
        let of = move |cents: i64| Value::Decimal(Decimal::new(cents.into(), 2).with_scale(scale));
        or_null(select(vec![-50i64, 0, 50, 100, 150]).prop_map(of))
    };
    let list = |item: BoxedStrategy<Value>| {
        or_null(
            prop::collection::vec(item.prop_filter("no null", |item| *item != Value::Null), 0..3)
                .prop_map(Value::List),
        )
    };
    let geo = parts(vec![("height", decimal(3)), ("level", integer())]);
    let place = parts(vec![("town", a_text()), ("geo", or_null(geo.prop_map(Value::Object)))]);
    let terms = parts(vec![
        ("contact", id()),
        ("since", day()),
        ("until", instant()),
        ("paid", flag()),
        ("days", duration()),
        ("labels", list(a_text())),
    ]);
    parts(vec![
        ("owner", id()),
        ("deputy", id()),
        ("status", or_null(select(vec!["draft", "live"]).prop_map(|text| Value::Text(text.into())))),
        ("code", a_text()),
        ("xmin", a_text()),
        ("amount", integer()),
        ("price", decimal(2)),
        ("paid", flag()),
        ("at", instant()),
        ("day", day()),
        ("grace", duration()),
        ("members", list(id())),
        ("tags", list(a_text())),
        ("ranks", list(integer())),
        ("place", or_null(place.prop_map(Value::Object))),
        ("terms", or_null(terms.prop_map(Value::Object))),
        ("extra", or_null(Just(Value::Json(json!([1]))))),
    ])
}

/// The value of a column, as the projector keeps it.
fn kept(value: &Value) -> Json {
    match value {
        Value::Duration(millis) => json!(millis),
        value => value.to_json(),
    }
}

/// As a row is that was written before parts of it were renamed.
fn with_old_names(row: &mut Json, number: usize) {
    let old = [("town", ["city", "village"][number % 2]), ("geo", "spot")];
    for (name, before) in old.into_iter().filter(|_| number.is_multiple_of(3)) {
        if let Some(place) = row["place"].as_object_mut()
            && let Some(value) = place.remove(name)
        {
            place.insert(before.to_owned(), value);
        }
    }
}

/// The table, with these rows.
async fn filled(rows: &[(Uuid, Object)]) -> (Database, Queries) {
    let database = Database::new();
    let table = Table::derive(&Schema::new(&database.options.schema), &model("'x' == 'y'"));
    database.execute(&format!("CREATE SCHEMA $schema; {}", table.create())).await;
    for (number, (id, fields)) in rows.iter().enumerate() {
        let mut row: serde_json::Map<String, Json> =
            fields.iter().map(|(name, value)| (name.clone(), kept(value))).collect();
        // The name that PostgreSQL has taken.
        let column = table.create().lines().find_map(|line| {
            line.trim()
                .strip_prefix("\"xmin_")
                .map(|rest| format!("xmin_{}", rest.split('"').next().unwrap()))
        });
        let xmin = row.remove("xmin").unwrap();
        row.insert(column.unwrap(), xmin);
        let fixed = json!({ "id": id, "version": 1, "deleted": false, "created_at": "2026-01-01", "updated_at": "2026-01-01" });
        row.extend(fixed.as_object().unwrap().clone());
        let mut row = Json::Object(row);
        with_old_names(&mut row, number);
        let row = row.to_string().replace('\'', "''");
        database
            .execute(&format!(
                "INSERT INTO $schema.thing SELECT (jsonb_populate_record(NULL::$schema.thing, '{row}')).*"
            ))
            .await;
    }
    let queries = Queries::new(&database.options, None).unwrap();
    (database, queries)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_selects_what_the_predicate_holds_of() {
    let mut runner = TestRunner::deterministic();
    let rows: Vec<(Uuid, Object)> = (1..=ROWS as u128)
        .map(|id| (Uuid::from_u128(id), row().new_tree(&mut runner).unwrap().current()))
        .collect();
    let (_database, queries) = filled(&rows).await;
    let (rules, actors) = (rule(), actor());
    let (mut tested, mut told_apart) = (0, 0);
    for _ in 0..RULES {
        let rule = rules.new_tree(&mut runner).unwrap().current();
        let actor = actors.new_tree(&mut runner).unwrap().current();
        let model = model(&rule);
        let subject = Reader { actor: &actor, now: NOW }.asks(&*model);
        let readable = subject.visible().rows.clone();
        let holds = rows.iter().filter(|(id, fields)| readable.holds(*id, fields));
        let expected: BTreeSet<Uuid> = holds.map(|(id, _)| *id).collect();
        let params = [("limit", "1000"), ("count", "true")].map(|(name, value)| (name.into(), value.into()));
        let request = ListRequest::parse(subject, &params).unwrap();
        let page =
            queries.list(&request).await.unwrap_or_else(|error| panic!("{rule}: {error}\n{readable:#?}"));
        let found: BTreeSet<Uuid> = page.items.iter().map(|row| row.id).collect();
        let differ: Vec<_> =
            rows.iter().filter(|(id, _)| expected.contains(id) != found.contains(id)).collect();
        assert!(differ.is_empty(), "{rule}\n{readable:#?}\n{differ:#?}");
        assert_eq!(usize::try_from(page.count.unwrap().value).unwrap(), expected.len(), "{rule}");
        tested += usize::from(matches!(readable, Readable::Where(_)));
        told_apart += usize::from(!expected.is_empty() && expected.len() < ROWS);
    }
    assert!(
        tested > RULES / 2 && told_apart > RULES / 3,
        "{tested} predicates, {told_apart} of them told rows apart"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_one_owner_are_found_by_the_index_and_never_estimated() {
    let shop = Shop::new().await;
    shop.many(60_000).await;
    // Each thousandth order is of one of a thousand customers, and many are of one more.
    shop.database
        .execute(
            "UPDATE $schema.\"order\" SET customer = CASE WHEN number::int > 40000 THEN uuid 'ffffffff-ffff-ffff-ffff-ffffffffffff' \
             ELSE ('00000000-0000-0000-0000-' || lpad(to_hex(number::int % 1000), 12, '0'))::uuid END; \
             ANALYZE $schema.\"order\"",
        )
        .await;
    let owner = |id: u128| Actor { id: Some(Uuid::from_u128(id)), ..Actor::default() };
    let (few, many) = (owner(7), owner(u128::MAX));
    let request = |actor, params: &[(&str, &str)]| {
        let params: Vec<(String, String)> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ListRequest::parse(Reader { actor, now: NOW }.asks((&*shop.models, shop.order())), &params).unwrap()
    };
    let page = shop.queries.list(&request(&few, &[("limit", "5")])).await.unwrap();
    let next = page.next.unwrap();
    for params in [&[][..], &[("after", next.as_str())], &[("sort", "-total")], &[("status", "paid")]] {
        let plan = shop.queries.plan(&request(&few, params)).await.unwrap().to_string();
        let is_found = plan.split("\"Index Cond\":\"").skip(1).any(|condition| {
            condition.split_once('"').is_some_and(|(condition, _)| condition.contains("(customer = "))
        });
        assert!(is_found && !plan.contains("Seq Scan"), "{params:?}: {plan}");
    }

    let count = async |actor| {
        let page = shop.queries.list(&request(actor, &[("count", "true"), ("limit", "1")])).await.unwrap();
        page.count.map(|count| (count.value, count.exact)).unwrap()
    };
    assert_eq!(count(&few).await, (40, true));
    assert_eq!(count(&many).await, (10_000, false), "at least so many: an estimate knows of other rows");
}
