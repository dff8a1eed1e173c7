//! The live feed on a real Kafka, a real registry and a real PostgreSQL, with a decider that writes and a projector.

mod copies;
mod projections;
mod stage;

use serde_json::json;
use uuid::Uuid;
use writ_consumers::live::{From, Item, Kind, Options, Reason, Resume};
use writ_model::decide::Actor;

use stage::{World, account, customer, everything, wanted};

/// Rows enter, change and leave, and look as a list shows them.
#[tokio::test(flavor = "multi_thread")]
async fn from_now_every_change_comes_as_the_list_shows_it() {
    let world = World::new().await;
    let feed = world.feed(&Options::default());
    let mut all = feed.follow(wanted(everything(), &[]), From::Now).await;
    let mut paid = feed.follow(wanted(everything(), &[("status", "paid")]), From::Now).await;
    let mut own = feed.follow(wanted(customer(1), &[]), From::Now).await;
    for follower in [&mut all, &mut paid, &mut own] {
        assert!(matches!(follower.item().await, Item::Started { .. }));
    }
    let id = Uuid::now_v7();
    let created = world.create(id, account(1), "placed").await;
    let frame = all.change(Kind::Enter, id, 1).await;
    assert_eq!(frame.position.as_ref(), Some(&created.position));
    world.reach(std::slice::from_ref(&created.position)).await;
    assert_eq!(stage::row(&frame), world.row(&everything(), id).await);
    let event = stage::body(&frame)["event"].clone();
    assert_eq!(event["id"], json!(created.events[0].id));
    assert_eq!(event["type"], "bank.order.Created");
    assert_eq!(event["data"]["secret_note"], "hush");
    let frame = own.change(Kind::Enter, id, 1).await;
    assert_eq!(stage::row(&frame), world.row(&customer(1), id).await);
    assert!(!frame.body().contains("hush"), "{}", frame.body());

    world.update(id, json!({ "status": "paid" })).await;
    all.change(Kind::Change, id, 2).await;
    own.change(Kind::Change, id, 2).await;
    paid.change(Kind::Enter, id, 2).await;
    world.update(id, json!({ "customer": account(2) })).await;
    all.change(Kind::Change, id, 3).await;
    own.left(id).await;
    paid.change(Kind::Change, id, 3).await;
    world.delete(id).await;
    all.left(id).await;
    paid.left(id).await;
    // Nothing of it was for the customer of before: what comes next is the next order.
    let next = Uuid::now_v7();
    world.create(next, account(1), "placed").await;
    own.change(Kind::Enter, next, 1).await;
    feed.stop().await;
    assert!(own.next().await.is_none(), "it ends with the feed");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_over_into_changes() {
    let world = World::new().await;
    let ids = [(); 3].map(|()| Uuid::now_v7());
    for id in ids {
        let created = world.create(id, account(1), "placed").await;
        world.reach(&[created.position]).await;
    }
    let deleted = world.delete(ids[2]).await;
    world.reach(&[deleted.position]).await;
    let feed = world.feed(&Options::default());
    let mut follower = feed.follow(wanted(everything(), &[]), From::Snapshot).await;
    follower.until_ready().await;
    assert_eq!(follower.ids(), [ids[0], ids[1]].into());
    world.update(ids[0], json!({ "status": "paid" })).await;
    follower.change(Kind::Change, ids[0], 2).await;
    // More rows than there may be.
    let feed_of_few = world.feed(&Options { snapshot_rows: 1, ..Options::default() });
    let mut refused = feed_of_few.follow(wanted(everything(), &[]), From::Snapshot).await;
    let Item::Failed(error) = refused.item().await else { panic!("it is refused") };
    assert_eq!(error, writ_consumers::live::Error::TooManyRows(1));
    assert!(refused.next().await.is_none());
    feed.stop().await;
    feed_of_few.stop().await;
    world.stop().await;
}

/// From the ring; from Kafka, as the ring is too small; and in a process that has just begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_resume_brings_what_was_missed_and_nothing_twice() {
    let world = World::new().await;
    let large = world.feed(&Options::default());
    let small = world.feed(&Options { ring: 2, ..Options::default() });
    let mut first = large.follow(wanted(everything(), &[]), From::Now).await;
    let mut small_one = small.follow(wanted(everything(), &[]), From::Now).await;
    small_one.item().await;
    let Item::Started { resume } = first.item().await else { panic!() };
    let ids = [(); 4].map(|()| Uuid::now_v7());
    // One order only, with a filter that its last event leaves.
    let mut one = wanted(everything(), &[("status[ne]", "shipped")]);
    one.id = Some(ids[3]);
    let Item::Started { resume: before } = large.follow(one.clone(), From::Now).await.item().await else {
        panic!()
    };
    for (id, status) in ids.iter().flat_map(|id| [(*id, "placed"), (*id, "paid"), (*id, "shipped")]) {
        if status == "placed" {
            world.create(id, account(1), status).await;
        } else {
            world.update(id, json!({ "status": status })).await;
        }
    }
    let mut all: Vec<(Uuid, u64)> = Vec::new();
    let mut places: Vec<Resume> = vec![resume];
    for _ in 0..12 {
        let frame = first.any_change().await;
        all.push(stage::version(&frame));
        places.push(frame.resume.clone());
        small_one.any_change().await;
    }
    let fresh = world.feed(&Options::default());
    for feed in [&large, &small, &fresh] {
        for (from, place) in places.iter().enumerate() {
            // As its text, which a client keeps.
            let place: Resume = place.to_string().parse().unwrap();
            let mut follower = feed.follow(wanted(everything(), &[]), From::Resume(place)).await;
            let mut seen = follower.until_ready().await;
            let mut expected = all[from..].to_vec();
            seen.sort_unstable();
            expected.sort_unstable();
            assert_eq!(seen, expected, "from {from}");
        }
    }
    for (paid, feed) in [(4, &large), (6, &small), (8, &fresh)] {
        let mut follower = feed.follow(one.clone(), From::Resume(before.clone())).await;
        let kinds: Vec<Kind> = follower.items_until_ready().await.iter().map(|frame| frame.kind).collect();
        // What is done to it below follows, for the second and the third.
        assert_eq!(kinds[..3], [Kind::Enter, Kind::Change, Kind::Leave]);
        // And it goes on.
        world.update(ids[3], json!({ "status": "paid" })).await;
        // What the feed before this one has had may come behind `Ready`, if this one was behind.
        loop {
            let frame = follower.any_change().await;
            if stage::version(&frame) == (ids[3], paid) {
                break;
            }
        }
        world.update(ids[3], json!({ "status": "shipped" })).await;
        follower.left(ids[3]).await;
    }
    for feed in [large, small, fresh] {
        feed.stop().await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_resumed_begins_anew() {
    let world = World::new().await;
    let feed = world.feed(&Options { replay: 5, ring: 2, ..Options::default() });
    let mut first = feed.follow(wanted(everything(), &[]), From::Now).await;
    let Item::Started { resume: old } = first.item().await else { panic!() };
    let ids = [(); 8].map(|()| Uuid::now_v7());
    for id in ids {
        let created = world.create(id, account(1), "placed").await;
        world.reach(&[created.position]).await;
        first.any_change().await;
    }
    let other_partitions = stage::moved(&old, &[0, 0]);
    let beyond = stage::moved(&old, &[1 << 40; 3]);
    let another_model: Resume = old.to_string().replace("order:", "note:").parse().unwrap();
    for (resume, reason) in [
        (old, Reason::TooOld),
        (other_partitions, Reason::Repartitioned),
        (beyond, Reason::Unknown),
        (another_model, Reason::Unknown),
    ] {
        let mut follower = feed.follow(wanted(everything(), &[]), From::Resume(resume)).await;
        let Item::Reset { reason: given } = follower.item().await else { panic!("{reason:?}") };
        assert_eq!(given, reason);
        follower.until_ready().await;
        assert_eq!(follower.ids(), ids.into(), "{reason:?}");
    }
    feed.stop().await;
    world.stop().await;
}

/// Who asks for something else than before, or may see something else, has rows that would neither change nor leave.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_for_another_view_begins_anew() {
    let world = World::new().await;
    let feed = world.feed(&Options::default());
    let all = wanted(everything(), &[]);
    let (own, placed) = (wanted(customer(1), &[]), wanted(everything(), &[("status", "placed")]));
    let mut first = feed.follow(all.clone(), From::Now).await;
    let Item::Started { resume } = first.item().await else { panic!() };
    let ids = [(1, "placed"), (1, "paid"), (2, "placed")].map(|what| (Uuid::now_v7(), what));
    for (id, (number, status)) in ids {
        let created = world.create(id, account(number), status).await;
        world.reach(&[created.position]).await;
        first.any_change().await;
    }
    // Also at an instance that knows nothing of the first.
    let fresh = world.feed(&Options::default());
    for feed in [&feed, &fresh] {
        for (other, rows) in [(&own, [ids[0].0, ids[1].0]), (&placed, [ids[0].0, ids[2].0])] {
            let mut follower = feed.follow(other.clone(), From::Resume(resume.clone())).await;
            let Item::Reset { reason } = follower.item().await else { panic!("{other:?}") };
            assert_eq!(reason, Reason::OtherView);
            follower.until_ready().await;
            assert_eq!(follower.ids(), rows.into());
        }
        let mut same = feed.follow(all.clone(), From::Resume(resume.clone())).await;
        assert_eq!(same.until_ready().await.len(), 3);
    }
    feed.stop().await;
    fresh.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_slow_is_told_where_to_go_on() {
    let world = World::new().await;
    let feed = world.feed(&Options { queue: 3, ..Options::default() });
    let mut slow = feed.follow(wanted(everything(), &[]), From::Now).await;
    let mut fast = feed.follow(wanted(everything(), &[]), From::Now).await;
    assert!(matches!(slow.item().await, Item::Started { .. }));
    assert!(matches!(fast.item().await, Item::Started { .. }));
    let ids = [(); 6].map(|()| Uuid::now_v7());
    for id in ids {
        world.create(id, account(1), "placed").await;
        fast.any_change().await;
    }
    let mut seen = Vec::new();
    let resume = loop {
        match slow.item().await {
            Item::Change(frame) => seen.push(stage::version(&frame).0),
            Item::Lagged { resume } => break resume,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(seen, ids[..3]);
    assert!(slow.next().await.is_none());
    let mut again = feed.follow(wanted(everything(), &[]), From::Resume(resume)).await;
    seen.extend(again.until_ready().await.into_iter().map(|(id, _)| id));
    assert_eq!(seen, ids);
    feed.stop().await;
    world.stop().await;
}

/// A projector that is behind stalls what needs its states, and nothing else; a record that is no event stalls nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_waits_for_its_projector() {
    let mut world = World::new().await;
    let old = Uuid::now_v7();
    let created = world.create(old, account(1), "placed").await;
    world.reach(&[created.position]).await;
    world.stop_projector().await;
    // Not in the row, so it has to be folded, once it is there.
    world.update(old, json!({ "status": "paid" })).await;
    let feed = world.feed(&Options { queue: 1000, ..Options::default() });
    let mut orders = feed.follow(wanted(everything(), &[]), From::Now).await;
    let mut notes = feed.follow(stage::of("note", everything(), &[]), From::Now).await;
    assert!(matches!(orders.item().await, Item::Started { .. }));
    assert!(matches!(notes.item().await, Item::Started { .. }));
    world.update(old, json!({ "status": "shipped" })).await;
    // More than its feed takes at once, so that its partitions are paused.
    let many: Vec<Uuid> = world.create_many(700).await;
    world.garbage("note", old).await;
    let note = Uuid::now_v7();
    world.note(note).await;
    notes.change(Kind::Enter, note, 1).await;
    assert!(orders.is_quiet(), "the state before isn't known");
    world.start_projector();
    let mut seen = orders.changes(1 + many.len()).await;
    seen.sort_unstable();
    let mut expected: Vec<(Uuid, u64)> = many.iter().map(|id| (*id, 1)).chain([(old, 3)]).collect();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    feed.stop().await;
    world.stop().await;
}

/// A feed that begins while a transaction is open begins before it: what is committed later with lower offsets is not left out.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_later_is_no_past() {
    let world = World::new().await;
    let open = world.open_transaction("note").await;
    let note = Uuid::now_v7();
    // Committed, but behind what isn't.
    world.note(note).await;
    let feed = world.feed(&Options::default());
    let mut notes = feed.follow(stage::of("note", everything(), &[]), From::Now).await;
    let Item::Started { resume } = notes.item().await else { panic!() };
    assert!(notes.is_quiet());
    open.commit().await;
    notes.change(Kind::Enter, note, 1).await;
    // As from Kafka.
    let fresh = world.feed(&Options::default());
    let mut again = fresh.follow(stage::of("note", everything(), &[]), From::Resume(resume)).await;
    assert_eq!(again.until_ready().await, [(note, 1)]);
    feed.stop().await;
    fresh.stop().await;
    world.stop().await;
}

/// What is wrong with a subscription is its first item, and its last.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_subscription_fails_at_once() {
    use writ_consumers::live::Error;
    let world = World::new().await;
    let feed = world.feed(&Options::default());
    let mut wrong =
        feed.live.subscribe(wanted(everything(), &[("sort", "total"), ("status", "x")]), From::Now);
    let Some(Item::Failed(Error::Invalid(faults))) = wrong.next().await else { panic!() };
    assert!(!faults.is_empty());
    assert!(wrong.next().await.is_none());
    // What is hidden is nowhere.
    let mut hidden = feed.live.subscribe(wanted(customer(1), &[("secret_note", "x")]), From::Now);
    assert!(matches!(hidden.next().await, Some(Item::Failed(Error::Invalid(_)))));
    let mut unknown = feed.live.subscribe(stage::of("nothing", Actor::default(), &[]), From::Now);
    assert!(matches!(unknown.next().await, Some(Item::Failed(Error::NoModel(_)))));
    feed.stop().await;
    world.stop().await;
}
