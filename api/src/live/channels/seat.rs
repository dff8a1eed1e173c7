//! The place of one member in a room: what it has not taken yet.
//!
//! At most [`QUEUE`] messages wait. Who is slower loses the oldest, since what people do at this moment makes what they did before
//! worthless, and hears how many they were. The list of members must not be wrong for that: who loses a change of it gets the
//! whole list as soon as everything else is taken.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use uuid::Uuid;

use super::text::Text;

/// Messages that wait for one member.
const QUEUE: usize = 64;

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) member: Uuid,
    queue: Mutex<Queue>,
    /// Of the task that sends.
    waker: Arc<AtomicWaker>,
}

#[derive(Debug, Default)]
struct Queue {
    texts: VecDeque<(Arc<Text>, Said)>,
    /// Broadcasts that were lost.
    missed: u64,
    /// A change of the list was lost, or the list is another one.
    stale: bool,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Broadcast,
    Presence,
}

/// What a member gets next.
#[derive(Debug)]
pub(super) enum Next {
    Missed(u64),
    Text(Arc<Text>),
    /// The whole list, which only the room has.
    List,
}

impl Seat {
    pub(super) fn new(member: Uuid, waker: Arc<AtomicWaker>) -> Seat {
        Seat { member, queue: Mutex::default(), waker }
    }

    /// `true`: something was lost for it.
    pub(super) fn push(&self, text: &Arc<Text>, said: Said) -> bool {
        let mut queue = self.queue.lock();
        // The list that it gets has this in it.
        if queue.stale && said == Said::Presence {
            return false;
        }
        queue.texts.push_back((text.clone(), said));
        let lost = if queue.texts.len() > QUEUE { queue.texts.pop_front() } else { None };
        match lost {
            Some((_, Said::Broadcast)) => queue.missed += 1,
            Some((_, Said::Presence)) => queue.stale = true,
            None => {}
        }
        let missed = matches!(lost, Some((_, Said::Broadcast)));
        drop(queue);
        self.waker.wake();
        missed
    }

    /// It gets the whole list.
    pub(super) fn lists_anew(&self) {
        self.queue.lock().stale = true;
        self.waker.wake();
    }

    pub(super) fn next(&self) -> Option<Next> {
        let mut queue = self.queue.lock();
        if queue.missed > 0 {
            return Some(Next::Missed(std::mem::take(&mut queue.missed)));
        }
        match queue.texts.pop_front() {
            Some((text, _)) => Some(Next::Text(text)),
            None => queue.stale.then_some(Next::List),
        }
    }

    /// Called while the room holds its list still. `false`: something has come in between that is taken first.
    pub(super) fn takes_list(&self) -> bool {
        let mut queue = self.queue.lock();
        let takes = queue.stale && queue.texts.is_empty();
        queue.stale &= !takes;
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat() -> Seat {
        Seat::new(Uuid::new_v4(), Arc::default())
    }

    fn text(nth: usize) -> Arc<Text> {
        Arc::new(Text::new(&format!(r#""nth":{nth}"#)))
    }

    fn taken(seat: &Seat) -> Vec<String> {
        let show = |next| match next {
            Next::Missed(count) => format!("missed {count}"),
            Next::Text(text) => text.message("s").to_string(),
            Next::List => panic!("not yet"),
        };
        std::iter::from_fn(|| (!seat.takes_list()).then(|| seat.next()).flatten()).map(show).collect()
    }

    #[test]
    fn who_is_slow_loses_the_oldest_and_hears_how_many() {
        let seat = seat();
        (0..QUEUE + 3).for_each(|nth| {
            seat.push(&text(nth), Said::Broadcast);
        });
        let taken = taken(&seat);
        assert_eq!(taken.len(), QUEUE + 1);
        assert_eq!((taken[0].as_str(), taken[1].as_str()), ("missed 3", r#"{"sub":"s","nth":3}"#));
        assert!(seat.next().is_none());
    }

    #[test]
    fn who_loses_a_change_of_the_list_gets_the_list() {
        let seat = seat();
        seat.push(&text(0), Said::Presence);
        (1..=QUEUE).for_each(|nth| {
            seat.push(&text(nth), Said::Broadcast);
        });
        seat.push(&text(QUEUE + 1), Said::Presence);
        assert!(!seat.takes_list(), "what waits comes first");
        let rest: Vec<_> = (0..QUEUE).map(|_| matches!(seat.next(), Some(Next::Text(_)))).collect();
        assert_eq!(rest, [true; QUEUE], "a change that comes meanwhile is in the list");
        assert!(matches!(seat.next(), Some(Next::List)));
        assert!(seat.takes_list());
        assert!(seat.next().is_none() && !seat.takes_list());
    }
}
