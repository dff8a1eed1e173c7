//! Many subscribers of several processes, dropped and resumed at random while orders are written: in the end each copy is what
//! the read model has, and each has seen every change once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use uuid::Uuid;
use writ_consumers::live::{Frame, From, Item, Kind, Options, Resume, Wanted};
use writ_model::Position;

use super::stage::{Follower, Serving, World, account, customer, everything, version, wanted};

const WRITERS: usize = 4;
const WRITES: usize = 150;
const FOLLOWERS: usize = 24;

fn views(number: usize, ids: &[Uuid]) -> Wanted {
    let mut wanted = match number % 6 {
        0 => wanted(everything(), &[]),
        1 => wanted(everything(), &[("status", "paid")]),
        2 => wanted(customer(number as u128 % 3), &[]),
        3 => wanted(customer(number as u128 % 3), &[("total[gte]", "50"), ("fields", "total,status")]),
        4 => wanted(everything(), &[("customer", &account(1).to_string()), ("status[ne]", "placed")]),
        _ => wanted(everything(), &[]),
    };
    wanted.id = (number % 6 == 5).then(|| ids[number % ids.len()]);
    wanted
}

/// Writes to its own orders, so that no command is refused. Says where its last events stand.
async fn write(world: &World, ids: &[Uuid], seed: u64) -> Vec<Position> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut exists: BTreeMap<Uuid, bool> = BTreeMap::new();
    let mut last: BTreeMap<Uuid, Position> = BTreeMap::new();
    for _ in 0..WRITES {
        let id = *ids.choose(&mut random).unwrap();
        let exists = exists.entry(id).or_default();
        let customer = account(random.random_range(0..3));
        let status = *["placed", "paid", "shipped"].choose(&mut random).unwrap();
        let total = random.random_range(0..100).to_string();
        let committed = if !*exists {
            *exists = true;
            world.create(id, customer, status).await
        } else if random.random_bool(0.15) {
            *exists = false;
            world.delete(id).await
        } else {
            world.update(id, json!({ "customer": customer, "status": status, "total": total })).await
        };
        last.insert(id, committed.position);
    }
    last.into_values().collect()
}

/// What one subscriber went through.
struct Seen {
    wanted: Wanted,
    resume: Resume,
    copy: BTreeMap<Uuid, Value>,
    /// By aggregate: the version that its copy has.
    versions: BTreeMap<Uuid, u64>,
    positions: Vec<(i32, i64)>,
}

impl Seen {
    /// Each change follows on the one before.
    fn change(&mut self, frame: &Frame) {
        let (id, number) = version(frame);
        let before = self.versions.get(&id).copied();
        match frame.kind {
            Kind::Enter => assert_eq!(before, None, "{id} enters twice"),
            Kind::Change => assert_eq!(before, Some(number - 1), "{id} has missed something"),
            Kind::Leave => assert!(before.is_some(), "{id} leaves and wasn't there"),
        }
        match frame.kind {
            Kind::Leave => self.versions.remove(&id),
            Kind::Enter | Kind::Change => self.versions.insert(id, number),
        };
        let position = frame.position.as_ref().unwrap();
        let position = (position.partition, position.offset);
        assert!(!self.positions.contains(&position), "{position:?} comes twice");
        self.positions.push(position);
        self.resume = frame.resume.clone();
    }
}

/// Follows from a snapshot on, somewhere else each time, until the writers are done and all is there.
async fn follow(feeds: &[Serving], wanted: Wanted, done: &AtomicBool, seed: u64) -> Seen {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut seen: Option<Seen> = None;
    loop {
        // Looked at before it connects: what is written then is there.
        let is_last = done.load(Ordering::SeqCst);
        let from = seen.as_ref().map_or(From::Snapshot, |seen| From::Resume(seen.resume.clone()));
        let mut follower = feeds.choose(&mut random).unwrap().follow(wanted.clone(), from).await;
        if let Some(seen) = &mut seen {
            follower.copy = std::mem::take(&mut seen.copy);
        }
        let patience = random.random_range(1..40);
        let patience = if is_last { None } else { Some(patience) };
        let is_ready = take(&mut follower, &mut seen, &wanted, patience).await;
        if is_last
            && is_ready
            && let Some(seen) = seen
        {
            return seen;
        }
    }
}

