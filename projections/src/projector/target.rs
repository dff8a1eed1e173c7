//! What an event is applied to: a generation of a projection with its statements.
//!
//! Its table may stand in another schema than catalog and places do: that is how one is built beside the live one.

use std::sync::Arc;

use sqlx::PgConnection;
use writ_producers::topics::Topics;

use super::batch::{Decoded, Place};
use super::log::Log;
use super::rows::{Gap, Rows};
use super::statements::{Failed, Statements, is_refused};
use crate::catalog::Generation;
use crate::declared::Declaration;
use crate::tables::{Schema, Table};

/// Why events could not be applied. Nothing of the call's work may be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// PostgreSQL failed, or refuses a row.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Somebody else has changed a row.
    #[error("the row {id} of {table} is not what the projector writes: {detail}")]
    Row {
        /// Schema and table.
        table: String,
        /// The aggregate.
        id: uuid::Uuid,
        /// What is wrong with it.
        detail: String,
    },
    /// PostgreSQL refuses the statement of an SQL projection.
    #[error("{source}")]
    Statement {
        /// Which of the events, by index.
        index: usize,
        /// What it said.
        source: sqlx::Error,
    },
}

impl Error {
    /// PostgreSQL doesn't take these very values: a number beyond its column, a text that its index can't hold. Trying
    /// again won't help. Not so what is missing or failing on its side.
    pub(crate) fn is_refusal(&self) -> bool {
        let Error::Database(sqlx::Error::Database(error)) = self else { return false };
        // Data exception, program limit. Not a constraint: the tables have none that a value could break, so somebody has
        // made one, and it is for them to see that nothing goes on.
        error.code().is_some_and(|code| ["22", "54"].iter().any(|class| code.starts_with(class)))
    }
}

/// What became of some events.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// How many have changed something.
    pub(crate) count: u64,
    /// Those that no row was given, by index.
    pub(crate) passed: Vec<(usize, Passed)>,
}

/// Why rows don't take an event.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Passed {
    /// The row has that version already.
    Duplicate,
    /// An earlier event of its aggregate is missing.
    Hole(Gap),
}

/// A generation that events are applied to.
#[derive(Debug)]
pub(crate) struct Target {
    generation: Generation,
    topics: Vec<Arc<str>>,
    table: String,
    work: Work,
}

/// The three kinds of projections.
#[derive(Debug)]
pub(crate) enum Work {
    /// The rows of a model: events are folded.
    Rows(Rows),
    /// The event log: events are appended.
    Log(Log),
    /// An SQL projection: its statements are run.
    Statements(Statements),
}

impl Target {
    /// The generation `number` of what is declared. `schema`: where its table stands.
    pub(crate) fn new(declaration: &Declaration, topics: &Topics, schema: &Schema, number: i32) -> Target {
        let work = match declaration {
            Declaration::Model(model) => Work::Rows(Rows::new(model.clone(), Table::derive(schema, model))),
            Declaration::EventLog(_) => Work::Log(Log::new(schema)),
            Declaration::Sql(projection) => Work::Statements(Statements::new(projection.clone(), schema)),
        };
        Target {
            generation: Generation { projection: declaration.name().into(), number },
            topics: declaration.topics(topics),
            table: declaration.qualified(schema),
            work,
        }
    }

    /// Which one it is.
    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Schema and name of its table, as an identifier.
    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// Whether it is given the events of this partition.
    pub(crate) fn reads(&self, place: &Place) -> bool {
        self.topics.contains(&place.topic)
    }

    /// What it does with an event.
    pub(crate) fn work(&self) -> &Work {
        &self.work
    }

    /// Applies events of its topics, which are in the order of their partitions. SQL projections must not be given what
    /// has been passed over.
    pub(crate) async fn apply(
        &self,
        connection: &mut PgConnection,
        events: &[&Decoded],
    ) -> Result<Applied, Error> {
        if events.is_empty() {
            return Ok(Applied::default());
        }
        let count = events.len() as u64;
        match &self.work {
            Work::Rows(rows) => return rows.apply(connection, events).await,
            Work::Log(log) => log.append(connection, events).await?,
            Work::Statements(statements) => {
                let applied = statements.apply_all(connection, events).await;
                applied.map_err(|Failed { index, error }| match is_refused(&error) {
                    true => Error::Statement { index, source: error },
                    false => Error::Database(error),
                })?;
            }
        }
        Ok(Applied { count, passed: Vec::new() })
    }
}
