//! Applying an event once more that went to the dead letters.
//!
//! The event is not sent again, since the event topics are the truth: it is read from where it stands, and folded onto
//! its row if it is the row's next one. The transaction holds the locks of the partition's places, as each of the
//! projector's and the builder's does, so neither reads a row that the other one changes. The places stay.
//!
//! An event that its row has taken is no longer passed over: every other projection that has come past it is given it in
//! the same transaction, also one that is being built. Those that come to it later read it by themselves.
//!
//! The cache goes by places, and these don't move here: it gets a new epoch after the commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use sqlx::{Connection as _, PgPool, Postgres, Transaction};
use writ_model::{Model, Models};
use writ_producers::dead_letter::Origin;
use writ_producers::kafka::Options as KafkaOptions;
use writ_producers::registry::Registry;
use writ_producers::topics::Topics;

use super::batch::Decoded;
use super::batch::{self, Decoder, Record};
use super::offsets::Offsets;
use super::passed_over::PassedOver;
use super::target::{self, Passed, Target, Work};
use crate::cache::Cache;
use crate::catalog::{Catalog, Entry, Generation, State};
use crate::database::{is_undefined, projector_pool};
use crate::declared::Declaration;
use crate::tables::Schema;
use crate::{InvalidOptions, Options};

/// Limit of reading one event.
const READ_LIMIT: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(100);
/// Limit of one transaction.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(30);

/// Why nothing can be tried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `postgres.url` is no URL.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
    /// Kafka doesn't answer.
    #[error("the event {origin} can't be read from Kafka")]
    Kafka {
        /// Where it stands.
        origin: Origin,
        /// What Kafka said.
        #[source]
        source: KafkaError,
    },
    /// PostgreSQL doesn't answer, or refuses.
    #[error("PostgreSQL can't be used")]
    Database(#[from] sqlx::Error),
    /// The projector has never run.
    #[error("there are no tables yet; a server with the role projector makes them")]
    NoTables,
    /// A row is not what the projector writes, or a projection can't be given the event.
    #[error("the event can't be applied: {0}")]
    Row(String),
    /// The registry doesn't answer.
    #[error(transparent)]
    Registry(writ_producers::registry::Error),
    /// PostgreSQL doesn't answer in time.
    #[error("PostgreSQL doesn't answer within {} s", TRANSACTION_LIMIT.as_secs())]
    TimedOut,
}

impl From<target::Error> for Error {
    fn from(error: target::Error) -> Error {
        match error {
            target::Error::Database(error) => Error::Database(error),
            other => Error::Row(other.to_string()),
        }
    }
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// Its row has it now.
    Applied {
        /// Redis could not be told: queries without a position may show the row as it was for a minute.
        is_cached: bool,
    },
    /// Its row had that version already.
    AlreadyThere,
    /// It can't be applied as things are.
    Refused(String),
}

/// Applies events again.
pub struct Replay {
    pool: PgPool,
    schema: Schema,
    catalog: Catalog,
    offsets: Offsets,
    passed_over: PassedOver,
    decoder: Decoder,
    models: Arc<Models>,
    topics: Topics,
    consumer: Arc<BaseConsumer>,
    /// `None`: nothing is cached.
    cache: Option<Cache>,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").finish_non_exhaustive()
    }
}

impl Replay {
    /// With today's models, and the servers' cache. Connects on first use.
    ///
    /// # Errors
    /// The options are invalid.
    pub fn new(
        options: &Options,
        kafka: &KafkaOptions,
        registry: Registry,
        models: Arc<Models>,
        cache: Option<Cache>,
    ) -> Result<Replay, super::Error> {
        let topics = Topics::new(&kafka.topic_prefix);
        let schema = Schema::new(&options.schema);
        let consumer: BaseConsumer = kafka
            .client("replay")
            .set("group.id", "none") // Required by the client, never used: partitions are assigned by hand.
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .create()?;
        Ok(Replay {
            pool: projector_pool(options)?,
            catalog: Catalog::new(&schema),
            offsets: Offsets::new(&schema),
            passed_over: PassedOver::new(&schema),
            decoder: Decoder::new(registry, &models, &topics),
            schema,
            models,
            topics,
            consumer: Arc::new(consumer),
            cache,
        })
    }

    /// The model whose event stands there.
    pub fn model(&self, origin: &Origin) -> Option<&Arc<Model>> {
        self.models.models.values().find(|model| self.topics.events(&model.name) == origin.topic)
    }

    /// Tries the event at `origin` again.
    ///
    /// # Errors
    /// A server is away; nothing was tried.
    pub async fn apply(&self, origin: &Origin) -> Result<Replayed, Error> {
        let refused = |reason: String| Ok(Replayed::Refused(reason));
        if self.model(origin).is_none() {
            return refused(format!("no model has the topic {}", origin.topic));
        }
        let Some(record) = self.fetch(origin).await? else {
            return refused("its topic doesn't have it any more".into());
        };
        let event = match self.decoder.decode(record).await {
            Ok(event) => event,
            Err((_, batch::Error::Registry(error))) => return Err(Error::Registry(error)),
            Err((_, batch::Error::Undecodable(error))) => return refused(chain(&error)),
        };
        let work = self.give(&event);
        match tokio::time::timeout(TRANSACTION_LIMIT, work).await {
            Ok(Err(Error::Database(error))) if is_undefined(&error) => Err(Error::NoTables),
            Ok(result) => result,
            Err(_) => Err(Error::TimedOut),
        }
    }

