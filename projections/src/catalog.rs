//! The projections as PostgreSQL knows them: the table `writ_projections`.
//!
//! ```text
//!                      a statement is refused
//!            ┌─► live ────────────────────────► stopped
//! no table ──┤     ▲ swap: the older one goes      │ the way back
//!            └─► building ◄────────────────────────┘
//! ```
//!
//! A generation of a projection is one filling of its table, and has its own places in the topics. At most one is live
//! or stopped, at most one is being built. Whoever makes or forgets a live one does it under the lock of the tables or
//! holds the row, so that nobody goes on with the places of a generation that is gone: they are deleted with its row.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::tables::{OFFSETS, PROJECTIONS, Schema};

/// What a projection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The rows of a model.
    Model,
    /// Every event.
    EventLog,
    /// A table of the product's own.
    Sql,
}

impl Kind {
    /// As the column `kind` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Model => "model",
            Kind::EventLog => "event_log",
            Kind::Sql => "sql",
        }
    }
}

/// Where a generation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Follows the events, and is what is read.
    Live,
    /// Is being filled beside the live one.
    Building,
    /// Its statement was refused: it is read as it is, and goes no further.
    Stopped,
}

impl State {
    /// As the column `state` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Live => "live",
            State::Building => "building",
            State::Stopped => "stopped",
        }
    }
}

/// One filling of the table of a projection: what has places in the topics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Generation {
    /// The projection's name.
    pub(crate) projection: Arc<str>,
    /// 1 and up; a later one has a higher number.
    pub(crate) number: i32,
}

/// A row of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Which generation of which projection.
    pub(crate) generation: Generation,
    /// As [`Kind::name`].
    pub(crate) kind: String,
    /// Of what its table looks like and its statements do.
    pub(crate) fingerprint: String,
    /// Where it stands.
    pub(crate) state: State,
    /// Why it is stopped, and the event at which: `writ.order:5:1234`.
    pub(crate) error: Option<(String, String)>,
}

/// The table `writ_projections`.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    table: String,
    offsets: String,
}

impl Catalog {
    /// That of `schema`.
    pub(crate) fn new(schema: &Schema) -> Catalog {
        Catalog { table: schema.table(PROJECTIONS), offsets: schema.table(OFFSETS) }
    }

    /// All generations, by name and number.
    pub(crate) async fn load(&self, connection: &mut PgConnection) -> Result<Vec<Entry>, sqlx::Error> {
        self.select(connection, "").await
    }

    /// The same; none of them can be changed or forgotten until the transaction ends.
    pub(crate) async fn hold(&self, connection: &mut PgConnection) -> Result<Vec<Entry>, sqlx::Error> {
        self.select(connection, "FOR SHARE").await
    }

    async fn select(
        &self,
        connection: &mut PgConnection,
        lock: &'static str,
    ) -> Result<Vec<Entry>, sqlx::Error> {
        let select = format!(
            "SELECT name, generation, kind, fingerprint, state, error, error_at FROM {} ORDER BY name, generation {lock}",
            self.table
        );
        let rows = sqlx::query(AssertSqlSafe(select)).fetch_all(connection).await?;
        let entry = |row: &sqlx::postgres::PgRow| {
            let projection: String = row.try_get(0)?;
            let state: String = row.try_get(4)?;
            let error: Option<String> = row.try_get(5)?;
            let at: Option<String> = row.try_get(6)?;
            Ok(Entry {
                generation: Generation { projection: projection.into(), number: row.try_get(1)? },
                kind: row.try_get(2)?,
                fingerprint: row.try_get(3)?,
                state: match state.as_str() {
                    "live" => State::Live,
                    "building" => State::Building,
                    _ => State::Stopped,
                },
                error: error.zip(at),
            })
        };
        rows.iter().map(entry).collect()
    }

    /// A new generation.
    pub(crate) async fn insert(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
        kind: Kind,
        fingerprint: &str,
        state: State,
    ) -> Result<(), sqlx::Error> {
        let insert = format!(
            "INSERT INTO {} (name, generation, kind, fingerprint, state) VALUES ($1, $2, $3, $4, $5)",
            self.table
        );
        sqlx::query(AssertSqlSafe(insert))
            .bind(&*generation.projection)
            .bind(generation.number)
            .bind(kind.name())
            .bind(fingerprint)
            .bind(state.name())
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Its table has been brought to another declaration as it stands.
    pub(crate) async fn refit(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
        fingerprint: &str,
    ) -> Result<(), sqlx::Error> {
        let update = format!(
            "UPDATE {} SET fingerprint = $3, changed_at = now() WHERE name = $1 AND generation = $2",
            self.table
        );
        sqlx::query(AssertSqlSafe(update))
            .bind(&*generation.projection)
            .bind(generation.number)
            .bind(fingerprint)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Stops a live one, because of the event `at`. One that is being built stays so, with the error: it has failed, and what
    /// is live beside it goes on (see [`crate::rebuild`]).
    pub(crate) async fn stop(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
        error: &str,
        at: &str,
    ) -> Result<(), sqlx::Error> {
        let update = format!(
            "UPDATE {} SET state = CASE state WHEN 'building' THEN state ELSE 'stopped' END, error = $3, error_at = $4, \
             changed_at = now() \
             WHERE name = $1 AND generation = $2",
            self.table
        );
        sqlx::query(AssertSqlSafe(update))
            .bind(&*generation.projection)
            .bind(generation.number)
            // PostgreSQL's own words, which may quote a value that no text of its can hold.
            .bind(error.replace('\0', "\u{fffd}"))
            .bind(at)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Forgets a generation with its places.
    pub(crate) async fn forget(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
    ) -> Result<(), sqlx::Error> {
        for (table, name) in [(&self.offsets, "projection"), (&self.table, "name")] {
            let delete = format!("DELETE FROM {table} WHERE {name} = $1 AND generation = $2");
            sqlx::query(AssertSqlSafe(delete))
                .bind(&*generation.projection)
                .bind(generation.number)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}
