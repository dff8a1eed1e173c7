//! Events that can't be applied: they stop nobody, they leave no hole in a row, and they can be tried again.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;
use writ_model::{Model, Models, Position, Timestamp, Value};
use writ_producers::envelope::{frame, header};
use writ_producers::readiness::Readiness;
use writ_producers::registry::SchemaIds;
use writ_projections::projector::replay::Replayed;

use crate::projector::{COUNTER, fields, publish, rows};
use crate::stage::{Stage, models};

/// Models with an event that those of the stage don't have.
pub(crate) fn with_doubled() -> Arc<Models> {
    models(&[&format!("{COUNTER}  double: {{ set: {{ amount: state.amount * 2 }}, emits: doubled }}\n")])
}

/// The event that they have more.
pub(crate) async fn publish_doubled(
    stage: &Stage,
    newer: &Model,
    schemas: &SchemaIds,
    id: Uuid,
    version: u64,
) -> Position {
    let doubled = &newer.events["doubled"];
    let mut value = frame(schemas.id(&doubled.type_name).unwrap());
    doubled.codec.encode(&fields(doubled, &json!({ "amount": 2 })), &mut value).unwrap();
    let at = Timestamp(i64::try_from(version).unwrap());
    stage.publish_bytes(newer, doubled, id, version, at, &value).await
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_stops_nobody_and_its_row_waits_for_it() {
    let stage = Stage::new(&[COUNTER]).await;
    let mut running = stage.start();
    let counter = stage.model("counter");
    let (hurt, opened, added) = (Uuid::now_v7(), &counter.events["opened"], &counter.events["added"]);
    let mut good = publish(&stage, &counter, &[hurt], 1..=1).await;
    let garbage = stage.publish_bytes(&counter, added, hurt, 2, Timestamp(2), b"garbage").await;
    let waiting = publish(&stage, &counter, &[hurt], 3..=4).await;
    let stranger = Uuid::now_v7();
    let unknown = [frame(999_999_999), vec![1, 2, 3]].concat();
    let unknown = stage.publish_bytes(&counter, opened, stranger, 1, Timestamp(1), &unknown).await;
    let key = Uuid::now_v7().to_string();
    let headless = stage.publish_record(&counter, &key, b"x", &[("note", "no event")]).await;
    let other = [(header::TYPE, "test.counter.Unheard"), (header::VERSION, "1"), (header::TIME, "x")];
    let unheard = stage.publish_record(&counter, &key, b"x", &other).await;
    let large = (u64::MAX - 1).to_string();
    let endless = [
        (header::ID, &*key),
        (header::TYPE, &*added.type_name),
        (header::VERSION, &*large),
        (header::TIME, "2026-01-31T12:00:00.000Z"),
    ];
    let endless = stage.publish_record(&counter, &key, b"x", &endless).await;
    let mut nul = fields(opened, &json!({ "name": "x", "amount": 0 }));
    nul.insert("name".into(), Value::Text("a\0b".into()));
    let refused = Uuid::now_v7();
    let refused = stage.publish(&counter, opened, refused, 1, Timestamp(1), &nul).await;
    // Behind all that, on every partition.
    let ids: Vec<Uuid> = (0..60).map(|_| Uuid::now_v7()).collect();
    good.extend(publish(&stage, &counter, &ids, 1..=2).await);
    stage.reach(&good).await;
    running.until(|state| *state == Readiness::Ready).await;

    let after = rows(&stage, &counter).await;
    assert_eq!(after.len(), 61, "nothing was made of the poison");
    assert_eq!(after[&hurt], (1, json!(0)), "the row is old, but it was true");
    assert!(ids.iter().all(|id| after[id] == (2, json!(1))));
    let letters = stage.letters().await;
    let expected = [
        (&garbage, "begin as an Avro datum"),
        (&waiting[0], "version 3 and waits for version 2"),
        (&waiting[1], "version 4 and waits for version 2"),
        (&unknown, "the registry has no schema"),
        (&headless, "the header ce_type is missing"),
        (&endless, "the header ce_version is missing or no value of its kind"),
        (&unheard, "declares no event of type test.counter.Unheard"),
        (&refused, "invalid byte sequence"),
    ];
    for (position, reason) in expected {
        let (letter, _) = &letters[&stage.origin(position)];
        assert!(letter.reason.contains(reason), "{reason} in {letter:?}");
        let context = letter.context.as_ref().unwrap();
        assert!(context.author.group.ends_with(".projector"), "{context:?}");
    }
    assert_eq!(letters.len(), expected.len());
    let (whole, _) = &letters[&stage.origin(&garbage)];
    assert_eq!(whole.original.value.as_deref(), Some(b"garbage".as_slice()));
    assert_eq!(whole.original.key.as_deref(), Some(hurt.to_string().as_bytes()));
    assert_eq!(whole.original.header(header::VERSION), Some("2"));

    // Read again from the beginning, they are the same letters.
    stage.database.execute("DROP SCHEMA $schema CASCADE").await;
    stage.reach(&good).await;
    assert_eq!(rows(&stage, &counter).await, after);
    let again = stage.letters().await;
    assert_eq!(again.keys().collect::<Vec<_>>(), letters.keys().collect::<Vec<_>>());
    assert!(again.values().all(|(_, times)| *times >= 2), "they were written anew");
    running.stop().await;
}

/// Yesterday's server meets an event of today's model; today's tool heals the row, in order only.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_in_order_heals_the_row() {
    let stage = Stage::new(&[COUNTER]).await;
    let running = stage.start();
    let today = with_doubled();
    let schemas = stage.register(&today).await;
    let (counter, newer) = (stage.model("counter"), today.get("counter").unwrap().clone());
    let id = Uuid::now_v7();
    let mut positions = publish(&stage, &counter, &[id], 1..=2).await;
    positions.push(publish_doubled(&stage, &newer, &schemas, id, 3).await);
    positions.extend(publish(&stage, &counter, &[id], 4..=5).await);
    stage.reach(&positions).await;
    assert_eq!(rows(&stage, &counter).await[&id], (2, json!(1)));
    let origins: Vec<_> = positions.iter().map(|position: &Position| stage.origin(position)).collect();
    assert_eq!(stage.letters().await.into_keys().collect::<Vec<_>>(), origins[2..]);

    let replay = stage.replay(&today);
    let early = replay.apply(&origins[3]).await.unwrap();
    assert!(matches!(&early, Replayed::Refused(why) if why.contains("waits for version 3")), "{early:?}");
    let yesterday = stage.replay(&stage.models).apply(&origins[2]).await.unwrap();
    assert!(matches!(&yesterday, Replayed::Refused(why) if why.contains("Doubled")), "{yesterday:?}");
    for origin in &origins[2..] {
        assert_eq!(replay.apply(origin).await.unwrap(), Replayed::Applied { is_cached: false });
        assert_eq!(replay.apply(origin).await.unwrap(), Replayed::AlreadyThere);
    }
    assert_eq!(rows(&stage, &counter).await[&id], (5, json!(4)));
    let next = publish(&stage, &counter, &[id], 6..=6).await;
    stage.reach(&next).await;
    assert_eq!(rows(&stage, &counter).await[&id].0, 6, "the projector goes on from the healed row");
    running.stop().await;
}