/// So many items; or, without `patience`, all up to the readiness. Whether that came last.
async fn take(
    follower: &mut Follower,
    seen: &mut Option<Seen>,
    wanted: &Wanted,
    patience: Option<usize>,
) -> bool {
    let (mut taken, mut is_ready) = (0, false);
    while patience.map_or(!is_ready, |patience| taken < patience) {
        taken += 1;
        // Whoever serves a socket breaks off again and again.
        let next = tokio::time::timeout(Duration::from_millis(20), follower.next());
        let Ok(item) = next.await else { continue };
        match (item.expect("it goes on"), &mut *seen) {
            (Item::Snapshot { .. }, None) => {}
            (Item::Ready { resume }, None) => {
                let version = |row: &Value| row["version"].as_u64().unwrap();
                let versions = follower.copy.iter().map(|(id, row)| (*id, version(row))).collect();
                let (wanted, copy, positions) = (wanted.clone(), BTreeMap::new(), Vec::new());
                *seen = Some(Seen { wanted, resume, copy, versions, positions });
                is_ready = true;
            }
            (Item::Ready { resume }, Some(seen)) => {
                seen.resume = resume;
                is_ready = true;
            }
            (Item::Change(frame), Some(seen)) => seen.change(&frame),
            (Item::Progress { resume }, Some(seen)) => seen.resume = resume,
            (Item::Lagged { resume }, Some(seen)) => {
                assert_eq!(resume, seen.resume);
                is_ready = false;
                break;
            }
            (other, _) => panic!("{other:?}"),
        }
    }
    if let Some(seen) = seen {
        seen.copy = std::mem::take(&mut follower.copy);
    }
    is_ready
}

/// Returns once the feed has published all events up to these.
async fn until_published(feed: &Serving, from: &Resume, mut last: Vec<Position>) {
    let mut follower = feed.follow(wanted(everything(), &[]), From::Resume(from.clone())).await;
    while !last.is_empty() {
        match follower.item().await {
            Item::Change(frame) => last.retain(|position| Some(position) != frame.position.as_ref()),
            Item::Ready { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_copy_is_what_the_read_model_has() {
    let world = Arc::new(World::new().await);
    let options = |ring, queue| Options { ring, queue, ..Options::default() };
    let feeds = Arc::new([
        world.feed(&options(10_000, 256)),
        world.feed(&options(20, 8)),
        world.feed(&options(3, 256)),
    ]);
    let ids: Vec<Vec<Uuid>> = (0..WRITERS).map(|_| (0..6).map(|_| Uuid::now_v7()).collect()).collect();
    let all: Vec<Uuid> = ids.concat();
    let mut first = feeds[0].follow(wanted(everything(), &[]), From::Now).await;
    let Item::Started { resume: beginning } = first.item().await else { panic!() };
    let done = Arc::new(AtomicBool::new(false));
    let followers: Vec<_> = (0..FOLLOWERS)
        .map(|number| {
            let (feeds, done, wanted) = (feeds.clone(), done.clone(), views(number, &all));
            tokio::spawn(async move { follow(&*feeds, wanted, &done, number as u64).await })
        })
        .collect();
    let writers = ids.iter().zip(100..).map(|(ids, seed)| write(&world, ids, seed));
    let last = futures::future::join_all(writers).await.concat();
    world.reach(&last).await;
    for feed in &*feeds {
        until_published(feed, &beginning, last.clone()).await;
    }
    done.store(true, Ordering::SeqCst);
    let mut changes = 0;
    for follower in followers {
        let seen = follower.await.unwrap();
        changes += seen.positions.len();
        assert_eq!(seen.copy, world.list(&seen.wanted).await, "{:?}", seen.wanted);
    }
    assert!(changes > WRITES, "{changes} changes");
    for feed in Arc::into_inner(feeds).unwrap() {
        feed.stop().await;
    }
    Arc::into_inner(world).unwrap().stop().await;
}
