//! What stands in PostgreSQL is brought to what the models declare.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use writ_model::Models;
use writ_producers::topics::Topics;

use super::name::{Schema, fnv1a};
use super::{OFFSETS, alter, own};
use crate::catalog::{Catalog, Entry, Generation, Kind, State};
use crate::declared::Declaration;
use crate::projector::{create_log, index_log};

/// Why the tables aren't there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Newer model files have renamed a field that these still have under its old name.
    #[error(
        "{now} of {table} was {column} before: a server with newer model files has renamed it. Start this server with the \
         same files; until then it leaves the table alone"
    )]
    Renamed {
        /// Schema and table.
        table: String,
        /// The column or part of one as these model files have it.
        column: String,
        /// The column that it is now, or is part of.
        now: String,
    },
    /// The schema was made by a release whose layout this one doesn't know.
    #[error(
        "the schema {schema} has layout {found}, this release knows layout {}: run the newer release, or drop the schema \
         and let it be read anew from Kafka",
        own::LAYOUT
    )]
    Layout {
        /// The schema.
        schema: String,
        /// Its layout.
        found: String,
    },
    /// PostgreSQL failed.
    #[error("creating the tables failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// What is done about a projection whose table is not as it is declared now, and can't become so as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is to be built anew beside the live one. For the start: the files of this process are the news.
    Rebuild,
    /// Nothing. For later: it is this process that has the older files.
    Leave,
}

/// The projections whose tables are not as they are declared, with what differs. Nobody may write them.
pub type Unfit = BTreeMap<String, String>;

/// Creates what is missing: the schema, our own tables, a table per projection, added columns, indexes. One transaction
/// under an advisory lock.
///
/// A projection whose table had to be created is a new generation, which begins at offset 0, so a dropped table is
/// filled again. That of an SQL projection is built beside, if events have been read that it needs.
///
/// # Errors
/// Nothing was changed.
pub async fn ensure(
    pool: &PgPool,
    schema: &Schema,
    models: &Models,
    topics: &Topics,
    changed: Changed,
) -> Result<Unfit, Error> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    lock(&mut transaction, schema).await?;
    own::bring(&mut transaction, schema).await?;
    let catalog = Catalog::new(schema);
    let mut unfit = Unfit::new();
    for declaration in Declaration::all(models) {
        let name = declaration.name();
        let all = catalog.load(&mut transaction).await?;
        let all: Vec<Entry> = all.into_iter().filter(|one| &*one.generation.projection == name).collect();
        let number = all.last().map_or(0, |last| last.generation.number) + 1;
        let next = Generation { projection: name.into(), number };
        let is_building = all.iter().any(|one| one.state == State::Building);
        let fingerprint = declaration.fingerprint();
        let (kind, exists) = (declaration.kind(), exists(&mut transaction, schema, &declaration).await?);
        let read = all.iter().find(|one| one.state != State::Building);
        let state = match read {
            Some(read) if exists && read.kind == kind.name() => {
                match fit(&mut transaction, schema, &declaration, read).await? {
                    None if read.fingerprint == fingerprint => continue,
                    None => {
                        catalog.refit(&mut transaction, &read.generation, &fingerprint).await?;
                        continue;
                    }
                    Some(why) => {
                        unfit.insert(name.to_owned(), why);
                        if changed == Changed::Leave {
                            continue;
                        }
                        State::Building
                    }
                }
            }
            _ => {
                if let Some(read) = read {
                    catalog.forget(&mut transaction, &read.generation).await?;
                }
                if exists {
                    // Nobody knows up to which event it was filled.
                    run(&mut transaction, format!("DROP TABLE {}", declaration.qualified(schema))).await?;
                }
                match kind {
                    Kind::Sql if is_begun(&mut transaction, schema, &declaration, topics).await? => {
                        State::Building
                    }
                    _ => State::Live,
                }
            }
        };
        if state == State::Building && is_building {
            continue;
        }
        if state == State::Live {
            make(&mut transaction, schema, &declaration).await?;
        }
        catalog.insert(&mut transaction, &next, kind, &fingerprint, state).await?;
        tracing::info!(projection = name, generation = number, state = state.name(), "a generation begins");
    }
    transaction.commit().await?;
    Ok(unfit)
}

/// Until the transaction ends, nobody else makes, drops or swaps tables.
pub(crate) async fn lock(connection: &mut PgConnection, schema: &Schema) -> Result<(), sqlx::Error> {
    let lock = i64::from_ne_bytes(fnv1a(format!("writ tables {}", schema.quoted()).as_bytes()).to_ne_bytes());
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(lock).execute(connection).await?;
    Ok(())
}

/// Makes the empty table of a projection, with its indexes.
pub(crate) async fn make(
    connection: &mut PgConnection,
    schema: &Schema,
    declaration: &Declaration,
) -> Result<(), sqlx::Error> {
    make_bare(connection, schema, declaration).await?;
    index(connection, schema, declaration).await
}

/// Makes the empty table of a projection, with its key and no other index.
pub(crate) async fn make_bare(
    connection: &mut PgConnection,
    schema: &Schema,
    declaration: &Declaration,
) -> Result<(), sqlx::Error> {
    match declaration.table(schema) {
        Some(table) => alter::create(connection, &table).await?,
        None => run(connection, create_log(schema)).await?,
    }
    tracing::info!(db.table = declaration.qualified(schema), "table is created");
    Ok(())
}

/// Makes the indexes of a table that nobody else uses yet, where they are missing.
pub(crate) async fn index(
    connection: &mut PgConnection,
    schema: &Schema,
    declaration: &Declaration,
) -> Result<(), sqlx::Error> {
    let statements = match declaration.table(schema) {
        Some(table) => table.create_indexes(),
        None => index_log(schema),
    };
    for (name, create) in statements {
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(schema.table(&name))
            .fetch_one(&mut *connection)
            .await?;
        if !exists {
            run(connection, create).await?;
        }
    }
    Ok(())
}

async fn exists(
    connection: &mut PgConnection,
    schema: &Schema,
    declaration: &Declaration,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(declaration.qualified(schema))
        .fetch_one(connection)
        .await
}

/// Brings a table that is there to its declaration. `Some`: it can't be, and is as it was.
async fn fit(
    connection: &mut PgConnection,
    schema: &Schema,
    declaration: &Declaration,
    read: &Entry,
) -> Result<Option<String>, Error> {
    match declaration {
        Declaration::EventLog(_) => Ok(None),
        Declaration::Sql(_) => {
            let is_same = read.fingerprint == declaration.fingerprint();
            Ok((!is_same).then(|| "its fields or statements have changed".to_owned()))
        }
        Declaration::Model(model) => {
            let mut savepoint = connection.begin().await?;
            let table = super::Table::derive(schema, model);
            let retyped = alter::alter(&mut savepoint, schema, &table).await?;
            match retyped {
                None => savepoint.commit().await?,
                Some(_) => savepoint.rollback().await?,
            }
            Ok(retyped.map(|retyped| retyped.to_string()))
        }
    }
}

/// Whether rows have been given an event of its topics already.
async fn is_begun(
    connection: &mut PgConnection,
    schema: &Schema,
    declaration: &Declaration,
    topics: &Topics,
) -> Result<bool, sqlx::Error> {
    let select =
        format!("SELECT EXISTS (SELECT FROM {} WHERE next > 0 AND topic = ANY($1))", schema.table(OFFSETS));
    let names: Vec<String> = declaration.topics(topics).iter().map(|topic| topic.to_string()).collect();
    sqlx::query_scalar(AssertSqlSafe(select)).bind(names).fetch_one(connection).await
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
