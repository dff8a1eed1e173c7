//! Views and who follows them. Subscriptions that ask the same and see the same share one, so a change is matched and written once
//! for all of them. A view without a subscriber is gone.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use uuid::Uuid;
use writ_model::{FieldError, Model, State};
use writ_projections::query::{ListRequest, Matching};

use super::change::{Change, Placed};
use super::frame::{self, Frame, Kind};
use super::index::{Index, Place};

/// What is asked, and what of it may be seen.
#[derive(Debug, PartialEq)]
pub(super) struct View {
    matching: Matching,
    place: Place,
    identity: u64,
    depends_on_time: bool,
}

impl View {
    /// What a request shows. Errors: what of it can't be followed.
    pub(super) fn new(request: &ListRequest<'_>) -> Result<View, Vec<FieldError>> {
        let matching = request.matching()?;
        let place = Place::of(matching.keys());
        let (identity, depends_on_time) = (request.identity(), request.depends_on_time());
        Ok(View { matching, place, identity, depends_on_time })
    }

    /// The same in every process and at any time, and another one for another view.
    pub(super) fn identity(&self) -> u64 {
        self.identity
    }

    /// Whether what may be seen can change by time alone.
    pub(super) fn depends_on_time(&self) -> bool {
        self.depends_on_time
    }

    pub(super) fn matching(&self) -> &Matching {
        &self.matching
    }

    #[cfg(test)]
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The only aggregate that can match, if there is one.
    pub(super) fn only(&self) -> Option<Uuid> {
        match self.place {
            Place::Id(id) => Some(id),
            _ => None,
        }
    }

    /// What the change is to this view. `None`: nothing.
    pub(super) fn kind(&self, change: &Change) -> Option<Kind> {
        let holds = |state: &State| self.matching.holds(change.aggregate(), state);
        match (change.before.as_deref().is_some_and(holds), holds(&change.after)) {
            (false, true) => Some(Kind::Enter),
            (true, true) => Some(Kind::Change),
            (true, false) => Some(Kind::Leave),
            (false, false) => None,
        }
    }

    /// The row after the change, JSON.
    pub(super) fn row(&self, model: &Model, change: &Change) -> String {
        self.matching.row_json(model, change.aggregate(), &change.after)
    }
}

/// A subscription as the feed knows it.
#[derive(Debug)]
struct Subscriber {
    queue: mpsc::Sender<frame::Shared>,
    /// What is below these offsets it has already, from a snapshot or another process that was further than this feed. `None`:
    /// the feed has passed them all.
    floor: Option<Box<[i64]>>,
}

#[derive(Debug)]
struct Slot {
    view: Arc<View>,
    subscribers: IndexMap<u64, Subscriber>,
}

/// What a change has come to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) frames: u64,
    pub(super) lagged: u64,
}

/// The views of one model.
#[derive(Debug, Default)]
pub(super) struct Views {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    index: Index,
    /// The slots of the subscriptions.
    members: HashMap<u64, usize>,
    last: u64,
}

impl Views {
    /// A new subscription with a queue of its own, which begins at `floor` if the feed is not there yet.
    pub(super) fn join(
        &mut self,
        view: &Arc<View>,
        queue: usize,
        floor: Option<Box<[i64]>>,
    ) -> (u64, mpsc::Receiver<frame::Shared>) {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        self.last += 1;
        self.add(self.last, view, Subscriber { queue: sender, floor });
        (self.last, receiver)
    }

    fn add(&mut self, id: u64, view: &Arc<View>, subscriber: Subscriber) {
        let known = self.index.beside(&view.place).iter().copied();
        let is_same = |slot: &usize| self.slots[*slot].as_ref().is_some_and(|slot| slot.view == *view);
        let slot = match known.into_iter().find(is_same) {
            Some(slot) => slot,
            None => self.insert(view),
        };
        self.members.insert(id, slot);
        if let Some(slot) = &mut self.slots[slot] {
            slot.subscribers.insert(id, subscriber);
        }
    }

    fn insert(&mut self, view: &Arc<View>) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.index.insert(&view.place, slot);
        self.slots[slot] = Some(Slot { view: view.clone(), subscribers: IndexMap::new() });
        slot
    }

    /// Takes a subscription out. Whether it was there.
    pub(super) fn leave(&mut self, id: u64) -> bool {
        self.take(id).is_some()
    }

    fn take(&mut self, id: u64) -> Option<Subscriber> {
        let index = self.members.remove(&id)?;
        let slot = self.slots[index].as_mut()?;
        let subscriber = slot.subscribers.swap_remove(&id);
        if slot.subscribers.is_empty() {
            self.index.remove(&slot.view.place, index);
            self.slots[index] = None;
            self.free.push(index);
        }
        subscriber
    }

    /// From now on the subscription follows another view, with the same queue.
    pub(super) fn exchange(&mut self, id: u64, view: &Arc<View>) {
        if let Some(subscriber) = self.take(id) {
            self.add(id, view, subscriber);
        }
    }

    /// Ends all subscriptions.
    pub(super) fn clear(&mut self) {
        *self = Views { last: self.last, ..Views::default() };
    }

    /// Hands a change to everyone who follows a view that it matches. `next`: the feed's offsets behind it. Who has no room left
    /// in the queue is dropped: the subscription finds its queue closed behind the last frame.
    pub(super) fn deliver(&mut self, model: &Model, placed: &Placed, next: &[i64]) -> Delivered {
        let mut delivered = Delivered::default();
        let mut gone = Vec::new();
        let change = &placed.change;
        for slot in self.index.candidates(change) {
            let Some(slot) = &mut self.slots[slot] else { continue };
            let Some(kind) = slot.view.kind(change) else { continue };
            let made = Frame::new(model, &slot.view, change, kind, (&placed.place, placed.place_text()));
            let frame = Arc::new(made);
            for (id, subscriber) in &mut slot.subscribers {
                if subscriber.has_already(change, next) {
                    continue;
                }
                match subscriber.queue.try_send(frame.clone()) {
                    Ok(()) => delivered.frames += 1,
                    Err(TrySendError::Full(_)) => {
                        delivered.lagged += 1;
                        gone.push(*id);
                    }
                    Err(TrySendError::Closed(_)) => gone.push(*id),
                }
            }
        }
        for id in gone {
            self.leave(id);
        }
        delivered
    }

    pub(super) fn subscriptions(&self) -> usize {
        self.members.len()
    }

    pub(super) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl Subscriber {
    fn has_already(&mut self, change: &Change, next: &[i64]) -> bool {
        let Some(floor) = &self.floor else { return false };
        let partition = usize::try_from(change.happened.partition).ok();
        let below = partition.and_then(|partition| floor.get(partition));
        let has = below.is_some_and(|below| change.happened.offset < *below);
        if super::resume::reaches(next, floor) {
            self.floor = None;
        }
        has
    }
}
