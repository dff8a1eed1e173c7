//! What a test stands on: models, topics, a schema, and a projector to start and stop.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_model::access::Permission;
use writ_model::decide::Actor;
use writ_model::diagnostic::Source;
use writ_model::{Event, Model, Models, Object, Position, Timestamp};
use writ_producers::dead_letter::{Entry, Letter, Origin};
use writ_producers::envelope::{frame, header};
use writ_producers::kafka;
use writ_producers::readiness::Readiness;
use writ_producers::registry::{self, Registry, SchemaIds};
use writ_producers::topics::{self, Topics};
use writ_projections::cache::{self, Cache};
use writ_projections::positions::Reads;
use writ_projections::projector::replay::Replay;
use writ_projections::query::Queries;
use writ_projections::rebuild::{self, Projections};
use writ_projections::{Options, Reader, projector};

/// Longest wait for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo dev test`"))
}

/// Somebody from whom nothing is kept.
pub(crate) fn everything() -> Reader<'static> {
    static ACTOR: LazyLock<Actor> = LazyLock::new(|| Actor {
        permissions: [Permission::Everything].into_iter().collect(),
        ..Actor::default()
    });
    Reader { actor: &ACTOR, now: Timestamp(0) }
}

pub(crate) fn models(texts: &[&str]) -> Arc<Models> {
    let sources: Vec<Source> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| Source { name: format!("{index}.yaml"), text: (*text).to_owned() })
        .collect();
    Arc::new(Models::check("test", &sources).unwrap_or_else(|findings| panic!("{findings:#?}")))
}

/// A schema of its own, dropped at the end.
pub(crate) struct Database {
    pub(crate) options: Options,
}

impl Database {
    pub(crate) fn new() -> Database {
        variable("WRIT_TEST_STACK");
        Database {
            options: Options {
                url: variable("WRIT_POSTGRES_URL"),
                schema: format!("t\"{}", Uuid::now_v7().simple()),
                ..Options::default()
            },
        }
    }

    /// Runs `sql`, in which `$schema` stands for the schema.
    pub(crate) async fn execute(&self, sql: &str) {
        self.try_execute(sql).await.unwrap();
    }

    /// `sql` with the names of the schemas: `$schema`, and `$next` of the one in which tables are built.
    pub(crate) fn named(&self, sql: &str) -> String {
        let name = self.options.schema.replace('"', "\"\"");
        sql.replace("$schema", &format!("\"{name}\"")).replace("$next", &format!("\"{name}_next\""))
    }

    pub(crate) async fn try_execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect(&self.options.url).await?;
        let sql = self.named(sql);
        // Several statements are one transaction.
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        Ok(())
    }

    /// The rows that `sql` selects, in which `$schema` stands for the schema, as JSON texts.
    pub(crate) async fn select(&self, sql: &str) -> Vec<serde_json::Value> {
        let sql = format!("SELECT to_json(selected)::text FROM ({}) AS selected", self.named(sql));
        let mut connection = PgConnection::connect(&self.options.url).await.unwrap();
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
    }

    /// The one number that `sql` selects.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let rows = self.select(&format!("SELECT ({sql}) AS number")).await;
        rows[0]["number"].as_i64().unwrap()
    }

    /// Returns once `sql` selects `number`.
    pub(crate) async fn until(&self, sql: &str, number: i64) {
        let reached = async {
            while self.number(sql).await != number {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, reached).await.unwrap_or_else(|_| panic!("{sql} never is {number}"));
    }
}

const DROP: &str = "DROP SCHEMA IF EXISTS $schema CASCADE; DROP SCHEMA IF EXISTS $next CASCADE";

impl Drop for Database {
    fn drop(&mut self) {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // A thread of its own: this runs inside of the test's runtime.
        let dropped = std::thread::scope(|scope| {
            let drop = || runtime().block_on(self.try_execute(DROP));
            scope.spawn(drop).join()
        });
        // A test that fails already is to say why itself.
        assert!(std::thread::panicking() || matches!(dropped, Ok(Ok(()))), "{dropped:?}");
    }
}

pub(crate) struct Stage {
    pub(crate) database: Database,
    pub(crate) models: Arc<Models>,
    pub(crate) topics: Topics,
    pub(crate) queries: Queries,
    kafka: kafka::Options,
    registry: Registry,
    schemas: SchemaIds,
    producer: FutureProducer,
}

