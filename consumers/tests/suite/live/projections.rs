//! Rows of SQL projections, followed: whatever happens, a copy ends as the list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_consumers::live::{Error, From, Item, Kind, Options, Reason, Resume, Subscription, Wanted};
use writ_model::decide::Actor;
use writ_model::{Position, Timestamp};
use writ_producers::registry::Registry;
use writ_projections::Reader;
use writ_projections::positions::{Reads, channel};
use writ_projections::query::{ListRequest, Queries};
use writ_projections::rebuild::{self, Projections};
use writ_projections::tables::Schema;

use super::stage::{Serving, World, account, customer, everything, of};
use crate::stage::LIMIT;

/// Who follows, with a copy of the rows by their keys.
struct Copying {
    subscription: Subscription,
    rows: BTreeMap<String, Value>,
    resume: Option<Resume>,
}

impl Copying {
    fn new(feed: &Serving, wanted: &Wanted, from: From) -> Copying {
        let subscription = feed.live.subscribe(wanted.clone(), from);
        Copying { subscription, rows: BTreeMap::new(), resume: None }
    }

    /// The next item, applied as a client applies it: what doesn't fit the copy is a fault.
    async fn next(&mut self) -> Item {
        let next = tokio::time::timeout(LIMIT, self.subscription.next()).await.expect("something comes");
        let item = next.expect("it goes on");
        match &item {
            Item::Reset { .. } => {
                self.rows.clear();
                self.resume = None;
            }
            Item::KeyedRows { rows } => {
                for one in rows {
                    let row = serde_json::from_str(&one.row).unwrap();
                    assert!(self.rows.insert(one.key.to_string(), row).is_none(), "{} comes twice", one.key);
                }
            }
            Item::Started { resume } | Item::Ready { resume } => self.resume = Some(resume.clone()),
            Item::Change(frame) => {
                let body: Value = serde_json::from_str(&format!("{{{}}}", frame.body())).unwrap();
                assert_eq!(body["resume"], frame.resume.to_string());
                let key = body["key"].to_string();
                let had = match frame.kind {
                    Kind::Leave => self.rows.remove(&key),
                    Kind::Enter | Kind::Change => self.rows.insert(key, body["row"].clone()),
                };
                assert_eq!(had.is_some(), frame.kind != Kind::Enter, "{body} on {had:?}");
                assert!(
                    frame.kind != Kind::Change || had != Some(body["row"].clone()),
                    "nothing has changed: {body}"
                );
                self.resume = Some(frame.resume.clone());
            }
            other => panic!("{other:?}"),
        }
        item
    }

    async fn until_ready(&mut self) {
        while !matches!(self.next().await, Item::Ready { .. }) {}
    }

    /// Takes what comes until the copy is what the list has.
    async fn until_equal(&mut self, world: &World, wanted: &Wanted) {
        loop {
            let mut copy: Vec<String> = self.rows.values().map(Value::to_string).collect();
            copy.sort();
            if copy == world.rows(wanted).await {
                return;
            }
            self.next().await;
        }
    }
}

impl World {
    /// What the list has.
    async fn rows(&self, wanted: &Wanted) -> Vec<String> {
        let projection = self.stage.models.projections.get(&wanted.model).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = Timestamp(i64::try_from(now.as_millis()).unwrap());
        let reader = Reader { actor: &wanted.actor, now };
        let mut params = wanted.params.clone();
        params.push(("limit".into(), "1000".into()));
        let request = ListRequest::parse(reader.asks(projection), &params).unwrap();
        let page = self.queries.list_projection(&request).await.unwrap();
        let text = |row: &str| serde_json::from_str::<Value>(row).unwrap().to_string();
        let mut rows: Vec<String> = page.items.iter().map(|row| text(row.get())).collect();
        rows.sort();
        rows
    }

