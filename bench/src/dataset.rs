//! A data set: the event topics of a large shop under a prefix of their own, and the schema in PostgreSQL that a projector
//! fills from them.

mod writer;

pub(crate) use writer::headers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool, Row as _};
use uuid::Uuid;
use writ_model::Models;
use writ_model::diagnostic::Source;
use writ_producers::registry::{self, Registry};
use writ_producers::topics::{self, Topics};
use writ_producers::{kafka, partitioner};

use crate::orders::Orders;
use crate::server::Setup;
use crate::target::{self, workspace};

const REQUEST: Duration = Duration::from_secs(10);
/// Markers of transactions at the end of a partition, at most; behind more of them no last record is looked for.
const TAIL: i64 = 1000;
const LOOK: Duration = Duration::from_millis(100);

/// The flags.
#[derive(Debug, Args)]
#[group(id = "dataset")]
pub(crate) struct Flags {
    #[command(flatten)]
    target: target::Flags,
    /// Orders of the shop
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    orders: u64,
    /// Partitions of the topics
    #[arg(long, default_value_t = 24)]
    partitions: i32,
    /// Name of the data set: made unless it is there, and kept [default: a new one, deleted at the end]
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
    /// Keep the SQL projections of the sample shop as well
    #[arg(long)]
    projections: bool,
}

/// The offset after the last record, by topic and partition.
pub(crate) type Ends = BTreeMap<(String, i32), i64>;

/// A data set.
#[derive(Debug)]
pub(crate) struct Dataset {
    /// What the processes are started with.
    pub(crate) setup: Setup,
    /// Of the sample shop.
    pub(crate) models: Models,
    /// Names of the topics.
    pub(crate) topics: Topics,
    /// Of the orders.
    pub(crate) orders: usize,
    /// The registry.
    pub(crate) registry: Registry,
    /// The schema in PostgreSQL, also a name of it.
    pub(crate) schema: String,
    postgres: String,
    keep: bool,
}

impl Dataset {
    /// Makes the topics and registers the schemas.
    pub(crate) async fn open(flags: &Flags) -> Result<Dataset> {
        let target = flags.target.target()?;
        let nonce = Uuid::new_v4().as_fields().0;
        let name = flags.set.clone().unwrap_or_else(|| format!("bench-{nonce:08x}"));
        let dir = std::env::temp_dir().join(format!("writ-{name}"));
        let models = sample_models(flags.projections)?;
        let folder = dir.join("models");
        std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
        for source in sample_sources(flags.projections)? {
            std::fs::write(folder.join(&source.name), &source.text)?;
        }
        let kafka = kafka::Options {
            brokers: target.brokers,
            topic_prefix: name.clone(),
            partitions: flags.partitions,
            ..kafka::Options::default()
        };
        let schema = name.replace('-', "_");
        topics::ensure(&kafka, &models).await?;
        Ok(Dataset {
            topics: Topics::new(&name),
            orders: usize::try_from(flags.orders)?,
            registry: Registry::new(&registry::Options { url: target.registry })?,
            postgres: target.postgres,
            keep: flags.set.is_some(),
            setup: Setup { dir, models: folder, kafka, schema: Some(schema.clone()), settings: Vec::new() },
            schema,
            models,
        })
    }

