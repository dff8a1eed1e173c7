//! The rows of a batch's aggregates: read, folded, written, each with one statement per model.
//!
//! **First wins by (aggregate id, version)**: an event whose version the row has already is skipped and counted. One
//! whose version is beyond the row's next one is a [`Gap`], which the caller sends to the dead letters. Both are passed over.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use uuid::Uuid;
use writ_model::value::stored_from_json;
use writ_model::{Model, State, Timestamp, Value, evolve};

use super::batch::Decoded;
use super::target::{Applied, Error, Passed};
use crate::metrics;
use crate::tables::{Table, object, text};

/// An event can't be folded: an earlier one of its aggregate is missing.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the event has version {version} and waits for version {next}, which its row doesn't have yet")]
pub(crate) struct Gap {
    next: u64,
    version: u64,
}

/// A model's table with its statements.
#[derive(Debug)]
pub(crate) struct Rows {
    model: Arc<Model>,
    table: Table,
    select: String,
    upsert: String,
}

impl Rows {
    pub(crate) fn new(model: Arc<Model>, table: Table) -> Rows {
        Rows { select: select(&table), upsert: upsert(&table), model, table }
    }

    /// Folds `events`, which are in the order of their partitions, and writes the rows.
    pub(crate) async fn apply(
        &self,
        connection: &mut PgConnection,
        events: &[&Decoded],
    ) -> Result<Applied, Error> {
        let mut ids: Vec<Uuid> = events.iter().map(|event| event.aggregate).collect();
        // Also the order in which rows are locked.
        ids.sort_unstable();
        ids.dedup();
        let mut states = self.read(connection, &ids).await?;
        let mut changed: Vec<Uuid> = Vec::with_capacity(ids.len());
        let mut applied = Applied::default();
        for (index, decoded) in events.iter().enumerate() {
            let state = states.remove(&decoded.aggregate);
            let next = state.as_ref().map_or(0, |state| state.version) + 1;
            if decoded.version != next {
                let passed = match decoded.version > next {
                    true => Passed::Hole(Gap { next, version: decoded.version }),
                    false => {
                        skipped(decoded, next);
                        Passed::Duplicate
                    }
                };
                applied.passed.push((index, passed));
                states.extend(state.map(|state| (decoded.aggregate, state)));
                continue;
            }
            applied.count += 1;
            let event = decoded.event();
            states.insert(decoded.aggregate, evolve(&self.model, state, event, &decoded.fields, decoded.at));
            changed.push(decoded.aggregate);
        }
        changed.sort_unstable();
        changed.dedup();
        if !changed.is_empty() {
            self.write(connection, &changed, &states).await?;
        }
        Ok(applied)
    }

    async fn read(&self, connection: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, State>, Error> {
        let rows = sqlx::query(AssertSqlSafe(self.select.as_str())).bind(ids).fetch_all(connection).await?;
        let mut states = HashMap::with_capacity(ids.len());
        for row in rows {
            let id: Uuid = row.try_get(0)?;
            let broken = |detail: String| Error::Row { table: self.table.qualified.clone(), id, detail };
            let version: i64 = row.try_get(1)?;
            let fields: String = row.try_get(5)?;
            let fields = serde_json::from_str(&fields).map_err(|error| broken(error.to_string()))?;
            let state = State {
                version: u64::try_from(version).map_err(|_| broken(format!("version {version}")))?,
                deleted: row.try_get(2)?,
                created_at: Timestamp(row.try_get(3)?),
                updated_at: Timestamp(row.try_get(4)?),
                fields: stored_from_json(&self.model.fields, &fields).map_err(|errors| {
                    let faults: Vec<String> =
                        errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
                    broken(faults.join("; "))
                })?,
            };
            states.insert(id, state);
        }
        Ok(states)
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        ids: &[Uuid],
        states: &HashMap<Uuid, State>,
    ) -> Result<(), Error> {
        let of = |id: &Uuid| states.get(id).expect("invariant: every changed aggregate has a state");
        let states: Vec<&State> = ids.iter().map(of).collect();
        // A version is at most the number of events, which Kafka counts with 63 bits.
        let versions: Vec<i64> = states.iter().map(|state| state.version.cast_signed()).collect();
        let deleted: Vec<bool> = states.iter().map(|state| state.deleted).collect();
        let times = |time: fn(&State) -> Timestamp| -> Vec<String> {
            states.iter().map(|state| time(state).to_string()).collect()
        };
        let mut statement = sqlx::query(AssertSqlSafe(self.upsert.as_str()))
            .bind(ids)
            .bind(versions)
            .bind(deleted)
            .bind(times(|state| state.created_at))
            .bind(times(|state| state.updated_at));
        for column in &self.table.columns {
            let cells: Vec<Option<Cow<'_, str>>> =
                states.iter().map(|state| state.fields.get(&column.field).and_then(cell)).collect();
            statement = statement.bind(cells);
        }
        statement.execute(connection).await?;
        Ok(())
    }
}

fn select(table: &Table) -> String {
    let millis = |column: &str| format!("(extract(epoch FROM {column}) * 1000)::bigint");
    format!(
        "SELECT id, version, deleted, {}, {}, {} FROM {} WHERE id = ANY($1)",
        millis("created_at"),
        millis("updated_at"),
        object(table.columns.iter()),
        table.qualified
    )
}

/// One statement whatever the number of rows: an array per column. `UNNEST` of several arrays has no limit of arguments.
fn upsert(table: &Table) -> String {
    let fixed = ["id", "version", "deleted", "created_at", "updated_at"].map(crate::tables::quote);
    let fixed_types = ["uuid", "bigint", "boolean", "timestamp with time zone", "timestamp with time zone"];
    let columns: Vec<(String, String)> = fixed
        .into_iter()
        .zip(fixed_types.map(str::to_owned))
        .chain(table.columns.iter().map(|column| (column.quoted(), column.kind.sql_type())))
        .collect();
    let join = |part: &dyn Fn(usize, &(String, String)) -> String| {
        let parts: Vec<String> =
            columns.iter().enumerate().map(|(index, column)| part(index, column)).collect();
        parts.join(", ")
    };
    let names = join(&|_, (name, _)| name.clone());
    let values = join(&|index, (_, ty)| format!("c{index}::{ty}"));
    let arrays = join(&|index, _| {
        let ty = ["uuid", "bigint", "boolean"].get(index).unwrap_or(&"text");
        format!("${}::{ty}[]", index + 1)
    });
    let aliases = join(&|index, _| format!("c{index}"));
    let updates: Vec<String> =
        columns.iter().skip(1).map(|(name, _)| format!("{name} = EXCLUDED.{name}")).collect();
    format!(
        "INSERT INTO {} ({names}) SELECT {values} FROM UNNEST({arrays}) AS new ({aliases}) \
         ON CONFLICT (id) DO UPDATE SET {}",
        table.qualified,
        updates.join(", ")
    )
}

/// The text of a value, without a copy if it is one.
fn cell(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(Cow::Borrowed(text)),
        other => text(other).map(Cow::Owned),
    }
}

fn skipped(decoded: &Decoded, next: u64) {
    ::metrics::counter!(metrics::SKIPPED, "model" => decoded.model.name.clone()).increment(1);
    tracing::warn!(
        topic = &*decoded.record.place.topic,
        partition = decoded.record.place.partition,
        offset = decoded.record.offset,
        key = %decoded.aggregate,
        version = decoded.version,
        expected = next,
        "an event is skipped: its row has a later version already"
    );
}
