//! One task for all views: listens for moves of projections, looks where they are, and tells the views.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use writ_projections::query::{Mark, Moves};

/// Between two looks at least: a busy projector commits hundreds of times a second.
const PACE: Duration = Duration::from_millis(20);
/// After so long without news it looks anyway: a connection may have died without a word.
const QUIET: Duration = Duration::from_secs(10);
/// Before PostgreSQL is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// What is known of all projections.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Counts the looks after which marks say nothing of what was answered before. 0: nothing was seen yet.
    pub(super) epoch: u64,
    /// Where those are that answer queries.
    pub(super) marks: HashMap<String, Mark>,
}

/// The task; ends with its drop.
#[derive(Debug)]
pub(super) struct Watch {
    seen: watch::Receiver<Seen>,
    _task: AbortOnDropHandle<()>,
}

impl Watch {
    pub(super) fn start(moves: Moves, names: Vec<String>, cancel: CancellationToken) -> Watch {
        let (sender, seen) = watch::channel(Seen::default());
        let task = async move { cancel.run_until_cancelled(run(moves, &names, &sender)).await };
        let task = tokio::spawn(async move {
            task.await;
        });
        Watch { seen, _task: AbortOnDropHandle::new(task) }
    }

    /// What is seen from now on. Every look is a change of it, also if it finds nothing new.
    pub(super) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }
}

async fn run(mut moves: Moves, names: &[String], sender: &watch::Sender<Seen>) {
    let mut is_away = false;
    loop {
        match moves.look(names).await {
            Ok(looked) => {
                is_away = false;
                sender.send_modify(|seen| {
                    seen.epoch += u64::from(looked.is_rewritten);
                    seen.marks = looked.marks;
                });
            }
            Err(reason) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(
                        reason,
                        "PostgreSQL doesn't say where SQL projections are; it is asked again"
                    );
                }
                sleep(PAUSE).await;
                continue;
            }
        }
        let earliest = Instant::now() + PACE;
        tokio::select! {
            () = moves.news() => {}
            () = sleep(QUIET) => {}
        }
        // What comes meanwhile is answered by the same look.
        sleep_until(earliest).await;
    }
}
