//! Running the statements of an SQL projection.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, PgConnection};
use writ_model::declaration::{Metadata, Parameter, Projection};

use super::batch::Decoded;
use crate::tables::{Kind, Schema, text};

/// An SQL projection with its statements.
#[derive(Debug)]
pub(crate) struct Statements {
    projection: Arc<Projection>,
    search_path: String,
}

impl Statements {
    /// `table_schema`: where its table stands.
    pub(crate) fn new(projection: Arc<Projection>, table_schema: &Schema) -> Statements {
        let search_path = format!("SET LOCAL search_path TO {}", table_schema.quoted());
        Statements { projection, search_path }
    }

    /// Runs the statement for an event, if there is one.
    pub(crate) async fn apply(
        &self,
        connection: &mut PgConnection,
        event: &Decoded,
    ) -> Result<(), sqlx::Error> {
        let declared = event.event();
        let is_for = |model: &str, name: &str| model == event.model.name && name == declared.name;
        let Some(statement) =
            self.projection.statements.iter().find(|statement| is_for(&statement.model, &statement.event))
        else {
            return Ok(());
        };
        let mut sql = String::new();
        let mut values = Vec::with_capacity(statement.parameters.len());
        for (index, piece) in statement.pieces.iter().enumerate() {
            sql.push_str(piece);
            let Some(parameter) = statement.parameters.get(index) else { continue };
            let (value, ty) = match parameter {
                Parameter::Field(name) => (
                    event.fields.get(name).and_then(text),
                    declared.fields.get(name).map_or("text".into(), |field| Kind::of(&field.ty).sql_type()),
                ),
                Parameter::Event(metadata) => metadata_of(event, *metadata),
            };
            values.push(value);
            sql.push_str(&format!("(${}::text)::{ty}", values.len()));
        }
        sqlx::query(AssertSqlSafe(self.search_path.as_str())).execute(&mut *connection).await?;
        let bound =
            values.into_iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| query.bind(value));
        bound.execute(connection).await?;
        Ok(())
    }
}

fn metadata_of(event: &Decoded, metadata: Metadata) -> (Option<String>, String) {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let (value, ty) = match metadata {
        Metadata::Id => (Some(event.id.to_string()), "uuid"),
        Metadata::Type => (Some(event.event().type_name.clone()), "text"),
        Metadata::AggregateId => (Some(event.aggregate.to_string()), "uuid"),
        Metadata::Version => (Some(event.version.to_string()), "bigint"),
        Metadata::Time => (Some(event.at.to_string()), "timestamptz"),
        Metadata::Actor => (owned(event.actor()), "text"),
        Metadata::CorrelationId => (owned(event.correlation_id()), "text"),
        Metadata::CausationId => (owned(event.causation_id()), "text"),
    };
    (value, ty.to_owned())
}
