//! What one application has to itself: topics, a PostgreSQL schema, model files, data folders. Taken away on drop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tempfile::TempDir;

use super::server::Server;
use super::{kafka, models, unique};

/// How long the clean-up may take; it must not hold a failed test.
const CLEAN_UP: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct World {
    /// First part of all topics.
    pub(crate) prefix: String,
    /// The PostgreSQL schema.
    pub(crate) schema: String,
    folder: TempDir,
}

impl World {
    /// With the models of the tests.
    pub(crate) fn new() -> World {
        Self::with_models(models::FILES)
    }

    pub(crate) fn with_models(files: &[(&str, &str)]) -> World {
        // Before there is anything to clean up.
        let _ = (brokers(), registry_url(), postgres_url());
        let name = unique("t");
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("models")).unwrap();
        let world = World { prefix: format!("t-{name}"), schema: name, folder };
        for (name, text) in files {
            world.write_model(name, text);
        }
        world
    }

    /// Writes a model file, for servers that start later.
    pub(crate) fn write_model(&self, name: &str, text: &str) {
        std::fs::write(self.models().join(name), text).unwrap();
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    /// The data folder of the server of that name.
    pub(crate) fn data(&self, server: &str) -> PathBuf {
        self.folder.path().join(server)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn topic(&self, model: &str) -> String {
        format!("{}.{model}", self.prefix)
    }

    /// A ready server with all roles. `settings`: more `WRIT_*` variables.
    pub(crate) async fn start(&self, settings: &[(&str, &str)]) -> Server {
        let server = self.spawn("server", settings).await;
        server.ready().await;
        server
    }

    /// A server that listens, but may not be ready. `name`: its data folder and log.
    pub(crate) async fn spawn(&self, name: &str, settings: &[(&str, &str)]) -> Server {
        Server::spawn(self, name, settings).await
    }

    /// A server without the api role: it may have no HTTP interface to wait for.
    pub(crate) fn spawn_headless(&self, name: &str, settings: &[(&str, &str)]) -> Server {
        Server::spawn_headless(self, name, settings)
    }

    /// A connection to the PostgreSQL of the stack.
    pub(crate) async fn postgres(&self) -> PgConnection {
        PgConnection::connect(&postgres_url()).await.unwrap()
    }

    /// Deletes the read side, as an operator would who lost PostgreSQL's disk.
    pub(crate) async fn drop_schema(&self) {
        drop_schema(&self.schema).await.unwrap();
    }

    /// Every row of the model's table as PostgreSQL's own JSON, sorted.
    pub(crate) async fn rows(&self, model: &str) -> Vec<String> {
        let sql = format!("SELECT row_to_json(t)::text FROM \"{}\".\"{model}\" t ORDER BY 1", self.schema);
        let mut connection = self.postgres().await;
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let (prefix, schema) = (self.prefix.clone(), self.schema.clone());
        // A runtime of its own: the test's may be the one that is just ending.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let work = async {
                    if let Err(error) = drop_schema(&schema).await {
                        eprintln!("the schema {schema} is left behind: {error}");
                    }
                    if let Err(error) = kafka::delete_topics(&prefix).await {
                        eprintln!("the topics {prefix}.* are left behind: {error}");
                    }
                };
                let _ = tokio::time::timeout(CLEAN_UP, work).await;
            });
        });
        let _ = cleaner.join();
    }
}

async fn drop_schema(schema: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(&postgres_url()).await?;
    sqlx::raw_sql(AssertSqlSafe(format!(
        "DROP SCHEMA IF EXISTS \"{schema}\" CASCADE; DROP SCHEMA IF EXISTS \"{schema}_next\" CASCADE"
    )))
    .execute(&mut connection)
    .await?;
    connection.close().await
}

/// The address of a server of the stack, from the variable that `cargo dev test` sets.
pub(crate) fn address(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} isn't set: these tests need real servers; run `cargo dev test`")
    })
}

pub(crate) fn brokers() -> String {
    address("WRIT_KAFKA_BROKERS")
}

pub(crate) fn registry_url() -> String {
    address("WRIT_REGISTRY_URL")
}

pub(crate) fn postgres_url() -> String {
    address("WRIT_POSTGRES_URL")
}

/// What gives a server the Redis of the stack, and the patience that a busy machine needs.
pub(crate) fn with_redis(url: &str) -> [(&str, &str); 2] {
    [("WRIT_REDIS_URL", url), ("WRIT_HTTP_LIMITS_REDIS_TIMEOUT_MS", "10000")]
}

pub(crate) fn redis_url() -> String {
    address("WRIT_REDIS_URL")
}
