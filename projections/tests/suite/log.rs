//! The event log holds every event, as it was.

use serde_json::{Value as Json, json};
use sqlx::Connection as _;
use uuid::Uuid;
use writ_model::{Position, Timestamp};
use writ_producers::readiness::Readiness;

use crate::projector::{COUNTER, fields, publish, rows};
use crate::stage::{LIMIT, Stage};

const NOTE: &str = "
model: note
fields:
  text: { type: text }
  amount: { type: decimal, precision: 12, scale: 2, optional: true }
  parts: { type: list, optional: true, of: { name: text } }
commands:
  write: { creates: true, input: [text, amount, parts], emits: written }
";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_text_holds_it_is_read_back() {
    let stage = Stage::new(&[NOTE]).await;
    let running = stage.start();
    let (note, texts) = (
        stage.model("note"),
        [
            "\\",
            "\t",
            "a\nb\r\nc",
            "\\N",
            "\\.",
            "\\t\\",
            "\"'{}",
            "Ærø 東京 \u{1F375} e\u{301} \u{202e}",
            "\u{1}\u{7f}",
            "",
        ],
    );
    let written = &note.events["written"];
    let (mut positions, mut expected) = (Vec::new(), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        let data = json!({ "text": text, "amount": "1.50", "parts": [{ "name": text }] });
        let (id, at) = (Uuid::now_v7(), Timestamp(1_700_000_000_000 + i64::try_from(index).unwrap()));
        positions.push(stage.publish(&note, written, id, 1, at, &fields(written, &data)).await);
        expected.push(json!({
            "model": "note", "aggregate_id": id, "version": 1, "id": Uuid::new_v5(&id, b"1"),
            "type": written.type_name, "actor": "somebody", "correlation_id": "chain", "causation_id": null,
            "data": data,
        }));
    }
    stage.reach(&positions).await;
    let found = stage.database.select(
        "SELECT model, aggregate_id, version, id, type, actor, correlation_id, causation_id, data \
         FROM $schema.event_log ORDER BY time",
    );
    assert_eq!(found.await, expected);
    let places: Vec<Json> =
        stage.database.select("SELECT partition, \"offset\" FROM $schema.event_log ORDER BY time").await;
    let published: Vec<Json> =
        positions.iter().map(|at| json!({ "partition": at.partition, "offset": at.offset })).collect();
    assert_eq!(places, published);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_month_has_a_partition_of_its_own_however_many_begin_it() {
    let stage = Stage::new(&[COUNTER]).await;
    let counter = stage.model("counter");
    let (mut one, mut other) = (stage.start(), stage.start());
    one.until(|state| *state == Readiness::Ready).await;
    other.until(|state| *state == Readiness::Ready).await;
    let times = [
        "2025-12-31T23:59:59.999Z",
        "2026-01-01T00:00:00.000Z",
        "2026-01-31T23:59:59.999Z",
        "2024-02-29T12:00:00.000Z",
        "0001-01-01T00:00:00.000Z",
        "9999-12-31T23:59:59.999Z",
    ];
    let opened = &counter.events["opened"];
    let publishing = times.iter().flat_map(|time| std::iter::repeat_n(time, 6)).map(|time| {
        let (stage, counter) = (&stage, &counter);
        async move {
            let data = fields(opened, &json!({ "name": time, "amount": 0 }));
            stage.publish(counter, opened, Uuid::now_v7(), 1, time.parse().unwrap(), &data).await
        }
    });
    let positions: Vec<Position> = futures::future::join_all(publishing).await;
    stage.reach(&positions).await;
    let months = stage.database.select(
        "SELECT split_part(tableoid::regclass::text, '.', 3) AS month, count(*) AS events FROM $schema.event_log \
         GROUP BY 1 ORDER BY 1",
    );
    let months: Vec<(String, i64)> = months
        .await
        .iter()
        .map(|row| {
            let month = row["month"].as_str().unwrap().trim_end_matches('"');
            (month.to_owned(), row["events"].as_i64().unwrap())
        })
        .collect();
    let wanted = [("0001-01", 6), ("2024-02", 6), ("2025-12", 6), ("2026-01", 12), ("9999-12", 6)];
    assert_eq!(months, wanted.map(|(month, events)| (month.to_owned(), events)));
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_row_is_given_is_in_the_log_and_written_down() {
    let stage = Stage::new(&[COUNTER]).await;
    let running = stage.start();
    let counter = stage.model("counter");
    let (id, added) = (Uuid::now_v7(), &counter.events["added"]);
    let mut all = publish(&stage, &counter, &[id], 1..=2).await;
    let data = fields(added, &json!({ "by": 9, "amount": 9 }));
    let duplicate = stage.publish(&counter, added, id, 2, Timestamp(9), &data).await;
    let hole = stage.publish(&counter, added, id, 7, Timestamp(9), &data).await;
    let garbage = stage.publish_bytes(&counter, added, id, 3, Timestamp(3), b"garbage").await;
    all.extend(publish(&stage, &counter, &[id], 3..=3).await);
    stage.reach(&all).await;
    let passed = async || {
        stage
            .database
            .select("SELECT \"offset\", reason FROM $schema.writ_passed_over ORDER BY \"offset\"")
            .await
    };
    let wanted = [(&duplicate, "duplicate"), (&hole, "hole"), (&garbage, "hole")]
        .map(|(at, reason)| json!({ "offset": at.offset, "reason": reason }));
    assert_eq!(passed().await, wanted);
    let logged = async || -> Vec<i64> {
        let found =
            stage.database.select("SELECT \"offset\" FROM $schema.event_log ORDER BY \"offset\"").await;
        found.iter().map(|row| row["offset"].as_i64().unwrap()).collect()
    };
    let mut readable: Vec<i64> = all.iter().chain([&duplicate, &hole]).map(|at| at.offset).collect();
    readable.sort_unstable();
    assert_eq!(logged().await, readable, "all but the garbage");

    // Made anew, each of them says the same.
    for table in ["event_log", "counter"] {
        stage.database.execute(&format!("DROP TABLE $schema.{table}")).await;
        all.extend(publish(&stage, &counter, &[Uuid::now_v7()], 1..=1).await);
        let newest = all.last().unwrap().offset;
        readable.push(newest);
        readable.sort_unstable();
        stage
            .database
            .until(
                "SELECT count(*) FROM $schema.writ_offsets JOIN $schema.writ_projections ON projection = name \
                 AND writ_offsets.generation = writ_projections.generation WHERE writ_projections.generation = 2 \
                 AND next > 0",
                match table {
                    "event_log" => stage.partitions_of(&all),
                    _ => 2 * stage.partitions_of(&all),
                },
            )
            .await;
        stage.reach(&all).await;
        assert_eq!(passed().await, wanted);
    }
    let found = stage.database.number("SELECT count(*) FROM $schema.event_log").await;
    assert_eq!(found, i64::try_from(readable.len()).unwrap());
    assert_eq!(rows(&stage, &counter).await[&id], (3, json!(2)));
    running.stop().await;
}

/// The other projector is this test: it holds the place of the rows, and moves it past the event. Only that one: with
/// several that have changed, PostgreSQL finds fewer of them again, which would fence us too.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_second_applies_nothing() {
    let stage = Stage::new(&[COUNTER]).await;
    let mut running = stage.start();
    let counter = stage.model("counter");
    let id = Uuid::now_v7();
    let first = publish(&stage, &counter, &[id], 1..=1).await;
    stage.reach(&first).await;
    running.until(|state| *state == Readiness::Ready).await;

    let schema = format!("\"{}\"", stage.database.options.schema.replace('"', "\"\""));
    let mut connection = sqlx::PgConnection::connect(&stage.database.options.url).await.unwrap();
    let mut other = connection.begin().await.unwrap();
    let run = |sql: String| sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
    let move_places =
        format!("UPDATE {schema}.writ_offsets SET next = next + 1 WHERE projection = 'counter' AND next > 0");
    run(move_places).execute(&mut *other).await.unwrap();
    let second = publish(&stage, &counter, &[id], 2..=2).await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'writ-projector' \
                 AND wait_event_type = 'Lock' AND query LIKE '%$plain%'"
        .replace("$plain", &stage.database.options.schema.replace('"', "\"\""));
    stage.database.until(&waits, 1).await;
    other.commit().await.unwrap();

    let third = publish(&stage, &counter, &[Uuid::now_v7()], 1..=1).await;
    stage.reach(&[second, third].concat()).await;
    assert_eq!(
        rows(&stage, &counter).await[&id],
        (1, json!(0)),
        "the other one has applied it, or so it says"
    );
    assert_eq!(
        stage.database.number("SELECT count(*) FROM $schema.event_log").await,
        3,
        "whose place nobody moved"
    );
    tokio::time::timeout(LIMIT, running.stop()).await.unwrap();
}
