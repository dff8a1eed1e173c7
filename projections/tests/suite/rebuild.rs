//! Built anew while it serves: equal content, no reader notices, and whatever goes wrong leaves what is live alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;
use writ_model::{Model, Models, Position, Timestamp};
use writ_projections::rebuild::{Build, Followed, Projections, Requested};

use crate::projector::{COUNTER, fields, publish};
use crate::stage::{Building, LIMIT, Running, Stage, models};

/// Counts the amounts, and how often each was added.
const TALLY: &str = "
projection: tally
fields:
  by: { type: integer, key: true }
  times: { type: integer }
on:
  counter.added: >
    INSERT INTO tally (by, times) VALUES (:by, 1) ON CONFLICT (by) DO UPDATE SET times = tally.times + 1
";

/// The same with another column.
const WIDER: &str = "
projection: tally
fields:
  by: { type: integer, key: true }
  times: { type: integer }
  sum: { type: integer }
on:
  counter.added: >
    INSERT INTO tally (by, times, sum) VALUES (:by, 1, :by)
    ON CONFLICT (by) DO UPDATE SET times = tally.times + 1, sum = tally.sum + excluded.sum
";

/// Divides by zero once 7 is added.
const BROKEN: &str = "
projection: tally
fields:
  by: { type: integer, key: true }
  times: { type: integer }
on:
  counter.added: >
    INSERT INTO tally (by, times) VALUES (:by, 7 / (7 - :by)) ON CONFLICT (by) DO UPDATE SET times = tally.times + 1
";

const NAMES: [&str; 3] = ["counter", "event_log", "tally"];

/// A stage with a projector and a builder at work.
struct Work {
    stage: Stage,
    projections: Projections,
    running: Running,
    building: Building,
}

impl Work {
    async fn begin() -> Work {
        let stage = Stage::new(&[COUNTER, TALLY]).await;
        let (running, building) = (stage.start(), stage.build(&stage.models));
        let projections = Projections::new(&stage.database.options).unwrap();
        Work { stage, projections, running, building }
    }

    async fn end(self) {
        self.building.stop().await;
        self.running.stop().await;
    }
}

async fn ask(projections: &Projections, name: &str) -> i32 {
    match projections.request(name).await.unwrap() {
        Requested::Begun(generation) | Requested::Under(generation) => generation,
        Requested::Unknown => panic!("{name} is unknown"),
    }
}