    /// Waits until the projection has these.
    async fn projected(&self, name: &str, positions: &[Position]) {
        let reads = Reads::Projection(&self.stage.models.projections[name]);
        self.queries.positions(self.stage.topics.clone()).wait(reads, positions, LIMIT).await.unwrap();
    }

    /// As something does that moves no place and says so.
    async fn rewrite(&self, text: &str) {
        let channel = channel(&Schema::new(&self.options.schema));
        self.sql(&format!("{text}; SELECT pg_notify('{channel}', 'rewritten')")).await;
    }

    async fn sql(&self, text: &str) {
        let schema = format!("\"{}\"", self.options.schema);
        let mut connection = PgConnection::connect(&self.options.url).await.unwrap();
        let text = text.replace("$schema", &schema);
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
    }
}

fn sales(actor: Actor, params: &[(&str, &str)]) -> Wanted {
    of("sales", actor, params)
}

fn views(number: usize) -> Wanted {
    match number % 6 {
        0 => sales(everything(), &[]),
        1 => sales(customer(1), &[]),
        2 => sales(everything(), &[("orders[gte]", "3"), ("orders[lt]", "20")]),
        3 => sales(everything(), &[("fields", "total")]),
        4 => of("ordered", customer(1), &[]),
        _ => of("ordered", everything(), &[("times[gt]", "2"), ("fields", "times")]),
    }
}

