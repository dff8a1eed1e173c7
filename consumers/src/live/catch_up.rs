//! The way of a subscription from where it begins to where its queue takes over: snapshot, what was missed, then the seam of
//! [`hub`]. A task of its own, pulled by the subscription through a short channel: what it holds back waits here.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message as _;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use writ_projections::query::{Error as QueryError, SnapshotError};

use super::change::Change;
use super::event::{Decoder, Happened, key};
use super::frame::{Frame, Kind};
use super::hub::{self, Hub, Joined, Member};
use super::replay::{self, Replay};
use super::resume::{Resume, merge, reaches};
use super::states::{States, recent};
use super::views::View;
use super::{Error, From, Item, Reason, Shared, Wanted, metrics};

/// Rows of one piece of a snapshot.
const PIECE: usize = 500;
/// What fails is tried so often, with a pause each time.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(500);
/// So often it is looked whether the feed has come to where a client was, and with this pause.
const LOOKS: usize = 20;
const LOOK: Duration = Duration::from_millis(50);
/// A client that takes nothing for so long while it is served from memory or from Kafka is told to come back: others wait for
/// the place.
const STALLED: Duration = Duration::from_secs(30);
/// States that a replay keeps.
const RECENT_MIB: u64 = 4;

/// What comes out.
#[derive(Debug)]
pub(super) enum Step {
    Item(Item),
    /// From here on the queue has everything.
    Live(Member),
}

/// Why it goes no further.
enum Stop {
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
    pub(super) hub: hub::Shared,
    pub(super) number: usize,
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

