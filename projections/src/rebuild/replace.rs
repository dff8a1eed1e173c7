//! One table takes the place of another, inside of a transaction.
//!
//! # Why nobody who reads notices
//!
//! A statement that reads `writ.order` finds the table by its name and takes a lock on it that any number of readers
//! share. Replacing takes the lock that nobody shares, so it begins when the last reader of the old table has ended, and
//! readers who come later wait, for the few milliseconds until the commit. What such a reader then sees is decided by four
//! steps of PostgreSQL, in this order:
//!
//! 1. It has looked the name up, found the old table, and waits for the lock on it. When it gets the lock it has also got
//!    the messages that the commit sent to all sessions; since there were some, it looks the name up again, finds the new
//!    table, and locks that (`RangeVarGetRelidExtended`). So it is never told that the table it had found is gone.
//! 2. A statement that was prepared before takes the lock by the table's number first. The same messages then mark its
//!    plan as no longer valid, and it is analysed again from its text, as in step 1 (`RevalidateCachedQuery`). Its
//!    result has the types that it had, or PostgreSQL would refuse it; our queries name their columns.
//! 3. It takes the snapshot that decides which rows it sees after it has its locks. The commit was visible before it
//!    let the locks go, so that snapshot has every row of the new table.
//! 4. The new table is as far as the old one was: the transaction holds the places of the old one and has caught up with
//!    them before it replaces. So no reader sees a row become older.
//!
//! Step 3 does not hold for a transaction of isolation level `REPEATABLE READ` that has taken its snapshot before and
//! reads the table for the first time after: PostgreSQL shows it the new table as it was when the snapshot was taken, half
//! built. So such a reader locks the table first (`LOCK TABLE … IN ACCESS SHARE MODE`), as `query/snapshot.rs` does.
//!
//! Replacing never waits long: behind a reader that takes minutes all later readers would wait with it. The limit is
//! [`LOCK_TIMEOUT`]; after it the transaction is rolled back, the build goes on, and it is tried again.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::tables::Schema;

/// Longest wait for one lock. Below PostgreSQL's `deadlock_timeout` of a second, so that if two wait for each other it is
/// this transaction that gives way.
pub(super) const LOCK_TIMEOUT: &str = "500ms";

/// Why a table isn't replaced.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Something in the database stands on the old table, such as a view.
    #[error(
        "the new table is complete, but it can't take the place of {table}: {detail}. Drop what depends on it; then the \
         new table is put there within seconds, and you can make it again. Until then the old table stays live"
    )]
    Depended {
        /// Schema and table.
        table: String,
        /// What depends, in PostgreSQL's words.
        detail: String,
    },
    /// A lock wasn't had in time: somebody reads for long.
    #[error("a lock wasn't had in time: {0}")]
    Busy(#[source] sqlx::Error),
    /// PostgreSQL failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// What an error of a statement of this transaction means.
    pub(super) fn of(error: sqlx::Error) -> Error {
        let code = error.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            // Lock not available, deadlock, and the statement's limit.
            Some("55P03" | "40P01" | "57014") => Error::Busy(error),
            _ => Error::Database(error),
        }
    }
}

/// Puts `next`.`table` in the place of `live`.`table`, with its partitions and with the rights that others were granted.
/// Waits for readers up to the transaction's `lock_timeout`.
pub(super) async fn replace(
    connection: &mut PgConnection,
    live: &Schema,
    next: &Schema,
    table: &str,
) -> Result<(), Error> {
    let (old, new) = (live.table(table), next.table(table));
    let rights = rights(connection, &old).await?;
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(&old)
        .fetch_one(&mut *connection)
        .await
        .map_err(Error::of)?;
    if exists {
        run(connection, format!("LOCK TABLE {old} IN ACCESS EXCLUSIVE MODE")).await?;
        run(connection, format!("DROP TABLE {old}")).await.map_err(|error| depended(error, &old))?;
    }
    let partitions: Vec<String> = sqlx::query_scalar(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass($1) ORDER BY 1",
    )
    .bind(&new)
    .fetch_all(&mut *connection)
    .await
    .map_err(Error::of)?;
    for name in [new.clone()].into_iter().chain(partitions) {
        run(connection, format!("ALTER TABLE {name} SET SCHEMA {}", live.quoted())).await?;
    }
    run(connection, format!("COMMENT ON TABLE {old} IS NULL")).await?;
    for (grant, to) in rights {
        run(connection, format!("GRANT {grant} ON TABLE {old} TO {to}")).await?;
    }
    Ok(())
}

/// What others than the owner may do with the table, and who.
async fn rights(connection: &mut PgConnection, table: &str) -> Result<Vec<(String, String)>, Error> {
    sqlx::query_as(
        "SELECT privilege_type, \
         CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END \
         || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END \
         FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = to_regclass($1) AND grantee <> relowner",
    )
    .bind(table)
    .fetch_all(connection)
    .await
    .map_err(Error::of)
}

fn depended(error: Error, table: &str) -> Error {
    let Error::Database(sqlx::Error::Database(database)) = &error else { return error };
    // dependent_objects_still_exist
    if database.code().as_deref() != Some("2BP01") {
        return error;
    }
    let postgres = database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>();
    let detail = postgres.and_then(|error| error.detail()).unwrap_or_else(|| database.message());
    Error::Depended { table: table.to_owned(), detail: detail.lines().collect::<Vec<_>>().join("; ") }
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.map_err(Error::of)?;
    Ok(())
}
