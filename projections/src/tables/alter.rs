//! Brings the schema to what the declarations ask for.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Row};

use super::derive::{Column, FIXED, Table};
use super::name::{Schema, fnv1a, quote};
use super::{META, OFFSETS, indexes, rename};

/// The layout of our own tables. Raised when they change.
const LAYOUT: &str = "1";

/// Why the tables aren't there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field's type was changed since its column was made.
    #[error(
        "the column {column} of {table} is {found}, but the model now asks for {wanted}. The table can be read anew \
         from Kafka: run `DROP TABLE {table}` in PostgreSQL; the projector notices and fills it again"
    )]
    Retyped {
        /// Schema and table.
        table: String,
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// The type by the declaration.
        wanted: String,
    },
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
        "the schema {schema} has layout {found}, this release knows layout {LAYOUT}: run the newer release, or drop the schema \
         and let it be read anew from Kafka"
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

/// Creates what is missing: the schema, our own tables, a table per model with its indexes, added columns. One transaction
/// under an advisory lock. The indexes of tables that exist are [`super::keep_indexes`]'s. The place in the topic of a model whose table had to be created goes back to the beginning, so a
/// dropped table is filled again.
pub async fn ensure(
    pool: &PgPool,
    schema: &Schema,
    tables: &[Table],
    topic_of: impl Fn(&str) -> String,
) -> Result<(), Error> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    let lock = i64::from_ne_bytes(fnv1a(format!("writ tables {}", schema.quoted()).as_bytes()).to_ne_bytes());
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(lock).execute(&mut *transaction).await?;
    own_tables(&mut transaction, schema).await?;
    for table in tables {
        let existing = columns(&mut transaction, &table.qualified).await?;
        match existing {
            None => {
                run(&mut transaction, table.create()).await?;
                for comment in table.columns.iter().filter_map(|column| table.comment(column)) {
                    run(&mut transaction, comment).await?;
                }
                let forget = format!("DELETE FROM {} WHERE topic = $1", schema.table(OFFSETS));
                sqlx::query(AssertSqlSafe(forget))
                    .bind(topic_of(&table.model))
                    .execute(&mut *transaction)
                    .await?;
                indexes::create(&mut transaction, table).await?;
                tracing::info!(db.table = table.qualified, "table is created");
            }
            Some(existing) => {
                alter(&mut transaction, schema, table, existing).await?;
                indexes::drop_refusing(&mut transaction, schema, table).await?;
            }
        }
    }
    transaction.commit().await?;
    Ok(())
}

async fn own_tables(connection: &mut PgConnection, schema: &Schema) -> Result<(), Error> {
    let exists = format!("SELECT to_regclass({}) IS NOT NULL", super::name::literal(&schema.table(META)));
    let exists: bool = sqlx::query_scalar(AssertSqlSafe(exists)).fetch_one(&mut *connection).await?;
    if !exists {
        run(connection, format!("CREATE SCHEMA IF NOT EXISTS {}", schema.quoted())).await?;
        run(
            connection,
            format!("CREATE TABLE {} (name text PRIMARY KEY, value text NOT NULL)", schema.table(META)),
        )
        .await?;
        let insert = format!("INSERT INTO {} (name, value) VALUES ('layout', $1)", schema.table(META));
        sqlx::query(AssertSqlSafe(insert)).bind(LAYOUT).execute(&mut *connection).await?;
    }
    let layout = format!("SELECT value FROM {} WHERE name = 'layout'", schema.table(META));
    let found: Option<String> =
        sqlx::query_scalar(AssertSqlSafe(layout)).fetch_optional(&mut *connection).await?;
    match found {
        Some(found) if found != LAYOUT => return Err(Error::Layout { schema: schema.quoted(), found }),
        _ => {}
    }
    run(
        connection,
        format!(
            "CREATE TABLE IF NOT EXISTS {} (topic text, partition integer, next bigint NOT NULL, \
             PRIMARY KEY (topic, partition))",
            schema.table(OFFSETS)
        ),
    )
    .await
}

