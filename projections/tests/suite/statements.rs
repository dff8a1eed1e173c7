//! The statements of SQL projections: every type as a parameter, exactly once, and what stops them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;
use writ_model::decide::{Actor, Request};
use writ_model::diagnostic::Source;
use writ_model::{Decision, Models, Timestamp, Value, decide};
use writ_producers::readiness::Readiness;

use crate::projector::{COUNTER, fields, publish, rows};
use crate::stage::{LIMIT, Stage, variable};
use crate::values::{THING, object};

/// A copy of every parameter in a column of its type, and what PostgreSQL takes each of them for.
const COPIES: &str = "
projection: copies
fields:
  thing: { type: ref, to: thing, key: true }
  text: text
  bounded: text
  integer: integer
  decimal: { type: decimal, precision: 20, scale: 4 }
  whole: { type: decimal, precision: 5, scale: 0 }
  boolean: boolean
  timestamp: timestamp
  date: date
  duration: duration
  uuid: uuid
  email: email
  url: url
  enum: { type: enum, values: [red, green, blue] }
  other: { type: ref, to: thing }
  list: json
  object: json
  json: json
  tripled: { type: decimal, precision: 24, scale: 4 }
  types: text
on:
  thing.created: |
    INSERT INTO copies (thing, text, bounded, integer, decimal, whole, boolean, timestamp, date, duration, uuid, email,
                        url, enum, other, list, object, json, tripled, types)
    VALUES (:event.aggregate_id, :text, :bounded, :integer, :decimal, :whole, :boolean, :timestamp, :date, :duration,
            :uuid, :email, :url, :enum, :other, :list, :object, :json, :decimal * 3,
            concat_ws(', ', pg_typeof(:text), pg_typeof(:integer), pg_typeof(:decimal), pg_typeof(:boolean),
                      pg_typeof(:timestamp), pg_typeof(:date), pg_typeof(:duration), pg_typeof(:uuid), pg_typeof(:enum),
                      pg_typeof(:other), pg_typeof(:list), pg_typeof(:json)))
";

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_of_every_type_is_exact() {
    let stage = Stage::new(&[THING, COPIES]).await;
    let (running, thing) = (stage.start(), stage.model("thing"));
    let event = &thing.events["created"];
    let mut runner = TestRunner::deterministic();
    let mut positions = Vec::new();
    for index in 0..300i64 {
        let mut fields = object(event.fields.values()).new_tree(&mut runner).unwrap().current();
        if index == 0 {
            fields.values_mut().for_each(|value| *value = Value::Null);
        }
        positions.push(stage.publish(&thing, event, Uuid::now_v7(), 1, Timestamp(index), &fields).await);
    }
    stage.reach(&positions).await;
    assert_eq!(stage.database.number("SELECT count(*) FROM $schema.copies").await, 300);
    let columns = [
        "text",
        "bounded",
        "integer",
        "decimal",
        "whole",
        "boolean",
        "timestamp",
        "date",
        "duration",
        "uuid",
        "email",
        "url",
        "enum",
        "other",
        "list",
        "object",
        "json",
    ];
    for column in columns {
        let different = format!(
            "SELECT count(*) FROM $schema.copies AS copy JOIN $schema.thing AS original ON original.id = copy.thing \
             WHERE copy.\"{column}\" IS DISTINCT FROM original.\"{column}\""
        );
        assert_eq!(stage.database.number(&different).await, 0, "{column}");
        let nulls = format!("SELECT count(*) FROM $schema.copies WHERE \"{column}\" IS NULL");
        assert!((1..300).contains(&stage.database.number(&nulls).await), "{column}: null and not null");
    }
    let tripled = "SELECT count(*) FROM $schema.copies WHERE tripled IS DISTINCT FROM decimal * 3";
    assert_eq!(stage.database.number(tripled).await, 0);
    let types = stage.database.select("SELECT DISTINCT types FROM $schema.copies").await;
    let expected = "text, bigint, numeric, boolean, timestamp with time zone, date, bigint, uuid, text, uuid, jsonb, jsonb";
    assert_eq!(types, [json!({ "types": expected })], "null has its type too");
    running.stop().await;
}

