//! The rows of the read models, straight from PostgreSQL.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
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
    pub(crate) fields: serde_json::Value,
}

/// By model and id.
pub(crate) type Rows = HashMap<(String, Uuid), Row>;

/// Reads every table.
///
/// # Errors
/// PostgreSQL doesn't answer, or the tables aren't there.
pub(crate) async fn read(postgres: u16, models: &Models) -> Result<Rows> {
    let url = format!("postgres://postgres@127.0.0.1:{postgres}/postgres");
    let mut connection = PgConnection::connect(&url).await.context("PostgreSQL doesn't answer")?;
    let mut rows = Rows::new();
    for model in models.models.values() {
        let sql = format!(
            "SELECT id, version, deleted, (extract(epoch FROM created_at) * 1000)::bigint, \
             (extract(epoch FROM updated_at) * 1000)::bigint, row_to_json(t)::text FROM writ.{} t",
            model.name
        );
        let found = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
        for row in found.with_context(|| format!("the table of {} can't be read", model.name))? {
            let version: i64 = row.try_get(1)?;
            let all: serde_json::Value = serde_json::from_str(&row.try_get::<String, _>(5)?)?;
            let fields = model.fields.keys().map(|name| (name.clone(), all[name].clone())).collect();
            let read = Row {
                version: u64::try_from(version).context("a version is negative")?,
                deleted: row.try_get(2)?,
                created_at: row.try_get(3)?,
                updated_at: row.try_get(4)?,
                fields: serde_json::Value::Object(fields),
            };
            rows.insert((model.name.clone(), row.try_get(0)?), read);
        }
    }
    connection.close().await.context("PostgreSQL didn't end the session")?;
    Ok(rows)
}
