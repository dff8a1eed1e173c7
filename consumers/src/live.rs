//! The live feed: every change of a model, matched against what somebody has subscribed to, as soon as it is committed.
//!
//! **The tail.** One thread in each api process reads all event topics, from their ends at its start, outside of any
//! consumer group (`live/tail.rs`). Each model has a task that takes its events in their order (`live/feed.rs`). Events of models
//! that somebody follows are decoded once and become changes: the aggregate as it was before the event and as it is after
//! it (`live/states.rs`). A model whose projector is behind stalls its own feed, no other.
//!
//! **Matching.** Subscriptions that ask the same and see the same share a view (`live/views.rs`), found by an index
//! (`live/index.rs`). A view matches a change by what the row was and is: not matched before and matched now is an *enter*, both
//! is a *change*, only before is a *leave*. So what a subscriber gets depends on the event alone and on nothing that is
//! remembered of the subscriber: any process gives the same answer for the same event, and a subscription goes on anywhere
//! from its [`Resume`].
//!
//! **No gap and no repeat.** A [`Resume`] is the next offset of every partition of the model's topic. Events of one partition
//! are delivered in the order of their offsets; an event is delivered if its offset is not below the subscription's next offset
//! of that partition, which then moves behind it. A snapshot is read with the places of its table in one transaction of PostgreSQL,
//! so it is exactly the fold of the events before them. From there, or from a resume, a subscription catches up
//! (`live/catch_up.rs`): with what the ring of recent changes has (`live/ring.rs`), or with what Kafka has (`live/replay.rs`), which is
//! put into the ring if there is room, for others who come from the same place. Then its queue takes over, in one step with the hand-over of the ring: `live/hub.rs` has the argument. Where a frame says to go on is
//! where the feed was behind it, since by then everything before was in the same queue, or had no place in it; only a subscription
//! that is ahead of the feed in some partition, by a snapshot, says where it is itself.
//!
//! **Slow clients.** Nothing is buffered without bound. A queue that is full ends its subscription with [`Item::Lagged`] and the
//! resume of the last frame that it took; a replay is pulled by its client, and ends alike if that takes nothing for half a minute.
//!
//! **What nobody gets.** An event that can't be decoded, that has a version which was there already, or that follows on one of these, is
//! passed over, logged and counted: its row doesn't show it either. If an operator has it applied later
//! (`writ dead-letters`), the next change of the aggregate shows it.
//!
//! **Rights.** What a subscription's actor may read is worked out when it begins, and again every 30 seconds if a rule of the
//! model names the time; so a row that only time makes visible or hides is neither entered nor left, until its next event. Whose
//! rights have changed is the caller's to notice: it ends the subscription.
//!
//! **SQL projections** have no feed: their rows are asked for again (`live/projection.rs`).

mod catch_up;
mod change;
mod event;
mod feed;
mod frame;
mod hub;
mod index;
pub mod metrics;
mod projection;
mod queue;
mod replay;
mod resume;
mod ring;
mod snapshot;
mod states;
mod subscription;
mod tail;
#[cfg(test)]
mod tests;
mod views;
mod wanted;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use writ_model::Models;
use writ_producers::readiness::Readiness;
use writ_producers::registry::Registry;
use writ_producers::topics::Topics;
use writ_producers::{kafka, thread};
use writ_projections::history::History;
use writ_projections::query::Queries;

use event::Decoder;
use feed::ModelFeed;
use hub::Hub;
use projection::Projections;
use rdkafka::message::OwnedMessage;
use ring::Capacity;
use states::States;
use tail::{Lane, Tail};

pub use frame::{Frame, Kind};
pub use projection::Keyed;
pub use resume::{InvalidResume, MAX_LENGTH as MAX_RESUME_LENGTH, Resume};
pub use subscription::Subscription;
pub use wanted::{Error, From, Item, Reason, Wanted};

/// Stretches of event topics that are read again at the same time.
const REPLAYS: usize = 4;

/// How much the feed keeps in memory, and how far it goes back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Changes that wait for a slow subscriber, who then has to begin again where it was.
    pub queue: usize,
    /// Recent changes of each model that are kept for those who come back soon.
    pub ring: usize,
    /// Most memory for these, MiB for each model.
    pub ring_mib: usize,
    /// Who is more events behind gets a snapshot instead of what was missed. In offsets of Kafka, so somewhat more than events.
    pub replay: u64,
    /// Most rows of a snapshot.
    pub snapshot_rows: usize,
    /// Memory for the states of aggregates that changed lately, MiB for all models.
    pub cache_mib: u64,
    /// Between two queries for the same rows of an SQL projection that is followed, milliseconds.
    pub projection_interval_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            queue: 256,
            ring: 10_000,
            ring_mib: 16,
            replay: 1_000_000,
            snapshot_rows: 10_000,
            cache_mib: 64,
            projection_interval_ms: 200,
        }
    }
}

