//! Builds the parts of one process and starts its roles. Nothing has to be there yet: each part waits for what it
//! needs and says so in `/readyz`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use writ_api::identity::Identity;
use writ_api::identity::keys::{self, Keys};
use writ_api::mail::Mailer;
use writ_api::metrics::Handle as MetricsHandle;
use writ_api::rate_limit::RateLimiter;
use writ_api::{Api, Server};
use writ_consumers::decider::Decider;
use writ_consumers::live::Live;
use writ_consumers::reactions::Reactions;
use writ_identity::directory::Directory;
use writ_model::{Models, Timestamp};
use writ_producers::commands::{Answers, Commands};
use writ_producers::readiness::{Part, Readiness};
use writ_producers::registry::{Registry, SchemaIds};
use writ_producers::topics::Topics;
use writ_producers::{kafka, replies, thread};
use writ_projections::cache::Cache;
use writ_projections::query::Queries;
use writ_projections::{projector, rebuild};

use super::{BoxError, Error, Roles};
use crate::config::{Config, Role};

/// Starts the configured roles, and what they share: the watch over Kafka and over the registry.
pub(super) async fn start(config: Config, models: Arc<Models>, roles: &mut Roles) -> Result<(), Error> {
    let has = |role| config.roles.contains(&role);
    let (api, decider, projector) = (has(Role::Api), has(Role::Decider), has(Role::Projector));
    let reactions = has(Role::Reactions);
    let metrics = writ_api::metrics::install().map_err(invalid("metrics"))?;
    // First: an address or keys that can't be used must not leave topics and tables behind.
    let keys = match api {
        true => Some(load_keys(&config).map_err(invalid("identity"))?),
        false => None,
    };
    let mailer = match api {
        true => Mailer::new(&config.mail, &config.identity.url).map_err(invalid("mail"))?,
        false => None,
    };
    let server = match api {
        true => Some(Server::bind(config.http.clone()).await.map_err(invalid("HTTP interface"))?),
        false => None,
    };

    let (kafka_state, kafka_part) = Part::new("kafka", "connecting to Kafka");
    let mut process = Process {
        topics: Topics::new(&config.kafka.topic_prefix),
        answers: Answers::new(),
        kafka_ready: kafka_part.state.clone(),
        parts: vec![kafka_part],
        cache: Cache::new(&config.redis, &config.kafka.topic_prefix, &config.postgres.schema)
            .map_err(invalid("cache"))?,
        config,
        models,
    };
    roles.spawn("kafka watch", {
        let (options, models) = (process.config.kafka.clone(), process.models.clone());
        |stop| async move { writ_producers::watch::run(options, &models, kafka_state, stop).await }
    });
    let queries = match api || reactions {
        true => {
            let (postgres, cache) = (&process.config.postgres, process.cache.clone());
            Some(Queries::new(postgres, cache).map_err(invalid("read side"))?)
        }
        false => None,
    };
    if decider || projector || reactions {
        let (registry, schema_ids) = process.start_registry(roles)?;
        if decider {
            process.start_decider(schema_ids.clone(), roles);
        }
        if let (true, Some(queries)) = (reactions, &queries) {
            process.start_reactions(registry.clone(), schema_ids.clone(), queries, roles);
        }
        if projector {
            process.start_projector(registry, schema_ids, roles);
        }
    }
    // Last, since it reports all parts.
    if let (Some(server), Some(keys), Some(queries)) = (server, keys, queries) {
        process.start_api(server, keys, mailer, metrics, queries, roles)?;
    }
    Ok(())
}

/// The keys. An open server, which is for development, makes those that are missing.
fn load_keys(config: &Config) -> Result<Keys, keys::Error> {
    if config.http.open {
        keys::init_missing(&config.identity)?;
    }
    Keys::load(&config.identity)
}

/// What the roles of one process have in common.
struct Process {
    config: Config,
    models: Arc<Models>,
    topics: Topics,
    /// The requests of this process that wait for the decider.
    answers: Arc<Answers>,
    kafka_ready: watch::Receiver<Readiness>,
    parts: Vec<Part>,
    /// `None`: nothing is cached.
    cache: Option<Cache>,
}

impl Process {
    fn part(&mut self, name: &'static str, reason: &str) -> watch::Sender<Readiness> {
        let (state, part) = Part::new(name, reason);
        self.parts.push(part);
        state
    }

    fn start_registry(
        &mut self,
        roles: &mut Roles,
    ) -> Result<(Registry, watch::Receiver<Option<SchemaIds>>), Error> {
        let registry = Registry::new(&self.config.registry).map_err(invalid("schema registry's client"))?;
        let readiness = self.part("registry", "connecting to the schema registry");
        let (ids, schema_ids) = watch::channel(None);
        let (watched, models, topics) = (registry.clone(), self.models.clone(), self.topics.clone());
        roles.spawn("registry watch", |stop| async move {
            watched.watch(&models, &topics, ids, readiness, stop).await
        });
        Ok((registry, schema_ids))
    }

