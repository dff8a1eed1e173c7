//! The projector's loop.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgPool};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use writ_model::Models;
use writ_producers::kafka::Options as KafkaOptions;
use writ_producers::readiness::{self, Readiness};
use writ_producers::registry::{self, Registry};
use writ_producers::topics::Topics;

use super::batch::{self, Decoded, Decoder, Place, Record};
use super::kafka::{Consumer, Polled};
use super::letters::{Cause, Composed, Letters};
use super::offsets::{Moves, Offsets};
use super::rows::{self, Applied, Gap, Rows};
use crate::database::projector_pool;
use crate::tables::{self, Schema, Table};
use crate::{Options, metrics};

/// Most records of one transaction.
const MAX_RECORDS: usize = 1000;
/// Longest wait of one poll: how fast a cancellation is noticed. A record ends the wait at once.
const POLL: Duration = Duration::from_millis(100);
/// While idle, how often the offsets in PostgreSQL are compared with ours.
const LOOK: Duration = Duration::from_secs(1);
/// A transaction that takes longer has lost its server.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(90);
/// The end doesn't wait longer for PostgreSQL.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// After a failure, doubled by each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a round failed. Every one is retried.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Tables(#[from] tables::Error),
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Rows(#[from] rows::Error),
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
    #[error("the offsets in PostgreSQL were changed by somebody else; reading on from there")]
    Moved,
    #[error("PostgreSQL doesn't answer within {} s", TRANSACTION_LIMIT.as_secs())]
    TimedOut,
    #[error("stopped")]
    Cancelled,
}

/// A partition that can't go on: the registry is away.
#[derive(Debug)]
struct Blocked {
    reason: String,
    /// The offset in the way.
    offset: i64,
    pause: Duration,
    /// When it gets another try; `None`: it has been given one.
    until: Option<Instant>,
}

/// Records that go into one transaction.
#[derive(Debug, Default)]
struct Batch {
    moves: Moves,
    /// By model.
    events: BTreeMap<String, Vec<Decoded>>,
    /// Of those that are no events.
    letters: Vec<Composed>,
}

/// What PostgreSQL takes or refuses at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grain {
    Batch,
    Event,
}

