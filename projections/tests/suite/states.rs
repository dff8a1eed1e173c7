//! The states of many aggregates at once, each at one version: the same as folding each by itself.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;
use uuid::Uuid;
use writ_model::{Event, Model, Object, Position, State, Timestamp, Value, evolve};
use writ_projections::history::{AsOf, History, NoState};
use writ_projections::positions::Reads;
use writ_projections::query::ListRequest;

use crate::projector::{COUNTER, fields, publish};
use crate::stage::{LIMIT, Stage, everything};
use crate::values::{THING, object};

/// Rows and log have them.
async fn reach(stage: &Stage, positions: &[Position]) {
    stage.reach(positions).await;
    stage.queries.positions(stage.topics.clone()).wait(Reads::EventLog, positions, LIMIT).await.unwrap();
}

/// As a decider records it: every declared field of the event.
fn recorded(event: &Event, runner: &mut TestRunner) -> Object {
    let mut fields = object(event.fields.values()).new_tree(runner).unwrap().current();
    for value in fields.values_mut() {
        if !event.creates && (0..3u8).new_tree(runner).unwrap().current() > 0 {
            *value = Value::Null;
        }
    }
    fields
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_what_folding_one_says() {
    let sealed =
        THING.replace("crud: true", "  token: { type: text, secret: true, optional: true }\ncrud: true");
    let stage = Stage::new(&[&sealed]).await;
    let thing = stage.model("thing");
    let running = stage.start();
    let history = stage.queries.history(stage.topics.clone());
    let mut runner = TestRunner::deterministic();
    // More than are folded side by side, and some are longer than what is taken at once.
    let mut all: BTreeMap<Uuid, Vec<State>> = BTreeMap::new();
    let mut positions = Vec::new();
    for number in 0..100u64 {
        let id = Uuid::now_v7();
        let length = if number % 25 == 0 { 150 } else { 1 + number % 5 };
        let mut states: Vec<State> = Vec::new();
        for version in 1..=length {
            let before = states.last().cloned();
            let begins = before.as_ref().is_none_or(|state| state.deleted);
            let ends = (0..10u8).new_tree(&mut runner).unwrap().current() == 0;
            let event = thing
                .events
                .values()
                .find(|event| event.creates == begins && (begins || event.deletes == ends))
                .unwrap();
            let fields = recorded(event, &mut runner);
            let at = Timestamp(1_700_000_000_000 + i64::try_from(version).unwrap());
            positions.push(stage.publish(&thing, event, id, version, at, &fields).await);
            states.push(evolve(&thing, before, event, &fields, at));
        }
        all.insert(id, states);
    }
    reach(&stage, &positions).await;
    let unlimited = ListRequest::parse(everything().asks(&thing), &[]).unwrap();
    let matching = unlimited.matching().unwrap();
    let (mut of_rows, mut deleted) = (0, 0);
    for _ in 0..12 {
        let wanted: Vec<(Uuid, u64)> = all
            .iter()
            .map(|(id, states)| (*id, (1..=states.len() as u64).new_tree(&mut runner).unwrap().current()))
            .collect();
        let found = history.states_at(&thing, &wanted).await.unwrap();
        assert_eq!(found.len(), wanted.len());
        for (id, version) in wanted {
            let states = &all[&id];
            let expected = &states[usize::try_from(version).unwrap() - 1];
            let state = found[&id].as_ref().unwrap_or_else(|| panic!("{id} has version {version}"));
            // All that a row shows, as it shows it: PostgreSQL's numbers have one text, JSON's have several.
            let shown = |state: &State| (state.deleted, matching.row_json(&thing, id, state));
            assert_eq!(shown(state), shown(expected), "{id} {version}");
            assert_eq!(state.fields["token"], expected.fields["token"], "what nobody is shown");
            of_rows += usize::from(states.len() as u64 == version);
            deleted += usize::from(expected.deleted);
            match history.as_of(&everything().asks(&thing), id, AsOf::Version(version)).await.unwrap() {
                Ok(past) => assert_eq!(shown(&past.state), shown(state), "{id} {version}"),
                Err(none) => assert!(matches!(none, NoState::Deleted { .. }) && state.deleted, "{none:?}"),
            }
        }
    }
    assert!(of_rows > 100 && deleted > 20, "{of_rows} of rows, {deleted} deleted");

    // Whichever way a state came, its row is the one that PostgreSQL shows.
    let request = ListRequest::parse(everything().asks(&thing), &[("limit".into(), "1000".into())]).unwrap();
    let page = stage.queries.list(&request).await.unwrap();
    let last: Vec<(Uuid, u64)> = page.items.iter().map(|row| (row.id, row.version)).collect();
    let of_rows = history.states_at(&thing, &last).await.unwrap();
    stage.database.execute("UPDATE $schema.thing SET version = version + 1000").await;
    let folded = history.states_at(&thing, &last).await.unwrap();
    for row in &page.items {
        for states in [&of_rows, &folded] {
            let state = states[&row.id].as_ref().unwrap();
            assert_eq!(matching.row_json(&thing, row.id, state), row.to_json());
        }
        let state = all[&row.id].last().unwrap();
        assert_eq!(matching.row_json(&thing, row.id, state), row.to_json());
    }
    assert!(page.items.len() > 50);
    running.stop().await;
}

async fn at(history: &History, model: &Model, wanted: &[(Uuid, u64)]) -> HashMap<Uuid, Option<u64>> {
    let found = history.states_at(model, wanted).await.unwrap();
    found.into_iter().map(|(id, state)| (id, state.map(|state| state.version))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_yet_is_not_in_the_answer() {
    let stage = Stage::new(&[COUNTER]).await;
    let counter = stage.model("counter");
    let history = stage.queries.history(stage.topics.clone());
    let (one, other, nobody) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    assert!(history.states_at(&counter, &[]).await.unwrap().is_empty());
    let running = stage.start();
    let positions = publish(&stage, &counter, &[one, other], 1..=3).await;
    reach(&stage, &positions).await;
    running.stop().await;
    let more = publish(&stage, &counter, &[one], 4..=6).await;
    let wanted = [(one, 5), (other, 2), (nobody, 1)];
    assert_eq!(at(&history, &counter, &wanted).await, [(other, Some(2))].into());
    let running = stage.start();
    reach(&stage, &more).await;
    assert_eq!(at(&history, &counter, &wanted).await, [(one, Some(5)), (other, Some(2))].into());
    running.stop().await;
}

/// Whoever asks while the projector writes gets the state, or hears that it isn't there yet: nothing is given up that comes.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_it_is_asked_for_is_never_given_up() {
    const VERSION: u64 = 60;
    let stage = Stage::new(&[COUNTER]).await;
    let counter = stage.model("counter");
    let history = stage.queries.history(stage.topics.clone());
    let ids: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    // The caller has read the event after the wanted one.
    let positions = publish(&stage, &counter, &ids, 1..=VERSION + 1).await;
    let running = stage.start();
    let (mut wanted, mut asked) = (ids.iter().map(|id| (*id, VERSION)).collect::<Vec<_>>(), 0);
    while !wanted.is_empty() {
        asked += 1;
        // Before the projector's first batch there are no tables.
        let Ok(found) = history.states_at(&counter, &wanted).await else { continue };
        for (id, state) in found {
            let state = state.unwrap_or_else(|| panic!("{id} was given up, and comes"));
            assert_eq!(state.version, VERSION);
            wanted.retain(|(waiting, _)| *waiting != id);
        }
    }
    assert!(asked > 5, "it was asked while the projector wrote: {asked} times");
    reach(&stage, &positions).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_comes_is_told_apart() {
    let stage = Stage::new(&[COUNTER]).await;
    let counter = stage.model("counter");
    let history = stage.queries.history(stage.topics.clone());
    let running = stage.start();
    let added = &counter.events["added"];
    let add = async |id, version: u64| {
        let fields = fields(added, &json!({ "by": 1, "amount": version }));
        stage.publish(&counter, added, id, version, Timestamp(9), &fields).await
    };
    let [hole, ahead, filled, repeated, far, unreadable] = [(); 6].map(|()| Uuid::now_v7());
    let mut positions =
        publish(&stage, &counter, &[hole, ahead, filled, repeated, far, unreadable], 1..=3).await;
    // The event with version 4 can't be decoded.
    positions.push(stage.publish_bytes(&counter, added, hole, 4, Timestamp(9), b"nothing").await);
    for version in 5..=7 {
        positions.push(add(hole, version).await);
    }
    positions.push(add(ahead, 5).await);
    // The row waits for the one with version 4, and is not given again what came before it.
    for version in [5, 4] {
        positions.push(add(filled, version).await);
    }
    positions.push(add(repeated, 2).await);
    positions.push(add(repeated, 4).await);
    positions.push(add(far, 200).await);
    reach(&stage, &positions).await;
    stage
        .database
        .execute(&format!(
            "UPDATE $schema.event_log SET type = 'test.counter.Gone' WHERE version = 2 AND aggregate_id = '{unreadable}'"
        ))
        .await;

    for (id, version, expected) in [
        (hole, 3, Some(Some(3))),
        // The one that is asked for when its successor comes.
        (hole, 4, Some(None)),
        (hole, 5, Some(None)),
        (hole, 6, Some(None)),
        (ahead, 4, Some(None)),
        (ahead, 5, Some(None)),
        (ahead, 6, Some(None)),
        (ahead, 7, Some(None)),
        (filled, 4, Some(Some(4))),
        (filled, 5, Some(None)),
        (filled, 6, Some(None)),
        (repeated, 2, Some(Some(2))),
        (repeated, 3, Some(Some(3))),
        (repeated, 4, Some(Some(4))),
        (repeated, 5, None),
        // Nothing says yet that these don't come.
        (far, 4, None),
        (far, 100, None),
        (far, 199, Some(None)),
        (far, 200, Some(None)),
        (unreadable, 1, Some(Some(1))),
        (unreadable, 2, Some(None)),
        (unreadable, 3, Some(Some(3))),
    ] {
        let found = at(&history, &counter, &[(id, version)]).await;
        assert_eq!(found.get(&id).copied(), expected, "{version} of {found:?}");
    }
    let second = history.states_at(&counter, &[(repeated, 2)]).await.unwrap().remove(&repeated).unwrap();
    assert_eq!(second.unwrap().public_json()["amount"], 1, "the first event with a version wins");

    // The log may be further than the rows: then nothing is marked yet.
    stage.database.execute("DELETE FROM $schema.writ_passed_over").await;
    for (id, version) in [(hole, 4), (hole, 5), (hole, 6), (ahead, 4), (ahead, 5), (far, 200)] {
        assert_eq!(at(&history, &counter, &[(id, version)]).await, [(id, None)].into(), "{version}");
    }

    // A row that can't be read is left to its events.
    stage.database.execute(&format!("UPDATE $schema.counter SET amount = NULL WHERE id = '{far}'")).await;
    assert_eq!(at(&history, &counter, &[(far, 3)]).await, [(far, Some(3))].into());
    running.stop().await;
}