const METADATA: &str = "
projection: metadata
fields:
  id: { type: uuid, key: true }
  type: text
  aggregate_id: uuid
  version: integer
  time: timestamp
  actor: text
  correlation_id: text
  causation_id: text
  day: date
on:
  counter.opened: |
    INSERT INTO metadata VALUES (:event.id, :event.type, :event.aggregate_id, :event.version, :event.time, :event.actor,
                                 :event.correlation_id, :event.causation_id, :event.time::date)
";

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_knows_what_every_event_has() {
    let stage = Stage::new(&[COUNTER, METADATA]).await;
    let (running, counter) = (stage.start(), stage.model("counter"));
    let (id, opened) = (Uuid::now_v7(), &counter.events["opened"]);
    let named = fields(opened, &json!({ "name": "a", "amount": 0 }));
    let at: Timestamp = "2026-01-31T23:59:59.999Z".parse().unwrap();
    let position = stage.publish(&counter, opened, id, 1, at, &named).await;
    stage.reach(&[position]).await;
    let found = stage.database.select(
        "SELECT * FROM (SELECT id, type, aggregate_id, version, actor, correlation_id, \
        causation_id, day, time AT TIME ZONE 'UTC' AS time FROM $schema.metadata) AS all_of_them",
    );
    let expected = json!({
        "id": Uuid::new_v5(&id, b"1"), "type": "test.counter.Opened", "aggregate_id": id, "version": 1,
        "time": "2026-01-31T23:59:59.999", "actor": "somebody", "correlation_id": "chain", "causation_id": null,
        "day": "2026-01-31",
    });
    assert_eq!(found.await, [expected]);
    running.stop().await;
}

const NAMES: &str = "
projection: names
fields: { name: { type: text, key: true }, times: integer }
on:
  counter.opened: |
    INSERT INTO names (name, times) VALUES (:name, 1)
    ON CONFLICT (name) DO UPDATE SET times = names.times + 1
  counter.closed: DELETE FROM names WHERE false
";

#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_part_of_the_statement() {
    let stage = Stage::new(&[COUNTER, NAMES]).await;
    let (running, counter) = (stage.start(), stage.model("counter"));
    let opened = &counter.events["opened"];
    let hostile = [
        "'; DROP TABLE names; --",
        "', 1); DELETE FROM names; --",
        "$1",
        ":name",
        "(SELECT version())",
        "\\'; SELECT 1",
        "\"names\"",
        "$$ || now() || $$",
        "E'\\x00'",
        "/* never closed",
        "\u{202e}\u{feff}",
        "null",
        "",
        "a\nb\r\n;",
    ];
    let mut positions = Vec::new();
    for text in hostile.iter().chain(&hostile) {
        let named = fields(opened, &json!({ "name": text, "amount": 0 }));
        positions.push(stage.publish(&counter, opened, Uuid::now_v7(), 1, Timestamp(1), &named).await);
    }
    stage.reach(&positions).await;
    let found =
        stage.database.select("SELECT name, times FROM $schema.names ORDER BY name COLLATE \"C\"").await;
    let mut expected = hostile.to_vec();
    expected.sort_unstable();
    let expected: Vec<Json> = expected.iter().map(|name| json!({ "name": name, "times": 2 })).collect();
    assert_eq!(found, expected);
    running.stop().await;
}

const TALLIES: &str = "
projection: tallies
fields: { counter: { type: ref, to: counter, key: true }, times: integer, total: integer, last: integer }
on:
  counter.opened: |
    INSERT INTO tallies (counter, times, total, last) VALUES (:event.aggregate_id, 1, 0, :event.version)
    ON CONFLICT (counter) DO UPDATE SET times = tallies.times + 1
  counter.added: |
    UPDATE tallies SET times = times + 1, total = total + :by, last = :event.version
    WHERE counter = :event.aggregate_id AND last = :event.version - 1
