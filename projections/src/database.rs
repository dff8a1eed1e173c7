//! Connections to PostgreSQL, and what its errors mean.

use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{InvalidOptions, Options};

/// A query waits no longer for a connection: the caller hears 503 at once instead of hanging.
const QUERY_ACQUIRE: Duration = Duration::from_secs(1);
/// Exports at the same time.
const MAX_EXPORTS: u32 = 2;
/// The projector has nothing better to do.
const PROJECTOR_ACQUIRE: Duration = Duration::from_secs(5);

/// Connections for queries, made on first use.
pub(crate) fn query_pool(options: &Options) -> Result<PgPool, InvalidOptions> {
    // A plan that knows the values: how many rows have one decides which index is best. Compiling takes longer than
    // the queries that are made here.
    let connect = connect(options, "writ-queries")?.options([
        ("statement_timeout", "10s"),
        ("plan_cache_mode", "force_custom_plan"),
        ("jit", "off"),
    ]);
    Ok(PgPoolOptions::new()
        .max_connections(options.max_connections.max(1))
        .acquire_timeout(QUERY_ACQUIRE)
        .connect_lazy_with(connect))
}

/// Connections for exports, which may take long: few, and none of those for other queries.
pub(crate) fn export_pool(options: &Options) -> Result<PgPool, InvalidOptions> {
    let connect = connect(options, "writ-exports")?
        .options([("statement_timeout", "15min"), ("client_connection_check_interval", "1s")]);
    Ok(PgPoolOptions::new()
        .max_connections(MAX_EXPORTS)
        .acquire_timeout(QUERY_ACQUIRE)
        .connect_lazy_with(connect))
}

/// No notice that a table, which is made `IF NOT EXISTS`, exists.
const QUIET: (&str, &str) = ("client_min_messages", "warning");

/// The projector's connection, made on first use.
pub(crate) fn projector_pool(options: &Options) -> Result<PgPool, InvalidOptions> {
    // Rows and offsets are lost together if PostgreSQL crashes, and are read from Kafka again: no need to wait for its disk.
    let connect = connect(options, "writ-projector")?.options([
        ("synchronous_commit", "off"),
        ("statement_timeout", "60s"),
        ("lock_timeout", "30s"),
        QUIET,
    ]);
    Ok(PgPoolOptions::new().max_connections(1).acquire_timeout(PROJECTOR_ACQUIRE).connect_lazy_with(connect))
}

/// How the builder connects. Its statements may take long; that PostgreSQL is away is for its caller to notice.
pub(crate) fn builder_connection(options: &Options) -> Result<PgConnectOptions, InvalidOptions> {
    Ok(connect(options, "writ-builder")?.options([
        ("synchronous_commit", "off"),
        ("lock_timeout", "30s"),
        QUIET,
    ]))
}

/// The one connection of a tool, made on first use.
pub(crate) fn tool_pool(options: &Options) -> Result<PgPool, InvalidOptions> {
    let connect =
        connect(options, "writ-tool")?.options([("statement_timeout", "30s"), ("lock_timeout", "10s")]);
    Ok(PgPoolOptions::new().max_connections(1).acquire_timeout(PROJECTOR_ACQUIRE).connect_lazy_with(connect))
}

/// A connection for work that may take as long as it needs.
pub(crate) fn maintenance_connection(options: &Options) -> Result<PgConnectOptions, InvalidOptions> {
    // Without the check, PostgreSQL would go on with a statement whose caller is gone.
    let unlimited = [
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("client_connection_check_interval", "1s"),
        QUIET,
    ];
    Ok(connect(options, "writ-indexes")?.options(unlimited))
}

fn connect(options: &Options, application: &str) -> Result<PgConnectOptions, InvalidOptions> {
    let options =
        PgConnectOptions::from_str(&options.url).map_err(|error| InvalidOptions::Url(error.to_string()))?;
    Ok(options.application_name(application))
}

/// Whether the tables aren't there: not made yet, or dropped to be made again.
pub(crate) fn is_undefined(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("3F000" | "42P01"))
}

/// Whether trying again later may help: PostgreSQL is away, starting, stopping or full, or the projector hasn't made
/// the tables yet.
pub(crate) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // Connection, authorization, resources, operator, rollback (deadlock); no such database, schema, table, column.
            ["08", "28", "53", "57", "40"].iter().any(|class| code.starts_with(class))
                || matches!(&*code, "3D000" | "3F000" | "42P01" | "42703")
        }),
        _ => false,
    }
}
