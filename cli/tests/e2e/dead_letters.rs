//! Poison in the topics: it stops nobody, it is kept whole, and it can be tried again.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use uuid::Uuid;
use writ_model::decide::Actor;
use writ_producers::envelope::CommandRecord;
use writ_producers::partitioner::partition_of;

use crate::harness::{App, World, eventually, kafka, tool, world};

/// As the harness configures its servers.
const PARTITIONS: i32 = 4;

fn deposit(purse: Uuid) -> CommandRecord {
    CommandRecord {
        id: Uuid::now_v7(),
        model: "purse".into(),
        aggregate: purse,
        command: "deposit".into(),
        input: json!({ "amount": 5 }),
        actor: Actor::unrestricted(),
        expected_version: None,
        at: 1_700_000_000_000,
        idempotent: false,
        correlation: Uuid::now_v7(),
        causation: None,
        traceparent: None,
        reacting: None,
    }
}

fn bytes(command: &CommandRecord) -> Vec<u8> {
    serde_json::to_vec(command).unwrap()
}

/// Writes records where it pleases.
struct Poisoner {
    producer: FutureProducer,
    topic: String,
}

impl Poisoner {
    fn new(topic: String) -> Poisoner {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", world::brokers())
            .set("message.max.bytes", "2000000")
            .create()
            .unwrap();
        Poisoner { producer, topic }
    }

    /// Writes a record and gives the id that its dead letter will have.
    async fn put(&self, partition: i32, key: Option<&str>, value: Option<&[u8]>) -> String {
        let mut record = FutureRecord::<str, [u8]>::to(&self.topic)
            .partition(partition)
            .headers(OwnedHeaders::new().insert(Header { key: "traceparent", value: Some("00-a-b-01") }));
        record.key = key;
        record.payload = value;
        let delivery = self.producer.send(record, Duration::from_secs(30)).await.unwrap();
        format!("{}:{}:{}", self.topic, delivery.partition, delivery.offset)
    }
}

async fn letters(world: &World, more: &[&str]) -> Vec<Value> {
    let arguments = [&["dead-letters", "list", "--json"], more].concat();
    let list = tool::run(world, PARTITIONS, &arguments).await.expect(0);
    list.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn find<'a>(letters: &'a [Value], id: &str) -> &'a Value {
    letters.iter().find(|letter| letter["id"] == id).unwrap_or_else(|| panic!("no {id} in {letters:#?}"))
}

