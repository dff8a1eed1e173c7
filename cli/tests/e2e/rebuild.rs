//! `writ rebuild` and `writ projections`, with servers that are killed and replaced meanwhile.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::harness::{Client, World, eventually, models, tool};

const PARTITIONS: i32 = 4;
const TURNOVER: &str = "\
projection: turnover
fields:
  reference: { type: text, key: true }
  deposits: { type: integer }
  total: { type: integer }
on:
  purse.deposited: >
    INSERT INTO turnover (reference, deposits, total) VALUES (coalesce(:reference, ''), 1, :amount)
    ON CONFLICT (reference) DO UPDATE SET deposits = turnover.deposits + 1, total = turnover.total + excluded.total
";

async fn send(app: &Client, lines: impl Iterator<Item = Value>) {
    let body: String = lines.map(|line| format!("{line}\n")).collect();
    let answer = app.post_bytes("/v1/commands", "application/x-ndjson", body).await.expect(200);
    for line in answer.text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["status"].as_u64().is_some_and(|status| status < 300), "{line}");
    }
}

fn open(n: usize) -> Value {
    let input = json!({ "number": format!("n{n}"), "owner": "Ada" });
    json!({ "model": "purse", "command": "open", "input": input, "idempotency_key": format!("open-{n}") })
}

fn deposit(n: usize, round: usize) -> Value {
    let input = json!({ "amount": n + 1, "reference": format!("r{}", n % 7) });
    json!({
        "model": "purse", "command": "deposit", "id": format!("n{n}"), "input": input,
        "idempotency_key": format!("deposit-{n}-{round}"),
    })
}

async fn number(world: &World, sql: &str) -> i64 {
    let sql = sql.replace("$schema", &world.schema);
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut world.postgres().await).await.unwrap()
}

async fn rows(world: &World) -> [Vec<String>; 3] {
    [world.rows("purse").await, world.rows("turnover").await, world.rows("event_log").await]
}

/// All events are in all of them.
async fn settled(world: &World, events: i64) {
    let log = "SELECT count(*) FROM \"$schema\".event_log WHERE model = 'purse'";
    eventually("all events are applied", async || (number(world, log).await == events).then_some(())).await;
    let behind = async || {
        let said = tool::run(world, PARTITIONS, &["projections", "--json"]).await.expect(0);
        let lines = said.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["lag"].as_u64().unwrap()).sum::<u64>()
    };
    eventually("nothing is behind", async || (behind().await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_projection_is_built_anew_while_servers_come_and_go() {
    let world = World::with_models(&[models::FILES, &[("turnover.yaml", TURNOVER)]].concat());
    let run = async |arguments: &[&str]| tool::run(&world, PARTITIONS, arguments).await;
    let early = run(&["rebuild", "purse"]).await.expect(1);
    assert!(early.complaint().contains("no projection yet"), "{early:?}");
    let none = run(&["projections"]).await.expect(0);
    assert!(none.stdout.contains("No projections yet"), "{none:?}");

    let server = world.start(&[]).await;
    let app = server.client();
    send(&app, (0..200).map(open)).await;
    send(&app, (0..200).map(|n| deposit(n, 0))).await;
    settled(&world, 400).await;
    let before = rows(&world).await;
    let unknown = run(&["rebuild", "purze"]).await.expect(1);
    for name in ["purse", "event_log"] {
        assert!(unknown.complaint().contains(name), "{unknown:?}");
    }

    let all = run(&["rebuild", "--all"]).await.expect(0);
    for name in ["purse", "event_log", "turnover"] {
        assert!(all.stdout.contains(&format!("{name}: generation 2 is live")), "{all:?}");
    }
    assert_eq!(rows(&world).await, before);

    // A reader that takes its time keeps the build from taking the table's place.
    let mut reader: PgConnection = world.postgres().await;
    let mut reading = reader.begin().await.unwrap();
    let sql = format!("SELECT count(*) FROM \"{}\".purse", world.schema);
    sqlx::query(AssertSqlSafe(sql)).execute(&mut *reading).await.unwrap();
    let asked = run(&["rebuild", "purse", "--detach"]).await.expect(0);
    assert!(asked.stdout.contains("purse: generation 3 is asked for"), "{asked:?}");
    let building =
        "SELECT applied FROM \"$schema\".writ_projections WHERE name = 'purse' AND state = 'building'";
    eventually("it has read all", async || (number(&world, building).await == 400).then_some(())).await;
    server.kill();
    let places = "SELECT sum(next)::bigint FROM \"$schema\".writ_offsets WHERE projection = 'purse' AND generation = 3";
    assert!(number(&world, places).await >= 400);
    let waits = run(&["rebuild", "purse", "--detach"]).await.expect(0);
    assert!(waits.stdout.contains("under way already"), "{waits:?}");
    let listed = run(&["projections"]).await.expect(0);
    assert!(listed.stdout.contains("building"), "{listed:?}");

    let server = world.start(&[]).await;
    let app = server.client();
    let follow = run(&["rebuild", "purse"]);
    let write = async {
        send(&app, (0..200).map(|n| deposit(n, 1))).await;
        eventually("it goes on where it was", async || (number(&world, building).await == 600).then_some(()))
            .await;
        tokio::time::timeout(Duration::from_secs(30), reading.rollback()).await.unwrap().unwrap();
    };
    let (followed, ()) = tokio::join!(follow, write);
    let followed = followed.expect(0);
    assert!(followed.stdout.contains("purse: generation 3 is live"), "{followed:?}");
    settled(&world, 600).await;
    let after = rows(&world).await;
    assert_eq!(after[0].len(), 200);
    run(&["rebuild", "--all"]).await.expect(0);
    assert_eq!(rows(&world).await, after, "filled at once, with nobody writing");
    assert!(server.terminate().await.success());
    let alone = run(&["rebuild", "turnover", "--detach"]).await.expect(0);
    assert!(alone.stderr.contains("waits for one with the role projector"), "{alone:?}");
}