/// What all subscriptions share.
#[derive(Debug)]
struct Shared {
    options: Options,
    kafka: kafka::Options,
    topics: Topics,
    models: Arc<Models>,
    queries: Queries,
    history: History,
    registry: Registry,
    of_models: HashMap<String, Arc<OfModel>>,
    /// Whether every hub has begun.
    begun: watch::Receiver<bool>,
    replays: Semaphore,
    projections: Arc<Projections>,
    /// Of the feed's end.
    cancel: CancellationToken,
}

impl Shared {
    fn of(&self, model: &str) -> Option<&Arc<OfModel>> {
        self.of_models.get(model)
    }
}

/// What the subscriptions of one model share.
#[derive(Debug)]
struct OfModel {
    /// Among all models.
    number: usize,
    hub: hub::Shared,
    /// To put something into the ring that Kafka has, one after the other.
    turn: Turn,
    /// The first offset of each partition that Kafka still has, and when it said so.
    first: Mutex<Option<(Instant, Vec<i64>)>>,
}

/// Held over awaits.
type Turn = tokio::sync::Mutex<()>;

/// A cheap handle: where subscriptions are had.
#[derive(Debug, Clone)]
pub struct Live {
    shared: Arc<Shared>,
}

/// The role: reads, matches, delivers.
#[derive(Debug)]
pub struct Feed {
    shared: Arc<Shared>,
    tail: Tail,
    models: Vec<(ModelFeed, mpsc::Receiver<OwnedMessage>)>,
    _ends: DropGuard,
}

impl Live {
    /// Cheap; nothing needs to be there yet. `readiness` is of the part `live`.
    pub fn new(
        options: &Options,
        kafka: &kafka::Options,
        registry: &Registry,
        models: &Arc<Models>,
        queries: &Queries,
        readiness: watch::Sender<Readiness>,
    ) -> (Live, Feed) {
        let topics = Topics::new(&kafka.topic_prefix);
        let (began, begun) = watch::channel(false);
        let cancel = CancellationToken::new();
        let history = queries.history(topics.clone());
        let recent = Arc::new(states::recent(options.cache_mib));
        let capacity = Capacity { changes: options.ring, bytes: options.ring_mib * 1024 * 1024 };
        let (mut of_models, mut lanes, mut feeds) = (HashMap::new(), HashMap::new(), Vec::new());
        for (number, (name, model)) in models.models.iter().enumerate() {
            let hub = Hub::new(model.clone(), options.queue, capacity);
            let (sender, records) = mpsc::channel(feed::WAITING);
            let of_model =
                OfModel { number, hub: hub.clone(), turn: Turn::default(), first: Mutex::default() };
            of_models.insert(name.clone(), Arc::new(of_model));
            lanes.insert(topics.events(name), Lane::new(hub.clone(), sender));
            let (model, history, recent) = (model.clone(), history.clone(), recent.clone());
            let feed = ModelFeed {
                hub,
                decoder: Decoder { model: model.clone(), registry: registry.clone() },
                states: States { model, number, history, recent },
                cancel: cancel.clone(),
            };
            feeds.push((feed, records));
        }
        let shared = Arc::new(Shared {
            options: options.clone(),
            kafka: kafka.clone(),
            topics,
            models: models.clone(),
            queries: queries.clone(),
            history,
            registry: registry.clone(),
            of_models,
            begun,
            replays: Semaphore::new(REPLAYS),
            projections: Arc::new(Projections::new(models, queries, options, &cancel)),
            cancel: cancel.clone(),
        });
        let tail = Tail { kafka: kafka.clone(), lanes, readiness, begun: began, cancel: cancel.clone() };
        let feed = Feed { shared: shared.clone(), tail, models: feeds, _ends: cancel.drop_guard() };
        (Live { shared }, feed)
    }

    /// Follows something from some place on. What is wrong with it is the first item. Must be called within a tokio runtime.
    pub fn subscribe(&self, wanted: Wanted, from: From) -> Subscription {
        Subscription::new(&self.shared, wanted, from)
    }

    /// Whether the ends of all topics are known. Before that subscriptions wait.
    pub fn is_ready(&self) -> bool {
        *self.shared.begun.borrow()
    }
}

impl Feed {
    /// Runs until cancelled. All subscriptions end with it.
    ///
    /// # Errors
    /// The thread can't be started, or a part of the feed panicked.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), thread::Error> {
        let Feed { shared, tail, models, _ends } = self;
        let mut tasks = JoinSet::new();
        for (feed, records) in models {
            tasks.spawn(feed.run(records));
        }
        let mut reading = std::pin::pin!(thread::run("live", move || tail.run()));
        let mut result = tokio::select! {
            result = &mut reading => result,
            () = cancel.cancelled() => Ok(()),
            // They end with the thread only.
            Some(_) = tasks.join_next() => Err(thread::Error::Panicked { name: "live" }),
        };
        shared.cancel.cancel();
        for of_model in shared.of_models.values() {
            of_model.hub.lock().stop();
        }
        if result.is_ok() && cancel.is_cancelled() {
            result = reading.await;
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(panicked) = ended {
                tracing::error!(error = %panicked, "the feed of a model panicked");
                result = Err(thread::Error::Panicked { name: "live" });
            }
        }
        result
    }
}