async fn write(world: &World, seed: u64) -> Vec<Position> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut orders, mut last) = (Vec::new(), BTreeMap::new());
    for _ in 0..60 {
        let status = *["placed", "paid", "shipped"].choose(&mut random).unwrap();
        let committed = match orders.choose(&mut random).copied() {
            Some(id) if random.random_bool(0.2) => {
                orders.retain(|one| *one != id);
                (id, world.delete(id).await)
            }
            Some(id) if random.random_bool(0.6) => {
                // Not shipped: the row would go by time alone while the test compares.
                let change = match status {
                    "shipped" => json!({ "total": "9.00" }),
                    status => json!({ "status": status }),
                };
                (id, world.update(id, change).await)
            }
            _ => {
                let id = Uuid::now_v7();
                orders.push(id);
                (id, world.create(id, account(1), status).await)
            }
        };
        last.insert(committed.0, committed.1.position);
    }
    last.into_values().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_copy_ends_as_the_list() {
    let world = Arc::new(World::new().await);
    let options = Options { projection_interval_ms: 20, ..Options::default() };
    let feeds = Arc::new([world.feed(&options), world.feed(&options)]);
    let done = Arc::new(AtomicBool::new(false));
    let followers: Vec<_> = (0..18)
        .map(|number| {
            let (feeds, done) = (feeds.clone(), done.clone());
            tokio::spawn(async move {
                let mut random = ChaCha8Rng::seed_from_u64(number as u64);
                let wanted = views(number);
                let mut copying = Copying::new(&feeds[0], &wanted, From::Snapshot);
                let mut changes = 0;
                // Goes elsewhere again and again, also amid a difference.
                while !done.load(Ordering::SeqCst) {
                    for _ in 0..random.random_range(1..30) {
                        let next = tokio::time::timeout(Duration::from_millis(30), copying.next());
                        changes += usize::from(matches!(next.await, Ok(Item::Change(_))));
                    }
                    let feed = feeds.choose(&mut random).unwrap();
                    copying = match copying.resume.clone() {
                        Some(resume) => Copying {
                            rows: copying.rows,
                            ..Copying::new(feed, &wanted, From::Resume(resume))
                        },
                        None => Copying::new(feed, &wanted, From::Snapshot),
                    };
                }
                (wanted, copying, changes)
            })
        })
        .collect();
    let last = futures::future::join_all((100..104).map(|seed| write(&world, seed))).await.concat();
    for name in ["sales", "ordered"] {
        world.projected(name, &last).await;
    }
    done.store(true, Ordering::SeqCst);
    let mut changes = 0;
    for follower in followers {
        let (wanted, mut copying, seen) = follower.await.unwrap();
        changes += seen;
        copying.until_equal(&world, &wanted).await;
        assert!(!wanted.params.is_empty() || !copying.rows.is_empty());
    }
    assert!(changes > 100, "{changes} changes");
    for feed in Arc::into_inner(feeds).unwrap() {
        feed.stop().await;
    }
    Arc::into_inner(world).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_those_that_may_be_read_and_a_resume_is_good_for_the_same_answer_only() {
    let world = World::new().await;
    let feed = world.feed(&Options { projection_interval_ms: 0, ..Options::default() });
    let placed = world.create(Uuid::now_v7(), account(1), "placed").await;
    let id = Uuid::now_v7();
    let paid = world.create(id, account(1), "paid").await;
    world.projected("sales", &[placed.position, paid.position]).await;

    let own = sales(customer(1), &[]);
    let mut copying = Copying::new(&feed, &own, From::Snapshot);
    copying.until_ready().await;
    let expected = json!({ "status": "paid", "orders": 1, "total": "5.00" });
    assert_eq!(copying.rows, BTreeMap::from([(r#"{"status":"paid"}"#.to_owned(), expected)]));
    let whole = sales(everything(), &[("fields", "cost")]);
    let mut now = feed.live.subscribe(whole, From::Now);
    assert!(matches!(now.next().await, Some(Item::Started { .. })));
    let resume = copying.resume.clone().unwrap();

    // Here and in another process, as long as nothing has changed.
    let other = world.feed(&Options::default());
    for feed in [&feed, &other] {
        let mut again = Copying::new(feed, &own, From::Resume(resume.clone()));
        assert!(matches!(again.next().await, Item::Ready { resume: at } if at == resume));
    }
    // For the same rows under other rights, or another filter, it is not.
    for wanted in [sales(everything(), &[]), sales(customer(1), &[("orders", "1")])] {
        let mut again = Copying::new(&other, &wanted, From::Resume(resume.clone()));
        assert!(matches!(again.next().await, Item::Reset { reason: Reason::OtherView }));
        again.until_ready().await;
        again.until_equal(&world, &wanted).await;
    }
    // What staff sees of it changes; what the customer sees doesn't, and nothing is sent.
    world.update(id, json!({ "status": "placed" })).await;
    let Some(Item::Change(frame)) = now.next().await else { panic!() };
    assert!(frame.body().contains(r#""key":{"status":"placed"},"row":{"cost":8}"#), "{}", frame.body());
    assert!(frame.position.is_none() && !frame.more);
    world.create(Uuid::now_v7(), account(1), "paid").await;
    let Item::Change(frame) = copying.next().await else { panic!() };
    assert!(!frame.body().contains("cost"), "{}", frame.body());
    assert_eq!(copying.rows[r#"{"status":"paid"}"#]["orders"], 2);
    let mut again = Copying::new(&other, &own, From::Resume(resume));
    assert!(matches!(again.next().await, Item::Reset { reason: Reason::Changed }));
    again.until_ready().await;
    again.until_equal(&world, &own).await;

    for (name, params, code) in [
        ("sales", &[("sort", "orders")][..], "not_followable"),
        ("sales", &[("limit", "5")], "not_followable"),
        ("sales", &[("q", "paid")], "not_followable"),
        ("sales", &[("weight", "5")], "unknown_parameter"),
        ("sales", &[("orders", "many")], "invalid_value"),
        ("ordered", &[("cost", "1")], "unknown_parameter"),
    ] {
        let mut refused = feed.live.subscribe(of(name, everything(), params), From::Now);
        let Some(Item::Failed(Error::Invalid(errors))) = refused.next().await else { panic!("{params:?}") };
        assert_eq!((errors.len(), &*errors[0].code), (1, code), "{params:?}: {errors:?}");
    }
    let mut hidden = feed.live.subscribe(sales(customer(1), &[("cost", "7")]), From::Now);
    assert!(matches!(hidden.next().await, Some(Item::Failed(Error::Invalid(_)))), "it may not be asked for");
    let mut unknown = feed.live.subscribe(of("nothing", everything(), &[]), From::Now);
    assert!(matches!(unknown.next().await, Some(Item::Failed(Error::NoModel(_)))));
    feed.stop().await;
    other.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rows_than_there_may_be_are_refused_also_later() {
    let world = World::new().await;
    let feed = world.feed(&Options { snapshot_rows: 2, ..Options::default() });
    let all = of("ordered", everything(), &[]);
    let ids = world.create_many(2).await;
    let first = world.update(ids[0], json!({ "total": "1.00" })).await;
    let second = world.update(ids[1], json!({ "total": "1.00" })).await;
    world.projected("ordered", &[first.position, second.position]).await;
    let mut copying = Copying::new(&feed, &all, From::Snapshot);
    copying.until_ready().await;
    assert_eq!(copying.rows.len(), 2);
    let third = world.create(Uuid::now_v7(), account(1), "paid").await;
    let end = tokio::time::timeout(LIMIT, copying.subscription.next()).await.unwrap();
    assert!(matches!(end, Some(Item::Failed(Error::TooManyRows(2)))), "{end:?}");
    assert!(copying.subscription.next().await.is_none());
    world.projected("ordered", &[third.position]).await;
    let mut refused = feed.live.subscribe(all.clone(), From::Now);
    assert!(matches!(refused.next().await, Some(Item::Failed(Error::TooManyRows(2)))));
    // It isn't over for ever.
    let deleted = world.delete(ids[0]).await;
    world.projected("ordered", &[deleted.position]).await;
    Copying::new(&feed, &all, From::Snapshot).until_ready().await;
    feed.stop().await;
    world.stop().await;
}

/// What the way to PostgreSQL does with what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections are cut, and none is made.
    Cut,
}

/// A way to PostgreSQL that can be cut: its URL.
async fn way(url: &str, way: watch::Receiver<Way>) -> String {
    let host = url.rsplit('@').next().and_then(|rest| rest.split('/').next()).unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = host.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (to, mut way) = (to.clone(), way.clone());
            tokio::spawn(async move {
                if *way.borrow() == Way::Cut {
                    return;
                }
                let mut far = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = way.wait_for(|way| *way == Way::Cut) => {}
                }
            });
        }
    });
    url.replace(&host, &format!("127.0.0.1:{port}"))
}

/// The projector goes on meanwhile, and nobody here hears it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_while_the_line_is_cut_is_not_missed() {
    let world = World::new().await;
    let (switch, cut) = watch::channel(Way::Open);
    let url = way(&world.options.url, cut).await;
    let queries = Queries::new(&writ_projections::Options { url, ..world.options.clone() }, None).unwrap();
    let feed = world.feed_by(&Options::default(), &queries);
    let all = sales(everything(), &[]);
    let first = world.create(Uuid::now_v7(), account(1), "paid").await;
    world.projected("sales", &[first.position]).await;
    let mut copying = Copying::new(&feed, &all, From::Snapshot);
    copying.until_ready().await;
    switch.send_replace(Way::Cut);
    let missed = world.create(Uuid::now_v7(), account(1), "paid").await;
    world.projected("sales", &[missed.position]).await;
    // What is known is told; what isn't known yet is tried for.
    let mut late = Copying::new(&feed, &all, From::Snapshot);
    late.until_ready().await;
    assert_eq!(late.rows.len(), 1);
    let mut other = Copying::new(&feed, &sales(everything(), &[("orders[gt]", "0")]), From::Snapshot);
    assert!(tokio::time::timeout(Duration::from_millis(200), other.next()).await.is_err());
    switch.send_replace(Way::Open);
    other.until_ready().await;
    for copying in [&mut copying, &mut late, &mut other] {
        copying.until_equal(&world, &all).await;
        assert_eq!(copying.rows[r#"{"status":"paid"}"#]["orders"], 2);
    }
    // It listens again.
    world.create(Uuid::now_v7(), account(1), "placed").await;
    assert!(matches!(copying.next().await, Item::Change(_)));
    feed.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_was_built_anew_is_another_answer() {
    let world = World::new().await;
    let feed = world.feed(&Options::default());
    let (cancel, registry) = (CancellationToken::new(), Registry::new(&world.stage.registry).unwrap());
    let options = (world.options.clone(), world.stage.kafka.clone());
    let models = world.stage.models.clone();
    let builder = tokio::spawn(rebuild::run(options.0, options.1, registry, models, cancel.clone()));
    let created = world.create(Uuid::now_v7(), account(1), "paid").await;
    world.projected("sales", &[created.position]).await;
    // Nobody says this, but the next one who asks sees it.
    world
        .sql("UPDATE $schema.sales SET orders = 99; INSERT INTO $schema.sales VALUES ('odd', 1, 1, 1)")
        .await;
    let all = sales(everything(), &[]);
    let mut copying = Copying::new(&feed, &all, From::Snapshot);
    copying.until_ready().await;
    assert_eq!(copying.rows[r#"{"status":"paid"}"#]["orders"], 99);
    let before = copying.resume.clone().unwrap();

    Projections::new(&world.options).unwrap().request("sales").await.unwrap();
    let Item::Change(left) = copying.next().await else { panic!() };
    assert!(left.kind == Kind::Leave && left.more, "{}", left.body());
    // Half of a difference is no place to go on from.
    let half = copying.resume.clone().unwrap();
    let Item::Change(changed) = copying.next().await else { panic!() };
    assert!(changed.kind == Kind::Change && !changed.more, "{}", changed.body());
    copying.until_equal(&world, &all).await;
    for resume in [before, half] {
        let mut again = Copying::new(&feed, &all, From::Resume(resume));
        assert!(matches!(again.next().await, Item::Reset { reason: Reason::Changed }));
    }
    // It goes on with the new one.
    let more = world.create(Uuid::now_v7(), account(1), "placed").await;
    world.projected("sales", &[more.position]).await;
    copying.until_equal(&world, &all).await;
    cancel.cancel();
    builder.await.unwrap().unwrap();
    feed.stop().await;
    world.stop().await;
}

/// As when an event that was put aside is given to the projection: its places stay.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_rewritten_behind_the_places_is_told() {
    let world = World::new().await;
    let feed = world.feed(&Options::default());
    let created = world.create(Uuid::now_v7(), account(1), "paid").await;
    world.projected("sales", &[created.position]).await;
    let all = sales(everything(), &[]);
    let mut copying = Copying::new(&feed, &all, From::Snapshot);
    copying.until_ready().await;
    world.rewrite("UPDATE $schema.sales SET orders = 99").await;
    assert!(matches!(copying.next().await, Item::Change(_)));
    assert_eq!(copying.rows[r#"{"status":"paid"}"#]["orders"], 99);
    feed.stop().await;
    world.stop().await;
}

/// `until` passes, and no event tells so.
#[tokio::test(flavor = "multi_thread")]
async fn what_time_hides_leaves_by_itself() {
    let world = World::new().await;
    let feed = world.feed(&Options::default());
    let created = world.create(Uuid::now_v7(), account(1), "paid").await;
    world.projected("ordered", &[created.position]).await;
    let all = of("ordered", customer(1), &[]);
    let mut copying = Copying::new(&feed, &all, From::Snapshot);
    copying.until_ready().await;
    assert_eq!(copying.rows.len(), 1);
    world.rewrite("UPDATE $schema.ordered SET until = now() + interval '3 seconds'").await;
    for kind in [Kind::Change, Kind::Leave] {
        let Item::Change(frame) = copying.next().await else { panic!() };
        assert_eq!(frame.kind, kind);
    }
    assert!(copying.rows.is_empty() && world.rows(&all).await.is_empty());
    feed.stop().await;
    world.stop().await;
}
