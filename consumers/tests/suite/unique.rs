//! No two aggregates have the same unique value, whatever fails on the way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;
use writ_model::Rejection;
use writ_producers::commands::Answers;
use writ_producers::envelope::{CommandRecord, Committed, Outcome, header};
use writ_producers::transaction::TransactionalProducer;

use crate::stage::{LIMIT, Running, Stage, command_of};

const MEMBER: &str = "
model: member
crud: true
fields:
  email: { type: text, unique: true }
  handle: { type: text, optional: true, unique: true }
";

/// The same before anybody thought of uniqueness.
const MEMBER_BEFORE: &str = "
model: member
crud: true
fields:
  email: { type: text }
  handle: { type: text, optional: true }
";

fn create(email: &str) -> CommandRecord {
    command_of("member", Uuid::now_v7(), "create", json!({ "email": email }))
}

fn create_with(email: &str, handle: &str) -> CommandRecord {
    command_of("member", Uuid::now_v7(), "create", json!({ "email": email, "handle": handle }))
}

fn update(member: Uuid, input: Value) -> CommandRecord {
    command_of("member", member, "update", input)
}

fn taken(fields: &[&str]) -> Outcome {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    Outcome::Rejected(Rejection::NotUnique { fields })
}

/// Every record of `writ.state` that isn't a tombstone, by key, under a prefix.
fn states(stage: &Stage, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let mut states = BTreeMap::new();
    for record in stage.read(&stage.topics.state()) {
        match record.value {
            Some(value) => states.insert(record.key, value),
            None => states.remove(&record.key),
        };
    }
    states.retain(|key, _| key.starts_with(prefix));
    states
}

