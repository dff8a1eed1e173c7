//! The rows of a list and the places that they are of: whoever goes on from there has every event once.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;
use writ_model::{Model, Object, Position, State, Timestamp, evolve};
use writ_projections::query::{Error, ListRequest, Snapshot, SnapshotError};

use crate::projector::{COUNTER, fields, publish};
use crate::stage::{Stage, everything, models};
use crate::values::THING;

fn list<'a>(model: &'a Model, params: &[(&str, &str)]) -> ListRequest<'a> {
    let params: Vec<(String, String)> =
        params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ListRequest::parse(everything().asks(model), &params).unwrap()
}

/// What stands in a topic, in the order in which it was written.
#[derive(Default)]
struct Written(Vec<(Position, Uuid, &'static str, Object, Timestamp)>);

impl Written {
    /// The states of those that are there after the events below `places`.
    fn fold(&self, counter: &Model, places: &[i64]) -> BTreeMap<Uuid, State> {
        let mut states: BTreeMap<Uuid, State> = BTreeMap::new();
        for (position, id, name, fields, at) in &self.0 {
            let next = places.get(usize::try_from(position.partition).unwrap()).copied().unwrap_or(0);
            if position.offset < next {
                let event = &counter.events[*name];
                let state = evolve(counter, states.remove(id), event, fields, *at);
                states.insert(*id, state);
            }
        }
        states.retain(|_, state| !state.deleted);
        states
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_the_fold_of_what_stands_below_its_places() {
    let stage = Stage::new(&[COUNTER]).await;
    let counter = stage.model("counter");
    let running = stage.start();
    let ids: Vec<Uuid> = (0..24).map(|_| Uuid::now_v7()).collect();
    let requests = [list(&counter, &[]), list(&counter, &[("amount[gt]", "3"), ("fields", "amount")])];
    let mut written = Written::default();
    let mut versions: BTreeMap<Uuid, (u64, bool)> = BTreeMap::new();
    let mut snapshots: Vec<(usize, Snapshot)> = Vec::new();
    for round in 0..12i64 {
        let mut last = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            let (version, is_there) = versions.entry(*id).or_default();
            *version += 1;
            let (name, json) = match (*is_there, (index as i64 + round) % 7) {
                (false, _) => ("opened", json!({ "name": id.to_string(), "amount": round })),
                (true, 0) => ("closed", json!({})),
                (true, _) => ("added", json!({ "by": 1, "amount": round })),
            };
            *is_there = name != "closed";
            let event = &counter.events[name];
            let (fields, at) = (fields(event, &json), Timestamp(1_700_000_000_000 + round));
            let position = stage.publish(&counter, event, *id, *version, at, &fields).await;
            last.push(position.clone());
            written.0.push((position, *id, name, fields, at));
            // The projector is somewhere in between. Before its first batch there is nothing.
            for (which, request) in requests.iter().enumerate() {
                match stage.queries.snapshot(request, 1000).await {
                    Ok(snapshot) => snapshots.push((which, snapshot)),
                    Err(SnapshotError::Query(Error::Unavailable(_))) if round == 0 => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        stage.reach(&last).await;
    }
    let places: std::collections::BTreeSet<Vec<i64>> =
        snapshots.iter().map(|(_, snapshot)| snapshot.places.clone()).collect();
    assert!(places.len() >= 12, "of many moments: {places:?}");
    for (which, snapshot) in &snapshots {
        let matching = requests[*which].matching().unwrap();
        let expected: BTreeMap<Uuid, String> = written
            .fold(&counter, &snapshot.places)
            .into_iter()
            .filter(|(id, state)| matching.holds(*id, state))
            .map(|(id, state)| (id, matching.row_json(&counter, id, &state)))
            .collect();
        let found: BTreeMap<Uuid, String> = snapshot.rows.iter().map(|row| (row.id, row.to_json())).collect();
        assert_eq!(found, expected, "{:?}", snapshot.places);
        assert_eq!(found.len(), snapshot.rows.len());
    }
    let last = stage.queries.snapshot(&requests[0], 1000).await.unwrap();
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    for (position, ..) in &written.0 {
        ends.insert(position.partition, position.offset + 1);
    }
    for (partition, end) in ends {
        assert_eq!(last.places[usize::try_from(partition).unwrap()], end);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_has_all_rows_or_says_that_they_are_too_many() {
    let daily = "
projection: daily
fields: { day: { type: date, key: true } }
on:
  counter.opened: INSERT INTO daily (day) VALUES ((:event.time AT TIME ZONE 'UTC')::date) ON CONFLICT DO NOTHING
";
    let stage = Stage::of(models(&[COUNTER, daily]), &crate::stage::variable("WRIT_POSTGRES_URL")).await;
    let counter = stage.model("counter");
    let all = list(&counter, &[("limit", "2")]);
    let early = stage.queries.snapshot(&all, 5).await;
    assert!(matches!(early, Err(SnapshotError::Query(Error::Unavailable(_)))), "no tables yet: {early:?}");
    let running = stage.start();
    let ids: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
    let positions = publish(&stage, &counter, &ids, 1..=1).await;
    stage.reach(&positions).await;
    assert_eq!(
        stage.queries.snapshot(&all, 5).await.unwrap().rows.len(),
        5,
        "the limit of pages doesn't count"
    );
    let many = stage.queries.snapshot(&all, 4).await;
    assert!(matches!(many, Err(SnapshotError::TooManyRows(4))), "{many:?}");
    let one = list(&counter, &[("name", &ids[3].to_string())]);
    assert_eq!(stage.queries.snapshot(&one, 1).await.unwrap().rows[0].id, ids[3]);
    let none = list(&counter, &[("name", "nobody")]);
    assert!(stage.queries.snapshot(&none, 0).await.unwrap().rows.is_empty());

    let daily = ListRequest::parse(everything().asks(&stage.models.projections["daily"]), &[]).unwrap();
    let refused = stage.queries.snapshot(&daily, 5).await;
    assert!(matches!(refused, Err(SnapshotError::Query(Error::Failed(_)))), "{refused:?}");
    running.stop().await;
}

/// As a rebuilt table takes the place of the live one, at the worst moment: between the begin of the transaction and its first
/// look at the rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_takes_the_place_of_another_comes_with_its_places() {
    let stage = Stage::new(&[COUNTER]).await;
    let counter = stage.model("counter");
    let running = stage.start();
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    let positions = publish(&stage, &counter, &ids, 1..=1).await;
    stage.reach(&positions).await;
    running.stop().await;

    let mut connection = PgConnection::connect(&stage.database.options.url).await.unwrap();
    let run = async |connection: &mut PgConnection, sql: &str| {
        sqlx::raw_sql(AssertSqlSafe(stage.database.named(sql))).execute(connection).await.unwrap();
    };
    run(&mut connection, "BEGIN; LOCK TABLE $schema.counter IN ACCESS EXCLUSIVE MODE").await;
    let request = list(&counter, &[]);
    let replaced = async {
        // Until it waits for the table.
        let waits =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '$schema.counter'::regclass";
        stage.database.until(waits, 1).await;
        let replace = "CREATE TABLE $schema.new (LIKE $schema.counter INCLUDING ALL); \
                       INSERT INTO $schema.new SELECT * FROM $schema.counter LIMIT 1; \
                       DROP TABLE $schema.counter; ALTER TABLE $schema.new RENAME TO counter; \
                       UPDATE $schema.writ_offsets SET next = 1000 WHERE projection = 'counter'; COMMIT";
        run(&mut connection, replace).await;
    };
    let (snapshot, ()) = tokio::join!(stage.queries.snapshot(&request, 10), replaced);
    let snapshot = snapshot.unwrap();
    assert_eq!((snapshot.rows.len(), &*snapshot.places), (1, &[1000, 1000, 1000][..]));
}

/// A generation that is being built has places of its own, which are not these.
#[tokio::test(flavor = "multi_thread")]
async fn the_places_are_those_of_the_live_generation() {
    let stage = Stage::new(&[COUNTER]).await;
    let counter = stage.model("counter");
    let running = stage.start();
    let positions = publish(&stage, &counter, &[Uuid::now_v7()], 1..=3).await;
    stage.reach(&positions).await;
    running.stop().await;
    let request = list(&counter, &[]);
    let before = stage.queries.snapshot(&request, 10).await.unwrap().places;
    stage
        .database
        .execute(
            "INSERT INTO $schema.writ_projections (name, generation, kind, fingerprint, state) \
             SELECT name, generation + 1, kind, fingerprint, 'building' FROM $schema.writ_projections WHERE name = 'counter'; \
             INSERT INTO $schema.writ_offsets (projection, generation, topic, partition, next) \
             SELECT projection, generation + 1, topic, partition, 7 FROM $schema.writ_offsets WHERE projection = 'counter'",
        )
        .await;
    assert_eq!(stage.queries.snapshot(&request, 10).await.unwrap().places, before);
    // A partition that was not read yet.
    stage
        .database
        .execute("DELETE FROM $schema.writ_offsets WHERE projection = 'counter' AND partition = 1")
        .await;
    let places = stage.queries.snapshot(&request, 10).await.unwrap().places;
    assert_eq!(places, [before[0], 0, before[2]]);
}

/// All who follow something may want their rows at once, as after an instance has stopped. Other queries have connections still.
#[tokio::test(flavor = "multi_thread")]
async fn snapshots_leave_connections_to_other_queries() {
    let stage = Stage::new(&[COUNTER, THING]).await;
    let (counter, thing) = (stage.model("counter"), stage.model("thing"));
    let running = stage.start();
    let positions = publish(&stage, &counter, &[Uuid::now_v7()], 1..=1).await;
    stage.reach(&positions).await;
    let mut connection = PgConnection::connect(&stage.database.options.url).await.unwrap();
    let run = async |connection: &mut PgConnection, sql: &str| {
        sqlx::raw_sql(AssertSqlSafe(stage.database.named(sql))).execute(connection).await.unwrap();
    };
    run(&mut connection, "BEGIN; LOCK TABLE $schema.counter IN ACCESS EXCLUSIVE MODE").await;
    let request = list(&counter, &[]);
    let all = futures::future::join_all((0..40).map(|_| stage.queries.snapshot(&request, 100)));
    let others = async {
        let waits =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '$schema.counter'::regclass";
        let half = i64::from(stage.database.options.max_connections / 2);
        stage.database.until(waits, half).await;
        for _ in 0..40 {
            stage.queries.list(&list(&thing, &[])).await.unwrap();
        }
        assert_eq!(stage.database.number(waits).await, half);
        run(&mut connection, "COMMIT").await;
    };
    let (all, ()) = tokio::join!(all, others);
    assert!(all.into_iter().all(|snapshot| snapshot.is_ok_and(|snapshot| snapshot.rows.len() == 1)));
    running.stop().await;
}
