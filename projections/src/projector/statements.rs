//! Running the statements of an SQL projection.
//!
//! A statement is run as it was declared, with a typed place for a value (`($1::text::numeric(14,2))`) where a parameter
//! stood: values are bound as texts, like those of rows, and never become part of the SQL. Its text is the same for every
//! event, so a connection prepares it once.
//!
//! It calls its table by its name alone. The `search_path` says where that is: in the schema of live tables, or of those
//! that are being built. Functions and types are PostgreSQL's own, which it always looks for first. The settings hold
//! until the transaction ends; all other statements of the projector name their schema.

use std::sync::{Arc, OnceLock};

use sqlx::{AssertSqlSafe, PgConnection};
use writ_model::Event;
use writ_model::declaration::{Metadata, Parameter, Projection, Statement};

use super::batch::Decoded;
use crate::tables::{Kind, Schema, text};

/// A statement that takes longer is cancelled; the second time it stops its projection. Without a limit it would stop the projector.
const LIMIT: &str = "10s";

/// An SQL projection with its statements.
#[derive(Debug)]
pub(crate) struct Statements {
    projection: Arc<Projection>,
    /// Of each statement, once its first event has come.
    rendered: Vec<OnceLock<Rendered>>,
    settings: String,
}

/// A statement that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// For which of the events, by index.
    pub(crate) index: usize,
    pub(crate) error: sqlx::Error,
}

/// A statement as PostgreSQL takes it.
#[derive(Debug, PartialEq, Eq)]
struct Rendered {
    sql: String,
    /// Each once, in the order of `$1`, `$2` …
    parameters: Vec<Parameter>,
}

impl Statements {
    /// `table_schema`: where its table stands.
    pub(crate) fn new(projection: Arc<Projection>, table_schema: &Schema) -> Statements {
        let settings = format!(
            "SET LOCAL search_path TO {}, pg_temp; SET LOCAL statement_timeout TO '{LIMIT}'; SET LOCAL TimeZone TO 'UTC'",
            table_schema.quoted()
        );
        let rendered = projection.statements.iter().map(|_| OnceLock::new()).collect();
        Statements { projection, rendered, settings }
    }

    /// Runs the statement of each event that has one, in their order. The connection must be in a transaction; after a
    /// failure what was done since its last savepoint is to be rolled back.
    pub(crate) async fn apply_all(
        &self,
        connection: &mut PgConnection,
        events: &[&Decoded],
    ) -> Result<(), Failed> {
        let mut is_set = false;
        for (index, event) in events.iter().enumerate() {
            let Some(rendered) = self.of(event) else { continue };
            let failed = |error| Failed { index, error };
            if !is_set {
                let settings = sqlx::raw_sql(AssertSqlSafe(self.settings.as_str()));
                settings.execute(&mut *connection).await.map_err(failed)?;
                is_set = true;
            }
            run(connection, rendered, event).await.map_err(failed)?;
        }
        Ok(())
    }

    fn of(&self, decoded: &Decoded) -> Option<&Rendered> {
        let event = decoded.event();
        let is_for =
            |statement: &Statement| statement.model == decoded.model.name && statement.event == event.name;
        let index = self.projection.statements.iter().position(is_for)?;
        Some(self.rendered[index].get_or_init(|| render(&self.projection.statements[index], event)))
    }
}

async fn run(connection: &mut PgConnection, rendered: &Rendered, event: &Decoded) -> Result<(), sqlx::Error> {
    let mut query = sqlx::query(AssertSqlSafe(rendered.sql.as_str()));
    for parameter in &rendered.parameters {
        query = query.bind(value(event, parameter));
    }
    query.execute(connection).await?;
    Ok(())
}

/// The brackets keep what stands behind a parameter apart from its type: `:tags[1]` isn't `$1::jsonb[1]`.
fn render(statement: &Statement, event: &Event) -> Rendered {
    let mut sql = String::new();
    let mut parameters: Vec<Parameter> = Vec::new();
    for (index, piece) in statement.pieces.iter().enumerate() {
        sql.push_str(piece);
        let Some(parameter) = statement.parameters.get(index) else { continue };
        let number = match parameters.iter().position(|known| known == parameter) {
            Some(known) => known + 1,
            None => {
                parameters.push(parameter.clone());
                parameters.len()
            }
        };
        sql.push_str(&format!("(${number}::text::{})", sql_type(event, parameter)));
    }
    Rendered { sql, parameters }
}

fn sql_type(event: &Event, parameter: &Parameter) -> String {
    match parameter {
        Parameter::Field(name) => {
            event.fields.get(name).map_or(Kind::Text, |field| Kind::of(&field.ty)).sql_type()
        }
        Parameter::Event(metadata) => match metadata {
            Metadata::Id | Metadata::AggregateId => Kind::Uuid,
            Metadata::Version => Kind::Integer,
            Metadata::Time => Kind::Timestamp,
            Metadata::Type | Metadata::Actor | Metadata::CorrelationId | Metadata::CausationId => Kind::Text,
        }
        .sql_type(),
    }
}

fn value(event: &Decoded, parameter: &Parameter) -> Option<String> {
    match parameter {
        Parameter::Field(name) => event.fields.get(name).and_then(text),
        Parameter::Event(metadata) => match metadata {
            Metadata::Id => Some(event.id.to_string()),
            Metadata::Type => Some(event.event().type_name.clone()),
            Metadata::AggregateId => Some(event.aggregate.to_string()),
            Metadata::Version => Some(event.version.to_string()),
            Metadata::Time => Some(event.at.to_string()),
            Metadata::Actor => event.actor().map(str::to_owned),
            Metadata::CorrelationId => event.correlation_id().map(str::to_owned),
            Metadata::CausationId => event.causation_id().map(str::to_owned),
        },
    }
}

/// Whether PostgreSQL refuses the statement: then it always will, and its projection stops. Everything else is the
/// server's state (it is away, ends, is full, lets another transaction through first), and is tried again.
pub(crate) fn is_refused(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_none_or(|code| {
            // Connection, transaction state (read-only after a failover), prepared statement, authorization, rollback
            // (deadlock, serialization), resources, operator, system; object in use, lock not available.
            let is_passing =
                ["08", "25", "26", "28", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
                    || matches!(&*code, "55006" | "55P03");
            // Cancelled, by its time limit as by an operator.
            !is_passing || code == "57014"
        }),
        sqlx::Error::Encode(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
