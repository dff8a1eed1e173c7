//! Waiting for places. The places are written here by hand, as the projector writes them: in a transaction that notifies.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use writ_model::Position;
use writ_model::declaration::{Projection, Statement};
use writ_producers::topics::Topics;
use writ_projections::positions::{Late, NotReached, Positions, Reads, channel};
use writ_projections::query::Queries;
use writ_projections::tables::Schema;

use crate::stage::{Database, LIMIT};

/// Far more than a notification takes, and far less than [`LIMIT`], after which a wait looks by itself.
const SOON: Duration = Duration::from_secs(20);

struct Places {
    database: Database,
    positions: Positions,
    channel: String,
}

impl Places {
    async fn new() -> Places {
        let database = Database::new();
        for sql in [
            "CREATE SCHEMA $schema",
            "CREATE TABLE $schema.writ_projections (name text, generation integer, state text, error_at text)",
            "CREATE TABLE $schema.writ_offsets (projection text, generation integer, topic text, partition integer, \
             next bigint)",
        ] {
            database.execute(sql).await;
        }
        let queries = Queries::new(&database.options, None).unwrap();
        let channel = channel(&Schema::new(&database.options.schema));
        Places { database, positions: queries.positions(Topics::new("t")), channel }
    }

    async fn catalog(&self, name: &str, generation: i32, state: &str) {
        let insert = format!(
            "INSERT INTO $schema.writ_projections (name, generation, state) VALUES ('{name}', {generation}, '{state}')"
        );
        self.database.execute(&insert).await;
    }

    async fn place(&self, name: &str, generation: i32, model: &str, next: i64) {
        let insert = format!(
            "INSERT INTO $schema.writ_offsets VALUES ('{name}', {generation}, 't.{model}', 0, {next})"
        );
        self.database.execute(&insert).await;
    }

    /// In one transaction, with the notification.
    async fn change(&self, statements: &[&str]) {
        let schema = format!("\"{}\"", self.database.options.schema.replace('"', "\"\""));
        let mut connection = PgConnection::connect(&self.database.options.url).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        for statement in statements {
            let sql = statement.replace("$schema", &schema);
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await.unwrap();
        }
        sqlx::query("SELECT pg_notify($1, '')").bind(&self.channel).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }

    async fn advance(&self, name: &str, next: i64) {
        self.change(&[&format!("UPDATE $schema.writ_offsets SET next = {next} WHERE projection = '{name}'")])
            .await;
    }

    /// The connections that listen for this test's places.
    async fn listeners(&self) -> Vec<i32> {
        let mut connection = PgConnection::connect(&self.database.options.url).await.unwrap();
        let rows = sqlx::query(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'writ-positions' AND strpos(query, $1) > 0",
        )
        .bind(self.database.options.schema.replace('"', "\"\""))
        .fetch_all(&mut connection)
        .await
        .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn cut(&self, pid: i32) {
        let mut connection = PgConnection::connect(&self.database.options.url).await.unwrap();
        sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&mut connection).await.unwrap();
    }

