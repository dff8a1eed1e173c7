//! Looking at the projections, and asking for builds: what the tools use. Nothing here builds.

use rdkafka::error::KafkaError;
use sqlx::{AssertSqlSafe, Connection as _, PgPool, Row as _};
use writ_producers::kafka;

use super::lag::{self, Lags};
use super::requests::{Demanded, Requests};
use super::{Error, presence};
use crate::catalog::State;
use crate::database::{is_undefined, tool_pool};
use crate::projector::batch::Place;
use crate::tables::{OFFSETS, PROJECTIONS, Schema};
use crate::{InvalidOptions, Options};

/// A projection as it is read, and its build, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// The model's name, that of the SQL projection, or `event_log`.
    pub name: String,
    /// `model`, `event_log` or `sql`.
    pub kind: String,
    /// What is read now; `None`: nothing yet, the first one is being built.
    pub current: Option<Current>,
    /// What is being built.
    pub build: Option<Build>,
}

/// The generation of a projection that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Its number.
    pub generation: i32,
    /// Whether it follows the events; else `error` says why not.
    pub live: bool,
    /// Since when it is what `live` says, RFC 3339.
    pub since: String,
    /// Why it has stopped.
    pub error: Option<String>,
    /// The event at which it has stopped: `writ.order:5:1234`.
    pub error_at: Option<String>,
}

/// A generation of a projection that isn't live yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    /// Its number.
    pub generation: i32,
    /// Offsets passed.
    pub done: i64,
    /// Offsets to pass, as of the builder's last look.
    pub total: i64,
    /// Events applied.
    pub applied: i64,
    /// When it was asked for, RFC 3339.
    pub since: String,
    /// Why it doesn't go on, if somebody is needed.
    pub error: Option<String>,
    /// The event at which it has failed; with an error but without this it goes on by itself once the reason is gone.
    pub error_at: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requested {
    /// It will be built under this number.
    Begun(i32),
    /// It was being built already, under this number.
    Under(i32),
    /// There is no such projection.
    Unknown,
}

/// What became of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// It is under way, maybe under a later number: begun anew.
    Building(Build),
    /// It, or a later one, is what is read now.
    Live {
        /// Its number.
        generation: i32,
    },
    /// Neither: nobody asks for it any more.
    Gone,
}

/// The projections of a schema. A cheap handle; connects on first use.
#[derive(Debug, Clone)]
pub struct Projections {
    pool: PgPool,
    schema: Schema,
    catalog: String,
    offsets: String,
    requests: Requests,
}

impl Projections {
    /// Those that PostgreSQL holds.
    ///
    /// # Errors
    /// The options are invalid.
    pub fn new(options: &Options) -> Result<Projections, InvalidOptions> {
        let schema = Schema::new(&options.schema);
        Ok(Projections {
            pool: tool_pool(options)?,
            catalog: schema.table(PROJECTIONS),
            offsets: schema.table(OFFSETS),
            requests: Requests::new(&schema),
            schema,
        })
    }

    /// All of them, by name. Empty as long as no server has made them.
    ///
    /// # Errors
    /// PostgreSQL doesn't answer.
    pub async fn list(&self) -> Result<Vec<Projection>, Error> {
        let select = format!(
            "SELECT name, kind, state, generation, {}, {}, error, error_at, \
             done, total, applied FROM {} ORDER BY name, generation",
            instant("started_at"),
            instant("changed_at"),
            self.catalog
        );
        let rows = match sqlx::query(AssertSqlSafe(select)).fetch_all(&self.pool).await {
            Ok(rows) => rows,
            Err(error) if is_undefined(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut projections: Vec<Projection> = Vec::new();
        for row in rows {
            let name: String = row.try_get(0)?;
            if projections.last().is_none_or(|last| last.name != name) {
                projections.push(Projection { name, kind: row.try_get(1)?, current: None, build: None });
            }
            let last = projections.last_mut().expect("invariant: one was pushed");
            let (state, generation): (String, i32) = (row.try_get(2)?, row.try_get(3)?);
            let (error, error_at) = (row.try_get(6)?, row.try_get(7)?);
            if state == State::Building.name() {
                let (done, total, applied) = (row.try_get(8)?, row.try_get(9)?, row.try_get(10)?);
                let since = row.try_get(4)?;
                last.build = Some(Build { generation, done, total, applied, since, error, error_at });
            } else {
                let live = state == State::Live.name();
                last.current = Some(Current { generation, live, since: row.try_get(5)?, error, error_at });
            }
        }
        Ok(projections)
    }

    /// Asks for `name` to be built anew, as the servers declare it. One that has failed is begun anew.
    ///
    /// # Errors
    /// PostgreSQL doesn't answer; nothing was asked for.
    pub async fn request(&self, name: &str) -> Result<Requested, Error> {
        match self.try_request(name).await {
            Err(error) if is_undefined(&error) => Ok(Requested::Unknown),
            result => Ok(result?),
        }
    }

    async fn try_request(&self, name: &str) -> Result<Requested, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let demanded = self.requests.demand(&mut transaction, name, false).await?;
        transaction.commit().await?;
        Ok(match demanded {
            Some(Demanded::Begun(generation)) => Requested::Begun(generation.number),
            Some(Demanded::Under(generation)) => Requested::Under(generation.number),
            None => Requested::Unknown,
        })
    }

    /// What became of the build of `name` that was asked for under `generation`.
    ///
    /// # Errors
    /// PostgreSQL doesn't answer.
    pub async fn follow(&self, name: &str, generation: i32) -> Result<Followed, Error> {
        let projection = self.list().await?.into_iter().find(|projection| projection.name == name);
        Ok(match projection {
            Some(Projection { build: Some(build), .. }) => Followed::Building(build),
            Some(Projection { current: Some(current), .. }) if current.generation >= generation => {
                Followed::Live { generation: current.generation }
            }
            _ => Followed::Gone,
        })
    }

    /// How many events each of them doesn't have yet, by name.
    ///
    /// # Errors
    /// PostgreSQL or Kafka doesn't answer.
    pub async fn lags(&self, kafka: &kafka::Options) -> Result<Lags, Error> {
        let select = format!(
            "SELECT name, topic, partition, next FROM {} AS read JOIN {} AS place ON name = projection \
             AND read.generation = place.generation WHERE state <> 'building'",
            self.catalog, self.offsets
        );
        let rows: Vec<(String, String, i32, i64)> =
            match sqlx::query_as(AssertSqlSafe(select)).fetch_all(&self.pool).await {
                Ok(rows) => rows,
                Err(error) if is_undefined(&error) => return Ok(Lags::new()),
                Err(error) => return Err(error.into()),
            };
        let reached = rows
            .into_iter()
            .map(|(name, topic, partition, next)| (name, Place { topic: topic.into(), partition }, next))
            .collect();
        let options = kafka.clone();
        // librdkafka blocks, so not on the runtime's own threads.
        let asked = tokio::task::spawn_blocking(move || lag::lags(&options, &reached)).await;
        Ok(asked.unwrap_or(Err(KafkaError::Canceled))?)
    }

    /// Whether a server is there that builds.
    ///
    /// # Errors
    /// PostgreSQL doesn't answer.
    pub async fn has_builder(&self) -> Result<bool, Error> {
        Ok(presence::is_there(&self.pool, &self.schema).await?)
    }
}

/// A time as RFC 3339 text in UTC.
fn instant(column: &str) -> String {
    format!("coalesce(to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), '')")
}
