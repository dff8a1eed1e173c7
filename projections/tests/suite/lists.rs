//! Filters, orders and cursors against an oracle that does the same in memory, and hostile parameters.

use std::cmp::Ordering;

use futures::StreamExt as _;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_model::{Model, Timestamp};
use writ_projections::query::{Error, ListRequest, Queries, Row};

use crate::stage::{Stage, everything};
use crate::values::{THING, object};

const ITEM: &str = "
model: item
fields:
  name: { type: text, key: true }
  color: { type: enum, values: [red, green, blue] }
  size: { type: integer, optional: true }
  price: { type: decimal, precision: 8, scale: 2, optional: true }
  tags: { type: list, of: { type: text } }
crud: true
index: [[color, price]]
";

fn parse<'a>(
    model: &'a Model,
    params: &[(&str, &str)],
) -> Result<ListRequest<'a>, Vec<writ_model::FieldError>> {
    let params: Vec<(String, String)> =
        params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ListRequest::parse(everything().asks(model), &params)
}

async fn walk(queries: &Queries, model: &Model, params: &[(&str, &str)], limit: usize) -> Vec<Row> {
    let limit = limit.to_string();
    let mut rows: Vec<Row> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut all = params.to_vec();
        all.push(("limit", &limit));
        all.extend(after.as_deref().map(|cursor| ("after", cursor)));
        let page = queries.list(&parse(model, &all).unwrap()).await.unwrap();
        rows.extend(page.items);
        match page.next {
            None => return rows,
            next => after = next,
        }
        assert!(rows.len() < 10_000, "the pages end");
    }
}

