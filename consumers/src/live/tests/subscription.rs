//! A subscription while its feed is published to by hand, and time passes when nothing else happens.

use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::time::Instant;
use writ_producers::readiness::Readiness;
use writ_producers::registry::{self, Registry};
use writ_projections::query::Queries;

use super::super::hub::{Hub, Joined};
use super::super::{Feed, From, Item, Kind, Live, Options, Reason, Subscription};
use super::*;

/// Nothing is there but the feed itself.
struct Alone {
    live: Live,
    feed: Feed,
    world: World,
    next: i64,
}

impl Alone {
    fn new() -> Alone {
        let queries = Queries::new(&writ_projections::Options::default(), None).unwrap();
        let registry = Registry::new(&registry::Options::default()).unwrap();
        let (readiness, _) = watch::channel(Readiness::Waiting("new".into()));
        let kafka = writ_producers::kafka::Options::default();
        let options = Options { queue: 4, ..Options::default() };
        let (live, feed) = Live::new(&options, &kafka, &registry, &MODELS, &queries, readiness);
        Alone { live, feed, world: World::default(), next: 0 }
    }

    fn begin(&self) {
        for of_model in self.live.shared.of_models.values() {
            of_model.hub.lock().begin(&[0]);
        }
        self.feed.tail.begun.send_replace(true);
    }

    fn with<T>(&self, what: impl FnOnce(&mut Hub) -> T) -> T {
        what(&mut self.live.shared.of_models["order"].hub.lock())
    }

    fn publish(&mut self, aggregate: u128, choice: u8) {
        let change = self.world.event(aggregate, choice, 0, self.next);
        self.next += 1;
        self.with(|hub| hub.publish(change));
    }

    fn follow(&self, wanted: Wanted) -> Subscription {
        self.live.subscribe(wanted, From::Now)
    }
}

