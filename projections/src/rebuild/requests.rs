//! What is to be built: the rows of `writ_projections` whose state is `building`.
//!
//! A request is a generation that isn't live yet. What it has read stands in `writ_offsets` under its number, what it has
//! filled is the table in the schema of the builds, whose comment says for which generation and fingerprint it was made.
//! If these don't fit together, or what was built has become wrong, the request gets the next number
//! ([`Requests::renew`]): with its places deleted nobody can go on with the old table.
//!
//! A request with an error needs somebody. With `error_at` the build has **failed** at that event, as it will whenever
//! it is repeated: it rests until it is asked for anew, or the declaration changes. Without `error_at` it is **held
//! back**: it goes on by itself once the reason is gone. In both cases what is live stays live.

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::catalog::{Generation, Kind};
use crate::tables::{OFFSETS, PROJECTIONS, Schema};

/// A row of the catalog that asks for a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) generation: Generation,
    /// As [`Kind::name`].
    pub(super) kind: String,
    /// Of the declaration that is wanted.
    pub(super) fingerprint: String,
    /// Whether it rests until it is asked for anew.
    pub(super) failed: bool,
}

/// What came of a demand.
#[derive(Debug)]
pub(super) enum Demanded {
    Begun(Generation),
    Under(Generation),
}

/// How far a build is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Offsets passed.
    pub(super) done: i64,
    /// Offsets to pass, as of the last look.
    pub(super) total: i64,
    /// Events applied since the last note.
    pub(super) applied: i64,
}

/// The statements on requests.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    catalog: String,
    offsets: String,
}

const COLUMNS: &str = "name, generation, kind, fingerprint, error_at IS NOT NULL";

impl Requests {
    pub(super) fn new(schema: &Schema) -> Requests {
        Requests { catalog: schema.table(PROJECTIONS), offsets: schema.table(OFFSETS) }
    }

    /// All, in the order in which they are built: models first, since what their rows are given decides what the SQL
    /// projections are given.
    pub(super) async fn load(&self, connection: &mut PgConnection) -> Result<Vec<Request>, sqlx::Error> {
        let select = format!(
            "SELECT {COLUMNS} FROM {} WHERE state = 'building' \
             ORDER BY array_position($1::text[], kind), started_at, name",
            self.catalog
        );
        let order: Vec<&str> = [Kind::Model, Kind::EventLog, Kind::Sql].map(Kind::name).into();
        let rows = sqlx::query(AssertSqlSafe(select)).bind(order).fetch_all(connection).await?;
        rows.iter().map(request).collect()
    }

