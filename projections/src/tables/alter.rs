//! A derived table is made, or brought to what its model asks for.

use std::collections::HashMap;
use std::fmt;

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::derive::{Column, FIXED, Table};
use super::ensure::Error;
use super::name::{Schema, quote};
use super::{indexes, rename};

/// A field's type was changed since its column was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Retyped {
    column: String,
    found: String,
    wanted: String,
}

impl fmt::Display for Retyped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its column {} is {}, and is declared as {} now", self.column, self.found, self.wanted)
    }
}

/// Makes a table that isn't there, without its indexes.
pub(super) async fn create(connection: &mut PgConnection, table: &Table) -> Result<(), sqlx::Error> {
    run(connection, table.create()).await?;
    for comment in table.columns.iter().filter_map(|column| table.comment(column)) {
        run(connection, comment).await?;
    }
    Ok(())
}

/// A column as PostgreSQL has it.
struct Present {
    ty: String,
    /// What has had another name, from its comment.
    marks: Vec<String>,
}

/// The columns of a table by name.
async fn columns(
    connection: &mut PgConnection,
    table: &str,
) -> Result<HashMap<String, Present>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT attname::text, format_type(atttypid, atttypmod), col_description(attrelid, attnum) FROM pg_attribute \
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
    )
    .bind(table)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let comment: Option<String> = row.try_get(2)?;
            Ok((row.try_get(0)?, Present { ty: row.try_get(1)?, marks: rename::marks(comment.as_deref()) }))
        })
        .collect()
}

/// Renames and adds columns. Its other indexes are [`super::keep_indexes`]'s. `Some`: it can't be brought there; the caller rolls back what was changed.
pub(super) async fn alter(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &Table,
) -> Result<Option<Retyped>, Error> {
    let mut existing = columns(connection, &table.qualified).await?;
    refuse_older(table, &existing)?;
    rename(connection, schema, table, &mut existing).await?;
    let fixed = FIXED.iter().map(|(name, ty)| ((*name).to_owned(), (*ty).to_owned()));
    let fields = table.columns.iter().map(|column| (column.name.clone(), column.kind.sql_type()));
    for (column, wanted) in fixed.chain(fields) {
        if let Some(found) = existing.get(&column).filter(|found| found.ty != wanted) {
            return Ok(Some(Retyped { column, found: found.ty.clone(), wanted }));
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
    indexes::drop_refusing(connection, schema, table).await?;
    Ok(None)
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

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