    /// Somebody waits, and the connection listens.
    async fn until_listening(&self) -> i32 {
        loop {
            if let [pid] = self.listeners().await[..] {
                return pid;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn position(model: &str, offset: i64) -> Position {
    Position { model: model.into(), partition: 0, offset }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it is noticed at once, not when the wait ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_the_transaction_that_moves_the_place() {
    let places = Places::new().await;
    places.catalog("order", 1, "live").await;
    places.place("order", 1, "order", 3).await;
    let wait = |offset| {
        let (positions, awaited) = (places.positions.clone(), [position("order", offset)]);
        async move { positions.wait(Reads::Rows, &awaited, LIMIT).await }
    };
    soon(wait(2)).await.unwrap();
    let waiting = tokio::spawn(wait(5));
    places.advance("order", 5).await;
    assert!(!waiting.is_finished(), "the next one is 5: it isn't there yet");
    places.advance("order", 6).await;
    soon(waiting).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_wait_share_one_connection() {
    let places = Arc::new(Places::new().await);
    places.catalog("order", 1, "live").await;
    places.place("order", 1, "order", 0).await;
    let waiting: Vec<_> = (0..200)
        .map(|offset| {
            let places = places.clone();
            tokio::spawn(async move {
                places.positions.clone().wait(Reads::Rows, &[position("order", offset)], LIMIT).await
            })
        })
        .collect();
    places.until_listening().await;
    for next in [50, 100, 200] {
        places.advance("order", next).await;
    }
    for outcome in soon(join_all(waiting)).await {
        outcome.unwrap().unwrap();
    }
    assert_eq!(places.listeners().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_reached_is_said_with_what_was() {
    let places = Places::new().await;
    places.catalog("order", 1, "live").await;
    places.place("order", 1, "order", 3).await;
    let awaited = [position("order", 1), position("order", 7)];
    let outcome = places.positions.wait(Reads::Rows, &awaited, Duration::from_millis(50)).await;
    let Err(NotReached::TimedOut(late)) = outcome else { panic!("{outcome:?}") };
    let expected = Late {
        projection: "order".into(),
        awaited: position("order", 7),
        reached: Some(position("order", 2)),
    };
    assert_eq!(late, expected);
    assert_eq!(late.to_string(), "order has reached order:0:2, not order:0:7");
    let unread = places.positions.wait(Reads::Rows, &[position("note", 0)], Duration::from_millis(50)).await;
    assert_eq!(unread.unwrap_err().to_string(), "note has reached nothing of note:0 yet, not note:0:0");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_projection_has_its_own_places() {
    let places = Places::new().await;
    for (name, next) in [("order", 9), ("event_log", 3), ("sales", 6)] {
        places.catalog(name, 1, "live").await;
        places.place(name, 1, "order", next).await;
    }
    places.catalog("note", 1, "live").await;
    places.place("note", 1, "note", 2).await;
    let statement =
        Statement { model: "order".into(), event: "placed".into(), pieces: vec![], parameters: vec![] };
    let sales = Projection {
        name: "sales".into(),
        doc: None,
        fields: Default::default(),
        key: vec![],
        indexes: vec![],
        read: None,
        field_rules: vec![],
        statements: vec![statement],
    };
    let reached = async |reads, position| {
        places.positions.wait(reads, &[position], Duration::from_millis(20)).await.is_ok()
    };
    for (offset, expected) in [(2, [true, true, true]), (5, [true, false, true]), (8, [true, false, false])] {
        for (reads, expected) in
            [Reads::Rows, Reads::EventLog, Reads::Projection(&sales)].into_iter().zip(expected)
        {
            assert_eq!(reached(reads, position("order", offset)).await, expected, "{reads:?} {offset}");
        }
    }
    assert!(reached(Reads::Projection(&sales), position("note", 1)).await, "it waits for the rows");
    assert!(!reached(Reads::Projection(&sales), position("note", 2)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_stopped_is_said_at_once() {
    let places = Places::new().await;
    places.catalog("order", 1, "live").await;
    places.place("order", 1, "order", 3).await;
    let (positions, awaited) = (places.positions.clone(), [position("order", 7)]);
    let waiting = tokio::spawn(async move { positions.wait(Reads::Rows, &awaited, LIMIT).await });
    places.until_listening().await;
    places.change(&["UPDATE $schema.writ_projections SET state = 'stopped', error_at = 't.order:0:3'"]).await;
    let outcome = soon(waiting).await.unwrap();
    let Err(NotReached::Stopped { late, at }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((late.reached, at.as_str()), (Some(position("order", 2)), "t.order:0:3"));
    soon(places.positions.wait(Reads::Rows, &[position("order", 2)], LIMIT)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_is_built_counts_when_it_is_swapped_in() {
    let places = Places::new().await;
    places.catalog("order", 1, "live").await;
    places.place("order", 1, "order", 3).await;
    places.catalog("order", 2, "building").await;
    places.place("order", 2, "order", 9).await;
    let early = places.positions.wait(Reads::Rows, &[position("order", 5)], Duration::from_millis(20)).await;
    assert!(early.is_err(), "nobody reads it yet");
    let (positions, awaited) = (places.positions.clone(), [position("order", 5)]);
    let waiting = tokio::spawn(async move { positions.wait(Reads::Rows, &awaited, LIMIT).await });
    places.until_listening().await;
    places
        .change(&[
            "DELETE FROM $schema.writ_offsets WHERE generation = 1",
            "DELETE FROM $schema.writ_projections WHERE generation = 1",
            "UPDATE $schema.writ_projections SET state = 'live'",
        ])
        .await;
    soon(waiting).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_made_anew_and_nothing_is_missed() {
    let places = Places::new().await;
    places.catalog("order", 1, "live").await;
    places.place("order", 1, "order", 0).await;
    for round in 1..=5 {
        let (positions, awaited) = (places.positions.clone(), [position("order", round)]);
        let waiting = tokio::spawn(async move { positions.wait(Reads::Rows, &awaited, LIMIT).await });
        let pid = places.until_listening().await;
        // With nobody to hear it: the look of the new connection has to find it.
        places.database.execute(&format!("UPDATE $schema.writ_offsets SET next = {}", round + 1)).await;
        places.cut(pid).await;
        soon(waiting).await.unwrap().unwrap();
    }
    // While nobody waits.
    let pid = places.until_listening().await;
    places.cut(pid).await;
    soon(places.positions.wait(Reads::Rows, &[position("order", 5)], LIMIT)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_not_there_yet_has_reached_nothing() {
    let places = Places::new().await;
    places.database.execute("DROP SCHEMA $schema CASCADE").await;
    let outcome =
        places.positions.wait(Reads::Rows, &[position("order", 0)], Duration::from_millis(20)).await;
    assert!(matches!(outcome, Err(NotReached::TimedOut(Late { reached: None, .. }))), "{outcome:?}");
}