/// A column as PostgreSQL has it.
struct Present {
    ty: String,
    /// What has had another name, from its comment.
    marks: Vec<String>,
}

/// The columns of a table by name; `None` if there is no such table.
async fn columns(
    connection: &mut PgConnection,
    table: &str,
) -> Result<Option<HashMap<String, Present>>, Error> {
    let rows = sqlx::query(
        "SELECT attname::text, format_type(atttypid, atttypmod), col_description(attrelid, attnum) FROM pg_attribute \
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
    )
    .bind(table)
    .fetch_all(connection)
    .await?;
    let columns: HashMap<String, Present> = rows
        .iter()
        .map(|row| {
            let comment: Option<String> = row.try_get(2)?;
            Ok((row.try_get(0)?, Present { ty: row.try_get(1)?, marks: rename::marks(comment.as_deref()) }))
        })
        .collect::<Result<_, sqlx::Error>>()?;
    Ok((!columns.is_empty()).then_some(columns))
}

async fn alter(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &Table,
    mut existing: HashMap<String, Present>,
) -> Result<(), Error> {
    refuse_older(table, &existing)?;
    rename(connection, schema, table, &mut existing).await?;
    let fixed = FIXED.iter().map(|(name, ty)| ((*name).to_owned(), (*ty).to_owned()));
    let fields = table.columns.iter().map(|column| (column.name.clone(), column.kind.sql_type()));
    for (column, wanted) in fixed.chain(fields) {
        if let Some(found) = existing.get(&column).filter(|found| found.ty != wanted) {
            let table = table.qualified.clone();
            return Err(Error::Retyped { table, column, found: found.ty.clone(), wanted });
        }
    }
    for column in table.columns.iter().filter(|column| !existing.contains_key(&column.name)) {
        for statement in table.add(column) {
            run(connection, statement).await?;
        }
        tracing::info!(db.table = table.qualified, db.column = column.name, "column is added");
    }
    let marked = |column: &&Column| {
        existing.get(&column.name).is_none_or(|present| present.marks != column.history.marks)
    };
    for column in table.columns.iter().filter(marked) {
        for statement in table.convert(column).into_iter().chain(table.comment(column)) {
            run(connection, statement).await?;
        }
    }
    Ok(())
}

/// A server with yesterday's files would add the old column again, without values, and fill it beside the new one.
fn refuse_older(table: &Table, existing: &HashMap<String, Present>) -> Result<(), Error> {
    for (now, present) in existing {
        let column = table.columns.iter().find(|column| column.name == *now);
        let known = column.map_or(&[] as &[String], |column| column.history.marks.as_slice());
        for mark in present.marks.iter().filter(|mark| !known.contains(mark)) {
            let has_old_part = mark.contains('.') && column.is_some();
            if has_old_part || table.columns.iter().any(|column| column.name == *mark) {
                let (table, column, now) = (table.qualified.clone(), mark.clone(), now.clone());
                return Err(Error::Renamed { table, column, now });
            }
        }
    }
    Ok(())
}

/// Columns of renamed fields take the new name, with their values and indexes.
async fn rename(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &Table,
    existing: &mut HashMap<String, Present>,
) -> Result<(), Error> {
    let mut renamed: HashMap<&str, String> = HashMap::new();
    for column in &table.columns {
        if existing.contains_key(&column.name) {
            continue;
        }
        let Some(old) = column.history.names.iter().find(|old| existing.contains_key(*old)) else { continue };
        run(connection, table.rename(old, column)).await?;
        tracing::info!(db.table = table.qualified, db.column = column.name, from = old, "column is renamed");
        if let Some(present) = existing.remove(old) {
            existing.insert(column.name.clone(), present);
        }
        renamed.insert(&column.name, old.clone());
    }
    for (old, new) in table.renamed_indexes(|column| renamed.get(column).cloned()) {
        // A field that became a key or a reference had none.
        let old = schema.table(&old);
        run(connection, format!("ALTER INDEX IF EXISTS {old} RENAME TO {}", quote(&new))).await?;
    }
    Ok(())
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