";

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_run_once_and_in_order_while_projectors_come_and_go() {
    let stage = Stage::new(&[COUNTER, TALLIES]).await;
    let counter = stage.model("counter");
    let ids: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    let mut running = vec![stage.start()];
    let mut positions = Vec::new();
    for round in 0..6u64 {
        running.push(stage.start());
        positions.extend(publish(&stage, &counter, &ids, round * 3 + 1..=round * 3 + 3).await);
        running.remove(0).stop().await;
    }
    stage.reach(&positions).await;
    assert_eq!(rows(&stage, &counter).await.len(), 20);
    // What was run twice, left out or came too early would be in the numbers.
    let found = stage.database.select("SELECT DISTINCT times, total, last FROM $schema.tallies").await;
    assert_eq!(found, [json!({ "times": 18, "total": 17, "last": 18 })]);
    for running in running {
        running.stop().await;
    }
}

const ENDLESS: &str = "
projection: endless
fields: { counter: { type: ref, to: counter, key: true }, total: integer }
on:
  counter.opened: |
    INSERT INTO endless (counter, total)
    SELECT :event.aggregate_id, count(*) FROM (SELECT generate_series(1, 100000000000)) AS numbers
";

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_does_not_end_stops_its_projection_alone() {
    let stage = Stage::new(&[COUNTER, ENDLESS, NAMES]).await;
    let counter = stage.model("counter");
    let mut running = stage.start();
    let positions = publish(&stage, &counter, &[Uuid::now_v7(), Uuid::now_v7()], 1..=3).await;
    stage.reach(&positions).await;
    let degraded = running.until(|state| matches!(state, Readiness::Degraded(_))).await;
    assert!(
        matches!(&degraded, Readiness::Degraded(why) if why.contains("endless has stopped")),
        "{degraded:?}"
    );
    assert_eq!(stage.database.number("SELECT count(*) FROM $schema.endless").await, 0);
    assert_eq!(stage.database.number("SELECT count(*) FROM $schema.names").await, 2);
    running.stop().await;
}

/// One that is held up once, by a lock or because a machine stands still, has done nothing wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_held_up_is_tried_again() {
    let stage = Stage::new(&[COUNTER, NAMES]).await;
    let counter = stage.model("counter");
    let mut running = stage.start();
    let before = publish(&stage, &counter, &[Uuid::now_v7()], 1..=3).await;
    stage.reach(&before).await;
    let mut holder = PgConnection::connect(&stage.database.options.url).await.unwrap();
    let mut holding = holder.begin().await.unwrap();
    let lock = stage.database.named("LOCK TABLE $schema.names IN EXCLUSIVE MODE");
    sqlx::query(AssertSqlSafe(lock)).execute(&mut *holding).await.unwrap();
    let after = publish(&stage, &counter, &[Uuid::now_v7()], 1..=3).await;
    // The second one that waits: the first has met its limit.
    let waiting = stage.database.named(
        "SELECT DISTINCT query_start::text AS since FROM pg_stat_activity JOIN pg_locks USING (pid) \
         WHERE NOT granted AND relation = '$schema.names'::regclass",
    );
    let mut seen = BTreeSet::new();
    let twice = async {
        while seen.len() < 2 {
            seen.extend(stage.database.select(&waiting).await.iter().map(|row| row["since"].to_string()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, twice).await.expect("it is tried again");
    holding.rollback().await.unwrap();
    stage.reach(&after).await;
    assert_eq!(stage.database.number("SELECT count(*) FROM $schema.names").await, 2);
    running.until(|state| *state == Readiness::Ready).await;
    running.stop().await;
}

/// The models of the sample shop.
fn shop() -> Arc<Models> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let mut sources: Vec<Source> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| Source {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            text: std::fs::read_to_string(&path).unwrap(),
        })
        .collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Arc::new(Models::check("shop", &sources).unwrap())
}

