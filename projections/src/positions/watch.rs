//! The task that looks for all who wait.

use std::collections::{HashMap, HashSet};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use writ_model::Position;

use super::look::{Found, Key, Look};
use super::{Late, NotReached};

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) awaited: Vec<Awaited>,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Result<(), NotReached>>,
}

/// A position, and whose place is to pass it.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) key: Key,
    pub(super) position: Position,
}

/// Until all handles are gone.
pub(super) async fn run(mut look: Look, mut requests: mpsc::Receiver<Waiter>) {
    let mut waiters: Vec<Waiter> = Vec::new();
    loop {
        let deadline = waiters.iter().map(|waiter| waiter.deadline).min();
        tokio::select! {
            request = requests.recv() => match request {
                Some(waiter) => waiters.push(waiter),
                None => return,
            },
            () = look.news() => {}
            () = until(deadline) => {}
        }
        // Those who came meanwhile share the look.
        while let Ok(waiter) = requests.try_recv() {
            waiters.push(waiter);
        }
        waiters.retain(|waiter| !waiter.answer.is_closed());
        if waiters.is_empty() {
            continue;
        }
        let keys: HashSet<&Key> =
            waiters.iter().flat_map(|waiter| &waiter.awaited).map(|awaited| &awaited.key).collect();
        let (keys, asked) = (keys.into_iter().cloned().collect(), Instant::now());
        let found = look.places(keys).await;
        waiters = waiters.into_iter().filter_map(|waiter| settle(waiter, &found, asked)).collect();
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Answers one who need not wait longer, or hands it back. `asked`: when the places were asked for.
fn settle(waiter: Waiter, found: &Result<HashMap<Key, Found>, String>, asked: Instant) -> Option<Waiter> {
    let outcome = match found {
        Ok(found) => verdict(&waiter, found, asked),
        Err(reason) => Some(Err(NotReached::Unavailable(reason.clone()))),
    };
    let Some(outcome) = outcome else { return Some(waiter) };
    // Whoever went away in the meantime doesn't need it.
    let _ = waiter.answer.send(outcome);
    None
}

/// `None`: it waits on.
fn verdict(waiter: &Waiter, found: &HashMap<Key, Found>, asked: Instant) -> Option<Result<(), NotReached>> {
    let nothing = Found::default();
    let place = |awaited: &Awaited| found.get(&awaited.key).unwrap_or(&nothing).clone();
    let mut late = waiter
        .awaited
        .iter()
        .map(|awaited| (awaited, place(awaited)))
        .filter(|(awaited, place)| place.next <= awaited.position.offset)
        .peekable();
    let Some((first, at_first)) = late.peek() else { return Some(Ok(())) };
    let timed_out = (waiter.deadline <= asked).then(|| NotReached::TimedOut(of(first, at_first)));
    let stopped = late.find_map(|(awaited, place)| {
        let at = place.stopped_at.clone()?;
        Some(NotReached::Stopped { late: of(awaited, &place), at })
    });
    stopped.or(timed_out).map(Err)
}

fn of(awaited: &Awaited, place: &Found) -> Late {
    let offset = place.next - 1;
    Late {
        projection: awaited.key.projection.clone(),
        awaited: awaited.position.clone(),
        reached: (offset >= 0).then(|| Position { offset, ..awaited.position.clone() }),
    }
}
