//! One subscription to the rows of a projection.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::ReusableBoxFuture;
use writ_model::declaration::Projection;
use writ_model::{Models, Timestamp};
use writ_projections::Reader;
use writ_projections::query::{Followed, ListRequest};

use super::answer::Answer;
use super::view::{Frames, Standing, View};
use super::{Keyed, Projections};
use crate::live::wanted::now;
use crate::live::{Error, From, Item, Reason, Wanted, metrics};

/// Rows of one piece.
const PIECE: usize = 500;
/// So often it is worked out again what may be seen, where rules depend on the time. All do it at the same moments and with the same
/// time, so that those who are equal stay so.
const TICK: i64 = 30_000;

/// What somebody follows. Dropped, it is over.
#[derive(Debug)]
pub(in crate::live) struct Follower {
    projections: Arc<Projections>,
    projection: Arc<Projection>,
    wanted: Wanted,
    view: Arc<View>,
    standing: watch::Receiver<Standing>,
    /// If rules depend on the time: when what may be seen is worked out again.
    look_again: Option<Instant>,
    stage: Stage,
    /// Ready when there is another standing, or it is time to look again. Kept between calls: who asks may drop a call's future after
    /// one poll, and is woken by what it has left behind.
    news: Option<ReusableBoxFuture<'static, watch::Receiver<Standing>>>,
}

#[derive(Debug)]
enum Stage {
    Beginning(From),
    /// Hands out its rows from this one on.
    Rows(Arc<Answer>, usize),
    /// Has this answer.
    Here(Arc<Answer>),
    /// Hands out what leads to this answer from this one on.
    Changes(Arc<Answer>, Frames, usize),
    Ended,
}

impl Follower {
    /// `Err`: what is wrong with it.
    pub(in crate::live) fn new(
        projections: &Arc<Projections>,
        wanted: Wanted,
        from: From,
    ) -> Result<Follower, Error> {
        let no_projection = || Error::NoModel(wanted.model.clone());
        let projection = projections.get(&wanted.model).ok_or_else(no_projection)?.clone();
        let (at, next) = tick(now());
        let followed = wanted.followed(&projections.models, at)?;
        let look_again = followed.depends_on_time().then_some(next);
        let view = projections.join(&projection, followed);
        count(&wanted.model, 1.0);
        let (projections, standing) = (projections.clone(), view.standing());
        let stage = Stage::Beginning(from);
        Ok(Follower { projections, projection, wanted, view, standing, look_again, stage, news: None })
    }

