//! A statement that PostgreSQL refuses stops its own projection, and nothing else.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;
use writ_model::declaration::{Parameter, Projection, Statement};
use writ_model::{Models, Timestamp};
use writ_producers::readiness::Readiness;

use crate::projector::{COUNTER, fields, publish, rows};
use crate::stage::{Stage, models, variable};

/// By how much was added, and how often.
const TALLY: &str = "
model: tally
fields:
  by: { type: integer }
  times: { type: integer }
commands:
  open: { creates: true, input: [by, times], emits: opened }
";

/// Counts `added` by their amount, with `pieces` around the amount.
fn tally(name: &str, pieces: [&str; 2]) -> Projection {
    let fields = models(&[TALLY]).get("tally").unwrap().fields.clone();
    Projection {
        name: name.into(),
        doc: None,
        fields,
        key: vec!["by".into()],
        indexes: Vec::new(),
        read: None,
        field_rules: Vec::new(),
        statements: vec![Statement {
            model: "counter".into(),
            event: "added".into(),
            pieces: pieces.map(str::to_owned).to_vec(),
            parameters: vec![Parameter::Field("by".into())],
        }],
    }
}

fn with(projections: Vec<Projection>) -> Arc<Models> {
    let mut models = Arc::into_inner(models(&[COUNTER])).unwrap();
    for projection in projections {
        models.projections.insert(projection.name.clone(), Arc::new(projection));
    }
    Arc::new(models)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_statement_stops_its_projection_alone() {
    let upsert =
        |table: &str| format!(" AS bigint), 1) ON CONFLICT (by) DO UPDATE SET times = {table}.times + 1");
    let (good, bad) = (upsert("good"), upsert("bad"));
    let good = tally("good", ["INSERT INTO good (by, times) VALUES (CAST(", &good]);
    // Divides by zero for 7, and only for 7.
    let bad =
        tally("bad", ["INSERT INTO bad (by, times) VALUES (CAST(7 / (7 - ", &bad.replacen(" AS", ") AS", 1)]);
    let stage = Stage::of(with(vec![good, bad]), &variable("WRIT_POSTGRES_URL")).await;
    let counter = stage.model("counter");
    let (id, added) = (Uuid::now_v7(), &counter.events["added"]);
    // Before the projector starts, so that they are one batch.
    let mut positions = publish(&stage, &counter, &[id], 1..=3).await;
    let seven = fields(added, &json!({ "by": 7, "amount": 9 }));
    let refused = stage.publish(&counter, added, id, 4, Timestamp(4), &seven).await;
    positions.push(refused.clone());
    positions.extend(publish(&stage, &counter, &[id], 5..=6).await);
    let mut running = stage.start();
    stage.reach(&positions).await;
    let degraded = running.until(|state| matches!(state, Readiness::Degraded(_))).await;
    let Readiness::Degraded(why) = degraded else { unreachable!() };
    let at = stage.origin(&refused).to_string();
    assert!(
        why.contains("bad has stopped") && why.contains(&at) && why.contains("division by zero"),
        "{why}"
    );

    positions.extend(publish(&stage, &counter, &[id], 7..=8).await);
    stage.reach(&positions).await;
    assert_eq!(rows(&stage, &counter).await[&id], (8, json!(7)));
    assert_eq!(stage.database.number("SELECT count(*) FROM $schema.event_log").await, 8);
    assert_eq!(stage.database.number("SELECT sum(times) FROM $schema.good").await, 7, "it goes on");
    assert_eq!(stage.database.number("SELECT sum(times) FROM $schema.bad").await, 2, "what came before");
    let next =
        stage.database.number("SELECT next FROM $schema.writ_offsets WHERE projection = 'bad' AND next > 0");
    assert_eq!(next.await, refused.offset);
    let states =
        stage.database.select("SELECT state, error_at FROM $schema.writ_projections WHERE name = 'bad'");
    assert_eq!(states.await, [json!({ "state": "stopped", "error_at": at })]);
    running.stop().await;
}

/// What rows pass over is kept from SQL projections, and given to them when it is replayed.
#[tokio::test(flavor = "multi_thread")]
async fn a_projection_is_given_what_its_rows_take() {
    let tail = " AS bigint), 1) ON CONFLICT (by) DO UPDATE SET times = sums.times + 1";
    let sums = tally("sums", ["INSERT INTO sums (by, times) VALUES (CAST(", tail]);
    let stage = Stage::of(with(vec![sums]), &variable("WRIT_POSTGRES_URL")).await;
    let counter = stage.model("counter");
    let (id, added) = (Uuid::now_v7(), &counter.events["added"]);
    let running = stage.start();
    let mut positions = publish(&stage, &counter, &[id], 1..=2).await;
    let again = fields(added, &json!({ "by": 5, "amount": 5 }));
    positions.push(stage.publish(&counter, added, id, 2, Timestamp(2), &again).await);
    let early = fields(added, &json!({ "by": 3, "amount": 5 }));
    let hole = stage.publish(&counter, added, id, 4, Timestamp(4), &early).await;
    positions.push(hole.clone());
    positions.extend(publish(&stage, &counter, &[id], 3..=3).await);
    stage.reach(&positions).await;
    let counted = async || stage.database.select("SELECT by, times FROM $schema.sums ORDER BY by").await;
    assert_eq!(counted().await, [json!({ "by": 1, "times": 2 })]);

    let replayed = stage.replay(&stage.models).apply(&stage.origin(&hole)).await.unwrap();
    assert_eq!(replayed, writ_projections::projector::replay::Replayed::Applied { is_cached: false });
    assert_eq!(counted().await, [json!({ "by": 1, "times": 2 }), json!({ "by": 3, "times": 1 })]);
    assert_eq!(
        stage.database.number("SELECT count(*) FROM $schema.event_log").await,
        5,
        "it was there already"
    );
    assert_eq!(
        stage.database.number("SELECT count(*) FROM $schema.writ_passed_over").await,
        1,
        "the duplicate"
    );
    running.stop().await;
}
