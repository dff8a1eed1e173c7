//! Threads of their own for work that takes a core for a while. The runtime's threads stay free, the work waits in a
//! bounded queue, and what doesn't fit there is refused at once: better a quick "come back later" than an answer that
//! nobody waits for any more.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use parking_lot::Mutex;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

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
}

impl Pool {
    /// `queue`: how many may wait beside those that run.
    pub(super) fn start(workers: NonZeroUsize, queue: usize) -> std::io::Result<Pool> {
        let (jobs, waiting) = sync_channel(queue);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..workers.get() {
            let waiting = waiting.clone();
            std::thread::Builder::new().name(format!("writ-password-{number}")).spawn(move || {
                step_back(number);
                work(&waiting);
            })?;
        }
        Ok(Pool { jobs })
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
        self.jobs.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) => Refused::Busy,
            TrySendError::Disconnected(_) => Refused::Lost,
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

fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is held while waiting, never while working.
        let next = waiting.lock().recv();
        let Ok(job) = next else { return };
        // The panic's message is in the log; this thread is needed for the next job.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}