impl Stage {
    pub(crate) async fn new(texts: &[&str]) -> Stage {
        Stage::with_url(texts, &variable("WRIT_POSTGRES_URL")).await
    }

    /// PostgreSQL by another way.
    pub(crate) async fn with_url(texts: &[&str], url: &str) -> Stage {
        Stage::of(models(texts), url).await
    }

    /// Of models that are put together by hand.
    pub(crate) async fn of(models: Arc<Models>, url: &str) -> Stage {
        let mut database = Database::new();
        database.options.url = url.to_owned();
        let kafka = kafka::Options {
            brokers: variable("WRIT_KAFKA_BROKERS"),
            topic_prefix: format!("t{}", Uuid::now_v7().simple()),
            partitions: 3,
            replication: 1,
        };
        topics::ensure(&kafka, &models).await.unwrap();
        let topics = Topics::new(&kafka.topic_prefix);
        let registry = Registry::new(&registry::Options { url: variable("WRIT_REGISTRY_URL") }).unwrap();
        let schemas = registry.register(&models, &topics).await.unwrap();
        Stage {
            queries: Queries::new(&database.options, None).unwrap(),
            producer: kafka.client("test").set("linger.ms", "5").create().unwrap(),
            database,
            models,
            topics,
            kafka,
            registry,
            schemas,
        }
    }

    /// The cache of this test's projectors and readers.
    pub(crate) fn cache(&self) -> Option<Cache> {
        self.cache_at(&variable("WRIT_REDIS_URL"))
    }

    pub(crate) fn cache_at(&self, url: &str) -> Option<Cache> {
        let options = cache::Options { url: url.to_owned(), cache: true };
        Cache::new(&options, &self.kafka.topic_prefix, &self.database.options.schema).unwrap()
    }

    pub(crate) fn model(&self, name: &str) -> Arc<Model> {
        self.models.get(name).unwrap().clone()
    }

    /// The tool that tries events again, with `models`.
    pub(crate) fn replay(&self, models: &Arc<Models>) -> Replay {
        let (options, registry) = (&self.database.options, self.registry.clone());
        Replay::new(options, &self.kafka, registry, models.clone(), self.cache()).unwrap()
    }

    /// Registers the events of other models under the topics of this test.
    pub(crate) async fn register(&self, models: &Models) -> SchemaIds {
        self.registry.register(models, &self.topics).await.unwrap()
    }

