//! The indexes of the derived tables.
//!
//! A table that nobody uses yet gets them in one go ([`super::index`]). For tables with rows that are in
//! use, [`keep`] makes and drops them `CONCURRENTLY`, so that neither reads nor writes wait: a task beside the projector,
//! on a connection of its own, in one process at a time. It looks again every minute, so whatever was left behind by
//! a crash, or dropped by hand, comes right.
//!
//! Every ordered index ends with the key of the table, as every order of a query does: so one scan of it finds the place
//! of a cursor and the rows after it in their order. Deleted rows are in none.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;
use writ_model::declaration::Projection;
use writ_model::{Field, Model, Type};

use super::derive::{FIXED, Table};
use super::kind::Kind;
use super::name::{self, Schema, fnv1a, quote};
use crate::database::maintenance_connection;
use crate::{InvalidOptions, Options};

/// Most bytes of the declared columns in an index entry, so that with the key it is below PostgreSQL's limit of about
/// 2,700.
const MAX_ENTRY: u64 = 2560;
/// How many characters of a row can be searched. PostgreSQL refuses a `tsvector` of more than 1 MB; in the worst case,
/// letters of four bytes that become longer in lower case, in words of one letter that stand in it twice, a character
/// takes 28 bytes.
const SEARCHED_CHARACTERS: usize = 32_768;
/// Between two looks at whether the indexes are there.
const INTERVAL: Duration = Duration::from_secs(60);
/// After a failure, doubled by each one that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What an index can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Order and equality.
    Ordered,
    /// Equality only; takes texts of any length.
    Hash,
    /// Words in the text of all its columns.
    Search,
}

/// One index of a derived table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    columns: Vec<String>,
    method: Method,
}

impl Index {
    /// Its name, when its columns are called what `column` makes of their names.
    pub(super) fn name(&self, table: &str, column: impl Fn(&str) -> String) -> String {
        let columns: Vec<String> = self.columns.iter().map(|name| column(name)).collect();
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let kind = match self.method {
            Method::Ordered => "",
            Method::Hash => "#",
            Method::Search => "~",
        };
        name::index(table, &columns, kind)
    }

    pub(super) fn create(&self, name: &str, table: &Table, concurrently: bool) -> String {
        let columns = || self.columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
        let on = match self.method {
            Method::Ordered => format!("({})", columns()),
            Method::Hash => format!("USING hash ({})", columns()),
            Method::Search => format!("USING gin ({})", words(&self.columns)),
        };
        let concurrently = if concurrently { "CONCURRENTLY " } else { "" };
        let rows = if table.is_model { " WHERE NOT deleted" } else { "" };
        format!("CREATE INDEX {concurrently}{} ON {} {on}{rows}", quote(name), table.qualified)
    }
}

/// The words of all these text columns, as an expression that the index and the query share.
pub(crate) fn words(columns: &[String]) -> String {
    let texts: Vec<String> = columns.iter().map(|name| format!("COALESCE({}, '')", quote(name))).collect();
    format!("to_tsvector('simple', left({}, {SEARCHED_CHARACTERS}))", texts.join(" || ' ' || "))
}

/// The natural key, each reference, each enum, the declared lists, and the words of the searched fields.
pub(super) fn of_model(model: &Model) -> Vec<Index> {
    let single = model
        .fields
        .values()
        .filter(|field| field.key || matches!(field.ty, Type::Ref { .. } | Type::Enum(_)))
        .map(|field| vec![field.name.clone()]);
    // `id`, `created_at` and the other fixed columns may be part of a list.
    let part = |name: &str| match model.fields.get(name) {
        Some(field) => Some((name::column(name), most_bytes(field))),
        None => FIXED.iter().any(|(fixed, _)| *fixed == name).then(|| (name.to_owned(), Some(16))),
    };
    let mut indexes = distinct(single.chain(model.indexes.iter().cloned()), part, &["id".to_owned()]);
    if !model.search.is_empty() {
        let searched = model
            .fields
            .values()
            .filter(|field| Kind::of(&field.ty) == Kind::Text && model.search.contains(&field.name));
        let columns: Vec<String> = searched.map(|field| name::column(&field.name)).collect();
        if !columns.is_empty() {
            indexes.push(Index { columns, method: Method::Search });
        }
    }
    indexes
}