/// So many values are reserved in the end, and nothing waits any more. What an event gives up is free a transaction
/// after its answer.
async fn assert_reserved(stage: &Stage, expected: usize) {
    let started = Instant::now();
    loop {
        let reserved = states(stage, "@unique/").len();
        let left = states(stage, "@pending/").len() + states(stage, "@waiting/").len();
        if (reserved, left) == (expected, 0) {
            return;
        }
        assert!(started.elapsed() < LIMIT, "{reserved} are reserved, not {expected}; {left} wait");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_taken_freed_and_taken_again() {
    let stage = Stage::with(3, &[MEMBER]).await;
    let folder = tempfile::tempdir().unwrap();
    let decider = stage.decider(folder.path()).await;
    let ada = decider.commit(&create("ada")).await;
    assert_eq!(decider.send(&create("ada")).await, taken(&["email"]));
    let bob = decider.commit(&create("bob")).await;
    assert_eq!(decider.send(&update(bob.id, json!({ "email": "ada" }))).await, taken(&["email"]));
    assert_reserved(&stage, 2).await; // what was refused has left nothing behind

    // A changed value frees the old one; an unchanged one is no claim.
    decider.commit(&update(ada.id, json!({ "email": "lovelace" }))).await;
    decider.commit(&update(ada.id, json!({ "handle": null }))).await;
    decider.commit(&update(bob.id, json!({ "email": "ada" }))).await;
    assert_eq!(decider.send(&update(ada.id, json!({ "email": "ada" }))).await, taken(&["email"]));

    // A delete frees all, and the deleted one can come back with what is free.
    decider.commit(&command_of("member", bob.id, "delete", json!({}))).await;
    let cleo = decider.commit(&create("ada")).await;
    let again = CommandRecord { aggregate: bob.id, ..create("bob") };
    assert_eq!(decider.commit(&again).await.version, 4);
    assert_reserved(&stage, 3).await;
    assert_eq!(stage.versions_of("member", cleo.id), ["1"]);
    decider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_second_value_gives_the_first_one_back() {
    let stage = Stage::with(3, &[MEMBER]).await;
    let folder = tempfile::tempdir().unwrap();
    let decider = stage.decider(folder.path()).await;
    decider.commit(&create_with("ada", "a")).await;
    // Whichever is claimed first: the other one is refused.
    assert_eq!(decider.send(&create_with("ada", "b")).await, taken(&["email"]));
    assert_eq!(decider.send(&create_with("bob", "a")).await, taken(&["handle"]));
    decider.commit(&create_with("bob", "b")).await;
    // Null is no value: any number may lack it.
    decider.commit(&create("cleo")).await;
    decider.commit(&create("dora")).await;
    assert_reserved(&stage, 6).await;
    decider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_want_the_same_values_one_gets_them() {
    let stage = Stage::with(5, &[MEMBER]).await;
    let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let decider = stage.decider(left.path()).await;
    let second = stage.decider(right.path()).await;
    // The first decider's requests may be answered by the second, which this test doesn't hear: so it counts events.
    let commands: Vec<CommandRecord> = (0..200)
        .map(|number| create_with(&format!("e{}", number % 4), &format!("h{}", number % 4)))
        .collect();
    let accepted: Vec<_> =
        commands.iter().map(|command| decider.commands.enqueue(command).unwrap()).collect();
    futures::future::join_all(accepted.into_iter().map(|accepted| accepted.outcome(Duration::from_secs(5))))
        .await;
    second.stop().await;
    // Behind everything that was sent, in every partition.
    for number in 0..20 {
        decider.send(&create(&format!("last{number}"))).await;
    }
    let created = stage.read(&stage.topics.events("member"));
    let winners: BTreeSet<&str> = created.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(winners.len(), created.len());
    assert_eq!(created.len(), 4 + 20, "one for each pair of values");
    assert_reserved(&stage, 4 * 2 + 20).await;
    decider.stop().await;
}

/// Each command sees what the one before it did, though the first waits for another partition's answer.
#[tokio::test(flavor = "multi_thread")]
async fn commands_wait_behind_one_that_waits() {
    let stage = Stage::with(3, &[MEMBER]).await;
    let folder = tempfile::tempdir().unwrap();
    let decider = stage.decider(folder.path()).await;
    decider.commit(&create("taken")).await;
    let first = create("a0");
    let member = first.aggregate;
    let mut chain = vec![first];
    chain.extend((1..30).map(|number| match number % 3 {
        0 => update(member, json!({ "email": "taken" })),
        1 => update(member, json!({ "email": format!("a{number}") })),
        _ => update(member, json!({ "handle": format!("h{number}") })),
    }));
    for repeated in [0, 3, 4] {
        chain[repeated].idempotent = true;
        chain.push(chain[repeated].clone());
    }
    let accepted: Vec<_> = chain.iter().map(|command| decider.commands.enqueue(command).unwrap()).collect();
    let mut outcomes = Vec::new();
    for accepted in accepted {
        outcomes.push(accepted.outcome(LIMIT).await.unwrap());
    }
    for (repeat, first) in [(30, 0), (31, 3), (32, 4)] {
        assert_eq!(outcomes[repeat], outcomes[first]);
    }
    let mut version = 0;
    for (number, outcome) in outcomes.iter().take(30).enumerate() {
        match outcome {
            Outcome::Committed(Committed { version: committed, .. }) => {
                version += 1;
                assert_eq!(*committed, version, "command {number}");
            }
            refused => assert_eq!((number % 3, refused), (0, &taken(&["email"]))),
        }
    }
    assert_eq!(version, 21);
    assert_reserved(&stage, 3).await; // `taken`, the last e-mail and the last handle
    decider.stop().await;
}

/// Transactions fail and deciders stop between any two steps. A repeat tells what became of a command.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_between_two_steps_goes_on() {
    const ROUNDS: usize = 4;
    const VALUES: usize = 12;
    let stage = Stage::with(4, &[MEMBER]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut winners: HashMap<String, Vec<Uuid>> = HashMap::new();
    for round in 0..ROUNDS {
        let commands: Vec<CommandRecord> = (0..4 * VALUES)
            .map(|number| {
                let value = number % VALUES;
                let create = create_with(&format!("e{round}-{value}"), &format!("h{round}-{value}"));
                CommandRecord { idempotent: true, ..create }
            })
            .collect();
        let decider = stage.decider(folder.path()).await;
        let sent: Vec<_> =
            commands.iter().map(|command| decider.commands.enqueue(command).unwrap()).collect();
        if round % 2 == 0 {
            fence(&stage, folder.path()).await;
        }
        // The first answer shows that the steps are under way; then the decider stops in the midst of them.
        let mut answers: Vec<_> =
            sent.into_iter().map(|accepted| Box::pin(accepted.outcome(Duration::from_secs(20)))).collect();
        let (_, _, rest) = futures::future::select_all(answers.drain(..)).await;
        drop(rest);
        decider.stop().await;

        let decider = stage.decider(folder.path()).await;
        for command in &commands {
            match decider.send(command).await {
                Outcome::Committed(committed) => {
                    let email = committed.state["email"].as_str().unwrap().to_owned();
                    winners.entry(email).or_default().push(committed.id);
                }
                Outcome::Rejected(rejection) => {
                    assert!(matches!(rejection, Rejection::NotUnique { .. }), "{rejection:?}");
                }
            }
        }
        decider.stop().await;
    }
    assert_eq!(winners.len(), ROUNDS * VALUES);
    assert!(winners.values().all(|ids| ids.len() == 1), "{winners:?}");
    let created = stage.read(&stage.topics.events("member"));
    assert_eq!(created.len(), ROUNDS * VALUES);
    assert!(created.iter().all(|event| event.headers[header::VERSION] == "1"));
    assert_reserved(&stage, 2 * ROUNDS * VALUES).await;
}

/// Takes the decider's transactional ids, so that the transaction it is in fails.
async fn fence(stage: &Stage, folder: &Path) {
    let node = std::fs::read_to_string(folder.join("node")).unwrap();
    let (kafka, group) = (stage.kafka.clone(), stage.topics.decider_group());
    tokio::task::spawn_blocking(move || {
        for number in 0..2 {
            drop(TransactionalProducer::new(&kafka, &format!("{group}-{node}-{number}")).unwrap());
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_is_claimed_when_a_field_becomes_unique() {
    let before = Stage::with(3, &[MEMBER_BEFORE]).await;
    let unique = before.redeclared(&[MEMBER]);
    let folder = tempfile::tempdir().unwrap();
    let decider = before.decider(folder.path()).await;
    let ada = decider.commit(&create("ada")).await;
    let (first, second) = (decider.commit(&create("twin")).await, decider.commit(&create("twin")).await);
    let gone = decider.commit(&create("gone")).await;
    decider.commit(&command_of("member", gone.id, "delete", json!({}))).await;
    decider.stop().await;

    let decider = unique.decider(folder.path()).await;
    reserved(&decider, "ada").await;
    reserved(&decider, "twin").await;
    decider.commit(&create("gone")).await;
    // One of the twins holds the value, so it can leave it; after the other one has, too, it is free.
    for twin in [&first, &second] {
        decider.commit(&update(twin.id, json!({ "email": twin.id }))).await;
    }
    decider.commit(&create("twin")).await;
    decider.stop().await;

    // Not unique for a while: what changes meanwhile is known when it is unique again.
    let decider = before.decider(folder.path()).await;
    decider.commit(&update(ada.id, json!({ "email": "countess" }))).await;
    decider.stop().await;
    let decider = unique.decider(folder.path()).await;
    reserved(&decider, "countess").await;
    decider.commit(&create("ada")).await;
    decider.stop().await;
}

/// Claims of what exists are under way when the decider is ready; each is decided before the commands that follow it in
/// its partition.
async fn reserved(decider: &Running, email: &str) {
    assert_eq!(decider.send(&create(email)).await, taken(&["email"]), "{email}");
}

/// More waits behind one command than a transaction may hold.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_decided_in_several_transactions_if_it_must() {
    const NOTES: &str = "
model: member
crud: true
fields:
  email: { type: text, unique: true }
  note: { type: text, optional: true }
";
    let stage = Stage::with(2, &[NOTES]).await;
    let folder = tempfile::tempdir().unwrap();
    let first = create("ada");
    let member = first.aggregate;
    let note = "x".repeat(800_000);
    // All are there before anything is decided, so they stand before the answer to the first one's claim.
    let sender = stage.sender(Answers::new());
    sender.enqueue(&first).unwrap().acknowledged().await.unwrap();
    for _ in 0..40 {
        let command = update(member, json!({ "note": note }));
        sender.enqueue(&command).unwrap().acknowledged().await.unwrap();
    }
    let decider = stage.decider(folder.path()).await;
    assert_eq!(decider.commit(&update(member, json!({ "note": null }))).await.version, 42);
    let expected: Vec<String> = (1..=42).map(|version: u32| version.to_string()).collect();
    assert_eq!(stage.versions_of("member", member), expected);
    let commands = stage.read(&stage.topics.commands());
    let pauses = commands.iter().filter(|command| {
        command.value.as_deref().is_some_and(|value| value.starts_with(b"{\"step\":\"go_on\""))
    });
    assert!(pauses.count() >= 2, "it took several transactions");
    assert_reserved(&stage, 1).await;
    decider.stop().await;
}
