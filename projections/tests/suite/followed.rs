//! Lists of SQL projections that are asked again and again: an answer is what the list has, and whatever changes it is heard.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;
use writ_model::decide::Actor;
use writ_model::{Position, Timestamp};
use writ_projections::projector::replay::Replayed;
use writ_projections::query::{Answer, Error, ListRequest, SnapshotError};
use writ_projections::{Reader, query};

use crate::projector::{COUNTER, fields, publish};
use crate::stage::{LIMIT, Stage, everything};

const TALLIES: &str = "
projection: tallies
fields:
  owner: { type: text, key: true }
  kind: { type: integer, key: true }
  times: { type: integer }
  secret: { type: text }
allow:
  read: role('staff') || state.kind == 1
  fields: { secret: role('staff') }
on:
  counter.opened: |
    INSERT INTO tallies (owner, kind, times, secret) VALUES (:name, 1, 1, 'x'), (:name, 2, 1, 'x')
    ON CONFLICT (owner, kind) DO UPDATE SET times = tallies.times + 1
  counter.added: UPDATE tallies SET times = times + 1 WHERE kind = 2
";

fn request<'a>(stage: &'a Stage, reader: Reader<'a>, params: &[(&str, &str)]) -> ListRequest<'a> {
    let params: Vec<(String, String)> =
        params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ListRequest::parse(reader.asks(&stage.models.projections["tallies"]), &params).unwrap()
}

async fn answer(stage: &Stage, request: &ListRequest<'_>) -> Answer {
    let followed = request.followed().unwrap();
    stage.queries.answer(&stage.models.projections["tallies"], &followed, 100).await.unwrap()
}

