//! Models, states and requests by chance.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_model::{Field, Model, Object, State, Type, Value};

use crate::values::object;

/// The text of a model, up to its `read` rule.
pub(super) fn model(runner: &mut TestRunner) -> String {
    let rng = runner.rng();
    let fields: String = (0..8).map(|index| format!("  f{index}: {}\n", ty(rng, 3))).collect();
    format!(
        "
model: thing
fields:
  owner: {{ type: ref, to: thing, optional: true }}
  deputy: {{ type: uuid, optional: true }}
  team: {{ type: enum, values: [a, b, c], optional: true }}
  rank: {{ type: integer, optional: true }}
  price: {{ type: decimal, precision: 9, scale: 2, optional: true }}
  members: {{ type: list, of: {{ type: ref, to: thing }}, optional: true }}
  place: {{ type: object, optional: true, fields: {{ town: {{ type: text, optional: true }}, grace: {{ type: duration, optional: true }} }} }}
  extra: {{ type: json, optional: true }}
  kept: {{ type: text, optional: true, secret: true }}
{fields}
crud: true
allow:
  fields: {{ 'f0, rank': role('staff') }}
  read: >-
"
    )
}

/// A type by chance. `depth`: so many lists and objects may stand inside of each other.
fn ty(rng: &mut impl RngExt, depth: usize) -> String {
    let ty = match rng.random_range(0..if depth == 0 { 13 } else { 18 }) {
        0 => "type: text".to_owned(),
        1 => "type: integer".to_owned(),
        2 => {
            let precision = rng.random_range(1..=38);
            format!("type: decimal, precision: {precision}, scale: {}", rng.random_range(0..=precision))
        }
        3 => "type: boolean".to_owned(),
        4 => "type: timestamp".to_owned(),
        5 => "type: date".to_owned(),
        6 => "type: duration".to_owned(),
        7 => "type: uuid".to_owned(),
        8 => "type: email".to_owned(),
        9 => "type: url".to_owned(),
        10 => "type: enum, values: [red, green, blue]".to_owned(),
        11 => "type: ref, to: thing".to_owned(),
        12 => "type: json".to_owned(),
        13 | 14 => {
            let item = ty(rng, depth - 1).replace(", optional: true }", " }");
            format!("type: list, of: {item}")
        }
        _ => {
            let parts: Vec<String> =
                (0..rng.random_range(1..4)).map(|part| format!("p{part}: {}", ty(rng, depth - 1))).collect();
            format!("type: object, fields: {{ {} }}", parts.join(", "))
        }
    };
    format!("{{ {ty}, optional: true }}")
}

/// Values of all fields. Those of the rules are few.
pub(super) fn fields(model: &Model) -> BoxedStrategy<Object> {
    let or_null = |value: BoxedStrategy<Value>| prop_oneof![1 => Just(Value::Null), 4 => value];
    let id = || (1u128..=3).prop_map(|id| Value::Uuid(Uuid::from_u128(id))).boxed();
    let extra = json!([
        null, true, "x", "1", 1, 1.0, -0.0, 0, 1e16, 10_000_000_000_000_000_u64, u64::MAX, 1.844_674_407_370_955_2e19,
        [], {}, [[]], [{}], [1], [1.0, [2, "x"]], [[1, 2], [2.0]], ["x", null, true], [{ "a": 1, "b": [] }],
        { "a": null }, { "a": 1.5e-7 }, { "a": [1, { "b": 2.0 }] }, { "a": { "b": 2, "aa": [] }, "b": 1 }, { "b": "x", "a": [] },
    ]);
    let extra = proptest::sample::select(extra.as_array().unwrap().clone()).prop_map(Value::Json);
    let few = (
        or_null(extra.boxed()),
        or_null(id()),
        or_null(id()),
        or_null((-1i64..4).prop_map(Value::Integer).boxed()),
        or_null(
            proptest::sample::select(vec!["1.00", "2.50", "3.00"])
                .prop_map(|text| Value::Decimal(text.parse().unwrap()))
                .boxed(),
        ),
        or_null(proptest::collection::vec(id(), 0..3).prop_map(Value::List).boxed()),
    );
    (object(model.fields.values()), few)
        .prop_map(|(mut fields, (extra, owner, deputy, rank, price, members))| {
            let few = [
                ("extra", extra),
                ("owner", owner),
                ("deputy", deputy),
                ("rank", rank),
                ("price", price),
                ("members", members),
            ];
            fields.extend(few.map(|(name, value)| (name.to_owned(), value)));
            fields
        })
        .boxed()
}

/// A name that a filter may have, and texts of the values that there are.
pub(super) struct Path {
    name: String,
    values: Vec<Value>,
}

/// All names.
pub(super) fn paths(model: &Model, rows: &[(Uuid, State)]) -> Vec<Path> {
    let mut paths = Vec::new();
    let fixed = |name: &str, value: &dyn Fn(&(Uuid, State)) -> Value| Path {
        name: name.to_owned(),
        values: rows.iter().map(value).collect(),
    };
    paths.push(fixed("id", &|(id, _)| Value::Uuid(*id)));
    paths.push(fixed("version", &|(_, state)| Value::Integer(state.version.cast_signed())));
    paths.push(fixed("created_at", &|(_, state)| Value::Timestamp(state.created_at)));
    paths.push(fixed("updated_at", &|(_, state)| Value::Timestamp(state.updated_at)));
    for field in model.fields.values().filter(|field| !field.secret) {
        let values = rows.iter().map(|(_, state)| state.fields[&field.name].clone()).collect();
        add(&mut paths, field.name.clone(), field, values);
    }
    paths
}