pub(super) struct Projector {
    runtime: Handle,
    pool: PgPool,
    schema: Schema,
    tables: Vec<Table>,
    topics: Topics,
    /// By model.
    rows: HashMap<String, Rows>,
    offsets: Offsets,
    decoder: Decoder,
    letters: Letters,
    consumer: Consumer,
    cancel: CancellationToken,
    readiness: watch::Sender<Readiness>,
    /// The partitions that are ours.
    assigned: Vec<Place>,
    /// Their next offsets, as PostgreSQL has them. Empty until it was asked.
    next: BTreeMap<Place, i64>,
    blocked: HashMap<Place, Blocked>,
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
        cancel: CancellationToken,
        readiness: watch::Sender<Readiness>,
    ) -> Result<Projector, super::Error> {
        let schema = Schema::new(&options.schema);
        let topics = Topics::new(&kafka.topic_prefix);
        let tables: Vec<Table> = models.models.values().map(|model| Table::derive(&schema, model)).collect();
        let rows = models
            .models
            .values()
            .zip(&tables)
            .map(|(model, table)| (model.name.clone(), Rows::new(model.clone(), table.clone())))
            .collect();
        let names = models.models.keys().map(|model| topics.events(model)).collect();
        Ok(Projector {
            runtime: Handle::current(),
            pool: projector_pool(options)?,
            offsets: Offsets::new(&schema),
            decoder: Decoder::new(registry, &models, &topics),
            letters: Letters::new(kafka, &topics)?,
            consumer: Consumer::new(kafka, names)?,
            schema,
            tables,
            topics,
            rows,
            cancel,
            readiness,
            assigned: Vec::new(),
            next: BTreeMap::new(),
            blocked: HashMap::new(),
            // Without a model there is no topic to join for.
            joined: models.models.is_empty(),
            has_assignment: models.models.is_empty(),
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
        self.hint();
        let closing = async { tokio::time::timeout(CLOSE_LIMIT, self.pool.close()).await };
        if self.runtime.block_on(closing).is_err() {
            tracing::debug!("PostgreSQL didn't let the projector's connection go in time");
        }
        // Dropping the consumer leaves the group.
    }

    fn round(&mut self) -> Result<(), Error> {
        if let Some(assigned) = self.consumer.take_assignment() {
            self.assigned = assigned;
            self.has_assignment = true;
            self.unplaced = true;
        }
        let now = Instant::now();
        let is_due = |blocked: &Blocked| blocked.until.is_some_and(|until| until <= now);
        if self.unplaced || self.blocked.values().any(is_due) {
            self.place()?;
        }
        let records = self.collect()?;
        if !records.is_empty() {
            self.apply(records)?;
            self.looked = Instant::now();
            self.pause = FIRST_PAUSE;
        } else if self.looked.elapsed() >= LOOK {
            self.look()?;
            self.pause = FIRST_PAUSE;
        }
        self.show();
        Ok(())
    }

    /// Makes sure of tables and topics, and sets the consumer to PostgreSQL's offsets.
    fn place(&mut self) -> Result<(), Error> {
        self.next.clear();
        self.wait(async {
            tables::ensure(&self.pool, &self.schema, &self.tables, |model| self.topics.events(model)).await?;
            Ok(())
        })?;
        if let Some(complaint) = self.consumer.complaint() {
            return Err(Error::Consumer(complaint));
        }
        if !self.joined {
            if let Some(missing) = self.consumer.missing_topic()? {
                return Err(Error::NoTopic(missing.to_owned()));
            }
            self.consumer.subscribe()?;
            self.joined = true;
        }
        if self.has_assignment {
            let next = self.wait(async { Ok(self.offsets.load(&self.pool, &self.assigned).await?) })?;
            self.consumer.set(next.iter().map(|(place, next)| (place.clone(), *next)))?;
            self.next = next;
            // A partition that was blocked gets another try; how long it paused is kept until it goes on.
            self.blocked.values_mut().for_each(|blocked| blocked.until = None);
            self.blocked.retain(|place, _| self.next.contains_key(place));
        }
        self.unplaced = false;
        self.looked = Instant::now();
        Ok(())
    }

    /// What there is, up to a batch. Waits only for the first record.
    fn collect(&mut self) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        let mut wait = POLL;
        while records.len() < MAX_RECORDS {
            let polled = self.consumer.poll(wait);
            if self.consumer.is_reassigned() {
                // Whoever owns them now reads them again.
                return Ok(Vec::new());
            }
            match polled {
                Polled::Nothing => break,
                Polled::Failure(reason) => return Err(Error::Consumer(reason)),
                Polled::Record(record) => {
                    let is_next = self.next.get(&record.place).is_some_and(|next| record.offset >= *next);
                    let waits =
                        self.blocked.get(&record.place).is_some_and(|blocked| blocked.until.is_some());
                    if is_next && !waits {
                        records.push(record);
                        wait = Duration::ZERO;
                    }
                }
            }
        }
        Ok(records)
    }

    fn apply(&mut self, records: Vec<Record>) -> Result<(), Error> {
        let batch = self.decode(records)?;
        if batch.moves.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        self.wait(async {
            let commit = async {
                match self.commit(&batch, Grain::Batch).await {
                    // Which of the events it was is found out one by one.
                    Err(Error::Rows(error)) if error.is_refusal() => self.commit(&batch, Grain::Event).await,
                    result => result,
                }
            };
            tokio::time::timeout(TRANSACTION_LIMIT, commit).await.map_err(|_| Error::TimedOut)?
        })?;
        ::metrics::histogram!(metrics::BATCH_DURATION_SECONDS).record(begun.elapsed().as_secs_f64());
        for (place, (_, new)) in batch.moves {
            self.blocked.retain(|blocked, why| *blocked != place || why.offset >= new);
            self.next.insert(place, new);
        }
        self.hinted = false;
        Ok(())
    }

    /// Without the registry an event whose schema isn't known yet blocks the rest of its partition. What is no event goes
    /// to the dead letters.
    fn decode(&mut self, records: Vec<Record>) -> Result<Batch, Error> {
        let mut batch = Batch::default();
        let mut stopped: HashSet<Place> = HashSet::new();
        for record in records {
            if stopped.contains(&record.place) {
                continue;
            }
            let (place, offset) = (record.place.clone(), record.offset);
            match self.wait(async { Ok(self.decoder.decode(record).await) })? {
                Ok(event) => batch.events.entry(event.model.name.clone()).or_default().push(event),
                Err((record, batch::Error::Undecodable(error))) => {
                    batch.letters.push(self.letters.compose(&record, Cause::Undecodable, &error));
                }
                Err((record, batch::Error::Registry(error))) => {
                    stopped.insert(place);
                    self.block(&record, &error);
                    continue;
                }
            }
            let old =
                self.next.get(&place).copied().expect("invariant: only placed partitions are collected");
            batch.moves.entry(place).or_insert((old, old)).1 = offset + 1;
        }
        Ok(batch)
    }

    fn block(&mut self, record: &Record, error: &registry::Error) {
        let place = &record.place;
        let before = self.blocked.get(place).map(|blocked| blocked.pause);
        let pause = before.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        let until = Some(Instant::now() + pause);
        let reason = error.to_string();
        self.blocked.insert(place.clone(), Blocked { reason, offset: record.offset, pause, until });
        self.consumer.pause(place);
    }

    async fn commit(&self, batch: &Batch, grain: Grain) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        // First of all: it fences, and its locks keep others from the rows that are read next.
        if !self.offsets.advance(&mut transaction, &batch.moves).await? {
            ::metrics::counter!(metrics::FENCED).increment(1);
            transaction.rollback().await?;
            return Err(Error::Fenced);
        }
        let mut letters = batch.letters.clone();
        let mut applied = Vec::with_capacity(batch.events.len());
        for (model, events) in &batch.events {
            let rows = self.rows.get(model).expect("invariant: every decoded event is of a known model");
            let mut count = 0;
            match grain {
                Grain::Batch => {
                    let done = rows.apply(&mut transaction, events).await?;
                    count += done.count;
                    letters.extend(self.waiting(events, &done));
                }
                Grain::Event => {
                    for event in events.chunks(1) {
                        let mut savepoint = transaction.begin().await?;
                        match rows.apply(&mut savepoint, event).await {
                            Ok(done) => {
                                savepoint.commit().await?;
                                count += done.count;
                                letters.extend(self.waiting(event, &done));
                            }
                            Err(error) if error.is_refusal() => {
                                savepoint.rollback().await?;
                                let refused = |event: &Decoded| {
                                    self.letters.compose(&event.record, Cause::Refused, &error)
                                };
                                letters.extend(event.iter().map(refused));
                            }
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
            }
            applied.push((model, count));
        }
        if !letters.is_empty() {
            // Before the offsets have moved past them: rather twice than never.
            self.letters.send(letters).await.map_err(Error::Letters)?;
        }
        transaction.commit().await?;
        for (model, count) in applied {
            ::metrics::counter!(metrics::APPLIED, "model" => model.clone()).increment(count);
        }
        Ok(())
    }

    fn waiting(&self, events: &[Decoded], done: &Applied) -> Vec<Composed> {
        let compose =
            |(index, gap): &(usize, Gap)| self.letters.compose(&events[*index].record, Cause::Waits, gap);
        done.gaps.iter().map(compose).collect()
    }

    /// While idle: is PostgreSQL there, and does it agree with us?
    fn look(&mut self) -> Result<(), Error> {
        self.looked = Instant::now();
        self.hint();
        if self.has_assignment {
            let found = self.wait(async {
                let read = self.offsets.read(&self.pool, &self.assigned);
                tokio::time::timeout(TRANSACTION_LIMIT, read)
                    .await
                    .map_err(|_| Error::TimedOut)?
                    .map_err(Error::from)
            })?;
            if found != self.next {
                return Err(Error::Moved);
            }
        }
        match self.consumer.complaint() {
            Some(complaint) => Err(Error::Consumer(complaint)),
            None => Ok(()),
        }
    }

    fn hint(&mut self) {
        if !self.hinted {
            self.consumer.hint(self.next.iter().map(|(place, next)| (place.clone(), *next)));
            self.hinted = true;
        }
    }

    /// The one way out of every failure.
    fn recover(&mut self, error: &Error) {
        self.unplaced = true;
        self.next.clear();
        tracing::warn!(error = %error, "the projector starts over from PostgreSQL's offsets");
        if !matches!(error, Error::Fenced | Error::Moved) {
            self.announce(Readiness::Waiting(error.to_string()));
        }
        let until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        while Instant::now() < until && !self.cancel.is_cancelled() {
            // Records are dropped here: they are read again. Rebalances go on, so that the group doesn't wait for us.
            let left = until.saturating_duration_since(Instant::now());
            let _ = self.consumer.poll(left.min(POLL));
        }
    }

    fn show(&self) {
        let blocked = self.blocked.values().map(|blocked| &blocked.reason).min();
        self.announce(match (blocked, self.has_assignment) {
            (Some(reason), _) => Readiness::Waiting(reason.clone()),
            (None, false) => Readiness::Waiting("the consumer group has no assignment yet".into()),
            (None, true) => Readiness::Ready,
        });
    }

    fn announce(&self, now: Readiness) {
        readiness::set(&self.readiness, now);
    }

    /// Runs a future on the runtime while this thread waits, unless cancelled.
    fn wait<T>(&self, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.runtime.block_on(async {
            tokio::select! {
                outcome = future => outcome,
                () = self.cancel.cancelled() => Err(Error::Cancelled),
            }
        })
    }
}
