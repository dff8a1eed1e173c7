//! What the argument in the module docs of the decider claims.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_model::Rejection;
use writ_producers::commands::Answers;
use writ_producers::envelope::{CommandRecord, Outcome, header};
use writ_producers::replies;
use writ_producers::transaction::{Record, TransactionalProducer};

use crate::stage::{LIMIT, Stage, command, open};

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_one_batch_see_each_other() {
    let stage = Stage::new(3).await;
    let folder = tempfile::tempdir().unwrap();
    let decider = stage.decider(folder.path()).await;
    let account = Uuid::now_v7();
    let mut chain = vec![open(account)];
    chain.extend((0..50).map(|_| command(account, "deposit", json!({ "amount": 2 }))));
    chain.push(command(account, "withdraw", json!({ "amount": 101 })));
    chain.push(command(account, "withdraw", json!({ "amount": 100 })));
    // Enqueued without waiting, so the decider finds many at once.
    let accepted: Vec<_> = chain.iter().map(|command| decider.commands.enqueue(command).unwrap()).collect();
    let mut outcomes = Vec::new();
    for accepted in accepted {
        outcomes.push(accepted.outcome(LIMIT).await.unwrap());
    }
    let Outcome::Committed(last) = &outcomes[52] else { panic!("{:?}", outcomes[52]) };
    assert_eq!((last.version, &last.state["balance"]), (52, &json!(0)));
    let Outcome::Rejected(Rejection::GuardFailed { detail }) = &outcomes[51] else {
        panic!("{:?}", outcomes[51])
    };
    assert_eq!(detail, "The balance is too low.");
    let expected: Vec<String> = (1..=52).map(|version: u32| version.to_string()).collect();
    assert_eq!(stage.versions(account), expected);
    decider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_first_outcome_with_and_without_the_store() {
    let stage = Stage::new(2).await;
    let folder = tempfile::tempdir().unwrap();
    let account = Uuid::now_v7();
    let decider = stage.decider(folder.path()).await;
    decider.commit(&open(account)).await;
    let deposit = CommandRecord { idempotent: true, ..command(account, "deposit", json!({ "amount": 5 })) };
    let rejected = CommandRecord { idempotent: true, ..command(account, "withdraw", json!({ "amount": 6 })) };
    let first = (decider.send(&deposit).await, decider.send(&rejected).await);
    decider.commit(&command(account, "deposit", json!({ "amount": 10 }))).await;
    assert_eq!((decider.send(&deposit).await, decider.send(&rejected).await), first);
    decider.stop().await;

    let decider = stage.decider(folder.path()).await;
    assert_eq!((decider.send(&deposit).await, decider.send(&rejected).await), first, "after a restart");
    decider.stop().await;

    let elsewhere = tempfile::tempdir().unwrap();
    let decider = stage.decider(elsewhere.path()).await;
    assert_eq!((decider.send(&deposit).await, decider.send(&rejected).await), first, "on another machine");
    let reused = CommandRecord { input: json!({ "amount": 7 }), ..deposit };
    assert_eq!(decider.send(&reused).await, Outcome::Rejected(Rejection::KeyReused));
    assert_eq!(stage.versions(account), ["1", "2", "3"]);
    decider.stop().await;
}

/// Points 4 and 5: what a failed transaction decided is believed by nobody, and is decided once more. Whoever takes the
/// decider's transactional ids makes its transaction fail, for real, at whatever step it has reached.
#[tokio::test(flavor = "multi_thread")]
async fn failed_transactions_leave_nothing_behind() {
    const ACCOUNTS: usize = 8;
    const FENCES: usize = 8;
    let stage = Stage::new(2).await;
    let folder = tempfile::tempdir().unwrap();
    let decider = stage.decider(folder.path()).await;
    let done = AtomicUsize::new(0);
    let over = CancellationToken::new();
    let storm = futures::future::join_all((0..ACCOUNTS).map(async |_| {
        let account = Uuid::now_v7();
        decider.commit(&open(account)).await;
        let mut version = 1;
        while !over.is_cancelled() {
            let deposit =
                CommandRecord { idempotent: true, ..command(account, "deposit", json!({ "amount": 5 })) };
            // The answer of a transaction whose commit had an open end never comes; a repeat gets the outcome.
            let outcome = loop {
                let accepted = decider.commands.enqueue(&deposit).unwrap();
                if let Ok(outcome) = accepted.outcome(Duration::from_secs(10)).await {
                    break outcome;
                }
            };
            let Outcome::Committed(committed) = outcome else { panic!("{outcome:?}") };
            version += 1;
            assert_eq!(
                (committed.version, &committed.state["balance"]),
                (version, &json!(5 * (version - 1)))
            );
            done.fetch_add(1, Ordering::Relaxed);
        }
        (account, version)
    }));
    let nemesis = async {
        let node = std::fs::read_to_string(folder.path().join("node")).unwrap();
        for _ in 0..FENCES {
            let before = done.load(Ordering::Relaxed);
            let started = Instant::now();
            while done.load(Ordering::Relaxed) < before + 3 * ACCOUNTS {
                assert!(started.elapsed() < LIMIT, "the decider doesn't go on");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let (kafka, group, node) = (stage.kafka.clone(), stage.topics.decider_group(), node.clone());
            let take_over = move || {
                for number in 0..2 {
                    TransactionalProducer::new(&kafka, &format!("{group}-{node}-{number}")).unwrap();
                }
            };
            tokio::task::spawn_blocking(take_over).await.unwrap();
        }
        over.cancel();
    };
    let (accounts, ()) = futures::future::join(storm, nemesis).await;
    for (account, version) in accounts {
        let expected: Vec<String> = (1..=version).map(|version| version.to_string()).collect();
        assert_eq!(stage.versions(account), expected);
    }
    decider.stop().await;
}

/// A killed decider's transaction is ended by its successor, not by the broker's timeout. Here it is one whose timeout is
/// longer than this test waits.
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_transaction_is_ended_by_the_successor() {
    let stage = Stage::new(1).await;
    let (account, abandoned) = (Uuid::now_v7(), "abandoned");
    let dead: BaseProducer = stage
        .kafka
        .client("test")
        .set("transactional.id", abandoned)
        .set("transaction.timeout.ms", "600000")
        .create()
        .unwrap();
    dead.init_transactions(LIMIT).unwrap();
    dead.begin_transaction().unwrap();
    let (state, commands) = (stage.topics.state(), stage.topics.commands());
    for topic in [&state, &commands] {
        let headers = OwnedHeaders::new()
            .insert(Header { key: header::WRITER, value: Some(abandoned) })
            .insert(Header { key: header::STEP, value: Some("1") });
        let record = BaseRecord::to(topic).key("@next").payload("1").headers(headers);
        dead.send(record).map_err(|(error, _)| error).unwrap();
    }
    dead.flush(LIMIT).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let decider = stage.decider(folder.path()).await;
    decider.commit(&open(account)).await;
    dead.commit_transaction(LIMIT).expect_err("the one that was dead is fenced");
    decider.stop().await;
}

/// Kafka forgets the offsets of a group that was away for long; here it is told to.
#[tokio::test(flavor = "multi_thread")]
async fn forgotten_offsets_decide_nothing_twice() {
    let stage = Stage::new(2).await;
    let account = Uuid::now_v7();
    let folder = tempfile::tempdir().unwrap();
    let decider = stage.decider(folder.path()).await;
    decider.commit(&open(account)).await;
    for _ in 0..3 {
        decider.commit(&command(account, "deposit", json!({ "amount": 1 }))).await;
    }
    decider.stop().await;

    let elsewhere = tempfile::tempdir().unwrap();
    for (folder, version) in [(&folder, 5), (&elsewhere, 6)] {
        let group = stage.topics.decider_group();
        let admin = stage.kafka.admin().unwrap();
        let deleted = admin.delete_groups(&[&group], &AdminOptions::new()).await.unwrap();
        assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
        let decider = stage.decider(folder.path()).await;
        let committed = decider.commit(&command(account, "deposit", json!({ "amount": 1 }))).await;
        assert_eq!((committed.version, &committed.state["balance"]), (version, &json!(version - 1)));
        decider.stop().await;
    }
    assert_eq!(stage.versions(account), ["1", "2", "3", "4", "5", "6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_to_a_second_decider_and_back() {
    let stage = Stage::new(4).await;
    let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let accounts: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    let first = stage.decider(left.path()).await;
    for account in &accounts {
        first.commit(&open(*account)).await;
    }
    let second = stage.decider(right.path()).await;
    let cancel = CancellationToken::new();
    // The sender's answers may come from either decider: over memory from the first, over the topic from the second.
    let answers = Answers::new();
    let reader = {
        let (kafka, answers, cancel) = (stage.kafka.clone(), answers.clone(), cancel.clone());
        std::thread::spawn(move || replies::read(&kafka, &answers, &cancel))
    };
    let sender = stage.sender(answers);
    let deposit = |account| command(account, "deposit", json!({ "amount": 1 }));
    let started = Instant::now();
    for account in &accounts {
        // A reply that was sent before the reader stood at its partition's end is lost: that is a 504 for a client,
        // who repeats. Here the repeat is a new command, so only the one that is answered counts.
        let outcome = loop {
            match sender.enqueue(&deposit(*account)).unwrap().outcome(Duration::from_secs(5)).await {
                Ok(outcome) => break outcome,
                Err(_) => assert!(started.elapsed() < LIMIT, "no decider answers over the topic"),
            }
        };
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    }
    second.stop().await;
    for account in &accounts {
        // Decided by the first again, on a store that is behind for the partitions that were away.
        let outcome = first.commit(&deposit(*account)).await;
        let versions = stage.versions(*account);
        let expected: Vec<String> = (1..=outcome.version).map(|version| version.to_string()).collect();
        assert_eq!(versions, expected, "{account}");
    }
    cancel.cancel();
    reader.join().unwrap();
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_goes_to_the_dead_letters_and_stops_nobody() {
    let stage = Stage::new(1).await;
    let folder = tempfile::tempdir().unwrap();
    let decider = stage.decider(folder.path()).await;
    let producer: BaseProducer = stage.kafka.client("test").create().unwrap();
    let topic = stage.topics.commands();
    let garbage =
        BaseRecord::to(&topic).key("account/x").payload("{\"no\": \"command\"").headers(OwnedHeaders::new());
    producer.send(garbage).map_err(|(error, _)| error).unwrap();
    producer.flush(LIMIT).unwrap();
    let account = Uuid::now_v7();
    decider.commit(&open(account)).await;
    let dead = stage.read(&stage.topics.dead_letters());
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].value.as_deref(), Some(b"{\"no\": \"command\"".as_slice()));
    assert_eq!(dead[0].headers[header::ORIGIN], format!("{topic}:0:0"));
    assert!(dead[0].headers[header::REASON].contains("EOF"), "{:?}", dead[0].headers);
    decider.stop().await;
}

/// The fence of point 1: a member that lost its partitions without noticing commits nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_cannot_commit() {
    let stage = Stage::new(2).await;
    let committed = tokio::task::spawn_blocking(move || {
        let topics = &stage.topics;
        let group = |id: &str| -> BaseConsumer {
            let consumer: BaseConsumer = stage
                .kafka
                .client(id)
                .set("group.id", topics.decider_group())
                .set("enable.auto.commit", "false")
                .set("partition.assignment.strategy", "range")
                .create()
                .unwrap();
            consumer.subscribe(&[&topics.commands()]).unwrap();
            consumer
        };
        let until = |condition: &dyn Fn() -> bool| {
            let deadline = Instant::now() + LIMIT;
            while !condition() {
                assert!(Instant::now() < deadline, "the group doesn't settle");
            }
        };
        let owned = |consumer: &BaseConsumer| {
            let _ = consumer.poll(Duration::from_millis(20));
            consumer.assignment().unwrap().count()
        };
        let zombie = group("zombie");
        until(&|| owned(&zombie) == 2);
        let old_generation = zombie.group_metadata().unwrap();
        let successor = group("successor");
        until(&|| owned(&zombie) == 1 && owned(&successor) == 1);

        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&topics.commands(), 0, Offset::Offset(1)).unwrap();
        let event = topics.events("account");
        let write = |group: &ConsumerGroupMetadata| {
            let mut producer = TransactionalProducer::new(&stage.kafka, "zombie").unwrap();
            let mut transaction = producer.begin().unwrap();
            let record =
                Record { topic: &event, partition: None, key: b"k", value: Some(b"v"), headers: None };
            transaction.write(record).unwrap();
            transaction.commit(&offsets, group)
        };
        let refused = write(&old_generation).expect_err("the old generation is fenced");
        assert_eq!(refused.step, "send_offsets_to_transaction");
        // The same transaction passes with the present generation, so it was the generation that was refused.
        write(&zombie.group_metadata().unwrap()).unwrap();
        stage.read(&event).len()
    })
    .await
    .unwrap();
    assert_eq!(committed, 1, "only the transaction of the present generation is visible");
}
