//! A subscription, pulled by whoever serves it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::catch_up::{CatchUp, Step};
use super::frame;
use super::hub::{Closed, Hub, Interest, Joined, Member};
use super::projection::Follower;
use super::queue::Nothing;
use super::resume::Resume;
use super::views::View;
use super::{Error, From, Item, OfModel, Reason, Shared, Wanted};

/// After so long without a change its subscriber hears how far the topic is. So often, too, what may be seen is worked out again
/// where rules depend on the time.
const PROGRESS: Duration = Duration::from_secs(30);
/// Steps that wait on the way from a subscription's task to it.
const STEPS: usize = 2;

/// What somebody follows. Dropped, it is over.
#[derive(Debug)]
pub struct Subscription {
    stage: Stage,
    followed: Option<Box<Followed>>,
    /// Everything below was handed out.
    at: Option<Resume>,
    quiet_until: Instant,
    timer: Timer,
}

#[derive(Debug)]
enum Stage {
    /// Something to say before anything else; then live.
    Begun(Member),
    /// Not live yet.
    CatchingUp {
        steps: mpsc::Receiver<Step>,
        _task: AbortOnDropHandle<()>,
    },
    Live(Member),
    /// Of an SQL projection. Boxed: those of models are many.
    Projection(Box<Follower>),
    Failed(Error),
    Ended,
}

/// What it is about.
#[derive(Debug)]
struct Followed {
    shared: Arc<Shared>,
    wanted: Arc<Wanted>,
    of_model: Arc<OfModel>,
    _interest: Interest,
    /// If rules depend on the time: the view of the last time, and when it is to be worked out again.
    view: Option<(Arc<View>, Instant)>,
}

impl Subscription {
    pub(super) fn new(shared: &Arc<Shared>, wanted: Wanted, from: From) -> Subscription {
        let Some(of_model) = shared.of(&wanted.model) else {
            return match Follower::new(&shared.projections, wanted, from) {
                Ok(follower) => Subscription::at(Stage::Projection(Box::new(follower))),
                Err(error) => Subscription::failed(error),
            };
        };
        let hub = &of_model.hub;
        let view = match wanted.view(&shared.models) {
            Ok(view) => Arc::new(view),
            Err(error) => return Subscription::failed(error),
        };
        let quiet_until = Instant::now() + PROGRESS;
        let followed = Followed {
            shared: shared.clone(),
            wanted: Arc::new(wanted),
            of_model: of_model.clone(),
            _interest: Interest::new(hub),
            view: view.depends_on_time().then(|| (view.clone(), quiet_until)),
        };
        let stage = match from {
            From::Now if *shared.begun.borrow() => match Hub::join(hub, &view, None) {
                Joined::Here(_, member) => Stage::Begun(member),
                Joined::Behind(_) | Joined::Repartitioned => followed.catch_up(From::Now),
            },
            from => followed.catch_up(from),
        };
        Subscription {
            stage,
            followed: Some(Box::new(followed)),
            at: None,
            quiet_until,
            timer: Timer::default(),
        }
    }

    /// If rules depend on the time: the view as it is now.
    #[cfg(test)]
    pub(super) fn looks_again(&self) -> Option<Arc<View>> {
        Some(self.followed.as_ref()?.view.as_ref()?.0.clone())
    }

    fn failed(error: Error) -> Subscription {
        Subscription::at(Stage::Failed(error))
    }

    fn at(stage: Stage) -> Subscription {
        let (quiet_until, timer) = (Instant::now(), Timer::default());
        Subscription { stage, followed: None, at: None, quiet_until, timer }
    }

