//! More partitions for the commands: killed in the middle, done to the end, and nothing has changed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Client, Server, World, eventually, kafka, models, tool};

const BEFORE: i32 = 3;
const AFTER: i32 = 7;
/// Some keys belong to the same partition of 3 and of 11, and to another one of 7: they go and come back.
const LAST: i32 = 11;
/// Several transactions of moved records.
const PURSES: usize = 1500;
const MEMBERS: usize = 100;
/// Its e-mails are reservations, which belong to partitions of their own.
const MEMBER: &str = "\
model: member
crud: true
fields:
  email: { type: text, max_length: 50, unique: true }
";
const NDJSON: &str = "application/x-ndjson";

async fn send(app: &Client, lines: Vec<Value>) -> Vec<Value> {
    let mut answers = Vec::with_capacity(lines.len());
    for chunk in lines.chunks(500) {
        let body: String = chunk.iter().map(|line| format!("{line}\n")).collect();
        let answer = app.post_bytes("/v1/commands", NDJSON, body).await.expect(200);
        answers.extend(answer.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    answers
}

fn open(n: usize) -> Value {
    let input = json!({ "number": format!("n{n}"), "owner": "Ada" });
    json!({ "model": "purse", "command": "open", "input": input, "idempotency_key": format!("open-{n}") })
}

fn deposit(n: usize, amount: usize, key: &str) -> Value {
    json!({
        "model": "purse", "command": "deposit", "id": format!("n{n}"), "input": { "amount": amount },
        "idempotency_key": format!("{key}-{n}"),
    })
}

fn join(n: usize) -> Value {
    json!({ "model": "member", "command": "create", "input": { "email": format!("m{n}@example.org") } })
}

async fn start(world: &World, partitions: i32) -> Server {
    world.start(&[("WRIT_KAFKA_PARTITIONS", &partitions.to_string())]).await
}

/// The digest of the line that begins like that.
fn digest(lines: &str, begin: &str) -> String {
    let line =
        lines.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin} in {lines}"));
    let records = line.split_whitespace().nth(1).unwrap();
    let digest = line.split("digest ").nth(1).unwrap();
    format!("{records} {}", digest.split(',').next().unwrap())
}

fn to_move(lines: &str) -> u64 {
    let words = lines.lines().next().unwrap().split(": ").nth(1).unwrap();
    words.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_repartition_that_was_killed_goes_on_and_changes_nothing() {
    let world = World::with_models(&[models::FILES, &[("member.yaml", MEMBER)]].concat());
    let repartition = async |partitions: i32, more: &[&str]| {
        let number = partitions.to_string();
        tool::run(&world, BEFORE, &[&["repartition", "--partitions", &number], more].concat()).await
    };
    let server = start(&world, BEFORE).await;
    let app = server.client();
    let opened = send(&app, (0..PURSES).map(open).collect()).await;
    let first = send(&app, (0..PURSES).map(|n| deposit(n, n + 1, "first")).collect()).await;
    assert!(opened.iter().all(|answer| answer["status"] == 201), "{opened:?}");
    assert!(first.iter().all(|answer| answer["status"] == 200));
    let members = send(&app, (0..MEMBERS).map(join).collect()).await;
    assert!(members.iter().all(|answer| answer["status"] == 201), "{members:?}");

    let online = repartition(AFTER, &[]).await.expect(1);
    assert!(online.complaint().contains("has 1 members"), "{online:?}");
    assert!(server.terminate().await.success());
    // A command that nobody has decided.
    let api = world.spawn("api", &[("WRIT_ROLES", "api"), ("WRIT_KAFKA_PARTITIONS", "3")]).await;
    let undecided = deposit(0, 1, "undecided");
    let body = json!({ "amount": 1 });
    eventually("the api takes commands", async || {
        let path = format!("/v1/purse/{}/deposit?wait=accepted", opened[0]["id"].as_str().unwrap());
        let answer = api.client().try_post(&path, &body, "undecided-0").await?;
        (answer.status == 202).then_some(())
    })
    .await;
    drop(api);
    let waits = repartition(AFTER, &[]).await.expect(1);
    assert!(waits.complaint().contains("not decided"), "{waits:?}");
    let server = start(&world, BEFORE).await;
    assert_eq!(send(&server.client(), vec![undecided]).await[0]["version"], 3);
    assert!(server.terminate().await.success());

    let fewer = repartition(2, &[]).await.expect(1);
    assert!(fewer.complaint().contains("fewer"), "{fewer:?}");
    let same = repartition(BEFORE, &[]).await.expect(1);
    assert!(same.complaint().contains("already"), "{same:?}");
    let early = tool::refused_server(&world, AFTER).await;
    assert!(early.complaint().contains("writ repartition"), "{early:?}");
    let checked = repartition(AFTER, &["--check"]).await.expect(0);
    assert!(checked.stdout.contains("Nothing was changed"), "{checked:?}");
    assert_eq!(kafka::partitions(&world.topic("state")).await, BEFORE);

    // SIGKILL while the second partition is on its way.
    let number = AFTER.to_string();
    let killed = tool::kill_at(&world, BEFORE, &["repartition", "--partitions", &number], "partition 0:")
        .await
        .join("\n");
    assert_eq!(digest(&killed, "before:"), digest(&checked.stdout, "before:"));
    assert_eq!(kafka::partitions(&world.topic("state")).await, AFTER);
    assert_eq!(kafka::partitions(&world.topic("commands")).await, BEFORE);
    for partitions in [BEFORE, AFTER] {
        let refused = tool::refused_server(&world, partitions).await;
        assert!(refused.complaint().contains("writ repartition --partitions 7"), "{refused:?}");
    }
    let other = repartition(8, &[]).await.expect(1);
    assert!(other.complaint().contains("--partitions 7"), "{other:?}");

    let done = repartition(AFTER, &[]).await.expect(0);
    assert!(done.stdout.contains("going on") && done.stdout.contains("kafka.partitions = 7"), "{done:?}");
    assert!(to_move(&done.stdout) < to_move(&checked.stdout), "the killed run had moved a partition");
    for begin in ["before:", "after:"] {
        assert_eq!(digest(&done.stdout, begin), digest(&checked.stdout, "before:"), "{done:?}");
    }
    assert_eq!(kafka::partitions(&world.topic("commands")).await, AFTER);
    assert_eq!(kafka::partitions(&world.topic("purse")).await, BEFORE, "events stay where they are");
    let late = tool::refused_server(&world, BEFORE).await;
    assert!(late.complaint().contains("kafka.partitions = 7"), "{late:?}");

    // With the store of before, and then with none, and each key elsewhere once more.
    for round in 0..2 {
        let partitions = [AFTER, LAST][round];
        if round > 0 {
            std::fs::remove_dir_all(world.data("server")).unwrap();
            repartition(LAST, &[]).await.expect(0);
        }
        let server = start(&world, partitions).await;
        let app = server.client();
        let repeats = send(&app, (0..PURSES).map(|n| deposit(n, n + 1, "first")).collect()).await;
        assert_eq!(repeats, first, "a repeat gets its first outcome");
        let key = format!("round{round}");
        let more = send(&app, (0..PURSES).map(|n| deposit(n, 1, &key)).collect()).await;
        for (n, answer) in more.iter().enumerate() {
            let extra = usize::from(n == 0);
            assert_eq!(answer["version"], 3 + round + extra, "{answer}");
            assert_eq!(answer["state"]["balance"], n + 2 + round + extra, "{answer}");
        }
        let taken = send(&app, (round..MEMBERS).map(join).collect()).await;
        assert!(taken.iter().all(|answer| answer["status"] == 409), "{taken:?}");
        let (member, free) = (&members[round], MEMBERS + round);
        let input = json!({ "email": format!("m{free}@example.org") });
        let moved = json!({ "model": "member", "command": "update", "id": member["id"], "input": input });
        assert_eq!(send(&app, vec![moved]).await[0]["status"], 200);
        assert_eq!(send(&app, vec![join(free)]).await[0]["status"], 409);
        // The release is a step of its own, which follows the event.
        eventually("the old value is free", async || {
            (send(&app, vec![join(round)]).await[0]["status"] == 201).then_some(())
        })
        .await;
        if partitions == LAST {
            // Nothing has changed these since they were made: some have come back with the version that they left with.
            let update = |(n, member): (usize, &Value)| {
                let input = json!({ "email": format!("m{n}@example.org") });
                json!({ "model": "member", "command": "update", "id": member["id"], "input": input })
            };
            let updated = send(&app, members.iter().enumerate().skip(2).map(update).collect()).await;
            assert!(updated.iter().all(|answer| answer["version"] == 2), "{updated:?}");
        }
        assert!(server.terminate().await.success());
    }
    let mut versions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in kafka::read(&world.topic("purse")).await {
        versions.entry(event.key.clone()).or_default().push(event.version());
    }
    assert_eq!(versions.len(), PURSES);
    for (id, versions) in &versions {
        let count = if *id == opened[0]["id"].as_str().unwrap() { 5 } else { 4 };
        assert_eq!(*versions, (1..=count).collect::<Vec<u64>>(), "{id}");
    }
    assert_eq!(kafka::read_raw(&world.topic("dead-letters")).await.len(), 0);
}
