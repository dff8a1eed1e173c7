//! The meeting point of one model: its feed puts changes in, its subscriptions come and go. Pure: no I/O, no clock, no waiting.
//!
//! Everything here happens under one lock, a step at a time, and that is the argument for the seam. [`Hub::join`] hands out
//! what the ring has from the subscription's offsets on **and** enters the subscription, in one step; [`Hub::publish`] moves
//! the feed's offsets, pushes the change into the ring **and** delivers it, in one step. So for each change and each join:
//!
//! - The change was published before the join. Then it is in the ring, or was pushed out of it. If it is in the ring and not
//!   below the subscription's offsets, it is handed out; it isn't delivered later, as a change is delivered while it is published
//!   only. If it was pushed out and not below, the join is refused ([`Joined::Behind`]): the subscription first reads on in Kafka.
//! - It is published after the join. Then it is delivered if it isn't below, and nothing was handed out of it.
//!
//! What is put before the ring later ([`Hub::extend_back`]) is all that lies between some offsets and its beginning, so the ring still
//! has everything from its beginning on.
//!
//! So it comes once. It comes in the order of its partition, since changes are published in that order and the queue is one.
//! [`Hub::publish`] takes no offset below the feed's own, so a record that is read again is not published again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use writ_model::Model;

use super::change::{Change, Placed};
use super::frame;
use super::metrics;
use super::resume::{Place, Resume, merge, reaches};
use super::ring::{Capacity, Ring};
use super::views::{View, Views};

/// For so long after the last subscription has left, the model's changes are still collected: who polls, or loses a connection,
/// is back by then.
const LINGER: Duration = Duration::from_secs(60);

/// A hub that its feed and its subscriptions share.
pub(super) type Shared = Arc<Mutex<Hub>>;

/// One model's views, its recent changes, and how far its feed is.
#[derive(Debug)]
pub(super) struct Hub {
    model: Arc<Model>,
    name: Arc<str>,
    queue: usize,
    /// The feed's next offset of each partition. Empty: it hasn't begun.
    next: Vec<i64>,
    ring: Ring,
    views: Views,
    /// Subscriptions, also those that haven't joined yet.
    interested: usize,
    /// Since when there is none.
    idle_since: Option<Instant>,
    /// Counts the times that the topic became another one.
    topic: u64,
    is_stopped: bool,
}

/// Whether a subscription is in.
#[derive(Debug)]
pub(super) enum Joined {
    /// It is, and has this to deliver before what is in its queue.
    Here(Vec<Arc<Placed>>, Member),
    /// The ring doesn't reach back so far: read on in Kafka up to the feed's offsets, then try again.
    Behind(Vec<i64>),
    /// The topic has another number of partitions.
    Repartitioned,
}

/// A subscription's place in a hub. Left with its drop.
#[derive(Debug)]
pub(super) struct Member {
    hub: Shared,
    id: u64,
    pub(super) queue: mpsc::Receiver<frame::Shared>,
    /// What is below is delivered once the changes that came with it are.
    pub(super) at: Resume,
    topic: u64,
}

/// Why a queue was closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It was full.
    Lagged,
    /// The topic has other partitions, or other events, than it had.
    Repartitioned,
    /// The feed has ended.
    Stopped,
}

impl Member {
    /// From now on it follows another view.
    pub(super) fn exchange(&self, view: &Arc<View>) {
        self.hub.lock().views.exchange(self.id, view);
    }

    /// The feed's next offsets. What is below and matched is in the queue by now.
    pub(super) fn feed(&self) -> Vec<i64> {
        self.hub.lock().next.clone()
    }

    /// Why the queue is closed.
    pub(super) fn closed(&self) -> Closed {
        let hub = self.hub.lock();
        match (hub.is_stopped, hub.topic == self.topic) {
            (true, _) => Closed::Stopped,
            (false, false) => Closed::Repartitioned,
            (false, true) => Closed::Lagged,
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut hub = self.hub.lock();
        if hub.views.leave(self.id) {
            hub.count();
        }
    }
}

/// Somebody wants this model's changes, or will in a moment. While there is one, the feed collects them.
#[derive(Debug)]
pub(super) struct Interest(Shared);

impl Interest {
    pub(super) fn new(hub: &Shared) -> Interest {
        let mut locked = hub.lock();
        locked.interested += 1;
        locked.idle_since = None;
        drop(locked);
        Interest(hub.clone())
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut hub = self.0.lock();
        hub.interested -= 1;
        if hub.interested == 0 {
            hub.idle_since = Some(Instant::now());
        }
    }
}

impl Hub {
    pub(super) fn new(model: Arc<Model>, queue: usize, capacity: Capacity) -> Shared {
        Arc::new(Mutex::new(Hub {
            name: model.name.as_str().into(),
            model,
            queue,
            next: Vec::new(),
            ring: Ring::new(capacity, Vec::new()),
            views: Views::default(),
            interested: 0,
            idle_since: None,
            topic: 0,
            is_stopped: false,
        }))
    }

