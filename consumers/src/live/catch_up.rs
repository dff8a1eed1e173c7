//! The way of a subscription from where it begins to where its queue takes over: snapshot, what was missed, then the seam of
//! [`hub`]. A task of its own, pulled by the subscription through a short channel: what it holds back waits here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{SemaphorePermit, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::change::{Change, Placed};
use super::frame::{Frame, Kind};
use super::hub::{self, Hub, Joined, Member};
use super::replay::{self, Next, Replay};
use super::resume::{Resume, merge, reaches};
use super::views::View;
use super::{Error, From, Item, OfModel, Reason, Shared, Wanted, metrics};

/// What fails is tried so often, with a pause each time.
pub(super) const TRIES: usize = 10;
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// So often it is looked whether the feed has come to where a client was, and with this pause.
const LOOKS: usize = 20;
const LOOK: Duration = Duration::from_millis(50);
/// So long is believed which events are the first of a topic: they are kept for ever, as a rule.
const KNOWN: Duration = Duration::from_secs(60);
/// A client that takes nothing for so long while it is served from memory or from Kafka is told to come back: others wait for
/// the place.
const STALLED: Duration = Duration::from_secs(30);

/// What comes out.
#[derive(Debug)]
pub(super) enum Step {
    Item(Item),
    /// From here on the queue has everything.
    Live(Member),
}

/// Why it goes no further.
pub(super) enum Stop {
    /// The subscription is gone, or was too slow, which it finds out by itself; or the feed has ended.
    Silently,
    Failed(Error),
}

impl std::convert::From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

/// What the task needs.
#[derive(Debug)]
pub(super) struct CatchUp {
    pub(super) shared: Arc<Shared>,
    pub(super) wanted: Arc<Wanted>,
    pub(super) of_model: Arc<OfModel>,
    pub(super) steps: mpsc::Sender<Step>,
}

/// Where it is on its way.
enum Stage {
    Snapshot,
    /// It has everything below these offsets. `true`: from a client, who is told once all is there.
    Follow(Vec<i64>, bool),
}

impl CatchUp {
    pub(super) async fn run(self, from: From) {
        if let Err(Stop::Failed(error)) = self.catch_up(from).await {
            // Nobody is told if nobody is there.
            let _ = self.steps.send(Step::Item(Item::Failed(error))).await;
        }
    }

    async fn catch_up(&self, from: From) -> Result<(), Stop> {
        self.begun().await?;
        let mut stage = match from {
            From::Now => return self.start().await,
            From::Snapshot => Stage::Snapshot,
            From::Resume(resume) => match self.refusal(&resume).await? {
                None => Stage::Follow(resume.next().to_vec(), true),
                Some(reason) => self.reset(reason).await?,
            },
        };
        loop {
            stage = match stage {
                Stage::Snapshot => Stage::Follow(Box::pin(self.snapshot()).await?, false),
                Stage::Follow(at, is_resume) => match Box::pin(self.follow(at, is_resume)).await? {
                    None => return Ok(()),
                    Some(reason) => self.reset(reason).await?,
                },
            }
        }
    }

    pub(super) fn hub(&self) -> &hub::Shared {
        &self.of_model.hub
    }

