//! Who builds: two advisory locks of PostgreSQL, which end with the session that holds them.
//!
//! Every builder holds the first one together with the others, so that tools can tell whether there is any. The second one
//! belongs to the builder that works. It saves work and nothing else: if two work on the same build, say since
//! PostgreSQL has ended a session that its owner takes for alive, the places decide between them.

use sqlx::{PgConnection, PgPool};

use crate::tables::{Schema, fnv1a};

fn key(schema: &Schema, purpose: &str) -> i64 {
    i64::from_ne_bytes(fnv1a(format!("writ {purpose} {}", schema.quoted()).as_bytes()).to_ne_bytes())
}

/// Shows that this session is a builder's.
pub(super) async fn show(connection: &mut PgConnection, schema: &Schema) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_lock_shared($1)")
        .bind(key(schema, "builders"))
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether any session does.
pub(super) async fn is_there(pool: &PgPool, schema: &Schema) -> Result<bool, sqlx::Error> {
    // How PostgreSQL shows a lock on one 64-bit number.
    let select = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted \
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                  AND (classid::bigint << 32) | objid::bigint = $1)";
    sqlx::query_scalar(select).bind(key(schema, "builders")).fetch_one(pool).await
}

/// Becomes the one who works, unless somebody else is. Each success is let go once.
pub(super) async fn begin(connection: &mut PgConnection, schema: &Schema) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(key(schema, "build"))
        .fetch_one(connection)
        .await
}

/// Lets the next one work.
pub(super) async fn end(connection: &mut PgConnection, schema: &Schema) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(key(schema, "build")).execute(connection).await?;
    Ok(())
}
