//! Exactly once, whatever happens to the projector and to PostgreSQL.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_model::{Event, Model, Object, Position, Timestamp};
use writ_producers::readiness::Readiness;
use writ_projections::query::ListRequest;

use crate::stage::{Stage, everything};

pub(crate) const COUNTER: &str = "
model: counter
fields:
  name: { type: text }
  amount: { type: integer }
commands:
  open: { creates: true, input: [name], set: { amount: '0' }, emits: opened }
  add: { input: { by: { type: integer } }, set: { amount: state.amount + input.by }, emits: added }
  close: { deletes: true, emits: closed }
";

pub(crate) fn fields(event: &Event, json: &Json) -> Object {
    writ_model::value::object_from_json(&event.fields, json, true).unwrap()
}

/// `events` events of each of `aggregates`, one aggregate after the other in each round.
pub(crate) async fn publish(
    stage: &Stage,
    counter: &Model,
    ids: &[Uuid],
    versions: std::ops::RangeInclusive<u64>,
) -> Vec<Position> {
    let mut positions = Vec::new();
    for version in versions {
        for id in ids {
            let (event, json) = match version {
                1 => (&counter.events["opened"], json!({ "name": id.to_string(), "amount": 0 })),
                version => (&counter.events["added"], json!({ "by": 1, "amount": version - 1 })),
            };
            let at = Timestamp(i64::try_from(version).unwrap());
            positions.push(stage.publish(counter, event, *id, version, at, &fields(event, &json)).await);
        }
    }
    positions
}

pub(crate) async fn rows(stage: &Stage, counter: &Model) -> BTreeMap<Uuid, (u64, Json)> {
    let all = ListRequest::parse(everything().asks(counter), &[("limit".into(), "1000".into())]).unwrap();
    let page = stage.queries.list(&all).await.unwrap();
    let row = |state: &str| serde_json::from_str::<Json>(state).unwrap();
    page.items.iter().map(|item| (item.id, (item.version, row(item.state.get())["amount"].clone()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_counts_once_while_projectors_come_and_go() {
    let stage = Stage::new(&[COUNTER]).await;
    let counter = stage.model("counter");
    let ids: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    // What the projectors of this test have in PostgreSQL is cut off in the middle of whatever it does.
    let cut = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'writ-projector' \
         AND query LIKE '%{}%'",
        stage.database.options.schema.replace('"', "\"\"")
    );
    let coming_and_going = async {
        for _ in 0..4 {
            let (mut one, mut other) = (stage.start(), stage.start());
            one.until(|state| *state == Readiness::Ready).await;
            stage.database.execute(&cut).await;
            one.stop().await;
            stage.database.execute(&cut).await;
            other.until(|state| *state == Readiness::Ready).await;
            other.stop().await;
        }
        stage.start()
    };
    let (running, positions) = tokio::join!(coming_and_going, publish(&stage, &counter, &ids, 1..=60));
    stage.reach(&positions).await;
    let expected: BTreeMap<Uuid, (u64, Json)> = ids.iter().map(|id| (*id, (60, json!(59)))).collect();
    assert_eq!(rows(&stage, &counter).await, expected);
    let logged = stage.database.select(
        "SELECT count(*) AS events, count(DISTINCT (partition, \"offset\")) AS places FROM $schema.event_log",
    );
    assert_eq!(logged.await, [json!({ "events": 1200, "places": 1200 })]);
    assert_eq!(stage.database.number("SELECT count(*) FROM $schema.writ_passed_over").await, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_event_with_a_version_wins() {
    let stage = Stage::new(&[COUNTER]).await;
    let mut running = stage.start();
    running.until(|state| *state == Readiness::Ready).await;
    let counter = stage.model("counter");
    let (id, added) = (Uuid::now_v7(), &counter.events["added"]);
    publish(&stage, &counter, &[id], 1..=2).await;
    let again = fields(added, &json!({ "by": 9, "amount": 9 }));
    stage.publish(&counter, added, id, 2, Timestamp(9), &again).await;
    stage.publish(&counter, added, id, 7, Timestamp(9), &again).await;
    let last = publish(&stage, &counter, &[id], 3..=3).await;
    stage.reach(&last).await;
    assert_eq!(rows(&stage, &counter).await[&id], (3, json!(2)));

    let closed = &counter.events["closed"];
    let end = stage.publish(&counter, closed, id, 4, Timestamp(4), &Object::new()).await;
    stage.reach(&[end]).await;
    assert!(stage.queries.get(&everything().asks(&counter), id).await.unwrap().is_none(), "deleted");
    assert!(rows(&stage, &counter).await.is_empty());
    assert!(stage.queries.existing(&counter, &[id]).await.unwrap().is_empty());
    let opened = &counter.events["opened"];
    let anew = fields(opened, &json!({ "name": "again", "amount": 0 }));
    let begin = stage.publish(&counter, opened, id, 5, Timestamp(5), &anew).await;
    stage.reach(&[begin]).await;
    assert_eq!(rows(&stage, &counter).await[&id], (5, json!(0)), "version numbers go on");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_schema_is_read_again_from_the_beginning() {
    let stage = Stage::new(&[COUNTER]).await;
    let mut running = stage.start();
    let counter = stage.model("counter");
    let ids: Vec<Uuid> = (0..30).map(|_| Uuid::now_v7()).collect();
    let positions = publish(&stage, &counter, &ids, 1..=5).await;
    stage.reach(&positions).await;
    let before = rows(&stage, &counter).await;
    assert_eq!(before.len(), 30);

    stage.database.execute("DROP SCHEMA $schema CASCADE").await;
    stage.reach(&positions).await;
    assert_eq!(rows(&stage, &counter).await, before, "while it runs");

    stage.database.execute("DROP TABLE $schema.counter").await;
    let more = publish(&stage, &counter, &ids, 6..=6).await;
    let all: Vec<Position> = positions.iter().chain(&more).cloned().collect();
    let complete = async {
        loop {
            stage.reach(&all).await;
            let all_rows = ListRequest::parse(everything().asks(&counter), &[]).unwrap();
            let there =
                stage.queries.list(&all_rows).await.is_ok_and(|page| {
                    page.items.len() == 30 && page.items.iter().all(|row| row.version == 6)
                });
            if there {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::stage::LIMIT, complete).await.expect("one table comes back as well");

    running.until(|state| *state == Readiness::Ready).await;
    running.stop().await;
    stage.database.execute("DROP SCHEMA $schema CASCADE").await;
    let running = stage.start();
    stage.reach(&all).await;
    assert_eq!(rows(&stage, &counter).await.len(), 30, "between two runs");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_somebody_changed_is_followed() {
    let stage = Stage::new(&[COUNTER]).await;
    let mut running = stage.start();
    let counter = stage.model("counter");
    let id = Uuid::now_v7();
    let positions = publish(&stage, &counter, &[id], 1..=3).await;
    stage.reach(&positions).await;
    running.until(|state| *state == Readiness::Ready).await;
    stage.database.execute("UPDATE $schema.writ_offsets SET next = 1 WHERE next > 1").await;
    let more = publish(&stage, &counter, &[id], 4..=4).await;
    stage.reach(&more).await;
    assert_eq!(rows(&stage, &counter).await[&id], (4, json!(3)), "fenced, read again, counted once");
    running.stop().await;
}