    /// Writes the events, unless they are there. Prints what it did.
    pub(crate) async fn fill(&self) -> Result<()> {
        let order = self.topics.events("order");
        let found: i64 =
            self.ends()?.iter().filter(|((topic, _), _)| *topic == order).map(|(_, end)| end).sum();
        if found > 0 {
            if found < i64::try_from(self.orders)? {
                bail!("{order} has {found} events, too few for {} orders; delete the data set", self.orders);
            }
            println!("{order} has its events already.");
            return Ok(());
        }
        let ids = self.registry.register(&self.models, &self.topics).await?;
        let orders = Orders::new(&self.models, self.orders)?;
        let (kafka, topics) = (self.setup.kafka.clone(), self.topics.clone());
        let started = Instant::now();
        let written =
            tokio::task::spawn_blocking(move || writer::write(&kafka, &topics, &ids, orders)).await??;
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{} events of {} orders, {} bytes each, written to Kafka in {seconds:.0} s ({:.0} events/s).",
            written.events,
            self.orders,
            written.bytes / written.events.max(1),
            written.events as f64 / seconds
        );
        Ok(())
    }

    /// Connections to PostgreSQL. `settings` hold for each of them.
    pub(crate) async fn postgres(&self, settings: &[(&str, &str)]) -> Result<PgPool> {
        let options: PgConnectOptions = self.postgres.parse().context("the URL of PostgreSQL is none")?;
        let options = options.options(settings.iter().copied());
        let pool = PgPoolOptions::new().max_connections(4).connect_with(options);
        pool.await.with_context(|| format!("{} doesn't answer", self.postgres))
    }

    /// Where the event topics end: after the last record, not after the markers of transactions behind it. Blocks.
    pub(crate) fn ends(&self) -> Result<Ends> {
        let mut ends = Ends::new();
        for model in self.models.models.keys() {
            let topic = self.topics.events(model);
            let consumer = consumer(&self.setup.kafka)?;
            let metadata = consumer.fetch_metadata(Some(&topic), REQUEST)?;
            let partitions = metadata.topics().first().map_or(&[][..], |found| found.partitions());
            let mut places = TopicPartitionList::new();
            for partition in partitions {
                places.add_partition_offset(&topic, partition.id(), Offset::OffsetTail(TAIL))?;
                ends.insert((topic.clone(), partition.id()), 0);
            }
            consumer.assign(&places)?;
            let mut at_end = 0;
            while at_end < partitions.len() {
                match consumer.poll(REQUEST).with_context(|| format!("{topic} isn't read in time"))? {
                    Ok(message) => {
                        ends.insert((topic.clone(), message.partition()), message.offset() + 1);
                    }
                    Err(KafkaError::PartitionEOF(_)) => at_end += 1,
                    Err(error) => return Err(error).with_context(|| format!("reading {topic}")),
                }
            }
        }
        Ok(ends)
    }

    /// How far every projection is, by topic and partition; empty before the tables are made.
    pub(crate) async fn places(&self, pool: &PgPool) -> Result<Ends> {
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(format!("{}.writ_offsets", self.schema))
            .fetch_one(pool)
            .await?;
        if !exists {
            return Ok(Ends::new());
        }
        let sql =
            format!("SELECT topic, partition, min(next) FROM {}.writ_offsets GROUP BY 1, 2", self.schema);
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(pool).await?;
        rows.iter().map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?))).collect()
    }

    /// Waits until every projection is at `ends`. Fails when nothing moves for `limit`.
    pub(crate) async fn until_projected(
        &self,
        pool: &PgPool,
        ends: &Ends,
        limit: Duration,
    ) -> Result<Progress> {
        let total: i64 = ends.values().sum();
        let started = Instant::now();
        let mut progress = Progress { first: None, done: started, events: total };
        let (mut before, mut moved) = (0, started);
        loop {
            let places = self.places(pool).await?;
            let done =
                ends.iter().map(|(place, end)| places.get(place).map_or(0, |next| *next.min(end))).sum();
            let now = Instant::now();
            if done > before {
                progress.first.get_or_insert((now, done));
                (before, moved) = (done, now);
            }
            if done >= total {
                progress.done = now;
                return Ok(progress);
            }
            if now.duration_since(moved) > limit {
                bail!("the projections stand at {done} of {total} events for {limit:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The partition of an aggregate's events.
    pub(crate) fn partition_of(&self, aggregate: Uuid) -> i32 {
        partitioner::partition_of(aggregate.to_string().as_bytes(), self.setup.kafka.partitions)
    }

    /// Deletes the data set, unless it has a name and is to be kept.
    pub(crate) async fn close(self) -> Result<()> {
        if self.keep {
            println!("The data set {} is kept.", self.setup.kafka.topic_prefix);
            return Ok(());
        }
        let pool = self.postgres(&[]).await?;
        for schema in [self.schema.clone(), format!("{}_next", self.schema)] {
            let sql = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
            sqlx::query(AssertSqlSafe(sql)).execute(&pool).await?;
        }
        pool.close().await;
        let topics = &self.topics;
        let mut names = vec![topics.commands(), topics.state(), topics.replies(), topics.dead_letters()];
        names.extend(self.models.models.keys().map(|model| topics.events(model)));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.setup.kafka.admin()?.delete_topics(&names, &AdminOptions::new()).await?;
        let dir = &self.setup.dir;
        std::fs::remove_dir_all(dir).with_context(|| format!("{} can't be deleted", dir.display()))
    }
}

/// How a projector came to the ends of its topics.
#[derive(Debug)]
pub(crate) struct Progress {
    /// When it was first seen to have done something, and how many events.
    pub(crate) first: Option<(Instant, i64)>,
    /// When it had done all.
    pub(crate) done: Instant,
    /// All events.
    pub(crate) events: i64,
}

impl Progress {
    /// Events per second since the first look that showed some.
    pub(crate) fn per_second(&self) -> f64 {
        let Some((since, before)) = self.first else { return 0.0 };
        if self.done == since {
            // It had nothing left to do.
            return 0.0;
        }
        (self.events - before) as f64 / self.done.duration_since(since).as_secs_f64()
    }
}

/// A plain reader of committed events.
pub(crate) fn consumer(kafka: &kafka::Options) -> Result<BaseConsumer> {
    let mut config = kafka.client("bench");
    config
        .set("group.id", format!("{}.bench", kafka.topic_prefix))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false");
    config.create().context("the options of the consumer are invalid")
}

/// The models of the sample shop.
pub(crate) fn sample_models(projections: bool) -> Result<Models> {
    Models::check("shop", &sample_sources(projections)?)
        .map_err(|findings| anyhow!("the sample's models have faults: {findings:?}"))
}

/// The sample shop's files.
fn sample_sources(projections: bool) -> Result<Vec<Source>> {
    let folder: &Path = &workspace().join("models");
    let entries = std::fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let mut sources = Vec::new();
    for path in paths {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if projections || !text.lines().any(|line| line.starts_with("projection:")) {
            sources.push(Source { name, text });
        }
    }
    Ok(sources)
}
