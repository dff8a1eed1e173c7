//! The event log as answers: pages of events, states of the past, and what changed between two of them.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_model::diff::diff;
use writ_model::{Model, Object, Position, State, Timestamp, evolve};
use writ_projections::history::{
    AsOf, Entry, EventsOfOne, EventsRequest, History, NoState, Page, Past, Versions,
};
use writ_projections::positions::{Positions, Reads};

use crate::projector::{COUNTER, fields, publish};
use crate::stage::{LIMIT, Running, Stage, everything};
use crate::values::{THING, object};

struct Told {
    stage: Stage,
    running: Running,
    history: History,
    positions: Positions,
}

impl Told {
    async fn new(model: &str) -> Told {
        Told::of_stage(Stage::new(&[model]).await)
    }

    /// The projector begins now.
    fn of_stage(stage: Stage) -> Told {
        let history = stage.queries.history(stage.topics.clone());
        let positions = stage.queries.positions(stage.topics.clone());
        Told { running: stage.start(), stage, history, positions }
    }

    /// Until the log has them.
    async fn reach(&self, positions: &[Position]) {
        self.positions.wait(Reads::EventLog, positions, LIMIT).await.unwrap();
    }

    async fn as_of(&self, model: &Model, id: Uuid, at: AsOf) -> Result<Past, NoState> {
        self.history.as_of(&everything().asks(model), id, at).await.unwrap()
    }

    async fn of(&self, model: &Model, id: Uuid, params: &[(&str, &str)]) -> Option<Page> {
        let request = EventsOfOne::parse(model, id, &owned(params)).unwrap();
        self.history.of(&everything().asks(model), id, &request).await.unwrap()
    }

    async fn events(&self, params: &[(&str, &str)]) -> Page {
        let request = EventsRequest::parse(&self.stage.models, &owned(params)).unwrap();
        self.history.events(&self.stage.models, everything(), &request).await.unwrap()
    }

    /// All pages.
    async fn walk(&self, params: &[(&str, &str)], limit: &str) -> Vec<Entry> {
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut params = params.to_vec();
            params.push(("limit", limit));
            params.extend(after.as_deref().map(|cursor| ("after", cursor)));
            let page = self.events(&params).await;
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return all,
            }
            assert!(all.len() < 10_000, "the pages end");
        }
    }
}

