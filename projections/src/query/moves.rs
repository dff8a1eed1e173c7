//! How far SQL projections are, and word that they have moved, for those who follow their rows.
//!
//! A [`Mark`] is the generation of a projection that answers queries, and its places. What changes the rows of a projection moves
//! one of its places, or swaps the generation, and says so by NOTIFY in the same transaction; but for an event that is given to it
//! behind its places, which says that ([`crate::positions`]: `line.rs`). So of any two moments: if nothing was rewritten in between
//! and the marks are equal, the rows are equal. That holds too if somebody drops the schema and all is read again: the same events of
//! the same topics make the same rows, for statements depend on nothing else.

use std::collections::HashMap;

use sqlx::postgres::PgListener;
use sqlx::{AssertSqlSafe, PgConnection};

use super::Queries;
use crate::database::is_undefined;
use crate::positions::line::{LIMIT, Line};
use crate::tables::{OFFSETS, PROJECTIONS, Schema};

/// How far a projection is. Equal marks: the same events are in the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(String);

/// What a look has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// Of those projections that answer queries.
    pub marks: HashMap<String, Mark>,
    /// Since the look before, or in it, rows may have changed whatever the marks say: something was rewritten, or nobody has
    /// listened for a while.
    pub is_rewritten: bool,
}

/// Listens and looks. Connects with the first look.
#[derive(Debug)]
pub struct Moves {
    schema: Schema,
    line: Line,
}

impl Queries {
    /// A connection of its own, to hear when projections have moved.
    pub fn moves(&self) -> Moves {
        let line = Line::new(&self.pool.connect_options(), &self.schema, "writ-live");
        Moves { schema: self.schema.clone(), line }
    }
}

impl Moves {
    /// Returns when something may have moved, or the connection is lost. Never while there is no connection: look first.
    /// Cancel safe.
    pub async fn news(&mut self) {
        self.line.news().await;
    }

    /// Where the projections are. Listens from before it looks. Errors: PostgreSQL's words; look again.
    pub async fn look(&mut self, projections: &[String]) -> Result<Looked, String> {
        let looked = match tokio::time::timeout(LIMIT, self.try_look(projections)).await {
            Ok(Ok(marks)) => Ok(marks),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
        };
        match looked {
            Ok(marks) => Ok(Looked { marks, is_rewritten: self.line.take_rewritten() }),
            Err(reason) => {
                self.line.close();
                Err(reason)
            }
        }
    }

    async fn try_look(&mut self, projections: &[String]) -> Result<HashMap<String, Mark>, sqlx::Error> {
        let line: &mut PgListener = match self.line.open() {
            Some(line) => line,
            None => self.line.renew().await?,
        };
        let connection = sqlx::Acquire::acquire(line).await?;
        marks(connection, &self.schema, projections).await
    }
}

/// The marks of those that answer queries.
pub(super) async fn marks(
    connection: &mut PgConnection,
    schema: &Schema,
    projections: &[String],
) -> Result<HashMap<String, Mark>, sqlx::Error> {
    let select = format!(
        "SELECT entry.name, entry.generation || ' ' || COALESCE((SELECT \
         string_agg(place.topic || ':' || place.partition || ':' || place.next, ' ' ORDER BY place.topic, place.partition) \
         FROM {} AS place WHERE place.projection = entry.name AND place.generation = entry.generation), '') \
         FROM {} AS entry WHERE entry.name = ANY($1) AND entry.state <> 'building'",
        schema.table(OFFSETS),
        schema.table(PROJECTIONS)
    );
    let found = sqlx::query_as(AssertSqlSafe(select)).bind(projections).fetch_all(connection).await;
    let found: Vec<(String, String)> = match found {
        Ok(found) => found,
        // The projector will make the tables.
        Err(error) if is_undefined(&error) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(found.into_iter().map(|(name, mark)| (name, Mark(mark))).collect())
}