    /// This request as it is now, locked with all other rows of its projection. `None`: it is no longer asked for.
    pub(super) async fn hold(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
    ) -> Result<Option<Request>, sqlx::Error> {
        let select = format!(
            "SELECT {COLUMNS}, state FROM {} WHERE name = $1 ORDER BY generation FOR UPDATE",
            self.catalog
        );
        let rows =
            sqlx::query(AssertSqlSafe(select)).bind(&*generation.projection).fetch_all(connection).await?;
        for row in &rows {
            let state: String = row.try_get(5)?;
            let found = request(row)?;
            if found.generation == *generation && state == "building" {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Begins it anew under a number that no other has, without an error and for this fingerprint. The caller holds it.
    pub(super) async fn renew(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
        fingerprint: &str,
    ) -> Result<Generation, sqlx::Error> {
        let delete = format!("DELETE FROM {} WHERE projection = $1 AND generation = $2", self.offsets);
        sqlx::query(AssertSqlSafe(delete))
            .bind(&*generation.projection)
            .bind(generation.number)
            .execute(&mut *connection)
            .await?;
        let update = format!(
            "UPDATE {catalog} SET generation = (SELECT max(generation) + 1 FROM {catalog} WHERE name = $1), \
             fingerprint = $3, error = NULL, error_at = NULL, done = 0, total = 0, applied = 0, started_at = now(), \
             changed_at = now() WHERE name = $1 AND generation = $2 RETURNING generation",
            catalog = self.catalog
        );
        let number = sqlx::query_scalar(AssertSqlSafe(update))
            .bind(&*generation.projection)
            .bind(generation.number)
            .bind(fingerprint)
            .fetch_one(connection)
            .await?;
        Ok(Generation { number, ..generation.clone() })
    }

    /// A new request.
    pub(super) async fn insert(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
        kind: &str,
        fingerprint: &str,
    ) -> Result<(), sqlx::Error> {
        let insert = format!(
            "INSERT INTO {} (name, generation, kind, fingerprint, state) VALUES ($1, $2, $3, $4, 'building')",
            self.catalog
        );
        sqlx::query(AssertSqlSafe(insert))
            .bind(&*generation.projection)
            .bind(generation.number)
            .bind(kind)
            .bind(fingerprint)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Asks for this projection to be built. If it is being built already, it is begun `anew`, or only if that has
    /// failed. `None`: there is no such projection.
    pub(super) async fn demand(
        &self,
        connection: &mut PgConnection,
        name: &str,
        anew: bool,
    ) -> Result<Option<Demanded>, sqlx::Error> {
        let select = format!(
            "SELECT generation, state = 'building', kind, fingerprint, error_at IS NOT NULL FROM {} WHERE name = $1 \
             ORDER BY generation FOR UPDATE",
            self.catalog
        );
        type Known = (i32, bool, String, String, bool);
        let known: Vec<Known> =
            sqlx::query_as(AssertSqlSafe(select)).bind(name).fetch_all(&mut *connection).await?;
        let generation = |number| Generation { projection: name.into(), number };
        if let Some((number, _, _, fingerprint, failed)) = known.iter().find(|known| known.1) {
            let generation = generation(*number);
            return Ok(Some(match anew || *failed {
                false => Demanded::Under(generation),
                true => Demanded::Begun(self.renew(connection, &generation, fingerprint).await?),
            }));
        }
        let Some((number, _, kind, fingerprint, _)) = known.last() else { return Ok(None) };
        let generation = generation(number + 1);
        self.insert(connection, &generation, kind, fingerprint).await?;
        Ok(Some(Demanded::Begun(generation)))
    }

    /// Notes how far it is. `false`: it is no longer asked for.
    pub(super) async fn note(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
        progress: Progress,
    ) -> Result<bool, sqlx::Error> {
        let update = format!(
            "UPDATE {} SET done = $3, total = $4, applied = applied + $5, changed_at = now() \
             WHERE name = $1 AND generation = $2 AND state = 'building'",
            self.catalog
        );
        let done = sqlx::query(AssertSqlSafe(update))
            .bind(&*generation.projection)
            .bind(generation.number)
            .bind(progress.done)
            .bind(progress.total)
            .bind(progress.applied)
            .execute(connection)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Notes why it doesn't go on, and the event that is in the way, if it is one. Whether that is news.
    pub(super) async fn complain(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
        error: &str,
        at: Option<&str>,
    ) -> Result<bool, sqlx::Error> {
        let update = format!(
            "UPDATE {} SET error = $3, error_at = $4, changed_at = now() \
             WHERE name = $1 AND generation = $2 AND state = 'building' \
             AND (error, error_at) IS DISTINCT FROM ($3, $4)",
            self.catalog
        );
        let done = sqlx::query(AssertSqlSafe(update))
            .bind(&*generation.projection)
            .bind(generation.number)
            // PostgreSQL's own words, which may quote a value that no text of its can hold.
            .bind(error.replace('\0', "\u{fffd}"))
            .bind(at)
            .execute(connection)
            .await?;
        Ok(done.rows_affected() == 1)
    }
}

fn request(row: &sqlx::postgres::PgRow) -> Result<Request, sqlx::Error> {
    let projection: String = row.try_get(0)?;
    Ok(Request {
        generation: Generation { projection: projection.into(), number: row.try_get(1)? },
        kind: row.try_get(2)?,
        fingerprint: row.try_get(3)?,
        failed: row.try_get(4)?,
    })
}
