//! The projector's loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use writ_model::Models;
use writ_producers::kafka::Options as KafkaOptions;
use writ_producers::readiness::{self, Readiness};
use writ_producers::registry::Registry;
use writ_producers::topics::Topics;

use super::batch::{Decoder, Place};
use super::commit::{Batch, Writer};
use super::kafka::Consumer;
use super::letters::Letters;
use super::offsets::{Places, Reading};
use super::reading::{Lanes, Reader, least};
use super::target::{self, Target, Work};
use crate::cache::{Announcer, Cache};
use crate::catalog::{Entry, State};
use crate::database::projector_pool;
use crate::declared::Declaration;
use crate::tables::{self, Changed, Schema, Unfit};
use crate::{Options, metrics};

/// Longest wait of one poll: how fast a cancellation is noticed. A record ends the wait at once.
pub(super) const POLL: Duration = Duration::from_millis(100);
/// How often the catalog and the places in PostgreSQL are compared with ours.
const LOOK: Duration = Duration::from_secs(1);
/// A transaction that takes longer has lost its server.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(90);
/// The end doesn't wait longer for PostgreSQL.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// After a failure, doubled by each one that follows.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a round failed. Every one is retried.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Tables(#[from] tables::Error),
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Target(#[from] target::Error),
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    #[error("the dead letters can't be written: {0}")]
    Letters(#[source] rdkafka::error::KafkaError),
    #[error("{0}")]
    Consumer(String),
    #[error("the topic {0} doesn't exist yet")]
    NoTopic(String),
    #[error("another projector has taken a partition over; asking for the place again")]
    Fenced,
    #[error("the places or projections in PostgreSQL were changed by somebody else; reading on from there")]
    Moved,
    #[error("PostgreSQL doesn't answer within {} s", TRANSACTION_LIMIT.as_secs())]
    TimedOut,
    #[error("applying a batch panicked; the log has the message")]
    Panicked,
    #[error("stopped")]
    Cancelled,
}

/// A batch that PostgreSQL is at work on.
struct Flight {
    task: JoinHandle<Result<bool, Error>>,
    begun: Instant,
    /// Where it leaves each partition.
    ends: BTreeMap<Place, i64>,
}

pub(super) struct Projector {
    runtime: Handle,
    schema: Schema,
    models: Arc<Models>,
    topics: Topics,
    declared: Vec<Declaration>,
    writer: Arc<Writer>,
    reader: Reader,
    cancel: CancellationToken,
    readiness: watch::Sender<Readiness>,
    /// What is done about changed declarations when the tables are looked at next.
    changed: Changed,
    /// The projections whose tables are not ours to write.
    unfit: Unfit,
    /// The catalog, as PostgreSQL has it.
    entries: Vec<Entry>,
    /// The live projections that this process can serve, in the order in which they are given an event.
    targets: Arc<Vec<Target>>,
    /// The partitions that are ours.
    assigned: Vec<Place>,
    /// Those that are read, with the next offsets as PostgreSQL has them once `flight` has ended. Empty until it was asked.
    lanes: Lanes,
    /// The transaction that is under way.
    flight: Option<Flight>,
    joined: bool,
    /// The group has given us an assignment, maybe an empty one.
    has_assignment: bool,
    /// The consumer must be set to PostgreSQL's offsets before anything else.
    unplaced: bool,
    pause: Duration,
    looked: Instant,
    hinted: bool,
}

impl Projector {
    pub(super) fn new(
        options: &Options,
        kafka: &KafkaOptions,
        registry: Registry,
        models: Arc<Models>,
        cache: Option<Cache>,
        cancel: CancellationToken,
        readiness: watch::Sender<Readiness>,
    ) -> Result<Projector, super::Error> {
        let schema = Schema::new(&options.schema);
        let topics = Topics::new(&kafka.topic_prefix);
        let letters = Letters::new(kafka, &topics)?;
        let names = models.models.keys().map(|model| topics.events(model)).collect();
        let decoder = Decoder::new(registry, &models, &topics);
        // Without a model there is no topic to join for.
        let is_idle = models.models.is_empty();
        Ok(Projector {
            runtime: Handle::current(),
            writer: Arc::new(Writer::new(
                projector_pool(options)?,
                &schema,
                letters,
                cache.map(Announcer::new),
            )),
            reader: Reader::new(Consumer::new(kafka, names)?, decoder),
            declared: Declaration::all(&models),
            schema,
            models,
            topics,
            cancel,
            readiness,
            changed: Changed::Rebuild,
            unfit: Unfit::new(),
            entries: Vec::new(),
            targets: Arc::default(),
            assigned: Vec::new(),
            lanes: Lanes::new(),
            flight: None,
            joined: is_idle,
            has_assignment: is_idle,
            unplaced: true,
            pause: FIRST_PAUSE,
            looked: Instant::now(),
            hinted: true,
        })
    }

    /// Rounds until cancelled.
    pub(super) fn run(mut self) {
        while !self.cancel.is_cancelled() {
            match self.round() {
                Ok(()) => {}
                Err(Error::Cancelled) => break,
                Err(error) => self.recover(&error),
            }
        }
        if let Err(error) = self.land() {
            tracing::debug!(error = %error, "the last batch was not applied");
        }
        self.hint();
        let closing = async { tokio::time::timeout(CLOSE_LIMIT, self.writer.pool.close()).await };
        if self.runtime.block_on(closing).is_err() {
            tracing::debug!("PostgreSQL didn't let the projector's connection go in time");
        }
        // Dropping the consumer leaves the group.
    }

    fn round(&mut self) -> Result<(), Error> {
        if let Some(assigned) = self.reader.consumer.take_assignment() {
            self.assigned = assigned;
            self.has_assignment = true;
            self.unplaced = true;
        }
        if self.unplaced || self.reader.is_due() {
            self.land()?;
            self.place()?;
        }
        // While PostgreSQL works on the batch before.
        let records = self.reader.collect(&self.lanes)?;
        if !records.is_empty() {
            let (lanes, targets) = (&self.lanes, &self.targets);
            let decode = self.reader.decode(records, lanes, targets, &self.writer.letters);
            let batch = wait(&self.runtime, &self.cancel, async { Ok(decode.await) })?;
            self.land()?;
            // If a projection was stopped, the batch is of the targets of before: it is read again.
            if !self.unplaced && !batch.moves.is_empty() {
                self.start(batch);
            }
        } else if self.flight.as_ref().is_some_and(|flight| flight.task.is_finished()) {
            self.land()?;
        }
        if self.looked.elapsed() >= LOOK {
            self.land()?;
            self.look()?;
            self.pause = FIRST_PAUSE;
        }
        self.show();
        Ok(())
    }

    /// Makes sure of tables and topics, and sets the consumer to PostgreSQL's offsets.
    fn place(&mut self) -> Result<(), Error> {
        self.lanes.clear();
        self.unfit = self.wait(async {
            let (pool, changed) = (&self.writer.pool, self.changed);
            Ok(tables::ensure(pool, &self.schema, &self.models, &self.topics, changed).await?)
        })?;
        // What differs from now on was changed by servers that started later.
        self.changed = Changed::Leave;
        if let Some(complaint) = self.reader.consumer.complaint() {
            return Err(Error::Consumer(complaint));
        }
        if !self.joined {
            if let Some(missing) = self.reader.consumer.missing_topic()? {
                return Err(Error::NoTopic(missing.to_owned()));
            }
            self.reader.consumer.subscribe()?;
            self.joined = true;
        }
        if self.has_assignment {
            let (entries, targets, places) = self.wait(self.load())?;
            self.lanes = lanes(&targets, &places);
            self.reader.set(&self.lanes)?;
            (self.entries, self.targets) = (entries, Arc::new(targets));
            // Others have written meanwhile, or what we wrote last was committed or not.
            self.writer.announcer.iter().for_each(Announcer::doubt);
            self.tell_cache()?;
        }
        self.unplaced = false;
        self.looked = Instant::now();
        Ok(())
    }

    /// What is live, and where it is in our partitions. In one transaction: a generation that somebody swaps for another
    /// one meanwhile must not be given places again.
    async fn load(&self) -> Result<(Vec<Entry>, Vec<Target>, Places), Error> {
        let mut connection = self.writer.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let entries = self.writer.catalog.hold(&mut transaction).await?;
        let targets: Vec<Target> = self
            .declared
            .iter()
            .filter(|declaration| !self.unfit.contains_key(declaration.name()))
            .filter_map(|declaration| {
                let is_live = |entry: &&Entry| {
                    entry.state == State::Live && &*entry.generation.projection == declaration.name()
                };
                let number = entries.iter().find(is_live)?.generation.number;
                Some(Target::new(declaration, &self.topics, &self.schema, number))
            })
            .collect();
        let readings = readings(&targets, &self.assigned);
        let places = self.writer.offsets.load(&mut transaction, &readings).await?;
        transaction.commit().await?;
        Ok((entries, targets, places))
    }

    /// Begins the transaction of a batch. There is never more than one.
    fn start(&mut self, batch: Batch) {
        let mut ends = BTreeMap::new();
        for (index, target) in self.targets.iter().enumerate() {
            for (place, _, new) in batch.ranges(target) {
                if let Some(lane) = self.lanes.get_mut(&place) {
                    lane.insert(index, new);
                }
                ends.insert(place, new);
            }
        }
        let (writer, targets, cancel) = (self.writer.clone(), self.targets.clone(), self.cancel.clone());
        let busy = self.reader.consumer.busy();
        let task = self.runtime.spawn(async move {
            let _busy = busy;
            let apply = tokio::time::timeout(TRANSACTION_LIMIT, writer.apply(&targets, &batch));
            tokio::select! {
                outcome = apply => outcome.map_err(|_| Error::TimedOut)?,
                () = cancel.cancelled() => Err(Error::Cancelled),
            }
        });
        self.flight = Some(Flight { task, begun: Instant::now(), ends });
    }

    /// Waits for the end of the transaction that is under way.
    fn land(&mut self) -> Result<(), Error> {
        let Some(flight) = self.flight.take() else { return Ok(()) };
        let is_stopped = self.runtime.block_on(flight.task).unwrap_or(Err(Error::Panicked))?;
        let took = flight.begun.elapsed().as_secs_f64();
        ::metrics::histogram!(metrics::BATCH_DURATION_SECONDS).record(took);
        for (place, end) in &flight.ends {
            self.reader.pass(place, *end);
        }
        self.unplaced |= is_stopped;
        self.hinted = false;
        self.pause = FIRST_PAUSE;
        Ok(())
    }

    /// Is PostgreSQL there, and does it agree with us?
    fn look(&mut self) -> Result<(), Error> {
        self.looked = Instant::now();
        self.hint();
        if self.has_assignment && !self.unplaced {
            let readings = readings(&self.targets, &self.assigned);
            let (entries, places) = self.wait(async {
                let read = async {
                    let mut connection = self.writer.pool.acquire().await?;
                    let entries = self.writer.catalog.load(&mut connection).await?;
                    Ok((entries, self.writer.offsets.read(&mut connection, &readings).await?))
                };
                let read = tokio::time::timeout(TRANSACTION_LIMIT, read);
                read.await.map_err(|_| Error::TimedOut)?.map_err(Error::Database)
            })?;
            if lanes(&self.targets, &places) != self.lanes {
                return Err(Error::Moved);
            }
            // Read from there without a pause: it is the builder's swap, or another projector's find.
            self.unplaced = entries != self.entries;
            self.tell_cache()?;
        }
        match self.reader.consumer.complaint() {
            Some(complaint) => Err(Error::Consumer(complaint)),
            None => Ok(()),
        }
    }

    /// Makes up for what the cache could not be told.
    fn tell_cache(&self) -> Result<(), Error> {
        let Some(announcer) = &self.writer.announcer else { return Ok(()) };
        let mut places: BTreeMap<&str, Vec<(i32, i64)>> = BTreeMap::new();
        for (place, lane) in &self.lanes {
            for (index, next) in lane {
                let target = &self.targets[*index];
                if matches!(target.work(), Work::Rows(_)) {
                    let of_model = places.entry(&target.generation().projection).or_default();
                    of_model.push((place.partition, *next));
                }
            }
        }
        let places = places.into_iter().map(|(model, places)| (model, places.into_iter().collect()));
        self.wait(async {
            announcer.catch_up(places).await;
            Ok(())
        })
    }

    fn hint(&mut self) {
        if !self.hinted {
            let next = self.lanes.iter().filter_map(|(place, lane)| Some((place.clone(), least(lane)?)));
            self.reader.consumer.hint(next);
            self.hinted = true;
        }
    }

    /// The one way out of every failure.
    fn recover(&mut self, error: &Error) {
        // Whatever becomes of it, PostgreSQL is asked.
        let _ = self.land();
        self.unplaced = true;
        self.lanes.clear();
        tracing::warn!(error = %error, "the projector starts over from PostgreSQL's offsets");
        if !matches!(error, Error::Fenced | Error::Moved) {
            self.announce(Readiness::Waiting(error.to_string()));
        }
        let until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        while Instant::now() < until && !self.cancel.is_cancelled() {
            // Records are dropped here: they are read again. Rebalances go on, so that the group doesn't wait for us.
            let left = until.saturating_duration_since(Instant::now());
            let _ = self.reader.consumer.poll(left.min(POLL));
        }
    }

    fn show(&self) {
        self.announce(match (self.reader.obstacle(), self.has_assignment, self.trouble()) {
            (Some(reason), _, _) => Readiness::Waiting(reason.to_owned()),
            (None, false, _) => Readiness::Waiting("the consumer group has no assignment yet".into()),
            (None, true, Some(trouble)) => Readiness::Degraded(trouble),
            (None, true, None) => Readiness::Ready,
        });
    }

    /// The projections that don't follow the events.
    fn trouble(&self) -> Option<String> {
        let declared = |entry: &&Entry| {
            self.declared.iter().any(|declaration| declaration.name() == &*entry.generation.projection)
        };
        let stopped = self.entries.iter().filter(declared).filter_map(|entry| {
            let (error, at) = entry.error.as_ref().filter(|_| entry.state == State::Stopped)?;
            let name = &entry.generation.projection;
            Some(format!("{name} has stopped at the event {at}: {error}. Then run `writ rebuild {name}`"))
        });
        let unfit = self.unfit.iter().map(|(name, why)| format!("{name} waits for its rebuild: {why}"));
        let all: Vec<String> = stopped.chain(unfit).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn announce(&self, now: Readiness) {
        readiness::set(&self.readiness, now);
    }

    fn wait<T>(&self, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        wait(&self.runtime, &self.cancel, future)
    }
}

/// The partitions that each target reads. A topic whose rows aren't there is left alone: they are the judge.
fn readings(targets: &[Target], assigned: &[Place]) -> Vec<Reading> {
    let is_judged = |place: &&Place| {
        targets.iter().any(|target| matches!(target.work(), Work::Rows(_)) && target.reads(place))
    };
    let of = |place: &Place| {
        let readers = targets.iter().filter(|target| target.reads(place));
        readers.map(|target| (target.generation().clone(), place.clone())).collect::<Vec<_>>()
    };
    assigned.iter().filter(is_judged).flat_map(of).collect()
}

/// By partition and target.
fn lanes(targets: &[Target], places: &Places) -> Lanes {
    let mut lanes = Lanes::new();
    for ((generation, place), next) in places {
        if let Some(index) = targets.iter().position(|target| target.generation() == generation) {
            lanes.entry(place.clone()).or_default().insert(index, *next);
        }
    }
    lanes
}

/// Runs a future on the runtime while this thread waits, unless cancelled.
fn wait<T>(
    runtime: &Handle,
    cancel: &CancellationToken,
    future: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    runtime.block_on(async {
        tokio::select! {
            outcome = future => outcome,
            () = cancel.cancelled() => Err(Error::Cancelled),
        }
    })
}
