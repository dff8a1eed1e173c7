//! Rows for the server's own use: with every field, also what no caller is ever shown. They go to nobody.

use std::time::Duration;

use sqlx::{QueryBuilder, Row as _};
use tokio::time::Instant;
use uuid::Uuid;
use writ_model::value::stored_from_json;
use writ_model::{Model, Object, Value};

use super::{Error, Queries, bounded};
use crate::tables::object;

/// Between two looks at whether the projector is there.
const PAUSE: Duration = Duration::from_millis(10);

/// A row with all that is in it.
#[derive(Debug, Clone)]
pub struct Whole {
    /// The aggregate.
    pub id: Uuid,
    /// Number of its last event.
    pub version: u64,
    /// Every declared field, secrets as they are sealed.
    pub fields: Object,
}

impl Queries {
    /// The aggregate with this id, unless deleted.
    pub async fn whole(&self, model: &Model, id: Uuid) -> Result<Option<Whole>, Error> {
        self.find_whole(model, "id", &id.to_string(), "uuid").await
    }

    /// The aggregate of which a text field has this value, unless deleted; any of them, if there are several.
    pub async fn whole_by(&self, model: &Model, field: &str, value: &str) -> Result<Option<Whole>, Error> {
        let view = self.view_of(model.into());
        let column = view.table.columns.iter().find(|column| column.field == field);
        let column = column.ok_or_else(|| Error::Failed(format!("{} has no field {field}", model.name)))?;
        self.find_whole(model, &column.quoted(), value, "text").await
    }

    /// The same as [`Queries::whole`], with at least `version` events in it: waits for the projector, up to `limit`. What is
    /// there by then is the answer, so the caller looks at its version.
    pub async fn whole_at(
        &self,
        model: &Model,
        id: Uuid,
        version: u64,
        limit: Duration,
    ) -> Result<Option<Whole>, Error> {
        let deadline = Instant::now() + limit;
        loop {
            let row = self.whole(model, id).await?;
            let is_there = row.as_ref().map_or(0, |row| row.version) >= version;
            if is_there || Instant::now() + PAUSE > deadline {
                return Ok(row);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn find_whole(
        &self,
        model: &Model,
        column: &str,
        value: &str,
        cast: &str,
    ) -> Result<Option<Whole>, Error> {
        let view = self.view_of(model.into());
        let mut sql = QueryBuilder::new(format!(
            "SELECT id, version, {} FROM {} AS t WHERE NOT deleted AND {column} = ",
            object(view.table.columns.iter()),
            view.table.qualified
        ));
        sql.push_bind(value.to_owned()).push(format!("::{cast} LIMIT 1"));
        let Some(row) = bounded(sql.build().fetch_optional(&self.pool)).await? else { return Ok(None) };
        let (id, version, state): (Uuid, i64, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let failed =
            |detail: String| Error::Failed(format!("a row of {} can't be read: {detail}", model.name));
        let state = serde_json::from_str(&state).map_err(|error| failed(error.to_string()))?;
        let fields = stored_from_json(&model.fields, &state)
            .map_err(|errors| failed(errors.first().map(|error| error.detail.clone()).unwrap_or_default()))?;
        Ok(Some(Whole { id, version: version.unsigned_abs(), fields }))
    }
}

impl Whole {
    /// The text of a field, if it has one.
    pub fn text(&self, field: &str) -> Option<&str> {
        match self.fields.get(field) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The number in a field, if it has one.
    pub fn integer(&self, field: &str) -> Option<i64> {
        match self.fields.get(field) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }
}
