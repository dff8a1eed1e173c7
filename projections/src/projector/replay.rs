//! Applying an event once more that went to the dead letters.
//!
//! The event is not sent again, since the event topics are the truth: it is read from where it stands, and folded onto
//! its row if it is the row's next one. The transaction holds the lock of the partition's offset, as each of the
//! projector's does, so neither reads a row that the other one changes. The offset stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use sqlx::{Connection as _, PgPool};
use writ_model::{Model, Models};
use writ_producers::dead_letter::Origin;
use writ_producers::kafka::Options as KafkaOptions;
use writ_producers::registry::Registry;
use writ_producers::topics::Topics;

use super::batch::{self, Decoder, Record};
use super::offsets::Offsets;
use super::rows::{self, Rows};
use crate::database::{is_undefined, projector_pool};
use crate::tables::{Schema, Table};
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
    /// A row is not what the projector writes.
    #[error("a row can't be read: {0}")]
    Row(String),
    /// The registry doesn't answer.
    #[error(transparent)]
    Registry(writ_producers::registry::Error),
    /// PostgreSQL doesn't answer in time.
    #[error("PostgreSQL doesn't answer within {} s", TRANSACTION_LIMIT.as_secs())]
    TimedOut,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// Its row has it now.
    Applied,
    /// Its row had that version already.
    AlreadyThere,
    /// It can't be applied as things are.
    Refused(String),
}

/// Applies events again.
pub struct Replay {
    pool: PgPool,
    schema: Schema,
    offsets: Offsets,
    decoder: Decoder,
    models: Arc<Models>,
    topics: Topics,
    consumer: Arc<BaseConsumer>,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").finish_non_exhaustive()
    }
}

impl Replay {
    /// With today's models. Connects on first use.
    ///
    /// # Errors
    /// The options are invalid.
    pub fn new(
        options: &Options,
        kafka: &KafkaOptions,
        registry: Registry,
        models: Arc<Models>,
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
            offsets: Offsets::new(&schema),
            decoder: Decoder::new(registry, &models, &topics),
            schema,
            models,
            topics,
            consumer: Arc::new(consumer),
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
        let Some(model) = self.model(origin) else {
            return refused(format!("no model has the topic {}", origin.topic));
        };
        let Some(record) = self.fetch(origin).await? else {
            return refused("its topic doesn't have it any more".into());
        };
        let event = match self.decoder.decode(record).await {
            Ok(event) => event,
            Err((_, batch::Error::Registry(error))) => return Err(Error::Registry(error)),
            Err((_, batch::Error::Undecodable(error))) => return refused(chain(&error)),
        };
        let rows = Rows::new(model.clone(), Table::derive(&self.schema, model));
        let work = async {
            let mut connection = self.pool.acquire().await?;
            let mut transaction = connection.begin().await?;
            match self.offsets.hold(&mut transaction, &event.record.place).await? {
                Some(next) if next > event.record.offset => {}
                _ => {
                    return refused("the projector hasn't come there yet, and will read it by itself".into());
                }
            }
            let done = match rows.apply(&mut transaction, std::slice::from_ref(&event)).await {
                Ok(done) => done,
                Err(error) if error.is_refusal() => return refused(chain(&error)),
                Err(rows::Error::Database(error)) => return Err(error.into()),
                Err(error @ rows::Error::Row { .. }) => return Err(Error::Row(error.to_string())),
            };
            transaction.commit().await?;
            Ok(match (done.gaps.first(), done.count) {
                (Some((_, gap)), _) => Replayed::Refused(gap.to_string()),
                (None, 0) => Replayed::AlreadyThere,
                (None, _) => Replayed::Applied,
            })
        };
        match tokio::time::timeout(TRANSACTION_LIMIT, work).await {
            Ok(Err(Error::Database(error))) if is_undefined(&error) => Err(Error::NoTables),
            Ok(result) => result,
            Err(_) => Err(Error::TimedOut),
        }
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