    async fn begun(&self) -> Result<(), Stop> {
        let mut begun = self.shared.begun.clone();
        match timeout(STALLED, begun.wait_for(|begun| *begun)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Stop::Silently),
            Err(_) => Err(Error::Unavailable("the live feed hasn't begun".into()).into()),
        }
    }

    async fn start(&self) -> Result<(), Stop> {
        match Hub::join(self.hub(), &self.view()?, None) {
            Joined::Here(_, member) => {
                self.item(Item::Started { resume: member.at.clone() }).await?;
                self.send(Step::Live(member)).await
            }
            Joined::Behind(_) | Joined::Repartitioned => {
                Err(Error::Failed("the feed isn't where it is".into()).into())
            }
        }
    }

    async fn reset(&self, reason: Reason) -> Result<Stage, Stop> {
        self.item(Item::Reset { reason }).await?;
        Ok(Stage::Snapshot)
    }

    /// Why a client can't go on there.
    async fn refusal(&self, resume: &Resume) -> Result<Option<Reason>, Stop> {
        let at = resume.next();
        let view = self.view()?.identity();
        let mut looks = 0;
        let next = loop {
            let next = {
                let hub = self.hub().lock();
                if resume.model() != hub.model().name {
                    return Ok(Some(Reason::Unknown));
                }
                if resume.view() != view {
                    return Ok(Some(Reason::OtherView));
                }
                if at.len() != hub.next().len() {
                    return Ok(Some(Reason::Repartitioned));
                }
                if hub.covers(at) {
                    return Ok(None);
                }
                hub.next().to_vec()
            };
            // Another process may be ahead by a moment.
            if reaches(&next, at) || looks == LOOKS {
                break next;
            }
            looks += 1;
            sleep(LOOK).await;
        };
        let behind =
            at.iter().zip(&next).fold(0i64, |sum, (at, next)| sum.saturating_add((next - at).max(0)));
        if behind.cast_unsigned() > self.shared.options.replay {
            return Ok(Some(Reason::TooOld));
        }
        // The feed doesn't know what is before it, nor whether what is beyond it is there at all.
        let is_beyond = !reaches(&next, at);
        let known = self.of_model.first.lock().clone();
        let known = known.filter(|(asked, first)| asked.elapsed() < KNOWN && first.len() == at.len());
        let first = match known {
            Some((_, first)) if !is_beyond => first,
            _ => {
                let asked = Instant::now();
                let (first, ends): (Vec<i64>, Vec<i64>) = self.bounds(next.len()).await?.into_iter().unzip();
                if !reaches(&ends, at) {
                    return Ok(Some(Reason::Unknown));
                }
                *self.of_model.first.lock() = Some((asked, first.clone()));
                first
            }
        };
        Ok((!reaches(at, &first)).then_some(Reason::TooOld))
    }

    async fn bounds(&self, partitions: usize) -> Result<Vec<(i64, i64)>, Stop> {
        let _permit = self.permit().await?;
        let mut tries = 0;
        loop {
            match replay::bounds(&self.shared.kafka, self.topic(), partitions).await {
                Err(Error::Unavailable(_)) if tries < TRIES => sleep(PAUSE).await,
                found => return Ok(found?),
            }
            tries += 1;
        }
    }

    /// Everything from `at` on, until the queue has the rest. `Some`: the topic has become another one.
    async fn follow(&self, mut at: Vec<i64>, is_resume: bool) -> Result<Option<Reason>, Stop> {
        let mut failures = 0;
        loop {
            let view = self.view()?;
            let until = match Hub::join(self.hub(), &view, Some(&at)) {
                Joined::Here(missed, member) => {
                    for placed in missed {
                        // All that the feed has published before this change was handed out before it, too.
                        merge(&mut at, placed.place.next());
                        if let Some(kind) = view.kind(&placed.change) {
                            self.change(&view, &placed.change, kind, &at).await?;
                        }
                    }
                    if is_resume {
                        self.item(Item::Ready { resume: member.at.clone() }).await?;
                    }
                    self.send(Step::Live(member)).await?;
                    return Ok(None);
                }
                Joined::Behind(until) => until,
                Joined::Repartitioned => return Ok(Some(Reason::Repartitioned)),
            };
            let before = at.clone();
            let caught_up = match self.extend(&at).await {
                Ok(true) => continue,
                Ok(false) => self.replay(&view, &mut at, &until).await,
                Err(stop) => Err(stop),
            };
            match caught_up {
                Ok(()) => {}
                Err(Stop::Failed(Error::Unavailable(reason))) => {
                    failures = if at == before { failures + 1 } else { 1 };
                    if failures > TRIES {
                        return Err(Error::Unavailable(reason).into());
                    }
                    tracing::warn!(
                        reason,
                        model = self.wanted.model,
                        "a replay failed; it goes on where it was"
                    );
                    sleep(PAUSE).await;
                }
                Err(stop) => return Err(stop),
            }
        }
    }

    /// Puts what lies between `at` and the ring into the ring, for this one and for all who come from there: after a process has
    /// ended, many do. Whether the ring reaches back to `at` now; it may have no room.
    async fn extend(&self, at: &[i64]) -> Result<bool, Stop> {
        let _turn = self.of_model.turn.lock().await;
        let (model, until) = {
            let hub = self.hub().lock();
            if hub.covers(at) {
                return Ok(true);
            }
            let Some(until) = hub.gap(at) else { return Ok(false) };
            (hub.model().clone(), until)
        };
        let _permit = self.permit().await?;
        let mut replay = Replay::start(&self.shared, (&model, self.of_model.number), None, at, &until);
        let (mut place, mut placed) = (begin(at, &until), Vec::new());
        loop {
            match replay.next(|| self.goes_on()).await? {
                Next::Batch(batch) => {
                    for change in batch.changes {
                        advance(&mut place, change.happened.partition, change.happened.offset);
                        let behind = self.hub().lock().at(place.as_slice());
                        placed.push(Arc::new(Placed::new(change, behind)));
                    }
                    batch
                        .passed
                        .into_iter()
                        .for_each(|(partition, offset)| advance(&mut place, partition, offset));
                }
                Next::End => return Ok(self.hub().lock().extend_back(placed, at, &until)),
                Next::Interrupted => return Err(Stop::Silently),
            }
        }
    }

    /// Moves `at` up to `until`, by what Kafka has.
    async fn replay(&self, view: &View, at: &mut [i64], until: &[i64]) -> Result<(), Stop> {
        let _permit = self.permit().await?;
        let model = self.hub().lock().model().clone();
        let mut replay = Replay::start(&self.shared, (&model, self.of_model.number), view.only(), at, until);
        loop {
            match replay.next(|| self.goes_on()).await? {
                Next::Batch(batch) => {
                    for change in batch.changes {
                        // Of this partition everything before the event was handed out, or matched nothing.
                        advance(at, change.happened.partition, change.happened.offset);
                        if let Some(kind) = view.kind(&change) {
                            self.change(view, &change, kind, at).await?;
                        }
                    }
                    batch.passed.into_iter().for_each(|(partition, offset)| advance(at, partition, offset));
                }
                Next::End => {
                    merge(at, until);
                    return Ok(());
                }
                Next::Interrupted => return Err(Stop::Silently),
            }
        }
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, Stop> {
        self.shared.replays.acquire().await.map_err(|_| Stop::Silently)
    }

    /// Whether somebody still wants it.
    fn goes_on(&self) -> bool {
        !self.steps.is_closed()
    }

    /// A change for this subscription only, with where it goes on itself.
    async fn change(&self, view: &View, change: &Change, kind: Kind, at: &[i64]) -> Result<(), Stop> {
        let (model, place) = {
            let hub = self.hub().lock();
            (hub.model().clone(), hub.at(at))
        };
        let frame = Frame::new(&model, view, change, kind, (&place, &place.text()));
        self.item(Item::Change(Arc::new(frame))).await
    }

    fn view(&self) -> Result<Arc<View>, Stop> {
        Ok(Arc::new(self.wanted.view(&self.shared.models)?))
    }

    fn topic(&self) -> String {
        self.shared.topics.events(&self.wanted.model)
    }

    pub(super) async fn item(&self, item: Item) -> Result<(), Stop> {
        self.send(Step::Item(item)).await
    }

    async fn send(&self, step: Step) -> Result<(), Stop> {
        match timeout(STALLED, self.steps.send(step)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Stop::Silently),
            Err(_) => {
                ::metrics::counter!(metrics::LAGGED, "model" => self.wanted.model.clone()).increment(1);
                Err(Stop::Silently)
            }
        }
    }
}

/// Where what is put before a ring begins that began at `until`. Where `at` is further, the ring itself has what is between: nobody
/// who is handed a change from before it may take that for passed.
pub(super) fn begin(at: &[i64], until: &[i64]) -> Vec<i64> {
    at.iter().zip(until).map(|(at, until)| *at.min(until)).collect()
}

fn advance(at: &mut [i64], partition: i32, offset: i64) {
    if let Some(next) = usize::try_from(partition).ok().and_then(|partition| at.get_mut(partition)) {
        *next = (*next).max(offset + 1);
    }
}
