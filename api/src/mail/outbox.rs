//! What is done after a request was answered: a bounded number of errands, each a task, which the server waits for when it
//! stops. They are behind the answer so that it takes as long whether there is somebody to write to or not.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::problem::{Kind, Problem};

/// Most errands that aren't done; more are refused.
const PLACES: usize = 1_000;

/// Pauses before another attempt.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];

/// Errands under way.
#[derive(Debug)]
pub(crate) struct Outbox {
    places: Arc<Semaphore>,
    tracker: TaskTracker,
    /// The server stops: no more attempts.
    stop: CancellationToken,
    /// The time to stop is over.
    cut: CancellationToken,
}

impl Outbox {
    pub(crate) fn new(stop: CancellationToken) -> Outbox {
        Outbox {
            places: Arc::new(Semaphore::new(PLACES)),
            tracker: TaskTracker::new(),
            stop,
            cut: CancellationToken::new(),
        }
    }

    /// Starts an errand, if there is a place for it.
    pub(crate) fn post(&self, errand: impl Future<Output = ()> + Send + 'static) -> Result<(), Problem> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            Kind::Overloaded.because("Too many mails wait to be sent; try again in a moment.")
        })?;
        let cut = self.cut.clone();
        self.tracker.spawn(async move {
            let _place = place;
            cut.run_until_cancelled(errand).await;
        });
        Ok(())
    }

    /// Attempts something until it succeeds, is refused for good, or a few attempts have failed.
    pub(crate) async fn patiently<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        is_final: impl Fn(&E) -> bool,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, E> {
        for pause in PAUSES {
            match attempt().await {
                Err(error) if !is_final(&error) => {
                    if self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
        attempt().await
    }

    /// Waits for the errands; after `limit` they are cut.
    pub(crate) async fn close(&self, limit: Duration) {
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_err() {
            tracing::warn!(
                mails.open = self.tracker.len(),
                "mails were still being sent when the time to stop was over"
            );
        }
        self.cut.cancel();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_again_a_few_times() {
        let outbox = Outbox::new(CancellationToken::new());
        for (succeeds_at, attempts, result) in [(1, 1, Ok(())), (3, 3, Ok(())), (9, 4, Err("no"))] {
            let mut made = 0;
            let ended = outbox
                .patiently(
                    |_| false,
                    || {
                        made += 1;
                        std::future::ready(if made >= succeeds_at { Ok(()) } else { Err("no") })
                    },
                )
                .await;
            assert_eq!((ended, made), (result, attempts));
        }
        let mut made = 0;
        let refused: Result<(), _> = outbox
            .patiently(
                |_| true,
                || {
                    made += 1;
                    std::future::ready(Err("never"))
                },
            )
            .await;
        assert_eq!((refused, made), (Err("never"), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn it_holds_so_many_and_is_empty_when_it_has_closed() {
        let stop = CancellationToken::new();
        let outbox = Outbox::new(stop.clone());
        let done = Arc::new(AtomicUsize::new(0));
        for nth in 0..PLACES {
            let done = done.clone();
            let takes = if nth == 0 { Duration::MAX } else { Duration::from_secs(2) };
            outbox
                .post(async move {
                    tokio::time::sleep(takes).await;
                    done.fetch_add(1, Ordering::Relaxed);
                })
                .unwrap();
        }
        assert_eq!(outbox.post(async {}).unwrap_err().kind, Kind::Overloaded);
        tokio::time::sleep(Duration::from_secs(3)).await;
        outbox.post(async {}).unwrap();
        outbox.close(Duration::from_secs(5)).await;
        assert_eq!(done.load(Ordering::Relaxed), PLACES - 1, "all but the one that never ends");
        assert!(outbox.tracker.is_empty());
    }
}
