//! What the cache may answer, while rows change and while Redis goes away. A real Redis keeps the entries.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;
use uuid::Uuid;
use writ_model::{Model, Position};
use writ_producers::readiness::Readiness;
use writ_projections::cache::{Cache, Options};
use writ_projections::positions::{Positions, Reads};
use writ_projections::projector::replay::Replayed;
use writ_projections::query::{Cached, ListRequest, Queries};

use crate::dead_letters::{publish_doubled, with_doubled};
use crate::outage::line;
use crate::projector::{COUNTER, publish};
use crate::stage::{LIMIT, Stage, everything, variable};

/// How often each aggregate changes.
const VERSIONS: u64 = 40;

/// Reads as the api does: the cache, else wait and ask PostgreSQL.
struct Reader<'a> {
    queries: Queries,
    positions: Positions,
    counter: &'a Model,
    hits: AtomicUsize,
}

impl<'a> Reader<'a> {
    fn new(stage: &Stage, cache: Option<Cache>, counter: &'a Model) -> Reader<'a> {
        let queries = Queries::new(&stage.database.options, cache).unwrap();
        let positions = queries.positions(stage.topics.clone());
        Reader { queries, positions, counter, hits: AtomicUsize::new(0) }
    }

    async fn wait(&self, positions: &[Position]) {
        self.positions.wait(Reads::Rows, positions, LIMIT).await.unwrap();
    }

    /// The version of a row.
    async fn row(&self, id: Uuid, positions: &[Position]) -> Option<u64> {
        let row = match self.queries.cached(&everything().asks(self.counter), id, positions).await {
            Cached::Found(row) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                Some(row)
            }
            Cached::Absent(keep) => {
                self.wait(positions).await;
                self.queries.get_keeping(&everything().asks(self.counter), id, keep).await.unwrap()
            }
        };
        row.map(|row| row.version)
    }

    /// The versions of all rows.
    async fn list(&self, positions: &[Position]) -> HashMap<Uuid, u64> {
        let request =
            ListRequest::parse(everything().asks(self.counter), &[("limit".into(), "100".into())]).unwrap();
        let page = match self.queries.cached_list(&request, "limit=100", positions).await {
            Cached::Found(page) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                page
            }
            Cached::Absent(keep) => {
                self.wait(positions).await;
                self.queries.list_keeping(&request, keep).await.unwrap()
            }
        };
        page.items.into_iter().map(|row| (row.id, row.version)).collect()
    }
}

/// The last change of an aggregate.
#[derive(Debug, Clone)]
struct Change {
    version: u64,
    position: Position,
}

/// Two kinds of readers: those that carry the position of a change must see that change; those that carry none must see
/// what PostgreSQL had committed before they asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reader_sees_less_than_it_may() {
    let stage = Stage::new(&[COUNTER]).await;
    let mut running = stage.start();
    running.until(|state| *state == Readiness::Ready).await;
    let counter = stage.model("counter");
    let ids: Vec<Uuid> = (0..6).map(|_| Uuid::now_v7()).collect();
    let reader = Reader::new(&stage, stage.cache(), &counter);
    let committed: HashMap<Uuid, AtomicU64> = ids.iter().map(|id| (*id, AtomicU64::new(0))).collect();
    let (written, changes) = watch::channel(HashMap::<Uuid, Change>::new());
    let is_done = || changes.borrow().get(&ids[5]).is_some_and(|change| change.version == VERSIONS);

    let write = async {
        for version in 1..=VERSIONS {
            let positions = publish(&stage, &counter, &ids, version..=version).await;
            written.send_modify(|changes| {
                for (id, position) in ids.iter().zip(&positions) {
                    changes.insert(*id, Change { version, position: position.clone() });
                }
            });
            reader.wait(&positions).await;
            for id in &ids {
                committed[id].store(version, Ordering::SeqCst);
            }
        }
    };
    let with_position = async |nth: usize| {
        let mut changes = changes.clone();
        while !is_done() {
            let id = ids[nth % ids.len()];
            let Some(change) = changes.borrow_and_update().get(&id).cloned() else {
                changes.changed().await.unwrap();
                continue;
            };
            let positions = [change.position.clone()];
            let seen = reader.row(id, &positions).await;
            assert!(seen >= Some(change.version), "row: {seen:?} after {change:?}");
            let listed = reader.list(&positions).await;
            assert!(listed[&id] >= change.version, "list: {} after {change:?}", listed[&id]);
        }
    };
    let without = async |nth: usize| {
        let id = ids[nth % ids.len()];
        while !is_done() {
            let floor = committed[&id].load(Ordering::SeqCst);
            let seen = reader.row(id, &[]).await.unwrap_or(0);
            assert!(seen >= floor, "row: {seen} after {floor} was committed");
            let floor = committed[&id].load(Ordering::SeqCst);
            let listed = reader.list(&[]).await.get(&id).copied().unwrap_or(0);
            assert!(listed >= floor, "list: {listed} after {floor} was committed");
        }
    };
    tokio::join!(
        write,
        with_position(0),
        with_position(1),
        with_position(5),
        without(0),
        without(2),
        without(5)
    );
    assert!(reader.hits.load(Ordering::Relaxed) > 0, "the cache has answered now and then");
    // Nothing changes any more: everything comes from the cache in the end.
    let last = changes.borrow()[&ids[0]].position.clone();
    for _ in 0..3 {
        reader.row(ids[0], std::slice::from_ref(&last)).await;
        reader.list(std::slice::from_ref(&last)).await;
    }
    let before = reader.hits.load(Ordering::Relaxed);
    assert_eq!(reader.row(ids[0], std::slice::from_ref(&last)).await, Some(VERSIONS));
    assert_eq!(reader.list(&[last]).await[&ids[5]], VERSIONS);
    assert_eq!(reader.hits.load(Ordering::Relaxed), before + 2, "a row and a list");
    running.stop().await;
}