/// `values`: those of the field in all rows. Of a list, its items.
fn add(paths: &mut Vec<Path>, name: String, field: &Field, mut values: Vec<Value>) {
    let mut ty = &field.ty;
    while let Type::List { of, .. } = ty {
        let items = |value| if let Value::List(items) = value { items } else { Vec::new() };
        (ty, values) = (&of.ty, values.into_iter().flat_map(items).collect());
    }
    if let Type::Object(parts) = ty {
        for part in parts.values() {
            let inner = |value: &Value| match value {
                Value::Object(object) => object.get(&part.name).cloned(),
                _ => None,
            };
            add(paths, format!("{name}.{}", part.name), part, values.iter().filter_map(inner).collect());
        }
    }
    values.retain(|value| *value != Value::Null);
    paths.push(Path { name, values });
}

/// Parameters that may be right: filters by what there is or nearly is, and perhaps which fields are shown.
pub(super) fn params(paths: &[Path], runner: &mut TestRunner) -> Vec<(String, String)> {
    let rng = runner.rng();
    let count = [0, 1, 1, 1, 1, 2, 3][rng.random_range(0..7)];
    let mut params: Vec<(String, String)> = (0..count).map(|_| filter(paths, rng)).collect();
    if rng.random_range(0..4) == 0 {
        let names = (0..rng.random_range(1..5)).map(|_| pick(paths, rng).name.clone());
        params.push(("fields".to_owned(), names.collect::<Vec<_>>().join(",")));
    }
    params
}

fn filter(paths: &[Path], rng: &mut impl RngExt) -> (String, String) {
    // JSON has but one operator of its own, and it is the one with the most cases.
    if let (0, Some(extra)) = (rng.random_range(0..8), paths.iter().find(|path| path.name == "extra")) {
        return ("extra[contains]".to_owned(), text(pick(&extra.values, rng), rng));
    }
    const OPERATORS: [&str; 12] = [
        "",
        "[eq]",
        "[ne]",
        "[lt]",
        "[lte]",
        "[gt]",
        "[gte]",
        "[in]",
        "[like]",
        "[ilike]",
        "[is_null]",
        "[contains]",
    ];
    let path = pick(paths, rng);
    let operator = *pick(&OPERATORS, rng);
    let mut value = || match path.values.len() {
        0 => pick(&["", "x", "1", "2026-01-01", "true", "PT1H", "null", "[]", "{}"], rng).to_string(),
        _ => text(pick(&path.values, rng), rng),
    };
    let value = match operator {
        "[is_null]" => pick(&["true", "false"], rng).to_string(),
        "[in]" => {
            let (first, second) = (value(), value());
            format!("{first},{second}")
        }
        "[like]" | "[ilike]" => {
            let text = value();
            pattern(&text, rng)
        }
        _ => value(),
    };
    (format!("{}{operator}", path.name), value)
}

fn text(value: &Value, rng: &mut impl RngExt) -> String {
    match value {
        Value::Json(json) => piece(json, rng).to_string(),
        // Without the zeros at the end, it is the same number.
        Value::Decimal(value) if rng.random_range(0..3) == 0 => value.normalized().to_plain_string(),
        value => value.to_text().unwrap_or_else(|| value.to_json().to_string()),
    }
}

/// JSON that may be contained in this.
fn piece(json: &Json, rng: &mut impl RngExt) -> Json {
    if rng.random_range(0..4) == 0 {
        return json.clone();
    }
    match json {
        Json::Array(items) if !items.is_empty() => {
            let item = piece(pick(items, rng), rng);
            // Often in its brackets, as `@>` has it.
            match rng.random_range(0..4) {
                0 => item,
                1 => json!([item, pick(items, rng)]),
                _ => json!([item]),
            }
        }
        Json::Object(members) if !members.is_empty() => {
            let names: Vec<&String> = members.keys().collect();
            let name = *pick(&names, rng);
            Json::Object([(name.clone(), piece(&members[name], rng))].into_iter().collect())
        }
        Json::Number(number) if rng.random_range(0..3) == 0 => {
            number.as_f64().map_or(json.clone(), |number| json!(number))
        }
        other => other.clone(),
    }
}

/// A pattern that is like this text, or nearly.
fn pattern(text: &str, rng: &mut impl RngExt) -> String {
    let mut pattern = String::new();
    for char in text.chars() {
        match rng.random_range(0..24) {
            0 | 1 => pattern.push('_'),
            2 => pattern.push('%'),
            3 => pattern.extend(["%", "_"]),
            4 => pattern.extend(char.to_uppercase()),
            5 => pattern.extend(char.to_lowercase()),
            6 => {}
            7 => return pattern + "%",
            8 => pattern = "%".to_owned(),
            _ if matches!(char, '%' | '_' | '\\') => pattern.extend(['\\', char]),
            _ => pattern.push(char),
        }
    }
    pattern
}

fn pick<'v, T>(of: &'v [T], rng: &mut impl RngExt) -> &'v T {
    &of[rng.random_range(0..of.len())]
}
