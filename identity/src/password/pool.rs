//! Threads of their own for work that takes a core for a while. The runtime's threads stay free, the work waits in a
//! bounded queue, and what doesn't fit there is refused at once: better a quick "come back later" than an answer that
//! nobody waits for any more.
//!
//! A queue that is never empty is somebody who guesses, or a rush. Then a thread rests between two jobs, for longer than the
//! job took. A low priority alone isn't enough: a core that hashes slows its neighbours down, since they share caches, memory and
//! often the core itself.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// While others wait, a thread rests so many times as long as a job took: it uses at most a fifth of a core.
const REST: u32 = 4;
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The queue is full.
    Busy,
    /// The work panicked, or no thread is left.
    Lost,
}

/// A cheap handle. The threads end when the last one is dropped and the queue is empty.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
}

impl Pool {
    /// `queue`: how many may wait beside those that run.
    pub(super) fn start(workers: NonZeroUsize, queue: usize) -> std::io::Result<Pool> {
        let (jobs, queue) = sync_channel(queue);
        let (queue, waiting) = (Arc::new(Mutex::new(queue)), Arc::new(AtomicUsize::new(0)));
        for number in 0..workers.get() {
            let (queue, waiting) = (queue.clone(), waiting.clone());
            std::thread::Builder::new().name(format!("writ-password-{number}")).spawn(move || {
                step_back(number);
                work(&queue, &waiting);
            })?;
        }
        Ok(Pool { jobs, waiting })
    }

    /// Runs `job` on one of the threads. Not at all, if this future is dropped before its turn.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let (answer, result) = oneshot::channel();
        let job = move || {
            if !answer.is_closed() {
                // Who gives up in the middle gets no answer.
                let _ = answer.send(job());
            }
        };
        // Counted before it can be taken, so the number is never below zero.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.jobs.try_send(Box::new(job)).map_err(|error| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => Refused::Busy,
                TrySendError::Disconnected(_) => Refused::Lost,
            }
        })?;
        result.await.map_err(|_| Refused::Lost)
    }
}

/// Lets every other thread go first: somebody who has passwords hashed all day gets the cores that nobody else wants.
fn step_back(number: usize) {
    if let Err(error) = thread_priority::set_current_thread_priority(thread_priority::ThreadPriority::Min) {
        tracing::warn!(?error, number, "a thread for passwords can't be given a lower priority");
    }
}

fn work(queue: &Mutex<Receiver<Job>>, waiting: &AtomicUsize) {
    loop {
        // The lock is held while waiting, never while working.
        let next = queue.lock().recv();
        let Ok(job) = next else { return };
        waiting.fetch_sub(1, Ordering::Relaxed);
        let began = Instant::now();
        // The panic's message is in the log; this thread is needed for the next job.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        if waiting.load(Ordering::Relaxed) > 0 {
            std::thread::sleep((began.elapsed() * REST).min(LONGEST_REST));
        }
    }
}