    fn start_decider(&mut self, schema_ids: watch::Receiver<Option<SchemaIds>>, roles: &mut Roles) {
        let decider = Decider {
            kafka: self.config.kafka.clone(),
            options: self.config.decider.clone(),
            models: self.models.clone(),
            schemas: SchemaIds::default(),
            folder: self.config.data.clone(),
            answers: self.answers.clone(),
            readiness: self.part("decider", "waiting for Kafka and the schema registry"),
        };
        let kafka_ready = self.kafka_ready.clone();
        roles.spawn("decider", |stop| decide(decider, kafka_ready, schema_ids, stop));
    }

    fn start_projector(
        &mut self,
        registry: Registry,
        mut schema_ids: watch::Receiver<Option<SchemaIds>>,
        roles: &mut Roles,
    ) {
        let readiness = self.part("projector", "waiting for the schema registry, Kafka and PostgreSQL");
        let (postgres, kafka) = (self.config.postgres.clone(), self.config.kafka.clone());
        let (models, cache) = (self.models.clone(), self.cache.clone());
        let builder = {
            let (postgres, kafka, registry) = (postgres.clone(), kafka.clone(), registry.clone());
            let (models, mut schema_ids) = (models.clone(), schema_ids.clone());
            move |stop: CancellationToken| async move {
                match registered(&mut schema_ids, &stop).await {
                    true => rebuild::run(postgres, kafka, registry, models, stop).await,
                    false => Ok(()),
                }
            }
        };
        roles.spawn("builder", builder);
        roles.spawn("projector", |stop| async move {
            match registered(&mut schema_ids, &stop).await {
                true => projector::run(postgres, kafka, registry, models, cache, stop, readiness).await,
                false => Ok(()),
            }
        });
    }

    fn start_reactions(
        &mut self,
        registry: Registry,
        mut schema_ids: watch::Receiver<Option<SchemaIds>>,
        queries: &Queries,
        roles: &mut Roles,
    ) {
        let reactions = Reactions {
            kafka: self.config.kafka.clone(),
            options: self.config.reactions.clone(),
            models: self.models.clone(),
            registry,
            history: queries.history(self.topics.clone()),
            folder: self.config.data.clone(),
            readiness: self.part("reactions", "waiting for Kafka and the schema registry"),
        };
        let mut kafka_ready = self.kafka_ready.clone();
        // What happens from here on has its reactions, also while the parts still wait for each other.
        let since = started();
        roles.spawn("reactions", move |stop| async move {
            let ready = kafka_ready.wait_for(|state| *state == Readiness::Ready);
            let is_there = matches!(stop.run_until_cancelled(ready).await, Some(Ok(_)));
            if !is_there || !registered(&mut schema_ids, &stop).await {
                stop.cancelled().await;
                return Ok(());
            }
            Ok::<_, BoxError>(reactions.run(since, stop).await?)
        });
    }

    /// What an api instance has to know of accounts.
    fn start_directory(&mut self, roles: &mut Roles) -> Result<Directory, Error> {
        let directory = Directory::new(self.models.clone());
        let registry = Registry::new(&self.config.registry).map_err(invalid("schema registry's client"))?;
        let readiness = self.part("accounts", "reading which sessions have ended");
        let (kafka, models, kafka_ready) =
            (self.config.kafka.clone(), self.models.clone(), self.kafka_ready.clone());
        let read = directory.clone();
        roles.spawn("account reader", |stop| {
            read_directory(kafka, models, registry, read, kafka_ready, readiness, stop)
        });
        Ok(directory)
    }

    /// What happens, for those who follow it.
    fn start_live(&mut self, queries: &Queries, roles: &mut Roles) -> Result<Live, Error> {
        let registry = Registry::new(&self.config.registry).map_err(invalid("schema registry's client"))?;
        let readiness = self.part("live", "looking for the ends of the event topics");
        let Config { live, kafka, .. } = &self.config;
        let (live, feed) = Live::new(live, kafka, &registry, &self.models, queries, readiness);
        roles.spawn("live feed", |stop| feed.run(stop));
        Ok(live)
    }