/// The declared lists. The primary key has its own.
pub(super) fn of_projection(projection: &Projection) -> Vec<Index> {
    let part = |name: &str| {
        let field = projection.fields.get(name)?;
        Some((name::projection_column(name), most_bytes(field)))
    };
    // A key that is too long for the entries stays out of them: the order is then finished by a sort of equal ones.
    let sizes = projection.key.iter().map(|name| part(name).and_then(|(_, size)| size));
    let fits = sizes.sum::<Option<u64>>().is_some_and(|sum| sum <= MAX_ENTRY / 2);
    let key: Vec<String> = projection.key.iter().map(|name| name::projection_column(name)).collect();
    distinct(projection.indexes.iter().cloned(), part, if fits { &key } else { &[] })
}

fn distinct(
    lists: impl Iterator<Item = Vec<String>>,
    part: impl Fn(&str) -> Option<(String, Option<u64>)>,
    key: &[String],
) -> Vec<Index> {
    let mut indexes: Vec<Index> = Vec::new();
    for fields in lists {
        if let Some(index) = index(&fields, &part, key)
            && !indexes.contains(&index)
        {
            indexes.push(index);
        }
    }
    indexes
}

/// An index entry that is too long would make PostgreSQL refuse the row, and the event is a fact. So a list ends before
/// the first field that may not fit; if that is the first of the list, it gets a hash index.
///
/// `part`: the column of a field, and the size of its largest value (`None`: it has no bound).
fn index(
    fields: &[String],
    part: impl Fn(&str) -> Option<(String, Option<u64>)>,
    key: &[String],
) -> Option<Index> {
    let mut columns = Vec::new();
    let mut bytes = 0;
    for (column, most) in fields.iter().filter_map(|name| part(name)) {
        match most.map(|most| bytes + most).filter(|sum| *sum <= MAX_ENTRY) {
            Some(sum) => {
                bytes = sum;
                columns.push(column);
            }
            None if columns.is_empty() => return Some(Index { columns: vec![column], method: Method::Hash }),
            None => break,
        }
    }
    if columns.is_empty() {
        return None;
    }
    for column in key {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    Some(Index { columns, method: Method::Ordered })
}

/// The size of the largest value; `None`: it has no bound.
fn most_bytes(field: &Field) -> Option<u64> {
    match &field.ty {
        // Four bytes for a character.
        Type::Text { max_length, .. } => max_length.and_then(|length| length.checked_mul(4)),
        Type::Email => Some(4 * 254),
        Type::Url => Some(2048),
        Type::Enum(names) => names.iter().map(|name| name.len() as u64).max(),
        Type::List { .. } | Type::Object(_) | Type::Json => None,
        Type::Integer { .. }
        | Type::Decimal { .. }
        | Type::Boolean
        | Type::Timestamp
        | Type::Date
        | Type::Duration
        | Type::Uuid
        | Type::Ref { .. } => Some(32),
    }
}

/// Drops those indexes of ours that are no longer derived and could refuse a row: one that was made for a bounded text
/// refuses a longer one. This can't wait for [`keep`]: the next row may be such a one.
pub(crate) async fn drop_refusing(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &Table,
) -> Result<(), sqlx::Error> {
    for present in present(connection, table).await? {
        if present.is_stale(table) && present.orders_text {
            drop(connection, schema, &present, "").await?;
        }
    }
    Ok(())
}

/// Brings the indexes of tables in use to what is derived: drops what no longer is or was never finished, makes what is
/// missing, without a lock that reads or writes would wait for. A table that doesn't exist is left alone, and so is one
/// that another process is at work on: `false`. Must run outside of a transaction.
pub async fn bring(
    connection: &mut PgConnection,
    schema: &Schema,
    tables: &[Table],
) -> Result<bool, sqlx::Error> {
    let lock =
        i64::from_ne_bytes(fnv1a(format!("writ indexes {}", schema.quoted()).as_bytes()).to_ne_bytes());
    let ours: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(lock).fetch_one(&mut *connection).await?;
    if !ours {
        return Ok(false);
    }
    let mut outcome = Ok(());
    for table in tables {
        outcome = outcome.and(bring_one(connection, schema, table).await);
    }
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(lock).execute(&mut *connection).await?;
    outcome.map(|()| true)
}

async fn bring_one(connection: &mut PgConnection, schema: &Schema, table: &Table) -> Result<(), sqlx::Error> {
    let columns = columns(connection, table).await?;
    let found = present(connection, table).await?;
    for index in found.iter().filter(|index| index.is_stale(table) || !index.valid) {
        drop(connection, schema, index, "CONCURRENTLY ").await?;
    }
    for index in table.indexes() {
        let name = index.name(&table.name, str::to_owned);
        let there = found.iter().any(|present| present.name == name && present.valid);
        // A column may be missing in a table that is about to be replaced.
        if there || !index.columns.iter().all(|column| columns.contains(column)) {
            continue;
        }
        sqlx::query(AssertSqlSafe(index.create(&name, table, true))).execute(&mut *connection).await?;
        tracing::info!(db.table = table.qualified, db.index = name, "index is created");
    }
    Ok(())
}

/// An index of a table as PostgreSQL has it.
#[derive(Debug)]
struct Present {
    name: String,
    /// It was finished.
    valid: bool,
    /// It is ordered, and one of its columns is a text.
    orders_text: bool,
}

impl Present {
    fn is_stale(&self, table: &Table) -> bool {
        !table.indexes().iter().any(|index| index.name(&table.name, str::to_owned) == self.name)
    }
}

/// Those of our indexes that are there.
async fn present(connection: &mut PgConnection, table: &Table) -> Result<Vec<Present>, sqlx::Error> {
    let sql = "SELECT c.relname::text AS name, i.indisvalid AS valid, am.amname = 'btree' AND EXISTS \
               (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.atttypid = 'text'::regtype) AS orders_text \
               FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam \
               WHERE i.indrelid = to_regclass($1) AND starts_with(c.relname, $2)";
    let prefix = name::index_prefix(&table.name);
    let rows: Vec<(String, bool, bool)> =
        sqlx::query_as(sql).bind(&table.qualified).bind(prefix).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(name, valid, orders_text)| Present { name, valid, orders_text }).collect())
}