/// The projector loses Redis, readers don't: what they have kept is not used once the projector is back.
#[tokio::test(flavor = "multi_thread")]
async fn what_redis_was_not_told_makes_everything_old() {
    let stage = Stage::new(&[COUNTER]).await;
    let counter = stage.model("counter");
    let (id, redis) = (Uuid::now_v7(), variable("WRIT_REDIS_URL"));
    let host = redis.trim_start_matches("redis://").trim_end_matches('/').to_owned();
    let (switch, up) = watch::channel(true);
    let url = format!("redis://127.0.0.1:{}", line(host, up).await);
    let mut running = stage.start_with(stage.cache_at(&url));
    running.until(|state| *state == Readiness::Ready).await;
    let reader = Reader::new(&stage, stage.cache(), &counter);
    let first = publish(&stage, &counter, &[id], 1..=1).await;
    // Kept, and found again.
    while reader.hits.load(Ordering::Relaxed) == 0 {
        assert_eq!(reader.row(id, &first).await, Some(1));
    }

    switch.send_replace(false);
    let second = publish(&stage, &counter, &[id], 2..=2).await;
    assert_eq!(reader.row(id, &second).await, Some(2), "its position tells that the entry is old");

    switch.send_replace(true);
    let third = publish(&stage, &counter, &[id], 3..=3).await;
    stage.reach(&third).await;
    let fresh = async {
        while reader.row(id, &[]).await != Some(3) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, fresh).await.expect("a new epoch begins");
    for _ in 0..100 {
        assert_eq!(reader.row(id, &[]).await, Some(3));
    }
    running.stop().await;
}

/// A replay moves no place, so the places can't tell that an entry is older than it.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_tried_again_is_seen_at_once() {
    let stage = Stage::new(&[COUNTER]).await;
    let mut running = stage.start_with(stage.cache());
    running.until(|state| *state == Readiness::Ready).await;
    let today = with_doubled();
    let schemas = stage.register(&today).await;
    let (counter, newer) = (stage.model("counter"), today.get("counter").unwrap().clone());
    let id = Uuid::now_v7();
    let mut positions = publish(&stage, &counter, &[id], 1..=1).await;
    let letter = publish_doubled(&stage, &newer, &schemas, id, 2).await;
    positions.push(letter.clone());
    stage.reach(&positions).await;
    let reader = Reader::new(&stage, stage.cache(), &counter);
    while reader.hits.load(Ordering::Relaxed) == 0 {
        assert_eq!(reader.row(id, &positions).await, Some(1));
    }
    let replayed = stage.replay(&today).apply(&stage.origin(&letter)).await.unwrap();
    assert_eq!(replayed, Replayed::Applied { is_cached: false });
    assert_eq!(reader.row(id, &[]).await, Some(2));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_everything_is_read_from_postgresql() {
    let stage = Stage::new(&[COUNTER]).await;
    let counter = stage.model("counter");
    // Nobody listens there.
    let nowhere = || stage.cache_at("redis://127.0.0.1:1");
    let mut running = stage.start_with(nowhere());
    running.until(|state| *state == Readiness::Ready).await;
    let reader = Reader::new(&stage, nowhere(), &counter);
    let id = Uuid::now_v7();
    let positions = publish(&stage, &counter, &[id], 1..=3).await;
    for _ in 0..5 {
        assert_eq!(reader.row(id, &positions[2..]).await, Some(3));
        assert_eq!(reader.list(&positions[2..]).await[&id], 3);
    }
    assert_eq!(reader.hits.load(Ordering::Relaxed), 0);
    running.stop().await;
}

#[test]
fn a_url_of_something_else_is_refused() {
    let options = Options { url: "http://127.0.0.1".into(), cache: true };
    assert!(Cache::new(&options, "writ", "writ").unwrap_err().to_string().contains("redis://"));
    assert!(Cache::new(&Options { cache: false, ..options }, "writ", "writ").unwrap().is_none());
}
