//! What projectors made of the events, straight from PostgreSQL: the rows of the models, the event log, the SQL projections,
//! and what the catalog says of them all.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use serde_json::Value as Json;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use uuid::Uuid;
use writ_model::Models;

/// A row: what every table has, and the fields in PostgreSQL's own JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) version: u64,
    pub(crate) deleted: bool,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) fields: Json,
}

/// By model and id.
pub(crate) type Rows = HashMap<(String, Uuid), Row>;

/// An entry of the event log. Times are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) time: i64,
    pub(crate) model: String,
    pub(crate) aggregate: Uuid,
    pub(crate) version: i64,
    pub(crate) id: Uuid,
    pub(crate) type_name: String,
    pub(crate) actor: Option<String>,
    pub(crate) correlation: Option<String>,
    pub(crate) causation: Option<String>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) data: Json,
}

/// The rows of one SQL projection by their keys.
pub(crate) type Projected = BTreeMap<String, Json>;

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) rows: Rows,
    pub(crate) log: Vec<Entry>,
    /// By name.
    pub(crate) projections: HashMap<String, Projected>,
    /// Projections that aren't simply live, and events that no row was given.
    pub(crate) unsettled: Vec<String>,
}

impl Tables {
    /// Reads every table.
    ///
    /// # Errors
    /// PostgreSQL doesn't answer, or the tables aren't there.
    pub(crate) async fn read(postgres: u16, models: &Models) -> Result<Tables> {
        let mut connection = connect(postgres).await?;
        let mut tables = Tables::default();
        for model in models.models.values() {
            let sql = format!(
                "SELECT id, version, deleted, {}, {}, row_to_json(t)::text FROM writ.{} t",
                millis("created_at"),
                millis("updated_at"),
                model.name
            );
            for row in fetch(&mut connection, sql).await? {
                let all: Json = serde_json::from_str(&row.try_get::<String, _>(5)?)?;
                let fields = model.fields.keys().map(|name| (name.clone(), all[name].clone())).collect();
                let read = Row {
                    version: u64::try_from(row.try_get::<i64, _>(1)?).context("a version is negative")?,
                    deleted: row.try_get(2)?,
                    created_at: row.try_get(3)?,
                    updated_at: row.try_get(4)?,
                    fields: Json::Object(fields),
                };
                tables.rows.insert((model.name.clone(), row.try_get(0)?), read);
            }
        }
        let sql = format!(
            "SELECT {}, model, aggregate_id, version, id, type, actor, correlation_id, causation_id, partition, \
             \"offset\", data::text FROM writ.event_log",
            millis("time")
        );
        let entries = fetch(&mut connection, sql).await?;
        tables.log = entries.iter().map(entry).collect::<Result<_>>()?;
        for projection in models.projections.values() {
            let key = format!("concat_ws(' ', {})", projection.key.join(", "));
            let sql = format!("SELECT {key}, row_to_json(t)::text FROM writ.{} t", projection.name);
            let mut found = Projected::new();
            for row in fetch(&mut connection, sql).await? {
                found.insert(row.try_get(0)?, serde_json::from_str(&row.try_get::<String, _>(1)?)?);
            }
            tables.projections.insert(projection.name.clone(), found);
        }
        let sql = "SELECT concat_ws(' ', name, generation, state, error, error_at) FROM writ.writ_projections \
                   WHERE state <> 'live' UNION ALL \
                   SELECT concat_ws(' ', 'passed over:', topic, partition, \"offset\", reason) FROM writ.writ_passed_over";
        for row in fetch(&mut connection, sql.to_owned()).await? {
            tables.unsettled.push(row.try_get(0)?);
        }
        connection.close().await.context("PostgreSQL didn't end the session")?;
        Ok(tables)
    }
}

fn entry(row: &PgRow) -> Result<Entry> {
    Ok(Entry {
        time: row.try_get(0)?,
        model: row.try_get(1)?,
        aggregate: row.try_get(2)?,
        version: row.try_get(3)?,
        id: row.try_get(4)?,
        type_name: row.try_get(5)?,
        actor: row.try_get(6)?,
        correlation: row.try_get(7)?,
        causation: row.try_get(8)?,
        partition: row.try_get(9)?,
        offset: row.try_get(10)?,
        data: serde_json::from_str(&row.try_get::<String, _>(11)?)?,
    })
}

/// A connection past the proxies.
pub(crate) async fn connect(postgres: u16) -> Result<PgConnection> {
    let url = format!("postgres://postgres@127.0.0.1:{postgres}/postgres");
    PgConnection::connect(&url).await.context("PostgreSQL doesn't answer")
}

/// How far all projections are, as one number that only grows while none is dropped; 0 before they have places.
pub(crate) async fn places(connection: &mut PgConnection) -> Result<i64> {
    let sql = "SELECT COALESCE(sum(next), 0)::bigint FROM writ.writ_offsets";
    sqlx::query_scalar(sql).fetch_one(connection).await.context("the places can't be read")
}

async fn fetch(connection: &mut PgConnection, sql: String) -> Result<Vec<PgRow>> {
    let context = format!("`{sql}` failed");
    sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.context(context)
}

fn millis(column: &str) -> String {
    format!("(extract(epoch FROM {column}) * 1000)::bigint")
}