/// Waits until the build says what is expected of it.
async fn until<T>(projections: &Projections, name: &str, of: impl Fn(Followed) -> Option<T>) -> T {
    let waiting = async {
        loop {
            let list = projections.list().await.unwrap();
            let generation = list.iter().find(|one| one.name == name).and_then(|one| one.build.as_ref());
            let generation = generation.map_or(0, |build| build.generation);
            if let Some(value) = of(projections.follow(name, generation).await.unwrap()) {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(LIMIT, waiting).await {
        Ok(value) => value,
        Err(_) => panic!("{name} doesn't come there: {:#?}", projections.list().await),
    }
}

async fn until_live(projections: &Projections, name: &str) -> i32 {
    until(projections, name, |followed| match followed {
        Followed::Live { generation } => Some(generation),
        Followed::Building(_) | Followed::Gone => None,
    })
    .await
}

async fn until_complaint(projections: &Projections, name: &str) -> Build {
    until(projections, name, |followed| match followed {
        Followed::Building(build) if build.error.is_some() => Some(build),
        _ => None,
    })
    .await
}

async fn rebuild(projections: &Projections, name: &str) -> i32 {
    let generation = ask(projections, name).await;
    assert!(until_live(projections, name).await >= generation);
    generation
}

/// Everything in a table, sorted.
async fn content(stage: &Stage, table: &str) -> Vec<Json> {
    stage.database.select(&format!("SELECT * FROM $schema.{table} AS one ORDER BY one::text")).await
}

async fn contents(stage: &Stage) -> Vec<Vec<Json>> {
    let mut contents = Vec::new();
    for name in NAMES {
        contents.push(content(stage, name).await);
    }
    contents
}

async fn add(stage: &Stage, counter: &Model, id: Uuid, version: u64, by: i64) -> Position {
    let added = &counter.events["added"];
    let fields = fields(added, &json!({ "by": by, "amount": by }));
    stage.publish(counter, added, id, version, Timestamp(9), &fields).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_while_events_come_gives_equal_content() {
    let work = Work::begin().await;
    let (stage, projections) = (&work.stage, &work.projections);
    let counter = stage.model("counter");
    let ids: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    let mut positions = publish(stage, &counter, &ids, 1..=5).await;
    // One that no row is given, twice: a repeated version, and one that waits for an earlier one.
    positions.push(add(stage, &counter, ids[0], 3, 1_000).await);
    positions.push(add(stage, &counter, ids[1], 9, 2_000).await);
    stage.reach(&positions).await;

    let before = contents(stage).await;
    assert_eq!((before[0].len(), before[1].len(), before[2].len()), (20, 102, 1));
    for name in NAMES {
        assert_eq!(rebuild(projections, name).await, 2);
    }
    assert_eq!(contents(stage).await, before, "without writes");
    let judged = "SELECT count(*) FROM $schema.writ_passed_over";
    assert_eq!(stage.database.number(judged).await, 2);

    let building = async {
        for _ in 0..2 {
            for name in NAMES {
                rebuild(projections, name).await;
            }
        }
    };
    let (more, ()) = tokio::join!(publish(stage, &counter, &ids[2..], 6..=40), building);
    stage.reach(&more).await;
    stage.database.until("SELECT sum(times) FROM $schema.tally", 20 * 4 + 18 * 35).await;
    stage.database.until("SELECT count(*) FROM $schema.event_log", 102 + 18 * 35).await;
    let after = contents(stage).await;
    let counts: Vec<i64> = after[0].iter().map(|row| row["version"].as_i64().unwrap()).collect();
    assert_eq!(counts.iter().filter(|version| **version == 40).count(), 18);
    assert_eq!(after[1].len(), 102 + 18 * 35);
    assert_eq!(after[2], [json!({ "by": 1, "times": 20 * 4 + 18 * 35 })]);
    for name in NAMES {
        rebuild(projections, name).await;
    }
    assert_eq!(contents(stage).await, after, "filled again at once, with nobody writing");
    let left = "SELECT count(*) FROM $schema.writ_offsets o WHERE NOT EXISTS (SELECT FROM $schema.writ_projections p \
                WHERE p.name = o.projection AND p.generation = o.generation)";
    assert_eq!(stage.database.number(left).await, 0, "places of generations that are gone");
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('$next') AND relkind <> 'i' \
                  AND relname <> 'writ_passed_over'";
    assert_eq!(stage.database.number(tables).await, 0, "tables left behind");
    work.end().await;
}

/// A reader with a connection of its own: its statement is prepared once. How many answers it got.
async fn read(url: String, sql: String, stop: Arc<AtomicBool>) -> usize {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let (mut answers, mut before) = (0, (0, 0));
    while !stop.load(Ordering::Relaxed) {
        let now: (i64, i64) =
            sqlx::query_as(AssertSqlSafe(sql.clone())).fetch_one(&mut connection).await.unwrap();
        assert!(now.0 >= before.0 && now.1 >= before.1, "{sql}: {before:?}, then {now:?}");
        (answers, before) = (answers + 1, now);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_notices_a_swap() {
    let work = Work::begin().await;
    let (stage, projections) = (&work.stage, &work.projections);
    let counter = stage.model("counter");
    let ids: Vec<Uuid> = (0..50).map(|_| Uuid::now_v7()).collect();
    let first = publish(stage, &counter, &ids, 1..=2).await;
    stage.reach(&first).await;
    stage.database.until("SELECT count(*) FROM $schema.event_log", 100).await;
    stage.database.until("SELECT count(*) FROM $schema.tally", 1).await;
    stage.database.execute("GRANT SELECT ON $schema.counter TO PUBLIC").await;

    let stop = Arc::new(AtomicBool::new(false));
    let readers = [
        "SELECT count(*), coalesce(sum(version), 0)::bigint FROM $schema.counter",
        "SELECT count(*), count(DISTINCT aggregate_id) FROM $schema.event_log",
        "SELECT count(*), coalesce(sum(times), 0)::bigint FROM $schema.tally",
        "SELECT count(*), coalesce(sum(l.version), 0)::bigint FROM $schema.counter c JOIN $schema.event_log l \
         ON l.aggregate_id = c.id",
    ]
    .map(|sql| {
        let (url, sql) = (stage.database.options.url.clone(), stage.database.named(sql));
        tokio::spawn(read(url, sql, stop.clone()))
    });
    let swapping = async {
        for _ in 0..4 {
            for name in NAMES {
                rebuild(projections, name).await;
            }
        }
    };
    let (last, ()) = tokio::join!(publish(stage, &counter, &ids, 3..=20), swapping);
    stage.reach(&last).await;
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        let answers = tokio::time::timeout(LIMIT, reader).await.unwrap().unwrap();
        assert!(answers > 12, "a reader got {answers} answers over 12 swaps");
    }
    let grants = "SELECT count(*) FROM pg_class, aclexplode(relacl) WHERE oid = '$schema.counter'::regclass AND grantee = 0";
    assert_eq!(stage.database.number(grants).await, 1, "the right to read it");
    work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_build_goes_on_where_it_was() {
    let stage = Stage::new(&[COUNTER, TALLY]).await;
    let running = stage.start();
    let counter = stage.model("counter");
    let ids: Vec<Uuid> = (0..30).map(|_| Uuid::now_v7()).collect();
    let positions = publish(&stage, &counter, &ids, 1..=10).await;
    stage.reach(&positions).await;
    let projections = Projections::new(&stage.database.options).unwrap();
    // A reader that takes its time: until it ends, the build can't take the table's place.
    let mut reader = PgConnection::connect(&stage.database.options.url).await.unwrap();
    let mut reading = reader.begin().await.unwrap();
    let sql = stage.database.named("SELECT count(*) FROM $schema.counter");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut *reading).await.unwrap();

    assert_eq!(ask(&projections, "counter").await, 2);
    assert!(!projections.has_builder().await.unwrap());
    let all_read = |followed| match followed {
        Followed::Building(build) if build.total > 0 && build.done == build.total => Some(build),
        _ => None,
    };
    let first = stage.build(&stage.models);
    let build = until(&projections, "counter", all_read).await;
    assert_eq!((build.applied, build.error), (300, None));
    assert!(projections.has_builder().await.unwrap());
    first.stop().await;
    let gone = async {
        while projections.has_builder().await.unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("its session ends");
    let more = publish(&stage, &counter, &ids, 11..=11).await;
    stage.reach(&more).await;
    // Two at once, and now and then one loses its session in the middle.
    let others = [stage.build(&stage.models), stage.build(&stage.models)];
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'writ-builder' \
               AND query LIKE '%$schema%'";
    let build = until(&projections, "counter", |followed| match followed {
        Followed::Building(build) if build.applied == 330 => Some(build),
        _ => None,
    })
    .await;
    assert_eq!(build.generation, 2, "not begun anew, and no event twice");
    let cutting = async {
        let mut sessions = 0;
        while sessions < 2 {
            sessions += stage.database.number(cut).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, cutting).await.expect("they come again");
    // Nobody reads any more.
    drop(reading);
    reader.close().await.unwrap();
    assert_eq!(until_live(&projections, "counter").await, 2);
    let versions = stage.database.number("SELECT sum(version) FROM $schema.counter").await;
    assert_eq!(versions, 330);
    for other in others {
        other.stop().await;
    }
    running.stop().await;
}

fn with(projection: &str) -> Arc<Models> {
    models(&[COUNTER, projection])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_projection_is_built_at_the_start_and_served_meanwhile() {
    let stage = Stage::new(&[COUNTER, TALLY]).await;
    let projections = Projections::new(&stage.database.options).unwrap();
    let counter = stage.model("counter");
    let ids: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
    let old = stage.start();
    let positions = publish(&stage, &counter, &ids, 1..=4).await;
    stage.reach(&positions).await;
    stage.database.until("SELECT sum(times) FROM $schema.tally", 15).await;
    old.stop().await;

    let wider = with(WIDER);
    let (new, building) = (stage.start_as(&wider), stage.build(&wider));
    let generation = {
        stage
            .database
            .until("SELECT max(generation) FROM $schema.writ_projections WHERE name = 'tally'", 2)
            .await;
        until_live(&projections, "tally").await
    };
    assert_eq!(generation, 2);
    assert_eq!(content(&stage, "tally").await, [json!({ "by": 1, "times": 15, "sum": 15 })]);
    let more = publish(&stage, &counter, &ids, 5..=5).await;
    stage.reach(&more).await;
    stage.database.until("SELECT sum(times) FROM $schema.tally", 20).await;
    // A server of before doesn't touch it.
    let old = stage.start();
    let more = publish(&stage, &counter, &ids, 6..=6).await;
    stage.reach(&more).await;
    new.stop().await;
    let more = publish(&stage, &counter, &ids, 7..=7).await;
    stage.reach(&more).await;
    building.stop().await;
    old.stop().await;
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'tally' AND \
                   quote_ident(table_schema) = '$schema'";
    assert_eq!(stage.database.number(columns).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_statement_fails_the_build_and_leaves_what_is_live() {
    let stage = Stage::new(&[COUNTER, TALLY]).await;
    let projections = Projections::new(&stage.database.options).unwrap();
    let counter = stage.model("counter");
    let id = Uuid::now_v7();
    let old = stage.start();
    let mut positions = publish(&stage, &counter, &[id], 1..=3).await;
    let seven = add(&stage, &counter, id, 4, 7).await;
    positions.push(seven.clone());
    stage.reach(&positions).await;
    stage.database.until("SELECT sum(times) FROM $schema.tally", 3).await;
    old.stop().await;

    let broken = with(BROKEN);
    let (new, building) = (stage.start_as(&broken), stage.build(&broken));
    let build = until_complaint(&projections, "tally").await;
    assert_eq!(build.error_at, Some(stage.origin(&seven).to_string()));
    assert!(build.error.as_ref().unwrap().contains("division by zero"), "{build:?}");
    let read = projections.list().await.unwrap().into_iter().find(|one| one.name == "tally").unwrap();
    assert!(read.current.unwrap().live);
    assert_eq!(stage.database.number("SELECT sum(times) FROM $schema.tally").await, 3);
    // Asked for again, it begins anew, and fails again.
    let Requested::Begun(again) = projections.request("tally").await.unwrap() else { panic!() };
    assert!(again > build.generation);
    let build = until_complaint(&projections, "tally").await;
    assert!(build.error.is_some());
    new.stop().await;
    building.stop().await;

    let mended = with(WIDER);
    let (new, building) = (stage.start_as(&mended), stage.build(&mended));
    until_live(&projections, "tally").await;
    stage.database.until("SELECT sum(sum) FROM $schema.tally", 9).await;
    new.stop().await;
    building.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_on_the_table_holds_the_build_back_until_it_is_dropped() {
    let work = Work::begin().await;
    let (stage, projections) = (&work.stage, &work.projections);
    let counter = stage.model("counter");
    let positions = publish(stage, &counter, &[Uuid::now_v7()], 1..=3).await;
    stage.reach(&positions).await;
    stage.database.execute("CREATE VIEW $schema.mine AS SELECT amount FROM $schema.counter").await;
    ask(projections, "counter").await;
    let build = until_complaint(projections, "counter").await;
    let error = build.error.unwrap();
    assert!(error.contains("mine") && error.contains("Drop what depends"), "{error}");
    assert_eq!(build.error_at, None);
    let more = publish(stage, &counter, &[Uuid::now_v7()], 1..=3).await;
    stage.reach(&more).await;
    assert_eq!(stage.database.number("SELECT sum(amount)::bigint FROM $schema.mine").await, 4, "it serves");
    assert_eq!(projections.request("counter").await.unwrap(), Requested::Under(build.generation));
    stage.database.execute("DROP VIEW $schema.mine").await;
    assert_eq!(until_live(projections, "counter").await, build.generation);
    assert_eq!(content(stage, "counter").await.len(), 2);
    work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_judge_otherwise_have_what_follows_them_built_anew() {
    let work = Work::begin().await;
    let (stage, projections) = (&work.stage, &work.projections);
    let counter = stage.model("counter");
    let positions = publish(stage, &counter, &[Uuid::now_v7()], 1..=5).await;
    stage.reach(&positions).await;
    stage.database.until("SELECT sum(times) FROM $schema.tally", 4).await;
    // As if the third event had been passed over, say since it could not be decoded then.
    let third = stage.origin(&positions[2]);
    let entry = format!("('{}', {}, {}, 'hole')", third.topic, third.partition, third.offset);
    stage.database.execute(&format!("INSERT INTO $schema.writ_passed_over VALUES {entry}")).await;
    rebuild(projections, "tally").await;
    assert_eq!(stage.database.number("SELECT sum(times) FROM $schema.tally").await, 3, "it was not given it");

    rebuild(projections, "counter").await;
    assert_eq!(stage.database.number("SELECT count(*) FROM $schema.writ_passed_over").await, 0);
    stage.database.until("SELECT sum(times) FROM $schema.tally", 4).await;
    assert_eq!(until_live(projections, "tally").await, 3);
    assert_eq!(until_live(projections, "event_log").await, 2);
    assert_eq!(stage.lags().await, NAMES.map(|name| (name.to_owned(), 0)).into());
    work.end().await;
}