/// The sample's orders as bodies of `place`, by number.
fn orders() -> BTreeMap<String, Json> {
    let read = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/sample").join(file);
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .skip(1)
            .map(|line| line.split(',').map(str::to_owned).collect())
            .collect::<Vec<Vec<String>>>()
    };
    let mut orders = BTreeMap::new();
    for cells in read("orders.csv") {
        let (number, day) = (&cells[0], &cells[3][..10]);
        let body = json!({ "number": number, "customer": cells[1], "ordered_on": day, "lines": [] });
        orders.insert(number.clone(), body);
    }
    for cells in read("order-details.csv") {
        let quantity: i64 = cells[3].parse().unwrap();
        let line = json!({ "product": cells[1], "unit_price": cells[2], "quantity": quantity, "discount": cells[4] });
        orders.get_mut(&cells[0]).unwrap()["lines"].as_array_mut().unwrap().push(line);
    }
    orders
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sales_of_the_sample_shop_are_exact() {
    let stage = Stage::of(shop(), &variable("WRIT_POSTGRES_URL")).await;
    let (running, order) = (stage.start(), stage.model("order"));
    let actor = &Actor::unrestricted();
    let now = Timestamp(1_767_225_600_000);
    let mut positions = Vec::new();
    let orders = orders();
    for (number, body) in &orders {
        let id = order.parse_id(number).unwrap();
        let request = Request { id, command: "place", input: body, expected_version: None, now, actor };
        let Decision { event, fields, .. } = decide(&order, None, &request).unwrap();
        positions.push(stage.publish(&order, &order.events[&event], id, 1, now, &fields).await);
    }
    let cancelled = &order.events["cancelled"];
    let reason = fields(cancelled, &json!({ "status": "cancelled", "reason": "too late" }));
    let id = order.parse_id("10248").unwrap();
    positions.push(stage.publish(&order, cancelled, id, 2, now, &reason).await);
    stage.reach(&positions).await;

    let sums = "SELECT (SELECT sum(total) FROM $schema.daily_sales)::text AS days, \
                (SELECT sum(turnover) FROM $schema.product_sales)::text AS products, \
                (SELECT sum(orders) FROM $schema.daily_sales) AS orders";
    let expected = json!({ "days": "1265793.0395", "products": "1265793.0395", "orders": 830 });
    assert_eq!(stage.database.select(sums).await, [expected]);
    // Day by day and product by product what the rows of the orders say.
    let days = "SELECT ordered_on, count(*), sum(total) FROM $schema.\"order\" GROUP BY 1";
    let daily = "SELECT day, orders, total FROM $schema.daily_sales WHERE orders > 0";
    let products = "SELECT (line->>'product')::uuid, count(DISTINCT id), sum((line->>'quantity')::bigint), \
                    sum((line->>'unit_price')::numeric * (line->>'quantity')::numeric * (1 - (line->>'discount')::numeric)), \
                    max(ordered_on) FROM $schema.\"order\", jsonb_array_elements(lines) AS line GROUP BY 1";
    let sold = "SELECT product, orders, quantity, turnover, last_ordered_on FROM $schema.product_sales";
    for (one, other) in [(days, daily), (daily, days), (products, sold), (sold, products)] {
        let difference = format!("({one}) EXCEPT ALL ({other})");
        assert_eq!(stage.database.select(&difference).await, Vec::<Json>::new());
    }
    assert_eq!(stage.database.number("SELECT count(*) FROM $schema.product_sales").await, 77);
    let called_off =
        stage.database.select("SELECT day, orders, cancelled FROM $schema.daily_sales WHERE cancelled > 0");
    assert_eq!(called_off.await, [json!({ "day": "2026-01-01", "orders": 0, "cancelled": 1 })]);
    running.stop().await;
}