async fn kind(subscription: &mut Subscription) -> Kind {
    match subscription.next().await {
        Some(Item::Change(frame)) => frame.kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_the_feed_to_begin() {
    let alone = Alone::new();
    let mut early = alone.follow(wanted(staff(), None, &[]));
    assert!(early.next().now_or_never().is_none());
    assert!(!alone.live.is_ready());
    alone.begin();
    assert!(alone.live.is_ready());
    assert!(matches!(early.next().await, Some(Item::Started { .. })));
    // Half a minute is enough.
    let never = Alone::new();
    let mut late = never.follow(wanted(staff(), None, &[]));
    assert!(matches!(late.next().await, Some(Item::Failed(Error::Unavailable(_)))));
    assert!(late.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_hears_nothing_hears_how_far_the_topic_is() {
    let mut alone = Alone::new();
    alone.begin();
    let mut one = alone.follow(wanted(staff(), Some(id(0)), &[]));
    let Some(Item::Started { resume }) = one.next().await else { panic!() };
    assert_eq!(resume.next(), [0]);
    alone.publish(1, 1);
    let before = Instant::now();
    let Some(Item::Progress { resume }) = one.next().await else { panic!() };
    assert_eq!(before.elapsed(), Duration::from_secs(30));
    assert_eq!(resume.next(), [1]);
    // The topic stands still, so there is nothing to say.
    let silence = tokio::time::timeout(Duration::from_secs(3600), one.next());
    assert!(silence.await.is_err());
    // What is there comes before how far the topic is.
    alone.publish(0, 1);
    alone.publish(1, 2);
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(kind(&mut one).await, Kind::Enter);
    let Some(Item::Progress { resume }) = one.next().await else { panic!() };
    assert_eq!(resume.next(), [3]);
}

/// Whoever serves a socket asks, is called away, and asks again.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_with_a_call_that_is_dropped() {
    let mut alone = Alone::new();
    alone.begin();
    let mut one = alone.follow(wanted(staff(), None, &[]));
    assert!(matches!(one.next().await, Some(Item::Started { .. })));
    for number in 0..20 {
        {
            let mut call = std::pin::pin!(one.next());
            assert!(matches!(futures::poll!(call.as_mut()), Poll::Pending));
            alone.publish(number, 1);
        }
        assert_eq!(kind(&mut one).await, Kind::Enter);
    }
}

/// A socket polls each of its subscriptions by a call that it drops: what is due must wake it all the same.
#[tokio::test(start_paused = true)]
async fn who_asks_by_calls_that_are_dropped_is_woken_when_it_is_time() {
    let mut alone = Alone::new();
    alone.begin();
    let mut one = alone.follow(wanted(staff(), Some(id(0)), &[]));
    assert!(matches!(one.next().await, Some(Item::Started { .. })));
    let mut before = Instant::now();
    for number in 1..4 {
        alone.publish(number, 1);
        let next = std::future::poll_fn(|cx| std::pin::pin!(one.next()).poll(cx));
        let item = tokio::time::timeout(Duration::from_secs(3600), next).await.expect("it is woken");
        assert!(matches!(item, Some(Item::Progress { .. })), "{item:?}");
        assert_eq!(before.elapsed(), Duration::from_secs(30));
        before = Instant::now();
    }
    // What comes puts it off.
    tokio::time::advance(Duration::from_secs(20)).await;
    alone.publish(0, 1);
    assert_eq!(kind(&mut one).await, Kind::Enter);
    alone.publish(1, 2);
    let next = std::future::poll_fn(|cx| std::pin::pin!(one.next()).poll(cx));
    assert!(matches!(next.await, Some(Item::Progress { .. })));
    assert_eq!(before.elapsed(), Duration::from_secs(50));
}

#[tokio::test(start_paused = true)]
async fn rules_that_name_the_time_are_worked_out_again() {
    let alone = Alone::new();
    alone.begin();
    let orders = alone.follow(wanted(staff(), None, &[]));
    assert!(orders.looks_again().is_none(), "no rule of orders names it");
    let offers = Wanted { model: "offer".into(), ..wanted(staff(), None, &[]) };
    let mut one = alone.follow(offers.clone());
    assert!(matches!(one.next().await, Some(Item::Started { .. })));
    let before = one.looks_again().expect("the rule of offers does");
    // Until the clock has moved.
    while view(&offers) == before {}
    assert!(one.next().now_or_never().is_none());
    assert_eq!(one.looks_again().unwrap(), before, "not before it is time");
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(one.next().now_or_never().is_none());
    assert_ne!(one.looks_again().unwrap(), before);
    assert_eq!(alone.live.shared.of_models["offer"].hub.lock().sizes(), (1, 1));
}

/// Every view has an identity of its own, by which every place to go on from is marked.
#[test]
fn views_are_told_apart_by_their_identity() {
    let all: Vec<Arc<View>> = views().iter().map(view).collect();
    let again: Vec<Arc<View>> = views().iter().map(view).collect();
    for (index, one) in all.iter().enumerate() {
        for (other, same) in again.iter().enumerate() {
            assert_eq!(one.identity() == same.identity(), index == other, "{index} and {other}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_resume_is_of_its_view() {
    let mut alone = Alone::new();
    alone.begin();
    let wanted = wanted(staff(), Some(id(0)), &[]);
    let identity = view(&wanted).identity();
    let mut one = alone.follow(wanted);
    alone.publish(0, 1);
    alone.publish(1, 1);
    let mut seen = Vec::new();
    for _ in 0..3 {
        match one.next().await {
            Some(Item::Started { resume } | Item::Progress { resume }) => seen.push(resume),
            Some(Item::Change(frame)) => {
                assert!(
                    frame.body().ends_with(&format!(r#""resume":"{}""#, frame.resume)),
                    "{}",
                    frame.body()
                );
                seen.push(frame.resume.clone());
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.iter().all(|resume| resume.view() == identity), "{seen:?}");
    let places: Vec<&[i64]> = seen.iter().map(super::super::resume::Resume::next).collect();
    assert_eq!(places, [[0], [1], [2]]);
}

/// Exchanged for another view, the queue stays, and each change comes as the view of its moment has it.
#[tokio::test(start_paused = true)]
async fn another_view_goes_on_with_the_same_queue() {
    let mut alone = Alone::new();
    alone.begin();
    let _interest = alone.follow(wanted(staff(), None, &[]));
    let of = |number| view(&wanted(staff(), Some(id(number)), &[]));
    let Joined::Here(_, mut member) = Hub::join(&alone.live.shared.of_models["order"].hub, &of(0), None)
    else {
        panic!()
    };
    alone.publish(0, 1);
    alone.publish(1, 1);
    member.exchange(&of(1));
    alone.publish(0, 3);
    alone.publish(1, 3);
    let mut next =
        || member.queue.try_recv().map(|frame| (frame.kind, frame.position.as_ref().unwrap().offset));
    assert_eq!(next(), Ok((Kind::Enter, 0)));
    assert_eq!(next(), Ok((Kind::Change, 3)));
    assert!(next().is_err());
    assert_eq!(alone.with(|hub| hub.sizes()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_topic_or_with_the_feed() {
    let alone = Alone::new();
    alone.begin();
    let mut one = alone.follow(wanted(staff(), None, &[]));
    assert!(matches!(one.next().await, Some(Item::Started { .. })));
    alone.with(|hub| hub.begin(&[7, 7]));
    assert!(matches!(one.next().await, Some(Item::Reset { reason: Reason::Repartitioned })));
    let mut other = alone.follow(wanted(staff(), None, &[]));
    assert!(matches!(other.next().await, Some(Item::Started { .. })));
    alone.with(Hub::stop);
    assert!(other.next().await.is_none());
    assert!(other.next().await.is_none());
}