async fn tallied(stage: &Stage, positions: &[Position]) {
    let reads = writ_projections::positions::Reads::Projection(&stage.models.projections["tallies"]);
    stage.queries.positions(stage.topics.clone()).wait(reads, positions, LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_what_the_list_has_with_a_key_for_each_row() {
    let stage = Stage::new(&[COUNTER, TALLIES]).await;
    let early = request(&stage, everything(), &[]).followed().unwrap();
    let early = stage.queries.answer(&stage.models.projections["tallies"], &early, 100).await;
    assert!(matches!(early, Err(SnapshotError::Query(Error::Unavailable(_)))), "{early:?}");
    let (running, counter) = (stage.start(), stage.model("counter"));
    let opened = &counter.events["opened"];
    let mut positions = Vec::new();
    for name in ["a", "b", "\"c\"", "a"] {
        let fields = fields(opened, &json!({ "name": name, "amount": 0 }));
        positions.push(stage.publish(&counter, opened, Uuid::now_v7(), 1, Timestamp(0), &fields).await);
    }
    tallied(&stage, &positions).await;
    let nobody = Actor::default();
    let staff = Actor { roles: vec!["staff".into()], ..Actor::default() };
    for actor in [&nobody, &staff] {
        for params in [&[][..], &[("times[gt]", "1")], &[("owner", "\"c\""), ("fields", "times")]] {
            let request = request(&stage, Reader { actor, now: Timestamp(0) }, params);
            let answer = answer(&stage, &request).await;
            let mut found: Vec<&str> = answer.rows.iter().map(|row| row.row.as_str()).collect();
            let page = stage.queries.list_projection(&request).await.unwrap();
            let mut listed: Vec<&str> = page.items.iter().map(|row| row.get()).collect();
            found.sort_unstable();
            listed.sort_unstable();
            assert!(!listed.is_empty() && found == listed, "{params:?}: {found:?} {listed:?}");
            let keys: BTreeMap<&str, Value> = answer
                .rows
                .iter()
                .map(|row| (row.key.as_str(), serde_json::from_str(&row.key).unwrap()))
                .collect();
            assert_eq!(keys.len(), found.len());
            assert!(
                keys.values().all(|key| key.as_object().unwrap().keys().eq(["owner", "kind"])),
                "{keys:?}"
            );
        }
    }
    let all = request(&stage, everything(), &[]).followed().unwrap();
    let few = stage.queries.answer(&stage.models.projections["tallies"], &all, 5).await;
    assert!(matches!(few, Err(SnapshotError::TooManyRows(5))), "{few:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_followed_is_refused() {
    let stage = Stage::new(&[COUNTER, TALLIES]).await;
    let codes = |request: &ListRequest<'_>| {
        let errors = request.followed().unwrap_err();
        errors.iter().map(|error| format!("{} {}", error.pointer, error.code)).collect::<Vec<_>>()
    };
    let parsed = request(&stage, everything(), &[("sort", "times"), ("limit", "2"), ("count", "true")]);
    let refused = |name: &str| format!("/{name} not_followable");
    assert_eq!(codes(&parsed), ["sort", "limit", "count"].map(refused));
    let counter = stage.model("counter");
    let of_model = ListRequest::parse(everything().asks(&counter), &[]).unwrap();
    assert_eq!(codes(&of_model), [" not_followable"]);
}

/// Looks until something is heard: what it has found.
async fn heard(moves: &mut query::Moves, names: &[String]) -> query::Looked {
    tokio::time::timeout(LIMIT, moves.news()).await.expect("it is heard");
    moves.look(names).await.unwrap()
}

/// What moves places, and what doesn't and changes rows all the same.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_changes_rows_is_heard() {
    let stage = Stage::new(&[COUNTER, TALLIES]).await;
    let (running, counter) = (stage.start(), stage.model("counter"));
    let names = ["tallies".to_owned(), "nothing".to_owned()];
    let id = Uuid::now_v7();
    tallied(&stage, &publish(&stage, &counter, &[id], 1..=1).await).await;
    let all = request(&stage, everything(), &[]);
    let mut moves = stage.queries.moves();
    let first = moves.look(&names).await.unwrap();
    assert!(first.is_rewritten, "nobody has listened before");
    let before = answer(&stage, &all).await;
    assert_eq!(first.marks, [("tallies".to_owned(), before.mark.clone())].into());
    assert!(!moves.look(&names).await.unwrap().is_rewritten);

    // A version is missing, so the rows pass the event by, and so does the projection.
    let added = &counter.events["added"];
    let values = fields(added, &json!({ "by": 1, "amount": 5 }));
    let hole = stage.publish(&counter, added, id, 3, Timestamp(3), &values).await;
    let passed = heard(&mut moves, &names).await;
    let held = answer(&stage, &all).await;
    assert!(!passed.is_rewritten && passed.marks["tallies"] == held.mark && held.mark != before.mark);
    assert_eq!(held.rows, before.rows);
    let second = stage.publish(&counter, added, id, 2, Timestamp(2), &values).await;
    tallied(&stage, &[second]).await;
    let moved = heard(&mut moves, &names).await;
    let after = answer(&stage, &all).await;
    assert!(!moved.is_rewritten && moved.marks["tallies"] == after.mark && after.mark != held.mark);
    assert_ne!(after.rows, held.rows);
    // Its turn comes behind the places.
    let replayed = stage.replay(&stage.models).apply(&stage.origin(&hole)).await.unwrap();
    assert_eq!(replayed, Replayed::Applied { is_cached: false });
    let rewritten = heard(&mut moves, &names).await;
    let last = answer(&stage, &all).await;
    assert!(last.rows != after.rows && last.mark == after.mark, "no place has moved: {last:?}");
    assert!(rewritten.is_rewritten, "and yet it is heard");
    running.stop().await;
}

/// Else a mark could say of rows that they have what they haven't, and nobody would ask again.
#[tokio::test(flavor = "multi_thread")]
async fn rows_and_mark_are_of_one_moment() {
    let stage = Stage::new(&[COUNTER, TALLIES]).await;
    let (running, counter) = (stage.start(), stage.model("counter"));
    let id = Uuid::now_v7();
    tallied(&stage, &publish(&stage, &counter, &[id], 1..=1).await).await;
    let added = &counter.events["added"];
    let values = fields(added, &json!({ "by": 1, "amount": 5 }));
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let writing = async {
        for version in 2..=200u64 {
            let at = Timestamp(i64::try_from(version).unwrap());
            let position = stage.publish(&counter, added, id, version, at, &values).await;
            if version % 4 == 0 {
                stage.reach(&[position]).await;
            }
        }
        is_done.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let all = request(&stage, everything(), &[]);
    let asking = async || {
        let mut answers = Vec::new();
        while !is_done.load(std::sync::atomic::Ordering::SeqCst) {
            let mut answer = answer(&stage, &all).await;
            answer.rows.sort_by(|a, b| a.key.cmp(&b.key));
            answers.push(answer);
        }
        answers
    };
    let (first, second, third, ()) = futures::join!(asking(), asking(), asking(), writing);
    let mut known: Vec<Answer> = Vec::new();
    for answer in [first, second, third].concat() {
        match known.iter().find(|known| known.mark == answer.mark) {
            Some(known) => assert_eq!(known.rows, answer.rows, "{:?}", answer.mark),
            None => known.push(answer),
        }
    }
    assert!(known.len() > 20, "of many moments: {}", known.len());
    running.stop().await;
}