    /// What comes next, as soon as there is something. `None`: it is over; also after [`Item::Lagged`] and [`Item::Failed`], and when
    /// the feed ends. Cancel safe: what isn't returned comes with the next call.
    pub async fn next(&mut self) -> Option<Item> {
        if let Stage::Projection(follower) = &mut self.stage {
            return follower.next().await;
        }
        loop {
            let item = match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Ended => None,
                Stage::Failed(error) => Some(Item::Failed(error)),
                Stage::Begun(member) => {
                    let resume = member.at.clone();
                    self.stage = Stage::Live(member);
                    Some(Item::Started { resume })
                }
                stage => {
                    self.stage = stage;
                    match self.wait().await {
                        Some(item) => item,
                        None => continue,
                    }
                }
            };
            return self.handed_out(item);
        }
    }

    /// `None`: ask again.
    async fn wait(&mut self) -> Option<Option<Item>> {
        if let Some(error) = self.look_again() {
            return Some(Some(Item::Failed(error)));
        }
        match &mut self.stage {
            Stage::CatchingUp { steps, .. } => match steps.recv().await {
                Some(Step::Item(item)) => Some(Some(item)),
                Some(Step::Live(member)) => {
                    self.at = Some(member.at.clone());
                    self.stage = Stage::Live(member);
                    self.quiet_until = Instant::now() + PROGRESS;
                    None
                }
                None => Some(self.interrupted()),
            },
            Stage::Live(member) => {
                let recheck = self.followed.as_ref().and_then(|one| one.view.as_ref()).map(|(_, at)| *at);
                let until = recheck.map_or(self.quiet_until, |at| at.min(self.quiet_until));
                let timer = &mut self.timer;
                let next = poll_fn(|cx| match member.queue.poll_recv(cx) {
                    Poll::Ready(next) => Poll::Ready(Some(next)),
                    Poll::Pending => timer.poll(until, cx).map(|()| None),
                });
                match next.await {
                    Some(Some(frame)) => Some(Some(Item::Change(own(self.at.as_ref(), frame)))),
                    Some(None) => self.closed(),
                    None => self.quiet(),
                }
            }
            Stage::Begun(_) | Stage::Projection(_) | Stage::Failed(_) | Stage::Ended => None,
        }
    }

    /// Its task has ended without handing over.
    fn interrupted(&self) -> Option<Item> {
        if self.followed.as_ref().is_none_or(|followed| followed.shared.cancel.is_cancelled()) {
            return None;
        }
        Some(match self.at.clone() {
            Some(resume) => Item::Lagged { resume },
            None => Item::Failed(Error::Unavailable("it took too long to take the snapshot".into())),
        })
    }

    /// The queue is closed, and empty.
    fn closed(&mut self) -> Option<Option<Item>> {
        let Stage::Live(member) = &self.stage else { return None };
        match (member.closed(), self.at.clone(), &self.followed) {
            (Closed::Lagged, Some(resume), _) => Some(Some(Item::Lagged { resume })),
            (Closed::Repartitioned, _, Some(followed)) => {
                self.stage = followed.catch_up(From::Snapshot);
                self.at = None;
                Some(Some(Item::Reset { reason: Reason::Repartitioned }))
            }
            _ => Some(None),
        }
    }

    /// Nothing has come for a while.
    fn quiet(&mut self) -> Option<Option<Item>> {
        let Stage::Live(member) = &mut self.stage else { return None };
        let now = Instant::now();
        if now < self.quiet_until {
            return None;
        }
        // First where the feed is, then whether there is something: what is below and matched is in the queue by then.
        let feed = member.feed();
        match member.queue.try_recv() {
            Ok(frame) => Some(Some(Item::Change(own(self.at.as_ref(), frame)))),
            Err(Nothing::Closed) => self.closed(),
            Err(Nothing::Empty) => {
                self.quiet_until = now + PROGRESS;
                let at = self.at.as_ref().filter(|at| !at.reaches(&feed))?;
                Some(Some(Item::Progress { resume: at.merged(&feed) }))
            }
        }
    }

    /// Works out again what may be seen, if it is time, and follows that from now on.
    fn look_again(&mut self) -> Option<Error> {
        let (Stage::Live(member), Some(followed)) = (&self.stage, self.followed.as_deref_mut()) else {
            return None;
        };
        let (known, at) = followed.view.as_mut()?;
        if Instant::now() < *at {
            return None;
        }
        *at = Instant::now() + PROGRESS;
        match followed.wanted.view(&followed.shared.models) {
            Ok(view) if view != **known => {
                *known = Arc::new(view);
                member.exchange(known);
                None
            }
            Ok(_) => None,
            Err(error) => Some(error),
        }
    }

    /// Remembers what was handed out.
    fn handed_out(&mut self, item: Option<Item>) -> Option<Item> {
        match &item {
            Some(Item::Started { resume } | Item::Ready { resume } | Item::Progress { resume }) => {
                self.at = Some(resume.clone());
            }
            Some(Item::Change(frame)) => self.at = Some(frame.resume.clone()),
            Some(Item::Snapshot { .. } | Item::KeyedRows { .. } | Item::Reset { .. }) => {}
            None | Some(Item::Lagged { .. } | Item::Failed(_)) => {
                self.stage = Stage::Ended;
                self.followed = None;
            }
        }
        self.quiet_until = Instant::now() + PROGRESS;
        item
    }
}

/// The time that a subscription waits for. It outlives each wait, as a subscription is asked again and again, by calls that are dropped: what would
/// end with such a call could wake nobody. A time that moves on costs nothing until it would have come.
#[derive(Debug, Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() == until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}

/// A frame of the queue, with where the subscription goes on: that is where the feed was, unless the subscription is ahead of it
/// elsewhere, by a snapshot say.
pub(super) fn own(at: Option<&Resume>, frame: frame::Shared) -> frame::Shared {
    match at {
        Some(at) if !frame.resume.reaches(at.next()) => {
            let resume = at.merged(frame.resume.next());
            Arc::new(frame.resuming_at(resume))
        }
        _ => frame,
    }
}

impl Followed {
    fn catch_up(&self, from: From) -> Stage {
        let (sender, steps) = mpsc::channel(STEPS);
        let task = CatchUp {
            shared: self.shared.clone(),
            wanted: self.wanted.clone(),
            of_model: self.of_model.clone(),
            steps: sender,
        };
        Stage::CatchingUp { steps, _task: AbortOnDropHandle::new(tokio::spawn(task.run(from))) }
    }
}