#[tokio::test]
async fn poisoned_commands_stop_no_partition_and_can_be_replayed() {
    let App { server, world } = App::start().await;
    let app = server.client();
    let good = app.open_purse().await;
    let path = format!("/v1/purse/{}/deposit", good.id());
    let commands = world.topic("commands");
    let key = format!("purse/{}", good.id());
    let home = partition_of(key.as_bytes(), PARTITIONS);
    let written = kafka::read(&commands).await.into_iter().find(|record| record.key == key).unwrap();
    assert_eq!(written.partition, home, "the same hash as the client's");
    // Another purse, whose commands belong elsewhere.
    let other = loop {
        let other = app.open_purse().await.id().to_owned();
        if partition_of(format!("purse/{other}").as_bytes(), PARTITIONS) != home {
            break other;
        }
    };
    let other_key = format!("purse/{other}");
    let misplaced = deposit(other.parse().unwrap());
    let nowhere = loop {
        let command = CommandRecord { model: "nowhere".into(), ..deposit(Uuid::now_v7()) };
        if partition_of(command.key().as_bytes(), PARTITIONS) == home {
            break command;
        }
    };
    let megabyte: Vec<u8> = (0..1_040_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();

    let poison = Poisoner::new(commands.clone());
    let garbage = poison.put(home, Some("purse/x"), Some(b"\x00\x01garbage")).await;
    let shape = poison.put(home, Some(&key), Some(br#"{"hello":"world"}"#)).await;
    let empty = poison.put(home, Some(&key), None).await;
    let keyless = poison.put(home, None, Some(&bytes(&misplaced))).await;
    let large = poison.put(home, Some(&key), Some(&megabyte)).await;
    let unknown = poison.put(home, Some(&nowhere.key()), Some(&bytes(&nowhere))).await;
    let foreign_key = poison.put(home, Some(&key), Some(&bytes(&misplaced))).await;
    let misplaced = poison.put(home, Some(&other_key), Some(&bytes(&misplaced))).await;

    // Behind them on the same partition.
    let after = app.post(&path, &json!({ "amount": 7 })).await.expect(200);
    assert_eq!((after.version(), &after.body["state"]["balance"]), (2, &json!(7)));
    let versions = async || kafka::events_of(&world.topic("purse"), &other).await.len();
    assert_eq!(versions().await, 1, "the command in the wrong partition was not decided there");

    let all = letters(&world, &[]).await;
    for (id, reason) in [
        (&garbage, "no command"),
        (&shape, "missing field `id`"),
        (&empty, "has no value"),
        (&keyless, "has no key"),
        (&large, "no command"),
        (&unknown, "no model `nowhere`"),
        (&foreign_key, "and that of its command"),
        (&misplaced, "belongs to partition"),
    ] {
        let letter = find(&all, id);
        assert!(letter["reason"].as_str().unwrap().contains(reason), "{reason} in {letter}");
        assert_eq!(
            (&letter["state"], &letter["group"]),
            (&json!("open"), &json!(format!("{}.decider", world.prefix)))
        );
    }
    assert_eq!(all.len(), 8);
    // Whole, to the last byte.
    let kept = kafka::read_raw(&world.topic("dead-letters")).await;
    assert!(kept.iter().any(|(key, value)| *key == large && *value == megabyte));

    let dead_letters = async |arguments: &[&str]| {
        tool::run(&world, PARTITIONS, &[&["dead-letters"], arguments].concat()).await
    };
    let table = dead_letters(&["list"]).await.expect(0);
    assert_eq!(table.stdout.lines().count(), 9, "{}", table.stdout);
    let shown = dead_letters(&["show", &garbage]).await.expect(0).stdout;
    for part in [
        "00 01 67 61",
        "..garbage",
        "traceparent = 00-a-b-01",
        "purse/x",
        "deciding a record",
        ".decider on ",
    ] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }

    // The command that stood in the wrong place goes to the right one, and is decided.
    dead_letters(&["replay", &misplaced]).await.expect(0);
    eventually("the replayed command is decided", async || (versions().await == 2).then_some(())).await;
    let twice = dead_letters(&["replay", &misplaced]).await.expect(1);
    assert!(twice.complaint().contains("replayed already"), "{twice:?}");
    let never = dead_letters(&["replay", &keyless]).await.expect(1);
    assert!(never.complaint().contains("has no key"), "{never:?}");
    // What fails again is a new letter that names the first.
    dead_letters(&["replay", &garbage]).await.expect(0);
    let again = eventually("the replayed garbage is a letter again", async || {
        letters(&world, &[]).await.into_iter().find(|letter| letter["replay_of"] == garbage.as_str())
    })
    .await;
    assert_ne!(again["id"], garbage.as_str());
    dead_letters(&["replay", &garbage, "--again"]).await.expect(0);
    assert!(letters(&world, &[]).await.iter().all(|letter| letter["id"] != garbage.as_str()));
    assert_eq!(find(&letters(&world, &["--done"]).await, &garbage)["state"], "replayed");

    let asked = dead_letters(&["drop", "--all"]).await.expect(1);
    assert!(asked.complaint().contains("--yes"), "{asked:?}");
    let unheard = format!("{commands}:0:999999");
    let unheard = dead_letters(&["drop", &unheard, "--yes"]).await.expect(1);
    assert!(unheard.complaint().contains("there is no dead letter"), "{unheard:?}");
    eventually("the second repeat is a letter too", async || {
        (letters(&world, &[]).await.iter().filter(|letter| letter["replay_of"] == garbage.as_str()).count()
            == 2)
            .then_some(())
    })
    .await;
    dead_letters(&["drop", "--all", "--yes"]).await.expect(0);
    assert_eq!(letters(&world, &[]).await, Vec::<Value>::new());
    assert_eq!(find(&letters(&world, &["--done"]).await, &large)["state"], "dropped");

    assert_eq!(app.post(&path, &json!({ "amount": 1 })).await.expect(200).version(), 3);
    assert_eq!(app.get("/readyz").await.status, 200);
}

/// Yesterday's projector meets the events of today's models: an upgrade in the wrong order.
#[tokio::test]
async fn events_of_tomorrow_are_passed_over_and_replayed() {
    let world = World::new();
    let old = world.spawn("old", &[("WRIT_ROLES", "api,projector")]).await;
    old.ready().await;
    let note = std::fs::read_to_string(world.models().join("note.yaml")).unwrap();
    world.write_model(
        "note.yaml",
        &format!("{note}commands:\n  star: {{ set: {{ stars: '5' }}, emits: starred }}\n"),
    );
    let new = world.spawn("new", &[("WRIT_ROLES", "api,decider")]).await;
    eventually("the decider is ready", async || {
        let answer = new.client().try_get("/readyz").await?;
        (answer.status == 200).then_some(())
    })
    .await;
    let app = new.client();
    let made = app.post("/v1/note/create?wait=projected", &json!({ "title": "one" })).await.expect(201);
    let path = format!("/v1/note/{}", made.id());
    app.post(&format!("{path}/star"), &json!({})).await.expect(200);
    let last = app.post(&format!("{path}/update"), &json!({ "title": "two" })).await.expect(200);
    assert_eq!(last.version(), 3);
    // The partition goes on past both; the row stays as it was.
    assert_eq!(app.get_at(&path, last.position()).await.expect(200).version(), 1);
    let open = letters(&world, &[]).await;
    assert_eq!(open.len(), 2, "{open:?}");
    assert!(open.iter().any(|letter| letter["reason"].as_str().unwrap().contains("Starred")), "{open:?}");
    assert!(open.iter().any(|letter| letter["reason"].as_str().unwrap().contains("waits for version 2")));
    assert_eq!(old.client().get("/readyz").await.status, 200);

    let early = open.iter().find(|letter| letter["reason"].as_str().unwrap().contains("waits")).unwrap();
    let early = ["dead-letters", "replay", early["id"].as_str().unwrap()];
    let early = tool::run(&world, PARTITIONS, &early).await.expect(1);
    assert!(early.stdout.contains("waits for version 2"), "{early:?}");
    let healed = tool::run(&world, PARTITIONS, &["dead-letters", "replay", "--all", "--yes"]).await.expect(0);
    assert_eq!(healed.stdout.matches("its row has it now").count(), 2, "{healed:?}");
    let row = app.get(&path).await.expect(200);
    assert_eq!(
        (row.version(), &row.body["state"]["stars"], &row.body["state"]["title"]),
        (3, &json!(5), &json!("two"))
    );
    assert_eq!(letters(&world, &[]).await, Vec::<Value>::new());
}