    /// In one transaction: to the rows, and if they take it, to the others.
    async fn give(&self, event: &Decoded) -> Result<Replayed, Error> {
        let record = &event.record;
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let entries = self.catalog.hold(&mut transaction).await?;
        let places = self.offsets.hold(&mut transaction, &record.place).await?;
        let is_past =
            |generation: &Generation| places.get(generation).is_some_and(|next| *next > record.offset);
        let targets: Vec<(Target, State)> =
            Declaration::all(&self.models).iter().flat_map(|one| self.targets(one, &entries)).collect();
        let past = |target: &Target| target.reads(&record.place) && is_past(target.generation());
        let judge = targets.iter().find(|(target, state)| {
            *state == State::Live && matches!(target.work(), Work::Rows(_)) && past(target)
        });
        let Some((judge, _)) = judge else {
            return Ok(Replayed::Refused(
                "the projector hasn't come there yet, and will read it by itself".into(),
            ));
        };
        let done = match judge.apply(&mut transaction, &[event]).await {
            Ok(done) => done,
            Err(error) if error.is_refusal() => return Ok(Replayed::Refused(chain(&error))),
            Err(error) => return Err(error.into()),
        };
        if let Some((_, passed)) = done.passed.first() {
            return Ok(match passed {
                Passed::Hole(gap) => Replayed::Refused(gap.to_string()),
                Passed::Duplicate => Replayed::AlreadyThere,
            });
        }
        let spot = (record.place.clone(), record.offset, record.offset + 1);
        self.passed_over.reopen(&mut transaction, &[spot]).await?;
        for (target, _) in &targets {
            if past(target) && target.generation() != judge.generation() {
                self.catch_up(&mut transaction, target, event).await?;
            }
        }
        self.offsets.announce_rewritten(&mut transaction).await?;
        transaction.commit().await?;
        let is_cached = match &self.cache {
            Some(cache) => cache.renew().await.is_err(),
            None => false,
        };
        Ok(Replayed::Applied { is_cached })
    }

    /// The generations of a projection that follow the events, as it is declared now.
    fn targets(&self, declaration: &Declaration, entries: &[Entry]) -> Vec<(Target, State)> {
        let fingerprint = declaration.fingerprint();
        let is_ours = |entry: &&Entry| {
            &*entry.generation.projection == declaration.name()
                && entry.fingerprint == fingerprint
                && entry.state != State::Stopped
        };
        let target = |entry: &Entry| {
            let schema = match entry.state {
                State::Building => self.schema.next(),
                State::Live | State::Stopped => self.schema.clone(),
            };
            (Target::new(declaration, &self.topics, &schema, entry.generation.number), entry.state)
        };
        entries.iter().filter(is_ours).map(target).collect()
    }

    /// Gives an event to a projection that has passed it by.
    async fn catch_up(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        target: &Target,
        event: &Decoded,
    ) -> Result<(), Error> {
        let mut savepoint = transaction.begin().await?;
        let applied = match target.work() {
            Work::Log(log) => log.complete(&mut savepoint, event).await.map_err(target::Error::Database),
            Work::Statements(_) => target.apply(&mut savepoint, &[event]).await.map(|_| ()),
            // Rows that are being built keep their own judgement beside (see `rebuild`).
            Work::Rows(_) => match target.apply(&mut savepoint, &[event]).await {
                Ok(done) if done.passed.is_empty() => {
                    let record = &event.record;
                    let spot = (record.place.clone(), record.offset, record.offset + 1);
                    let judgement = PassedOver::new(&self.schema.next());
                    let reopened = judgement.reopen(&mut savepoint, &[spot]).await;
                    reopened.map(|_| ()).map_err(target::Error::Database)
                }
                applied => applied.map(|_| ()),
            },
        };
        match applied {
            Ok(()) => savepoint.commit().await?,
            Err(target::Error::Statement { source, .. }) => {
                savepoint.rollback().await?;
                let at = event.record.origin().to_string();
                self.catalog.stop(transaction, target.generation(), &source.to_string(), &at).await?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn fetch(&self, origin: &Origin) -> Result<Option<Record>, Error> {
        let (consumer, wanted) = (self.consumer.clone(), origin.clone());
        // Blocking in librdkafka, so not on the runtime's own threads.
        let read = tokio::task::spawn_blocking(move || fetch(&consumer, &wanted)).await;
        read.unwrap_or(Err(KafkaError::Canceled))
            .map_err(|source| Error::Kafka { origin: origin.clone(), source })
    }
}

/// `None`: it isn't there any more.
fn fetch(consumer: &BaseConsumer, origin: &Origin) -> Result<Option<Record>, KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&origin.topic, origin.partition, Offset::Offset(origin.offset))?;
    consumer.assign(&list)?;
    let deadline = Instant::now() + READ_LIMIT;
    while Instant::now() < deadline {
        match consumer.poll(TICK) {
            None => {}
            Some(Ok(message)) => {
                return Ok((message.offset() == origin.offset).then(|| Record::of(&message)));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                return Ok(None);
            }
            Some(Err(error)) if writ_producers::kafka::is_lost_connection(&error) => {}
            Some(Err(error)) => return Err(error),
        }
    }
    Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