    /// The dead letters by the places of their events: the first of each, and how often it was written.
    pub(crate) async fn letters(&self) -> BTreeMap<Origin, (Letter, usize)> {
        let (kafka, topic) = (self.kafka.clone(), self.topics.dead_letters());
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = kafka
                .client("test")
                .set("group.id", "none")
                .set("enable.partition.eof", "true")
                .create()
                .unwrap();
            let mut assignment = TopicPartitionList::new();
            for partition in 0..kafka.partitions {
                assignment.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
            }
            consumer.assign(&assignment).unwrap();
            let (mut letters, mut left) = (BTreeMap::new(), kafka.partitions);
            while left > 0 {
                match consumer.poll(LIMIT).expect("the end is reached") {
                    Err(KafkaError::PartitionEOF(_)) => left -= 1,
                    Err(error) => panic!("{error}"),
                    Ok(record) => {
                        let Some(Entry::Letter(letter)) = Entry::parse(&record) else { panic!("no letter") };
                        letters.entry(letter.origin.clone()).or_insert((*letter, 0)).1 += 1;
                    }
                }
            }
            letters
        })
        .await
        .unwrap()
    }

    /// Where the event at `position` stands.
    pub(crate) fn origin(&self, position: &Position) -> Origin {
        let Position { model, partition, offset } = position;
        Origin { topic: self.topics.events(model), partition: *partition, offset: *offset }
    }

    pub(crate) fn start(&self) -> Running {
        self.start_with(self.cache())
    }

    pub(crate) fn start_with(&self, cache: Option<Cache>) -> Running {
        self.run(&self.models, cache)
    }

    /// A projector with these models.
    pub(crate) fn start_as(&self, models: &Arc<Models>) -> Running {
        self.run(models, self.cache())
    }

    fn run(&self, models: &Arc<Models>, cache: Option<Cache>) -> Running {
        let cancel = CancellationToken::new();
        let (sender, readiness) = watch::channel(Readiness::Waiting("new".into()));
        let task = tokio::spawn(projector::run(
            self.database.options.clone(),
            self.kafka.clone(),
            self.registry.clone(),
            models.clone(),
            cache,
            cancel.clone(),
            sender,
        ));
        Running { cancel, readiness, task }
    }

    /// Builds what is asked for, as these models declare it.
    pub(crate) fn build(&self, models: &Arc<Models>) -> Building {
        let cancel = CancellationToken::new();
        let task = tokio::spawn(rebuild::run(
            self.database.options.clone(),
            self.kafka.clone(),
            self.registry.clone(),
            models.clone(),
            cancel.clone(),
        ));
        Building { cancel, task }
    }

    /// How far behind the projections are.
    pub(crate) async fn lags(&self) -> rebuild::Lags {
        Projections::new(&self.database.options).unwrap().lags(&self.kafka).await.unwrap()
    }

    /// Writes an event as the decider does, and says where it stands.
    pub(crate) async fn publish(
        &self,
        model: &Model,
        event: &Event,
        aggregate: Uuid,
        version: u64,
        at: Timestamp,
        fields: &Object,
    ) -> Position {
        let id = self.schemas.id(&event.type_name).unwrap();
        let mut value = frame(id);
        event.codec.encode(fields, &mut value).unwrap();
        self.publish_bytes(model, event, aggregate, version, at, &value).await
    }

    pub(crate) async fn publish_bytes(
        &self,
        model: &Model,
        event: &Event,
        aggregate: Uuid,
        version: u64,
        at: Timestamp,
        value: &[u8],
    ) -> Position {
        let (version, time) = (version.to_string(), at.to_string());
        let id = Uuid::new_v5(&aggregate, version.as_bytes()).to_string();
        let headers = [
            (header::ID, &*id),
            (header::TYPE, &*event.type_name),
            (header::VERSION, &*version),
            (header::TIME, &*time),
            (header::ACTOR, "somebody"),
            (header::CORRELATION_ID, "chain"),
        ];
        self.publish_record(model, &aggregate.to_string(), value, &headers).await
    }

    /// Anything into the topic of a model.
    pub(crate) async fn publish_record(
        &self,
        model: &Model,
        key: &str,
        value: &[u8],
        headers: &[(&str, &str)],
    ) -> Position {
        let owned = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
        let topic = self.topics.events(&model.name);
        let record = FutureRecord::to(&topic).key(key).payload(value).headers(owned);
        let delivery = self.producer.send(record, LIMIT).await.unwrap();
        Position { model: model.name.clone(), partition: delivery.partition, offset: delivery.offset }
    }

    /// How many partitions these stand in.
    pub(crate) fn partitions_of(&self, positions: &[Position]) -> i64 {
        let partitions: std::collections::BTreeSet<i32> =
            positions.iter().map(|position| position.partition).collect();
        i64::try_from(partitions.len()).unwrap()
    }

    /// Waits until the rows are there.
    pub(crate) async fn reach(&self, positions: &[Position]) {
        self.queries.positions(self.topics.clone()).wait(Reads::Rows, positions, LIMIT).await.unwrap();
    }

    /// The same while PostgreSQL may be away.
    pub(crate) async fn reach_somehow(&self, positions: &[Position]) {
        let waiter = self.queries.positions(self.topics.clone());
        let reached = async {
            while waiter.wait(Reads::Rows, positions, LIMIT).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, reached).await.expect("the rows come");
    }
}

/// A projector at work.
pub(crate) struct Running {
    cancel: CancellationToken,
    readiness: watch::Receiver<Readiness>,
    task: JoinHandle<Result<(), projector::Error>>,
}

impl Running {
    pub(crate) async fn until(&mut self, is: impl FnMut(&Readiness) -> bool) -> Readiness {
        let waited = tokio::time::timeout(LIMIT, self.readiness.wait_for(is)).await;
        waited.expect("readiness changes in time").unwrap().clone()
    }

    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("it ends in time").unwrap().unwrap();
    }
}

/// A builder at work.
pub(crate) struct Building {
    cancel: CancellationToken,
    task: JoinHandle<Result<(), rebuild::Error>>,
}

impl Building {
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("it ends in time").unwrap().unwrap();
    }
}
