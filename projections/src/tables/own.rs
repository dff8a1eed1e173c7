//! Our own tables, and how a schema of an earlier release becomes one of this release.

use sqlx::{AssertSqlSafe, PgConnection};

use super::ensure::Error;
use super::name::{Schema, literal};
use super::{META, OFFSETS, PASSED_OVER, PROJECTIONS};

/// The layout of our own tables. Raised when they change.
pub(super) const LAYOUT: &str = "2";
/// The layout before: places by topic alone, no catalog.
const BEFORE: &str = "1";

/// Creates them, or brings them to this layout.
pub(super) async fn bring(connection: &mut PgConnection, schema: &Schema) -> Result<(), Error> {
    let exists = format!("SELECT to_regclass({}) IS NOT NULL", literal(&schema.table(META)));
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
    match found.as_deref() {
        Some(LAYOUT) | None => create(connection, schema).await?,
        Some(BEFORE) => migrate(connection, schema).await?,
        Some(other) => {
            return Err(Error::Layout { schema: schema.quoted(), found: other.to_owned() });
        }
    }
    Ok(())
}

async fn create(connection: &mut PgConnection, schema: &Schema) -> Result<(), sqlx::Error> {
    let (projections, text) = (schema.table(PROJECTIONS), "text COLLATE \"C\"");
    let statements = [
        format!(
            "CREATE TABLE IF NOT EXISTS {projections} (name {text}, generation integer, kind text NOT NULL, \
             fingerprint text NOT NULL, state text NOT NULL, error text, error_at text, \
             done bigint NOT NULL DEFAULT 0, total bigint NOT NULL DEFAULT 0, applied bigint NOT NULL DEFAULT 0, \
             started_at timestamptz NOT NULL DEFAULT now(), changed_at timestamptz NOT NULL DEFAULT now(), \
             PRIMARY KEY (name, generation))"
        ),
        format!(
            "CREATE UNIQUE INDEX IF NOT EXISTS writ_projections_read ON {projections} (name) WHERE state <> 'building'"
        ),
        format!(
            "CREATE UNIQUE INDEX IF NOT EXISTS writ_projections_built ON {projections} (name) WHERE state = 'building'"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {} (projection {text}, generation integer, topic {text}, partition integer, \
             next bigint NOT NULL, PRIMARY KEY (projection, generation, topic, partition))",
            schema.table(OFFSETS)
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {} (topic {text}, partition integer, \"offset\" bigint, reason text NOT NULL, \
             PRIMARY KEY (topic, partition, \"offset\"))",
            schema.table(PASSED_OVER)
        ),
    ];
    for statement in statements {
        run(connection, statement).await?;
    }
    Ok(())
}

/// Every place was that of the rows of the topic's model, whose name is the last part of the topic's.
async fn migrate(connection: &mut PgConnection, schema: &Schema) -> Result<(), sqlx::Error> {
    let (offsets, meta) = (schema.table(OFFSETS), schema.table(META));
    let before = "writ_offsets_1";
    run(connection, format!("ALTER TABLE {offsets} RENAME TO {before}")).await?;
    // Its index would keep the name that the new one's gets.
    run(connection, format!("ALTER TABLE {} DROP CONSTRAINT writ_offsets_pkey", schema.table(before)))
        .await?;
    create(connection, schema).await?;
    let model = "substring(topic FROM '[^.]*$')";
    let old = schema.table(before);
    run(connection, format!("INSERT INTO {offsets} SELECT {model}, 1, topic, partition, next FROM {old}"))
        .await?;
    run(
        connection,
        format!(
            "INSERT INTO {} (name, generation, kind, fingerprint, state) \
             SELECT DISTINCT {model}, 1, 'model', '', 'live' FROM {old}",
            schema.table(PROJECTIONS)
        ),
    )
    .await?;
    run(connection, format!("DROP TABLE {old}")).await?;
    let update = format!("UPDATE {meta} SET value = $1 WHERE name = 'layout'");
    sqlx::query(AssertSqlSafe(update)).bind(LAYOUT).execute(connection).await?;
    tracing::info!(
        db.schema = schema.quoted(),
        "the places of layout {BEFORE} are those of the models' rows now"
    );
    Ok(())
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
