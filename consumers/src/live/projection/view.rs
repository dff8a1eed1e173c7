//! A list of a projection that is asked again and again, for all who follow it. Its task ends with the last of them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use writ_model::declaration::Projection;
use writ_projections::query::{Answer as Found, Error as QueryError, Followed, SnapshotError};

use super::Projections;
use super::answer::Answer;
use super::watch::{Seen, Watch};
use crate::live::frame;
use crate::live::{Error, metrics};

/// A first answer that can't be had is tried for so often, with a pause each time.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(500);
/// So long the first question waits for the first look, which says that moves are heard from there on.
const LISTENING: Duration = Duration::from_secs(3);
/// Differences to the latest answer that are kept for others: from so many earlier ones.
const KEPT: usize = 4;

/// What followers have to know.
#[derive(Debug, Clone)]
pub(super) enum Standing {
    /// No answer yet.
    Asked,
    Answered(Arc<Edition>),
    /// It isn't asked any more.
    Failed(Error),
}

/// An answer, and what leads to it.
#[derive(Debug)]
pub(super) struct Edition {
    pub(super) answer: Arc<Answer>,
    projection: Arc<str>,
    /// From these answers, made when the first one asks.
    from: Mutex<Vec<(Arc<Answer>, Frames)>>,
}

/// A difference, shared by all who take it.
pub(super) type Frames = Arc<[frame::Shared]>;

impl Edition {
    fn new(projection: &Arc<str>, answer: Answer) -> Edition {
        Edition { answer: Arc::new(answer), projection: projection.clone(), from: Mutex::default() }
    }

    /// What leads here from `before`. Made once for all who are there.
    pub(super) fn since(&self, before: &Arc<Answer>) -> Frames {
        let mut kept = self.from.lock();
        if let Some((_, frames)) = kept.iter().find(|(from, _)| Arc::ptr_eq(from, before)) {
            return frames.clone();
        }
        let frames: Frames = before.frames_to(&self.answer, &self.projection).into();
        if kept.len() < KEPT {
            kept.push((before.clone(), frames.clone()));
        }
        frames
    }
}

/// The view.
#[derive(Debug)]
pub(super) struct View {
    followed: Arc<Followed>,
    standing: watch::Receiver<Standing>,
    projections: Arc<Projections>,
    _task: AbortOnDropHandle<()>,
    /// Goes on as long as somebody needs it.
    _watch: Arc<Watch>,
}

impl View {
    pub(super) fn start(
        projections: &Arc<Projections>,
        watch: Arc<Watch>,
        projection: Arc<Projection>,
        followed: Followed,
    ) -> View {
        let followed = Arc::new(followed);
        let (sender, standing) = watch::channel(Standing::Asked);
        let asking = Asking {
            name: followed.name().into(),
            projections: projections.clone(),
            projection,
            followed: followed.clone(),
            seen: watch.seen(),
            standing: sender,
        };
        let cancel = projections.cancel.clone();
        let task = tokio::spawn(async move {
            cancel.run_until_cancelled(asking.run()).await;
        });
        count(followed.name(), 1.0);
        let _task = AbortOnDropHandle::new(task);
        View { followed, standing, projections: projections.clone(), _task, _watch: watch }
    }

    /// Whether it is asked what is `followed`, and has not failed.
    pub(super) fn goes_on(&self, followed: &Followed) -> bool {
        let has_failed = matches!(*self.standing.borrow(), Standing::Failed(_));
        !has_failed && self.standing.has_changed().is_ok() && self.is(followed)
    }

    /// Whether it is asked what is `followed`.
    pub(super) fn is(&self, followed: &Followed) -> bool {
        *self.followed == *followed
    }

    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        count(self.followed.name(), -1.0);
        self.projections.forget(self.followed.identity());
    }
}

fn count(projection: &str, by: f64) {
    ::metrics::gauge!(metrics::PROJECTION_VIEWS, "projection" => projection.to_owned()).increment(by);
}

/// What the task of a view needs.
struct Asking {
    name: Arc<str>,
    projections: Arc<Projections>,
    projection: Arc<Projection>,
    followed: Arc<Followed>,
    seen: watch::Receiver<Seen>,
    standing: watch::Sender<Standing>,
}

impl Asking {
    /// Until the answer can't be had, or the watch has ended.
    async fn run(mut self) {
        // Whether it comes in time or not: a later look is judged by the answer.
        let _ = timeout(LISTENING, self.seen.wait_for(|seen| seen.epoch > 0)).await;
        let (mut latest, mut failures): (Option<Arc<Answer>>, _) = (None, 0);
        loop {
            // What was seen up to here is in the answer, whose snapshot is taken later.
            let epoch = self.seen.borrow_and_update().epoch;
            let next = Instant::now() + self.projections.interval;
            let found = match self.ask().await {
                Ok(found) => found,
                Err(Error::Unavailable(reason)) if latest.is_some() || failures < TRIES => {
                    if failures == 0 {
                        tracing::warn!(
                            reason,
                            projection = &*self.name,
                            "the rows of a projection can't be had"
                        );
                    }
                    failures += 1;
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => {
                    self.standing.send_replace(Standing::Failed(error));
                    return;
                }
            };
            failures = 0;
            let Found { mark, rows } = found;
            let of = (&self.name, self.followed.identity());
            let answer = match Answer::new(of, rows, latest.as_deref()) {
                Ok(answer) => answer,
                Err(key) => {
                    let reason = format!("two rows of {} have the key {key}", self.name);
                    self.standing.send_replace(Standing::Failed(Error::Failed(reason)));
                    return;
                }
            };
            if latest.as_ref().is_none_or(|latest| !answer.is(latest)) {
                let edition = Edition::new(&self.name, answer);
                latest = Some(edition.answer.clone());
                self.standing.send_replace(Standing::Answered(Arc::new(edition)));
            }
            let is_due = |seen: &Seen| {
                seen.epoch > epoch || seen.marks.get(&*self.name).is_none_or(|seen| *seen != mark)
            };
            loop {
                if self.seen.changed().await.is_err() {
                    return;
                }
                if is_due(&self.seen.borrow_and_update()) {
                    break;
                }
            }
            sleep_until(next).await;
        }
    }

    async fn ask(&self) -> Result<Found, Error> {
        let Projections { queries, turns, limit, .. } = &*self.projections;
        let _turn = turns.acquire().await.map_err(|_| Error::Unavailable("the feed has ended".into()))?;
        ::metrics::counter!(metrics::PROJECTION_QUERIES, "projection" => self.name.to_string()).increment(1);
        queries.answer(&self.projection, &self.followed, *limit).await.map_err(|error| match error {
            SnapshotError::TooManyRows(limit) => Error::TooManyRows(limit),
            SnapshotError::Query(QueryError::Unavailable(detail)) => Error::Unavailable(detail),
            SnapshotError::Query(QueryError::Failed(detail)) => Error::Failed(detail),
        })
    }
}