    /// As [`super::super::Subscription::next`].
    pub(in crate::live) async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.step() {
                return item;
            }
            let (standing, look_again) = (&self.standing, self.look_again);
            let news =
                self.news.get_or_insert_with(|| ReusableBoxFuture::new(news(standing.clone(), look_again)));
            let standing = std::future::poll_fn(|cx| news.poll(cx)).await;
            self.news = None;
            self.standing = standing;
        }
    }

    /// What there is to say now. `None`: nothing yet.
    fn step(&mut self) -> Option<Option<Item>> {
        let (stage, item) = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Ended => return Some(None),
            Stage::Rows(answer, from) => {
                let rows: Vec<Keyed> = answer.rows().iter().skip(from).take(PIECE).cloned().collect();
                match rows.len() {
                    0 => (Stage::Here(answer.clone()), Item::Ready { resume: answer.resume.clone() }),
                    count => (Stage::Rows(answer, from + count), Item::KeyedRows { rows }),
                }
            }
            Stage::Changes(answer, frames, at) => match frames.get(at) {
                Some(frame) => {
                    let frame = frame.clone();
                    (Stage::Changes(answer, frames, at + 1), Item::Change(frame))
                }
                None => {
                    self.stage = Stage::Here(answer);
                    return self.step();
                }
            },
            stage @ (Stage::Beginning(_) | Stage::Here(_)) => {
                self.stage = stage;
                return self.judge();
            }
        };
        self.stage = stage;
        Some(Some(item))
    }

    /// What the view's standing is to one who has an answer, or begins.
    fn judge(&mut self) -> Option<Option<Item>> {
        if let Err(error) = self.work_out_again() {
            return Some(Some(self.fail(error)));
        }
        let has_ended = self.standing.has_changed().is_err();
        let standing = self.standing.borrow_and_update().clone();
        match (standing, std::mem::replace(&mut self.stage, Stage::Ended)) {
            (Standing::Failed(error), _) => Some(Some(self.fail(error))),
            (Standing::Answered(edition), Stage::Beginning(from)) => {
                let answer = edition.answer.clone();
                let resume = answer.resume.clone();
                let (stage, item) = match from {
                    From::Now => (Stage::Here(answer), Item::Started { resume }),
                    From::Resume(at) if at == resume => (Stage::Here(answer), Item::Ready { resume }),
                    From::Resume(at) => {
                        let reason = match at.view() == resume.view() {
                            true => Reason::Changed,
                            false => Reason::OtherView,
                        };
                        (Stage::Rows(answer, 0), Item::Reset { reason })
                    }
                    From::Snapshot => {
                        self.stage = Stage::Rows(answer, 0);
                        return self.step();
                    }
                };
                self.stage = stage;
                Some(Some(item))
            }
            (Standing::Answered(edition), Stage::Here(answer)) if !Arc::ptr_eq(&edition.answer, &answer) => {
                self.stage = Stage::Changes(edition.answer.clone(), edition.since(&answer), 0);
                self.step()
            }
            // Its task is gone: with the feed, or by a fault.
            (_, _) if has_ended => Some(match self.projections.cancel.is_cancelled() {
                true => None,
                false => Some(self.fail(Error::Failed("what asks for the rows has ended".into()))),
            }),
            (_, stage) => {
                self.stage = stage;
                None
            }
        }
    }

    fn fail(&mut self, error: Error) -> Item {
        self.stage = Stage::Ended;
        Item::Failed(error)
    }

    /// Works out again what may be seen, if it is time, and follows that from now on.
    fn work_out_again(&mut self) -> Result<(), Error> {
        if self.look_again.is_none_or(|at| Instant::now() < at) {
            return Ok(());
        }
        let (at, next) = tick(now());
        self.look_again = Some(next);
        let followed = self.wanted.followed(&self.projections.models, at)?;
        if !self.view.is(&followed) {
            self.view = self.projections.join(&self.projection, followed);
            self.standing = self.view.standing();
            // It waits for the other one.
            self.news = None;
        }
        Ok(())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        count(&self.wanted.model, -1.0);
    }
}

fn count(projection: &str, by: f64) {
    ::metrics::gauge!(metrics::PROJECTION_SUBSCRIPTIONS, "projection" => projection.to_owned()).increment(by);
}

/// Ready when there is something to judge.
async fn news(mut standing: watch::Receiver<Standing>, at: Option<Instant>) -> watch::Receiver<Standing> {
    let time = async {
        match at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // Its end is news as well.
        _ = standing.changed() => {}
        () = time => {}
    }
    standing
}

/// The time by which rules are read, and when the next one comes.
fn tick(now: Timestamp) -> (Timestamp, Instant) {
    let since = now.0.rem_euclid(TICK);
    let left = Duration::from_millis((TICK - since).unsigned_abs());
    (Timestamp(now.0 - since), Instant::now() + left)
}

impl Wanted {
    /// What is followed of a projection, as its rules are at this time.
    fn followed(&self, models: &Models, now: Timestamp) -> Result<Followed, Error> {
        let projection =
            models.projections.get(&self.model).ok_or_else(|| Error::NoModel(self.model.clone()))?;
        let reader = Reader { actor: &self.actor, now };
        let request = ListRequest::parse(reader.asks(projection), &self.params).map_err(Error::Invalid)?;
        request.followed().map_err(Error::Invalid)
    }
}