    pub(super) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The feed begins at the ends of the topic, or goes on where it was. A topic with more partitions goes on too, and its new
    /// partitions begin at their beginnings; but who followed it has to begin anew, as aggregates move between partitions and what
    /// is told of one in the old order is over. So it is if the topic ends before the feed: it was made anew. Whether the feed
    /// goes on undisturbed.
    pub(super) fn begin(&mut self, ends: &[i64]) -> bool {
        let before = std::mem::take(&mut self.next);
        let goes_on = before.len() == ends.len() && reaches(ends, &before);
        self.next = match before.len() {
            _ if goes_on => before,
            0 => ends.to_vec(),
            known if known < ends.len() && reaches(ends, &before) => {
                before.into_iter().chain(std::iter::repeat(0)).take(ends.len()).collect()
            }
            _ => ends.to_vec(),
        };
        if !goes_on {
            self.ring.restart(&self.next);
            self.views.clear();
            self.topic += 1;
            self.count();
        }
        goes_on
    }

    /// The feed has ended, and with it every subscription.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        self.views.clear();
        self.count();
    }

    /// The feed's next offset of each partition; empty: it hasn't begun.
    pub(super) fn next(&self) -> &[i64] {
        &self.next
    }

    /// A place in this model's topic.
    pub(super) fn at(&self, next: impl Into<Arc<[i64]>>) -> Place {
        Place::new(&self.name, next)
    }

    /// Whether a subscription from here on could join at once, with nothing that Kafka has to say about it.
    pub(super) fn covers(&self, at: &[i64]) -> bool {
        reaches(&self.next, at) && self.ring.covers(at)
    }

    /// Where the ring begins, if what lies between `at` and there may have room in it.
    pub(super) fn gap(&self, at: &[i64]) -> Option<Vec<i64>> {
        let from = self.ring.from();
        let missing = from.iter().zip(at).map(|(from, at)| usize::try_from(from - at).unwrap_or_default());
        (missing.sum::<usize>() <= self.ring.room()).then(|| from.to_vec())
    }

    /// Puts what lies between `at` and the beginning of the ring, which was `until`, before it. Whether it did.
    pub(super) fn extend_back(&mut self, changes: Vec<Arc<Placed>>, at: &[i64], until: &[i64]) -> bool {
        self.ring.extend_back(changes, at, until)
    }

    /// Whether the feed is beyond this record: it is read again, or the topic doesn't have that partition.
    pub(super) fn is_past(&self, partition: i32, offset: i64) -> bool {
        usize::try_from(partition).ok().and_then(|p| self.next.get(p)).is_none_or(|next| offset < *next)
    }

    /// Whether nobody wants the changes, now or soon.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.interested == 0
            && self.idle_since.is_none_or(|since| now.saturating_duration_since(since) >= LINGER)
    }

    /// Passes over records if nobody wants them, in one step with the question. Whether it did.
    pub(super) fn skip_if_idle(
        &mut self,
        places: impl IntoIterator<Item = (i32, i64)>,
        now: Instant,
    ) -> bool {
        let is_idle = self.is_idle(now);
        if is_idle {
            for (partition, offset) in places {
                self.advance(partition, offset);
            }
            self.ring.restart(&self.next);
        }
        is_idle
    }

    /// A record that is no change: it is read, and nobody gets it.
    pub(super) fn pass(&mut self, partition: i32, offset: i64) {
        if !self.is_past(partition, offset) {
            self.advance(partition, offset);
        }
    }

    fn advance(&mut self, partition: i32, offset: i64) {
        if let Some(next) = usize::try_from(partition).ok().and_then(|p| self.next.get_mut(p)) {
            *next = (*next).max(offset + 1);
        }
    }

    /// The next change of its partition, for everyone who wants it.
    pub(super) fn publish(&mut self, change: Change) {
        let (partition, offset) = (change.happened.partition, change.happened.offset);
        if self.is_past(partition, offset) {
            return;
        }
        self.advance(partition, offset);
        let placed = Arc::new(Placed::new(change, self.at(self.next.as_slice())));
        let delivered = self.views.deliver(&self.model, &placed, &self.next);
        self.ring.push(placed);
        let model = || self.model.name.clone();
        ::metrics::counter!(metrics::CHANGES, "model" => model()).increment(1);
        ::metrics::counter!(metrics::DELIVERIES, "model" => model()).increment(delivered.frames);
        if delivered.lagged > 0 {
            ::metrics::counter!(metrics::LAGGED, "model" => model()).increment(delivered.lagged);
            self.count();
        }
    }

    /// Enters a subscription that has everything below `at`; `None`: it begins where the feed is.
    pub(super) fn join(hub: &Shared, view: &Arc<View>, at: Option<&[i64]>) -> Joined {
        let mut this = hub.lock();
        let at = at.unwrap_or(&this.next).to_vec();
        if at.len() != this.next.len() {
            return Joined::Repartitioned;
        }
        let Some(missed) = this.ring.since(&at) else { return Joined::Behind(this.next.clone()) };
        let mut behind = at.clone();
        merge(&mut behind, &this.next);
        // Below what it has the feed may still have something to publish.
        let floor = (behind != this.next).then(|| at.into_boxed_slice());
        let queue = this.queue;
        let (id, queue) = this.views.join(view, queue, floor);
        this.count();
        let (at, topic) = (this.at(behind).of(view.identity()), this.topic);
        drop(this);
        Joined::Here(missed, Member { hub: hub.clone(), id, queue, at, topic })
    }

    /// Subscriptions and views.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.views.subscriptions(), self.views.count())
    }

    fn count(&self) {
        let model = || self.model.name.clone();
        ::metrics::gauge!(metrics::SUBSCRIPTIONS, "model" => model()).set(self.views.subscriptions() as f64);
        ::metrics::gauge!(metrics::VIEWS, "model" => model()).set(self.views.count() as f64);
    }
}