/// Null is greater than everything.
fn compare(a: &Json, b: &Json) -> Ordering {
    match (a, b) {
        (Json::Null, Json::Null) => Ordering::Equal,
        (Json::Null, _) => Ordering::Greater,
        (_, Json::Null) => Ordering::Less,
        (Json::Number(a), Json::Number(b)) => a.as_i64().cmp(&b.as_i64()),
        (Json::String(a), Json::String(b)) => match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => a.total_cmp(&b),
            _ => a.as_bytes().cmp(b.as_bytes()),
        },
        _ => panic!("{a} and {b} have no order here"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_every_row_once_in_order() {
    let stage = Stage::new(&[ITEM]).await;
    let running = stage.start();
    let item = stage.model("item");
    let event = item.events.values().find(|event| event.creates).unwrap();
    let mut positions = Vec::new();
    for index in 0..120i64 {
        let color = ["red", "green", "blue"][usize::try_from(index % 3).unwrap()];
        let input = json!({
            "name": format!("item {index}"),
            "color": color,
            "size": if index % 5 == 0 { Json::Null } else { json!(index % 7 - 3) },
            "price": if index % 4 == 0 { Json::Null } else { json!(format!("{}.{:02}", index % 6, index % 2)) },
            "tags": [],
        });
        let fields = writ_model::value::object_from_json(&event.fields, &input, false).unwrap();
        let id = item.id_of_key(&format!("item {index}")).unwrap();
        positions.push(stage.publish(&item, event, id, 1, Timestamp(index / 10), &fields).await);
    }
    stage.reach(&positions).await;
    let all = walk(&stage.queries, &item, &[], 7).await;
    assert_eq!(all.len(), 120);

    let member = |row: &Row, name: &str| match name {
        "id" => json!(row.id.to_string()),
        "created_at" => json!(row.created_at),
        name => serde_json::from_str::<Json>(row.state.get()).unwrap()[name].clone(),
    };
    for sort in
        ["size,-price", "-size", "price,color", "-price,-color,name", "created_at,size", "-created_at", "-id"]
    {
        for limit in [1, 13, 1000] {
            let rows = walk(&stage.queries, &item, &[("sort", sort)], limit).await;
            let keys: Vec<(&str, bool)> = sort
                .split(',')
                .map(|part| part.strip_prefix('-').map_or((part, false), |name| (name, true)))
                .chain([("id", sort.rsplit(',').next().unwrap().starts_with('-'))])
                .collect();
            let mut expected: Vec<Uuid> = all.iter().map(|row| row.id).collect();
            let row = |id: &Uuid| all.iter().find(|row| row.id == *id).unwrap();
            expected.sort_by(|a, b| {
                keys.iter().fold(Ordering::Equal, |so_far, (name, descending)| {
                    let one = compare(&member(row(a), name), &member(row(b), name));
                    so_far.then(if *descending { one.reverse() } else { one })
                })
            });
            let found: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
            assert_eq!(found, expected, "sort={sort} limit={limit}");
        }
    }

    let count = async |params: &[(&str, &str)]| walk(&stage.queries, &item, params, 50).await.len();
    let expect = |test: &dyn Fn(&Row) -> bool| all.iter().filter(|row| test(row)).count();
    let is = |row: &Row, name: &str, test: fn(f64) -> bool| match member(row, name) {
        Json::Number(number) => test(number.as_f64().unwrap()),
        Json::String(text) => test(text.parse().unwrap()),
        _ => false,
    };
    assert_eq!(count(&[("color", "red")]).await, 40);
    assert_eq!(count(&[("color[ne]", "red")]).await, 80);
    assert_eq!(count(&[("color[in]", "red,blue")]).await, 80);
    assert_eq!(count(&[("size[gte]", "1")]).await, expect(&|row| is(row, "size", |n| n >= 1.0)));
    assert_eq!(count(&[("size[ne]", "1")]).await, expect(&|row| !is(row, "size", |n| n == 1.0)));
    assert_eq!(count(&[("price[lt]", "2.005")]).await, expect(&|row| is(row, "price", |n| n < 2.005)));
    assert_eq!(
        count(&[("price[gt]", "1"), ("price[lte]", "3.01")]).await,
        expect(&|row| is(row, "price", |n| n > 1.0 && n <= 3.01))
    );
    assert_eq!(count(&[("name", "item 7")]).await, 1);
    assert_eq!(count(&[("id", &all[3].id.to_string())]).await, 1);
    assert_eq!(count(&[("created_at[lt]", "1970-01-01T00:00:00.001Z")]).await, 10);

    let known = all[0].id;
    assert_eq!(stage.queries.existing(&item, &[known, Uuid::nil()]).await.unwrap(), [known]);

    let page = stage.queries.list(&parse(&item, &[("sort", "size")]).unwrap()).await.unwrap();
    let foreign = parse(&item, &[("sort", "-size"), ("after", &page.next.unwrap())]).unwrap_err();
    assert_eq!(foreign[0].code, "invalid_cursor");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_parameter_reaches_postgresql_as_sql() {
    let stage = Stage::new(&[THING]).await;
    let running = stage.start();
    let thing = stage.model("thing");
    let event = thing.events.values().find(|event| event.creates).unwrap();
    let mut runner = TestRunner::deterministic();
    let mut positions = Vec::new();
    for _ in 0..20 {
        let fields = object(event.fields.values()).new_tree(&mut runner).unwrap().current();
        positions.push(stage.publish(&thing, event, Uuid::now_v7(), 1, Timestamp(0), &fields).await);
    }
    stage.reach(&positions).await;

    let hostile = proptest::prop_oneof![
        proptest::sample::select(vec![
            "'",
            "''",
            "\\'",
            "\"",
            "';--",
            "$1",
            "' OR '1'='1",
            "'; DROP SCHEMA public CASCADE; --",
            "{\"a\"}",
            "\0",
            "-",
            "",
            "-0",
            "NaN",
            "Infinity",
            "1e400",
            "99999999999999999999",
            "-9223372036854775808",
            "9999-12-31",
            "red",
            "0000-00-00",
            "9999-12-31T23:59:59.999Z",
            "0001-01-01T00:00:00.000Z",
            "PT2562047788015H",
            "true",
            "null",
            "WyIwIixbXV0",
            "(SELECT 1)",
            "%",
            "\u{1F600}\u{202E}",
            "00000000-0000-0000-0000-000000000000",
            "a\\",
            "\\",
            "_%\\%",
            "a:* & !b | <-> ((",
            "\"unclosed -- or and -",
            "{\"a\": [1e308, \"\\u0000\"]}",
            "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
            "list.name,object.when,json",
            "-object.when,integer",
            "other",
            "csv",
            "ndjson",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,20}",
        "-?[0-9]{1,40}(\\.[0-9]{1,40})?",
    ];
    let names: Vec<String> = thing
        .fields
        .keys()
        .cloned()
        .chain(["id", "version", "created_at", "updated_at"].map(str::to_owned))
        .collect();
    let names: Vec<String> = names
        .into_iter()
        .chain(
            ["object.when", "object.how", "list.name", "list.price", "object.a.b.c", "json.a"]
                .map(str::to_owned),
        )
        .collect();
    let operators = [
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
        "[",
        "]",
        "[' OR 1=1]",
        "[eq][eq]",
        ".",
        "..",
        ".'",
        "[contains]'",
    ];
    let name = proptest::prop_oneof![
        12 => (proptest::sample::select(names), proptest::sample::select(operators.to_vec()))
            .prop_map(|(name, operator)| format!("{name}{operator}")),
        3 => proptest::sample::select(vec!["sort", "limit", "after", "count", "fields", "expand", "q", "format"])
            .prop_map(str::to_owned),
        1 => "\\PC{0,20}",
    ];
    let params = proptest::collection::vec((name, hostile), 1..3);
    let mut asked = 0;
    for _ in 0..6000 {
        let params = params.new_tree(&mut runner).unwrap().current();
        let Ok(request) = ListRequest::parse(everything().asks((&*stage.models, &*thing)), &params) else {
            continue;
        };
        asked += 1;
        if let Some(format) = request.format {
            let export = stage.queries.export(&request, format).await;
            let pieces: Vec<_> = export.unwrap_or_else(|error| panic!("{params:?}: {error}")).collect().await;
            assert!(pieces.iter().all(Result::is_ok), "{params:?}: {pieces:?}");
            continue;
        }
        match stage.queries.list(&request).await {
            Ok(page) => assert!(page.items.len() <= 20),
            Err(error @ (Error::Failed(_) | Error::Unavailable(_))) => panic!("{params:?}: {error}"),
        }
    }
    assert!(asked > 300, "enough of them were fit to be asked: {asked}");
    assert_eq!(walk(&stage.queries, &thing, &[], 1000).await.len(), 20, "and nothing was changed");
    running.stop().await;
}