    fn start_api(
        mut self,
        server: Server,
        keys: Keys,
        mailer: Option<Mailer>,
        metrics: MetricsHandle,
        queries: Queries,
        roles: &mut Roles,
    ) -> Result<(), Error> {
        let readiness = self.part("postgres", "connecting to PostgreSQL");
        let watched = queries.clone();
        roles.spawn("postgres watch", |stop| async move {
            watched.watch(stop, readiness).await;
            Ok::<_, BoxError>(())
        });
        if let Some(cache) = self.cache.clone() {
            let readiness = self.part("redis", "connecting to Redis");
            roles.spawn("redis watch", |stop| async move {
                cache.watch(stop, readiness).await;
                Ok::<_, BoxError>(())
            });
        }
        let (limits, prefix) = (&self.config.http.limits, &self.config.kafka.topic_prefix);
        let limiter =
            RateLimiter::new(limits, &self.config.redis.url, prefix).map_err(invalid("rate limits"))?;
        let directory = self.start_directory(roles)?;
        let live = self.start_live(&queries, roles)?;
        let watched = keys.clone();
        roles.spawn("key watch", |stop| async move {
            watched.watch(stop).await;
            Ok::<_, BoxError>(())
        });
        let partition = replies::partition_of(self.answers.instance);
        let (kafka, ready) = (self.config.kafka, self.kafka_ready);
        let limits = self.config.http.command_limits();
        let commands = Commands::with_limits(&kafka, self.answers.clone(), partition, ready.clone(), limits)
            .map_err(invalid("command producer"))?;
        let answers = self.answers;
        roles.spawn("reply reader", |stop| read_replies(kafka, answers, ready, stop));
        let identity = Identity::start(self.config.identity, keys, directory, &limiter)
            .map_err(|source| Error::Start { action: "there are no threads for passwords", source })?;
        let api = Api {
            identity,
            models: self.models,
            commands: Some(commands),
            history: queries.history(self.topics.clone()),
            positions: queries.positions(self.topics),
            queries,
            live,
            limiter,
            mailer,
            position_wait: Duration::from_millis(self.config.postgres.position_wait_ms),
            parts: self.parts,
            metrics,
        };
        roles.spawn_front("api", |stop| async move {
            server.serve(api, stop).await;
            Ok::<_, BoxError>(())
        });
        Ok(())
    }
}

/// Reads the events of accounts, sessions and roles, on a thread of its own since the client blocks.
async fn read_directory(
    kafka: kafka::Options,
    models: Arc<Models>,
    registry: Registry,
    directory: Directory,
    mut kafka_ready: watch::Receiver<Readiness>,
    readiness: watch::Sender<Readiness>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let ready = kafka_ready.wait_for(|state| *state == Readiness::Ready);
    if !matches!(stop.run_until_cancelled(ready).await, Some(Ok(_))) {
        stop.cancelled().await;
        return Ok(());
    }
    let runtime = tokio::runtime::Handle::current();
    let (read, cancel) = (directory.clone(), stop.clone());
    let reading = thread::run("writ-accounts", move || {
        writ_consumers::directory::run(&kafka, &models, &registry, &read, &runtime, &cancel);
    });
    let waiting = async {
        if stop.run_until_cancelled(directory.wait_ready()).await.is_some() {
            writ_producers::readiness::report(&readiness, "the directory of accounts", Readiness::Ready);
        }
    };
    Ok(tokio::join!(reading, waiting).0?)
}

/// Waits until the models are registered: files that the events don't fit must not touch the tables. `false`: it is time to
/// stop.
async fn registered(schema_ids: &mut watch::Receiver<Option<SchemaIds>>, stop: &CancellationToken) -> bool {
    let registered = schema_ids.wait_for(Option::is_some);
    if matches!(stop.run_until_cancelled(registered).await, Some(Ok(_))) {
        return true;
    }
    stop.cancelled().await;
    false
}

/// Runs the decider once there is something to decide with.
async fn decide(
    decider: Decider,
    mut kafka_ready: watch::Receiver<Readiness>,
    mut schema_ids: watch::Receiver<Option<SchemaIds>>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let prerequisites = async {
        kafka_ready.wait_for(|state| *state == Readiness::Ready).await.ok()?;
        schema_ids.wait_for(Option::is_some).await.ok()?.clone()
    };
    // `None`: a watch has ended, which stops the server, or the server stops.
    let Some(Some(schemas)) = stop.run_until_cancelled(prerequisites).await else {
        stop.cancelled().await;
        return Ok(());
    };
    Ok(Decider { schemas, ..decider }.run(stop).await?)
}

/// Reads answers from deciders in other processes, on a thread of its own since the client blocks.
async fn read_replies(
    kafka: kafka::Options,
    answers: Arc<Answers>,
    mut kafka_ready: watch::Receiver<Readiness>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let ready = kafka_ready.wait_for(|state| *state == Readiness::Ready);
    if !matches!(stop.run_until_cancelled(ready).await, Some(Ok(_))) {
        stop.cancelled().await;
        return Ok(());
    }
    Ok(thread::run("writ-replies", move || replies::read(&kafka, &answers, &stop)).await?)
}

/// Now, as the time of events.
fn started() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

fn invalid<E: Into<BoxError>>(part: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Part { part, source: source.into() }
}
