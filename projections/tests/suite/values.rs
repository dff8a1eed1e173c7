//! What is recorded in an event is what a query answers, for values of every type.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use uuid::Uuid;
use writ_model::value::Decimal;
use writ_model::{Field, Object, Timestamp, Type, Value, evolve};

use crate::stage::{Stage, everything};

pub(crate) const THING: &str = r#"
model: thing
fields:
  text: { type: text, optional: true }
  bounded: { type: text, max_length: 40, optional: true }
  integer: { type: integer, optional: true }
  decimal: { type: decimal, precision: 20, scale: 4, optional: true }
  whole: { type: decimal, precision: 5, scale: 0, optional: true }
  boolean: { type: boolean, optional: true }
  timestamp: { type: timestamp, optional: true }
  date: { type: date, optional: true }
  duration: { type: duration, optional: true }
  uuid: { type: uuid, optional: true }
  email: { type: email, optional: true }
  url: { type: url, optional: true }
  enum: { type: enum, values: [red, green, blue], optional: true }
  other: { type: ref, to: thing, optional: true }
  list: { type: list, of: { name: { type: text }, price: { type: decimal, precision: 9, scale: 2 } }, optional: true }
  object: { type: object, fields: { when: { type: date }, how: { type: duration, optional: true } }, optional: true }
  json: { type: json, optional: true }
  xmin: { type: text, optional: true }
crud: true
"#;

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter("JSON has no infinity", |n| n.is_finite()).prop_map(Into::into),
        "[^\0]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map("[^\0]{0,4}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn value(ty: &Type) -> BoxedStrategy<Value> {
    match ty {
        Type::Text { .. } | Type::Email | Type::Url => {
            prop_oneof!["[^\0]{0,12}", "['\"\\\\;$\\{\\}\n]{1,6}", "\\PC{0,30}"].prop_map(Value::Text).boxed()
        }
        Type::Integer { .. } => prop_oneof![any::<i64>(), -9..9i64].prop_map(Value::Integer).boxed(),
        Type::Decimal { precision, scale, .. } => {
            let (largest, scale) = (10i128.pow(*precision) - 1, i64::from(*scale));
            (-largest..=largest, 0..*precision)
                .prop_map(move |(digits, drop)| {
                    Value::Decimal(Decimal::new((digits / 10i128.pow(drop)).into(), scale))
                })
                .boxed()
        }
        Type::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Type::Timestamp => {
            (Timestamp::MIN.0..=Timestamp::MAX.0).prop_map(|at| Value::Timestamp(Timestamp(at))).boxed()
        }
        Type::Date => (1..=9999i16, 1..=12i8, 1..=28i8)
            .prop_map(|(year, month, day)| Value::Date(jiff::civil::date(year, month, day)))
            .boxed(),
        Type::Duration => prop_oneof![
            any::<i64>(),
            -90_000_000..90_000_000i64,
            Just(i64::MIN),
            (0..1000i64).prop_map(|n| n * 60_000)
        ]
        .prop_map(Value::Duration)
        .boxed(),
        Type::Uuid | Type::Ref { .. } => {
            any::<u128>().prop_map(|bits| Value::Uuid(Uuid::from_u128(bits))).boxed()
        }
        Type::Enum(names) => prop::sample::select(names.clone()).prop_map(Value::Text).boxed(),
        Type::List { of, .. } => prop::collection::vec(field(of), 0..4).prop_map(Value::List).boxed(),
        Type::Object(fields) => object(fields.values()).prop_map(Value::Object).boxed(),
        Type::Json => json().prop_map(Value::Json).boxed(),
    }
}

fn field(field: &Field) -> BoxedStrategy<Value> {
    let value = value(&field.ty);
    if field.optional { prop_oneof![1 => Just(Value::Null), 4 => value].boxed() } else { value }
}

/// Values of these fields.
pub(crate) fn object<'a>(fields: impl Iterator<Item = &'a Field>) -> BoxedStrategy<Object> {
    let (names, values): (Vec<String>, Vec<_>) = fields.map(|one| (one.name.clone(), field(one))).unzip();
    values.prop_map(move |values| names.iter().cloned().zip(values).collect()).boxed()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_is_what_a_query_answers() {
    let stage = Stage::new(&[THING]).await;
    let running = stage.start();
    let thing = stage.model("thing");
    let event = thing.events.values().find(|event| event.creates).unwrap();
    let mut runner = TestRunner::deterministic();
    let mut sent = Vec::new();
    let mut positions = Vec::new();
    for index in 0..400i64 {
        let mut fields = object(event.fields.values()).new_tree(&mut runner).unwrap().current();
        if index == 0 {
            // No index may refuse a fact.
            fields.insert("text".into(), Value::Text("long ".repeat(20_000)));
        }
        let (id, at) = (Uuid::now_v7(), Timestamp(1_700_000_000_000 + index));
        positions.push(stage.publish(&thing, event, id, 1, at, &fields).await);
        sent.push((id, evolve(&thing, None, event, &fields, at)));
    }
    stage.reach(&positions).await;
    for (id, state) in sent {
        let row = stage.queries.get(&everything().asks(&thing), id).await.unwrap().unwrap();
        let answered: serde_json::Value = serde_json::from_str(row.state.get()).unwrap();
        // Through text once, as the answer went: JSON's numbers have no type.
        let expected: serde_json::Value = serde_json::from_str(&state.public_json().to_string()).unwrap();
        assert_eq!(answered, expected, "{id}");
        let names =
            |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&answered), names(&expected), "the declared order");
        assert_eq!(
            (row.version, row.created_at, row.updated_at),
            (1, state.created_at.to_string(), state.updated_at.to_string())
        );
    }
    running.stop().await;
}