fn owned(params: &[(&str, &str)]) -> Vec<(String, String)> {
    params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Through text once, as an answer goes: JSON's numbers have no type.
fn sent(json: &Json) -> Json {
    serde_json::from_str(&json.to_string()).unwrap()
}

/// What callers see of a state; null when deleted.
fn shown(state: &State) -> Json {
    if state.deleted { Json::Null } else { sent(&state.public_json()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_the_fold_of_the_events_up_to_it() {
    let told = Told::new(THING).await;
    let thing = told.stage.model("thing");
    let mut runner = TestRunner::deterministic();
    for _ in 0..4 {
        let id = Uuid::now_v7();
        let (mut states, mut positions): (Vec<State>, Vec<Position>) = (Vec::new(), Vec::new());
        for version in 1..=30u64 {
            let before = states.last().cloned();
            let begins = before.as_ref().is_none_or(|state| state.deleted);
            let dice = (0..10u8).new_tree(&mut runner).unwrap().current();
            let event = thing
                .events
                .values()
                .find(|event| event.creates == begins && (begins || event.deletes == (dice == 0)))
                .unwrap();
            let mut fields = object(event.fields.values()).new_tree(&mut runner).unwrap().current();
            if !begins {
                // An event has what it changes.
                fields.retain(|_, _| (0..3u8).new_tree(&mut runner).unwrap().current() == 0);
            }
            let at = Timestamp(1_700_000_000_000 + i64::try_from(version).unwrap() * 1000);
            positions.push(told.stage.publish(&thing, event, id, version, at, &whole(event, &fields)).await);
            states.push(evolve(&thing, before, event, &whole(event, &fields), at));
        }
        told.reach(&positions).await;
        for state in &states {
            for at in [
                AsOf::Version(state.version),
                AsOf::Time(state.updated_at),
                AsOf::Time(Timestamp(state.updated_at.0 + 999)),
            ] {
                match told.as_of(&thing, id, at).await {
                    Ok(past) => {
                        assert_eq!(sent(&past.state.public_json()), shown(state), "{at:?}");
                        assert_eq!(past.state.version, state.version, "{at:?}");
                        assert_eq!(past.state.created_at, state.created_at, "{at:?}");
                        assert_eq!(past.halt, None);
                    }
                    Err(none) => {
                        assert!(state.deleted, "{at:?}");
                        assert_eq!(none, NoState::Deleted { version: state.version, at: state.updated_at });
                    }
                }
            }
        }
        for (from, to) in [(1, 30), (1, 2), (7, 7), (12, 29), (29, 30)] {
            let versions: Versions = format!("{from}..{to}").parse().unwrap();
            let found = told.history.diff(&everything().asks(&thing), id, versions).await.unwrap().unwrap();
            let state = |version: usize| shown(&states[version - 1]);
            // That applying them leads from one to the other is a property of `diff` itself.
            assert_eq!(
                sent(&json!(found.changes)),
                sent(&json!(diff(&state(from), &state(to)))),
                "{from}..{to}"
            );
            let versions: Vec<u64> = found.events.iter().map(|event| event.version).collect();
            assert_eq!(versions, (from as u64 + 1..=to as u64).collect::<Vec<_>>());
        }
        let open =
            told.history.diff(&everything().asks(&thing), id, "3..".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((open.from, open.to), (3, 30));
    }
    told.running.stop().await;
}

/// As a decider records it: every declared field of the event, absent ones null.
fn whole(event: &writ_model::Event, fields: &Object) -> Object {
    let value = |name: &String| fields.get(name).cloned().unwrap_or(writ_model::Value::Null);
    event.fields.keys().map(|name| (name.clone(), value(name))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_stops_where_the_rows_stop() {
    let told = Told::new(COUNTER).await;
    let counter = told.stage.model("counter");
    let added = &counter.events["added"];
    let id = Uuid::now_v7();
    publish(&told.stage, &counter, &[id], 1..=3).await;
    let add = async |version, count: i64| {
        let again = fields(added, &json!({ "by": 9, "amount": count }));
        told.stage.publish(&counter, added, id, version, Timestamp(9), &again).await
    };
    let repeated = add(2, 77).await;
    let ahead = add(5, 78).await;
    told.reach(&[repeated.clone(), ahead.clone()]).await;
    told.stage.reach(&[repeated.clone(), ahead.clone()]).await;

    let second = told.as_of(&counter, id, AsOf::Version(2)).await.unwrap();
    assert_eq!(second.state.public_json()["amount"], 1, "the first event with a version wins");
    let now = told.as_of(&counter, id, AsOf::Time(Timestamp(1_000_000))).await.unwrap();
    assert_eq!((now.state.version, &now.state.public_json()["amount"]), (3, &json!(2)));
    assert_eq!(now.halt.unwrap().to_string(), "the event with version 4 is missing");
    let beyond = told.as_of(&counter, id, AsOf::Version(5)).await.unwrap_err();
    assert!(matches!(beyond, NoState::NoSuchVersion { last: 3, halt: Some(_) }), "{beyond:?}");
    let beyond = told
        .history
        .diff(&everything().asks(&counter), id, "2..5".parse().unwrap())
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(beyond, NoState::NoSuchVersion { last: 3, halt: Some(_) }), "{beyond:?}");

    let page = told.of(&counter, id, &[]).await.unwrap();
    let listed: Vec<(u64, Option<&str>)> =
        page.items.iter().map(|entry| (entry.version, entry.passed_over.as_deref())).collect();
    assert_eq!(
        listed,
        [(1, None), (2, None), (2, Some("duplicate")), (3, None), (5, Some("hole"))],
        "the log has them all, and says which no row was given"
    );

    // The hole is filled, but its successor still waits in the dead letters.
    let filled = add(4, 50).await;
    told.reach(std::slice::from_ref(&filled)).await;
    told.stage.reach(&[filled]).await;
    let beyond = told.as_of(&counter, id, AsOf::Version(5)).await.unwrap_err();
    let NoState::NoSuchVersion { last: 4, halt: Some(halt) } = beyond else { panic!("{beyond:?}") };
    assert!(halt.to_string().contains("dead letters"), "{halt}");
    told.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_state_before_the_first_event_and_after_the_last() {
    let told = Told::new(COUNTER).await;
    let counter = told.stage.model("counter");
    let (id, closed) = (Uuid::now_v7(), &counter.events["closed"]);
    publish(&told.stage, &counter, &[id], 1..=2).await;
    let end = told.stage.publish(&counter, closed, id, 3, Timestamp(3), &Object::new()).await;
    told.reach(&[end]).await;
    for (at, expected) in [
        (AsOf::Time(Timestamp(0)), NoState::NotYet(Timestamp(1))),
        (AsOf::Version(3), NoState::Deleted { version: 3, at: Timestamp(3) }),
        (AsOf::Time(Timestamp(4)), NoState::Deleted { version: 3, at: Timestamp(3) }),
        (AsOf::Version(4), NoState::NoSuchVersion { last: 3, halt: None }),
    ] {
        assert_eq!(told.as_of(&counter, id, at).await, Err(expected), "{at:?}");
    }
    let nobody = Uuid::now_v7();
    assert_eq!(told.as_of(&counter, nobody, AsOf::Version(1)).await, Err(NoState::Never));
    assert!(told.of(&counter, nobody, &[]).await.is_none());
    let gone =
        told.history.diff(&everything().asks(&counter), id, "2..3".parse().unwrap()).await.unwrap().unwrap();
    let before = json!({ "name": id.to_string(), "amount": 1 });
    assert_eq!(json!(gone.changes), json!([{ "pointer": "", "before": before, "after": null }]));
    told.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_longer_than_a_batch_is_folded_whole() {
    // Before the projector begins: it finds them all at once, more than it inserts, and copies them.
    let stage = Stage::new(&[COUNTER]).await;
    let (counter, id) = (stage.model("counter"), Uuid::now_v7());
    let positions = publish(&stage, &counter, &[id], 1..=600).await;
    let told = Told::of_stage(stage);
    told.reach(&positions).await;
    for version in [255, 256, 257, 512, 513, 600] {
        let past = told.as_of(&counter, id, AsOf::Version(version)).await.unwrap();
        assert_eq!(past.state.public_json()["amount"], version - 1);
    }
    let all =
        told.history.diff(&everything().asks(&counter), id, "1..".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((all.to, all.events.len()), (600, 599));

    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut params = vec![("limit", "97")];
        params.extend(after.as_deref().map(|cursor| ("after", cursor)));
        let page = told.of(&counter, id, &params).await.unwrap();
        found.extend(page.items.iter().map(|entry| entry.version));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, (1..=600).collect::<Vec<u64>>());
    told.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_all_events_hold_each_once_while_more_come() {
    let told = Told::new(COUNTER).await;
    let counter = told.stage.model("counter");
    let ids: Vec<Uuid> = (0..25).map(|_| Uuid::now_v7()).collect();
    // The time is the version: 25 events of the same moment, four times.
    let positions = publish(&told.stage, &counter, &ids, 1..=4).await;
    told.reach(&positions).await;
    let place = |entry: &Entry| (entry.time.clone(), entry.position.partition, entry.position.offset);
    let all: Vec<_> = told.walk(&[("sort", "time")], "1000").await.iter().map(place).collect();
    assert_eq!(all.len(), 100);
    assert!(all.is_sorted());
    for limit in ["1", "7", "25"] {
        let pages: Vec<_> = told.walk(&[("sort", "time")], limit).await.iter().map(place).collect();
        assert_eq!(pages, all, "limit={limit}");
        let mut pages: Vec<_> = told.walk(&[], limit).await.iter().map(place).collect();
        pages.reverse();
        assert_eq!(pages, all, "limit={limit}, the latest first");
    }

    let page = told.events(&[("limit", "30")]).await;
    let more = publish(&told.stage, &counter, &ids, 5..=5).await;
    told.reach(&more).await;
    let rest = told.events(&[("limit", "1000"), ("after", &page.next.unwrap())]).await;
    let mut seen: Vec<_> = page.items.iter().chain(&rest.items).map(place).collect();
    seen.reverse();
    assert_eq!(seen, all, "what came meanwhile moves nothing");

    let count = async |params: &[(&str, &str)]| told.walk(params, "1000").await.len();
    let id = ids[3].to_string();
    assert_eq!(count(&[("aggregate_id", &id)]).await, 5);
    assert_eq!(count(&[("model", "counter"), ("aggregate_id", &id)]).await, 5);
    assert_eq!(count(&[("type", "test.counter.Opened")]).await, 25);
    assert_eq!(count(&[("actor", "somebody")]).await, 125);
    assert_eq!(count(&[("actor", "nobody")]).await, 0);
    assert_eq!(count(&[("correlation_id", "chain"), ("time[gte]", "1970-01-01T00:00:00.004Z")]).await, 50);
    assert_eq!(
        count(&[("time[gt]", "1970-01-01T00:00:00.002Z"), ("time[lt]", "1970-01-01T00:00:00.005Z")]).await,
        50
    );
    assert_eq!(count(&[("causation_id", "none")]).await, 0);
    told.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_today_cannot_read_is_shown_as_it_is_kept() {
    let told = Told::new(COUNTER).await;
    let counter = told.stage.model("counter");
    let id = Uuid::now_v7();
    let positions = publish(&told.stage, &counter, &[id], 1..=3).await;
    told.reach(&positions).await;
    told.stage
        .database
        .execute("UPDATE $schema.event_log SET type = 'test.counter.Gone' WHERE version = 2")
        .await;
    told.stage
        .database
        .execute("UPDATE $schema.event_log SET data = '{\"by\":\"much\",\"amount\":2}' WHERE version = 3")
        .await;
    let page = told.of(&counter, id, &[]).await.unwrap();
    assert_eq!(page.items[0].unreadable, None);
    assert!(page.items[1].unreadable.as_ref().unwrap().contains("declares no such event"));
    assert_eq!(page.items[1].data, json!({ "by": 1, "amount": 1 }));
    assert!(page.items[2].unreadable.as_ref().unwrap().contains("/by"));
    assert_eq!(page.items[2].data, json!({ "by": "much", "amount": 2 }));
    let past = told.as_of(&counter, id, AsOf::Time(Timestamp(9))).await.unwrap();
    assert_eq!(past.state.version, 1);
    assert!(past.halt.unwrap().to_string().contains("version 2 can't be read"));
    told.stage.database.execute("UPDATE $schema.event_log SET model = 'gone'").await;
    let all = told.events(&[]).await;
    assert!(all.items.iter().all(|entry| entry.unreadable.is_some()));
    told.running.stop().await;
}
