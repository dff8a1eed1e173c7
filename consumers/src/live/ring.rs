//! The recent changes of one model, for those who come back soon.
//!
//! It holds every change from its beginning on: of each partition all whose offsets are not below `from`. What is pushed out
//! moves `from` behind itself, so what has been there is told apart from what has never been.

use std::collections::VecDeque;
use std::sync::Arc;

use super::change::Placed;
use super::resume::reaches;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    pub(super) changes: usize,
    pub(super) bytes: usize,
}

/// The recent changes, in the order of the feed.
#[derive(Debug)]
pub(super) struct Ring {
    capacity: Capacity,
    changes: VecDeque<Arc<Placed>>,
    bytes: usize,
    /// By partition.
    from: Vec<i64>,
}

impl Ring {
    /// Empty, beginning at these offsets.
    pub(super) fn new(capacity: Capacity, from: Vec<i64>) -> Ring {
        Ring { capacity, changes: VecDeque::new(), bytes: 0, from }
    }

    /// Forgets everything; from here on it holds what is pushed.
    pub(super) fn restart(&mut self, from: &[i64]) {
        self.changes = VecDeque::new();
        self.bytes = 0;
        self.from = from.to_vec();
    }

    pub(super) fn push(&mut self, change: Arc<Placed>) {
        self.bytes += change.weight;
        self.changes.push_back(change);
        while self.changes.len() > self.capacity.changes || self.bytes > self.capacity.bytes {
            let Some(oldest) = self.changes.pop_front() else { return };
            self.bytes -= oldest.weight;
            let happened = &oldest.change.happened;
            if let Some(from) = usize::try_from(happened.partition).ok().and_then(|p| self.from.get_mut(p)) {
                *from = happened.offset + 1;
            }
        }
    }

    /// Where it begins, by partition.
    pub(super) fn from(&self) -> &[i64] {
        &self.from
    }

    /// How many changes it has room for.
    pub(super) fn room(&self) -> usize {
        self.capacity.changes.saturating_sub(self.changes.len())
    }

    /// Puts everything between `from` and its beginning before what it has. Not if there is no room, nor if it doesn't begin at
    /// `until` any more. Whether it did.
    pub(super) fn extend_back(&mut self, changes: Vec<Arc<Placed>>, from: &[i64], until: &[i64]) -> bool {
        let bytes: usize = changes.iter().map(|change| change.weight).sum();
        let has_room = changes.len() <= self.room() && self.bytes + bytes <= self.capacity.bytes;
        let fits = self.from == until && has_room;
        if fits {
            self.bytes += bytes;
            changes.into_iter().rev().for_each(|change| self.changes.push_front(change));
            self.from.iter_mut().zip(from).for_each(|(begin, from)| *begin = (*begin).min(*from));
        }
        fits
    }

    /// Whether everything that is not below `at` is here.
    pub(super) fn covers(&self, at: &[i64]) -> bool {
        reaches(at, &self.from)
    }

    /// What is not below `at`, in the order of the feed. `None`: some of that is not here any more.
    pub(super) fn since(&self, at: &[i64]) -> Option<Vec<Arc<Placed>>> {
        let is_new = |change: &&Arc<Placed>| {
            let happened = &change.change.happened;
            let next = usize::try_from(happened.partition).ok().and_then(|partition| at.get(partition));
            next.is_some_and(|next| happened.offset >= *next)
        };
        self.covers(at).then(|| self.changes.iter().filter(is_new).cloned().collect())
    }
}
