//! The subscriptions of one socket, and what they have for it, each in its turn.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use writ_model::access::Readable;
use writ_model::decide::Actor;
use writ_model::{Models, Timestamp};

use super::feed::{Item, Subscription};
use super::wanted::seen;

/// One subscription.
#[derive(Debug)]
struct One {
    name: Box<str>,
    model: Box<str>,
    feed: Subscription,
}

/// All of a socket.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    all: Vec<One>,
    /// Who is asked first the next time, so that one that always has something doesn't keep the others waiting.
    turn: usize,
}

/// What is left after the caller's rights have changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Narrowed {
    /// The names of those that are over, since they would show something else now.
    pub(super) ended: Vec<Box<str>>,
    /// There were some, and nothing of their models may be read any more.
    pub(super) nothing_is_left: bool,
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all.iter().any(|one| &*one.name == name)
    }

    pub(super) fn add(&mut self, name: &str, model: &str, feed: Subscription) {
        // Most sockets have one, and room for three more would be most of it.
        if self.all.len() == self.all.capacity() {
            self.all.reserve_exact(self.all.len().max(1));
        }
        self.all.push(One { name: name.into(), model: model.into(), feed });
    }

    /// Ends one. `false`: there is none of this name.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let before = self.all.len();
        self.all.retain(|one| &*one.name != name);
        self.all.len() < before
    }

    /// Ends all.
    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    /// The next item of any of them, with the subscription's name. `None`: that one has ended, and is gone. Cancel safe; waits for
    /// ever while there are none.
    pub(super) async fn next(&mut self) -> (Box<str>, Option<Item>) {
        let (index, item) = poll_fn(|cx| {
            for offset in 0..self.all.len() {
                let index = (self.turn + offset) % self.all.len();
                // Asked anew each time: `next` keeps nothing in its future.
                let next = pin!(self.all[index].feed.next());
                if let Poll::Ready(item) = next.poll(cx) {
                    return Poll::Ready((index, item));
                }
            }
            Poll::Pending
        })
        .await;
        self.turn = index + 1;
        match item {
            Some(item) => (self.all[index].name.clone(), Some(item)),
            None => (self.all.remove(index).name, None),
        }
    }

    /// Ends those that show something else to the caller now than before.
    pub(super) fn narrow(
        &mut self,
        models: &Models,
        before: &Actor,
        after: &Actor,
        now: Timestamp,
    ) -> Narrowed {
        let mut narrowed = Narrowed { ended: Vec::new(), nothing_is_left: !self.all.is_empty() };
        self.all.retain(|one| {
            let Some(sees) = seen(models, &one.model, after, now) else { return false };
            narrowed.nothing_is_left &= matches!(sees.rows, Readable::Nothing);
            let is_same = seen(models, &one.model, before, now) == Some(sees);
            if !is_same {
                narrowed.ended.push(one.name.clone());
            }
            is_same
        });
        narrowed.nothing_is_left &= self.all.is_empty();
        narrowed
    }
}
