//! What waits for one subscriber: bounded, filled without waiting, emptied by one reader.
//!
//! There are as many as subscriptions, nearly all of them empty, so an empty one is small: a channel for many senders keeps room
//! for some messages, and space between its halves so that processors don't disturb each other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Items for which an empty queue keeps room once it has had them.
const KEPT: usize = 8;

/// A new queue for at most `most` items.
pub(super) fn queue<T>(most: usize) -> (Sender<T>, Receiver<T>) {
    let inner = Inner { items: VecDeque::new(), most: most.max(1), is_closed: false, waker: None };
    let shared = Arc::new(Mutex::new(inner));
    (Sender(shared.clone()), Receiver(shared))
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    most: usize,
    /// One of the halves is gone.
    is_closed: bool,
    /// Whom the next item wakes.
    waker: Option<Waker>,
}

/// The half that is filled. With it the queue ends: what is in it can still be taken.
#[derive(Debug)]
pub(super) struct Sender<T>(Arc<Mutex<Inner<T>>>);

/// The half that is emptied.
#[derive(Debug)]
pub(super) struct Receiver<T>(Arc<Mutex<Inner<T>>>);

/// Why an item was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// Why there is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nothing {
    /// Not yet.
    Empty,
    /// Never again.
    Closed,
}

impl<T> Sender<T> {
    pub(super) fn try_send(&self, item: T) -> Result<(), Refused> {
        let waker = {
            let mut inner = self.0.lock();
            if inner.is_closed {
                return Err(Refused::Closed);
            }
            if inner.items.len() >= inner.most {
                return Err(Refused::Full);
            }
            inner.items.push_back(item);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl<T> Receiver<T> {
    pub(super) fn try_recv(&mut self) -> Result<T, Nothing> {
        self.0.lock().take()
    }

    /// `None`: the queue is closed, and empty. The last one who asked is woken.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut inner = self.0.lock();
        match inner.take() {
            Ok(item) => Poll::Ready(Some(item)),
            Err(Nothing::Closed) => Poll::Ready(None),
            Err(Nothing::Empty) => {
                match &mut inner.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}

impl<T> Inner<T> {
    fn take(&mut self) -> Result<T, Nothing> {
        let item = self.items.pop_front();
        if self.items.is_empty() && self.items.capacity() > KEPT {
            self.items = VecDeque::new();
        }
        item.ok_or(if self.is_closed { Nothing::Closed } else { Nothing::Empty })
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut inner = self.0.lock();
            inner.is_closed = true;
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.is_closed = true;
        // Nobody takes them. What they hold goes when the lock is free.
        let left = (std::mem::take(&mut inner.items), inner.waker.take());
        drop(inner);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn it_is_bounded_and_in_order() {
        let (sender, mut receiver) = queue(2);
        assert_eq!([1, 2, 3].map(|item| sender.try_send(item)), [Ok(()), Ok(()), Err(Refused::Full)]);
        assert_eq!(receiver.try_recv(), Ok(1));
        assert_eq!(sender.try_send(4), Ok(()));
        drop(sender);
        let all = [(); 3].map(|()| receiver.try_recv());
        assert_eq!(all, [Ok(2), Ok(4), Err(Nothing::Closed)], "what is in it outlives its sender");
        let (sender, receiver) = queue(2);
        drop(receiver);
        assert_eq!(sender.try_send(1), Err(Refused::Closed));
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_an_item_and_by_the_end() {
        let (sender, mut receiver) = queue(2);
        let (ready, mut done) = tokio::sync::mpsc::unbounded_channel();
        let waiting = tokio::spawn(async move {
            while let Some(item) = poll_fn(|cx| receiver.poll_recv(cx)).await {
                ready.send(item).unwrap();
            }
        });
        for item in 0..100 {
            // It waits, or is about to.
            tokio::task::yield_now().await;
            sender.try_send(item).unwrap();
            assert_eq!(done.recv().await, Some(item));
        }
        drop(sender);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_burst_leaves_no_room_behind() {
        let (sender, mut receiver) = queue(256);
        assert!(poll_fn(|cx| receiver.poll_recv(cx)).now_or_never().is_none());
        (0..256).for_each(|item| sender.try_send(item).unwrap());
        for item in 0..256 {
            assert_eq!(poll_fn(|cx| receiver.poll_recv(cx)).await, Some(item));
        }
        assert!(receiver.0.lock().items.capacity() <= KEPT);
    }
}