    async fn begun(&self) -> Result<(), Stop> {
        let mut begun = self.shared.begun.clone();
        match timeout(STALLED, begun.wait_for(|begun| *begun)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Stop::Silently),
            Err(_) => Err(Error::Unavailable("the live feed hasn't begun".into()).into()),
        }
    }

    async fn start(&self) -> Result<(), Stop> {
        match Hub::join(&self.hub, &self.view()?, None) {
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
        let mut looks = 0;
        let next = loop {
            let next = {
                let hub = self.hub.lock();
                if resume.model() != hub.model().name {
                    return Ok(Some(Reason::Unknown));
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
        let bounds = self.bounds(next.len()).await?;
        let each = || at.iter().zip(&bounds);
        Ok(if each().any(|(at, (_, end))| at > end) {
            Some(Reason::Unknown)
        } else if each().any(|(at, (first, _))| at < first) {
            Some(Reason::TooOld)
        } else {
            None
        })
    }

    async fn bounds(&self, partitions: usize) -> Result<Vec<(i64, i64)>, Stop> {
        let Ok(_permit) = self.shared.replays.acquire().await else { return Err(Stop::Silently) };
        let mut tries = 0;
        loop {
            match replay::bounds(&self.shared.kafka, self.topic(), partitions).await {
                Err(Error::Unavailable(_)) if tries < TRIES => sleep(PAUSE).await,
                found => return Ok(found?),
            }
            tries += 1;
        }
    }

    /// Hands the rows over, and says which offsets are the next ones behind them.
    async fn snapshot(&self) -> Result<Vec<i64>, Stop> {
        ::metrics::counter!(metrics::SNAPSHOTS, "model" => self.wanted.model.clone()).increment(1);
        let mut tries = 0;
        let (rows, places) = loop {
            let partitions = self.hub.lock().next().len();
            let limit = self.shared.options.snapshot_rows;
            let request = self.wanted.request(&self.shared.models)?;
            match self.shared.queries.snapshot(&request, limit).await {
                Ok(snapshot) if snapshot.places.len() <= partitions => {
                    let mut places = snapshot.places;
                    places.resize(partitions, 0);
                    break (snapshot.rows, places);
                }
                // The topic has got more partitions, which the feed will see soon.
                Ok(_) | Err(SnapshotError::Query(QueryError::Unavailable(_))) if tries < TRIES => {
                    sleep(PAUSE).await;
                }
                Ok(_) => return Err(Error::Unavailable("the topic has just changed".into()).into()),
                Err(SnapshotError::TooManyRows(limit)) => return Err(Error::TooManyRows(limit).into()),
                Err(SnapshotError::Query(QueryError::Unavailable(detail))) => {
                    return Err(Error::Unavailable(detail).into());
                }
                Err(SnapshotError::Query(QueryError::Failed(detail))) => {
                    return Err(Error::Failed(detail).into());
                }
            }
            tries += 1;
        };
        let mut rows = rows.into_iter();
        loop {
            let rows: Vec<_> = rows.by_ref().take(PIECE).collect();
            if rows.is_empty() {
                break;
            }
            self.item(Item::Snapshot { rows }).await?;
        }
        let resume = self.hub.lock().at(places.clone());
        self.item(Item::Ready { resume }).await?;
        Ok(places)
    }

    /// Everything from `at` on, until the queue has the rest. `Some`: the topic has become another one.
    async fn follow(&self, mut at: Vec<i64>, is_resume: bool) -> Result<Option<Reason>, Stop> {
        let mut failures = 0;
        loop {
            let view = self.view()?;
            let until = match Hub::join(&self.hub, &view, Some(&at)) {
                Joined::Here(missed, member) => {
                    for placed in missed {
                        // All that the feed has published before this change was handed out before it, too.
                        merge(&mut at, placed.resume.next());
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
            match self.replay(&view, &mut at, &until).await {
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

    /// Moves `at` up to `until`, by what Kafka has.
    async fn replay(&self, view: &View, at: &mut [i64], until: &[i64]) -> Result<(), Stop> {
        let Ok(_permit) = self.shared.replays.acquire().await else { return Err(Stop::Silently) };
        ::metrics::counter!(metrics::REPLAYS, "model" => self.wanted.model.clone()).increment(1);
        let model = self.hub.lock().model().clone();
        let decoder = Decoder { model: model.clone(), registry: self.shared.registry.clone() };
        let (number, history) = (self.number, self.shared.history.clone());
        let states = States { model, number, history, recent: Arc::new(recent(RECENT_MIB)) };
        let mut replay = Replay::start(&self.shared.kafka, self.topic(), at, until);
        let mut batch = Vec::new();
        loop {
            replay.next(&mut batch).await?;
            if batch.is_empty() {
                merge(at, until);
                return Ok(());
            }
            let mut events: Vec<Happened> = Vec::new();
            let mut passed: Vec<(i32, i64)> = Vec::with_capacity(batch.len());
            for record in batch.drain(..) {
                passed.push((record.partition(), record.offset()));
                if view.only().is_some_and(|id| key(&record) != Some(id)) {
                    continue;
                }
                events.extend(decoder.decode(&record, &self.shared.cancel).await);
                if self.shared.cancel.is_cancelled() {
                    return Err(Stop::Silently);
                }
            }
            let goes_on = || !self.steps.is_closed() && !self.shared.cancel.is_cancelled();
            let Some(known) = states.before(&events, goes_on).await else { return Err(Stop::Silently) };
            for change in states.changes(known, events).flatten() {
                // Of this partition everything before the event was handed out, or matched nothing.
                advance(at, change.happened.partition, change.happened.offset);
                if let Some(kind) = view.kind(&change) {
                    self.change(view, &change, kind, at).await?;
                }
            }
            passed.into_iter().for_each(|(partition, offset)| advance(at, partition, offset));
        }
    }

    /// A change for this subscription only, with where it goes on itself.
    async fn change(&self, view: &View, change: &Change, kind: Kind, at: &[i64]) -> Result<(), Stop> {
        let (model, resume) = {
            let hub = self.hub.lock();
            (hub.model().clone(), hub.at(at.to_vec()))
        };
        let frame = Frame::new(&model, view, change, kind, (&resume, &resume.to_string()));
        self.item(Item::Change(Arc::new(frame))).await
    }

    fn view(&self) -> Result<Arc<View>, Stop> {
        Ok(Arc::new(self.wanted.view(&self.shared.models)?))
    }

    fn topic(&self) -> String {
        self.shared.topics.events(&self.wanted.model)
    }

    async fn item(&self, item: Item) -> Result<(), Stop> {
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

fn advance(at: &mut [i64], partition: i32, offset: i64) {
    if let Some(next) = usize::try_from(partition).ok().and_then(|partition| at.get_mut(partition)) {
        *next = (*next).max(offset + 1);
    }
}