async fn columns(connection: &mut PgConnection, table: &Table) -> Result<Vec<String>, sqlx::Error> {
    let sql = "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
    sqlx::query_scalar(sql).bind(&table.qualified).fetch_all(connection).await
}

async fn drop(
    connection: &mut PgConnection,
    schema: &Schema,
    index: &Present,
    concurrently: &str,
) -> Result<(), sqlx::Error> {
    let sql = format!("DROP INDEX {concurrently}IF EXISTS {}", schema.table(&index.name));
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
    let reason = if index.valid { "it is no longer declared" } else { "it was never finished" };
    tracing::info!(db.index = index.name, "index is dropped: {reason}");
    Ok(())
}

/// Keeps the indexes of `tables` as they are derived, until `cancel`.
pub(crate) async fn keep(
    options: &Options,
    tables: &[Table],
    cancel: &CancellationToken,
) -> Result<(), InvalidOptions> {
    let connect = maintenance_connection(options)?;
    let schema = Schema::new(&options.schema);
    let mut pause = FIRST_PAUSE;
    loop {
        let round = async {
            let mut connection = PgConnection::connect_with(&connect).await?;
            let outcome = bring(&mut connection, &schema, tables).await;
            connection.close().await?;
            outcome
        };
        // Cancelled in the middle of a statement, PostgreSQL sees that the connection is gone and stops it.
        let outcome = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            outcome = round => outcome,
        };
        let wait = match outcome {
            Ok(_) => {
                pause = FIRST_PAUSE;
                INTERVAL
            }
            Err(error) => {
                tracing::warn!(error = %error, "the indexes can't be brought up to date now; trying again");
                pause = (pause * 2).min(INTERVAL);
                pause
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}
