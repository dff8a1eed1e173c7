//! The bare statements: what the projector must at least tell PostgreSQL, prepared beforehand, and nothing else.
//!
//! The tables are copies of those that the projector has made itself, indexes included. A batch is a thousand events: one
//! `INSERT … SELECT FROM UNNEST … ON CONFLICT DO UPDATE` for each model with the rows as they are after it, one `COPY`
//! of the log, one commit that doesn't wait for the disk, as the projector's don't.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row as _};
use uuid::Uuid;
use writ_model::value::stored_to_json;
use writ_model::{Model, State, Value};

use crate::dataset::Dataset;
use crate::orders::{Made, Orders};

/// Events of a batch.
const BATCH: usize = 1000;
const LOG: &str = "event_log";

/// The copies.
pub(super) struct Bare {
    schema: String,
    /// By model: the columns of its table with their types, those of every table first.
    columns: HashMap<String, Vec<(String, String)>>,
}

/// What one transaction writes.
#[derive(Debug, Default)]
struct Batch {
    events: u64,
    rows: u64,
    models: Vec<ModelRows>,
    log: Vec<u8>,
}

/// Rows of one model, by column.
#[derive(Debug)]
struct ModelRows {
    model: String,
    ids: Vec<Uuid>,
    versions: Vec<i64>,
    deleted: Vec<bool>,
    /// Texts that the cast to the column's type reads: `created_at`, `updated_at`, then the fields.
    texts: Vec<Vec<Option<String>>>,
}

/// All of them.
pub(super) struct Batches {
    batches: Vec<Batch>,
    months: BTreeSet<String>,
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// Events, each an entry of the log.
    pub(super) events: u64,
    /// Rows written, each the last of its aggregate in its batch.
    pub(super) rows: u64,
    /// Time of all transactions.
    pub(super) took: Duration,
}

impl Bare {
    /// Copies the projector's tables into another schema.
    pub(super) async fn copy_tables(dataset: &Dataset, pool: &PgPool) -> Result<Bare> {
        let schema = format!("{}_bare", dataset.schema);
        let run = async |sql: String| sqlx::query(AssertSqlSafe(sql)).execute(pool).await;
        run(format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await?;
        run(format!("CREATE SCHEMA {schema}")).await?;
        let mut columns = HashMap::new();
        for model in dataset.models.models.keys() {
            run(like(&schema, &dataset.schema, model)).await?;
            let sql = "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
                       WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' \
                       ORDER BY attnum";
            let rows = sqlx::query(sql).bind(format!("{schema}.\"{model}\"")).fetch_all(pool).await?;
            let found = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
            columns.insert(model.clone(), found.collect::<Result<Vec<(String, String)>>>()?);
        }
        run(format!("{} PARTITION BY RANGE (time)", like(&schema, &dataset.schema, LOG))).await?;
        Ok(Bare { schema, columns })
    }

    /// Makes the batches of all events, in memory. Blocks.
    pub(super) fn prepare(&self, dataset: &Dataset) -> Result<Batches> {
        let mut orders = Orders::new(&dataset.models, dataset.orders)?;
        let mut all = Batches { batches: Vec::new(), months: BTreeSet::new() };
        let mut offsets: HashMap<(String, i32), i64> = HashMap::new();
        loop {
            let mut batch = Batch::default();
            let mut last: HashMap<(String, Uuid), Made> = HashMap::new();
            while batch.events < BATCH as u64
                && let Some(made) = orders.next()?
            {
                batch.events += 1;
                let partition = dataset.partition_of(made.aggregate);
                let offset = offsets.entry((made.model.name.clone(), partition)).or_default();
                log_entry(&mut batch.log, &made, partition, *offset);
                *offset += 1;
                all.months.insert(made.at.to_string()[..7].to_owned());
                last.insert((made.model.name.clone(), made.aggregate), made);
            }
            if batch.events == 0 {
                return Ok(all);
            }
            batch.rows = last.len() as u64;
            batch.models = self.rows(last)?;
            all.batches.push(batch);
        }
    }

    fn rows(&self, last: HashMap<(String, Uuid), Made>) -> Result<Vec<ModelRows>> {
        let mut by_model: HashMap<String, Vec<Made>> = HashMap::new();
        for ((model, _), made) in last {
            by_model.entry(model).or_default().push(made);
        }
        let mut found = Vec::new();
        for (name, mut aggregates) in by_model {
            aggregates.sort_unstable_by_key(|made| made.aggregate);
            let columns = &self.columns[&name];
            let mut rows = ModelRows {
                ids: aggregates.iter().map(|made| made.aggregate).collect(),
                versions: Vec::new(),
                deleted: aggregates.iter().map(|made| made.state.deleted).collect(),
                texts: vec![Vec::with_capacity(aggregates.len()); columns.len() - 3],
                model: name,
            };
            for made in &aggregates {
                rows.versions.push(i64::try_from(made.state.version)?);
                for ((column, _), texts) in columns[3..].iter().zip(&mut rows.texts) {
                    texts.push(cell(&made.model, &made.state, column)?);
                }
            }
            found.push(rows);
        }
        found.sort_unstable_by(|a, b| a.model.cmp(&b.model));
        Ok(found)
    }

    /// Runs all batches.
    pub(super) async fn run(&self, pool: &PgPool, batches: &Batches) -> Result<Measured> {
        let mut connection = pool.acquire().await?;
        for month in &batches.months {
            let (name, from) = (month.replace('-', "_"), format!("{month}-01"));
            let sql = format!(
                "CREATE TABLE {0}.{LOG}_{name} PARTITION OF {0}.{LOG} \
                 FOR VALUES FROM ('{from}Z') TO (('{from}Z'::timestamptz AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC')",
                self.schema
            );
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await?;
        }
        let upserts: HashMap<&str, String> =
            self.columns.keys().map(|model| (&**model, self.upsert(model))).collect();
        let mut measured = Measured { events: 0, rows: 0, took: Duration::ZERO };
        let started = Instant::now();
        for batch in &batches.batches {
            self.transaction(&mut connection, batch, &upserts).await?;
            measured.events += batch.events;
            measured.rows += batch.rows;
        }
        measured.took = started.elapsed();
        Ok(measured)
    }

    async fn transaction(
        &self,
        connection: &mut PgConnection,
        batch: &Batch,
        upserts: &HashMap<&str, String>,
    ) -> Result<()> {
        sqlx::query("BEGIN").execute(&mut *connection).await?;
        for rows in &batch.models {
            let mut statement = sqlx::query(AssertSqlSafe(upserts[&*rows.model].as_str()))
                .bind(&rows.ids)
                .bind(&rows.versions)
                .bind(&rows.deleted);
            for texts in &rows.texts {
                statement = statement.bind(texts);
            }
            statement
                .execute(&mut *connection)
                .await
                .with_context(|| format!("the rows of {}", rows.model))?;
        }
        let copy = format!(
            "COPY {}.{LOG} (time, model, aggregate_id, version, id, type, actor, correlation_id, causation_id, \
             partition, \"offset\", data) FROM STDIN",
            self.schema
        );
        let mut copy = connection.copy_in_raw(&copy).await?;
        copy.send(batch.log.as_slice()).await?;
        copy.finish().await?;
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        Ok(())
    }

    fn upsert(&self, model: &str) -> String {
        let columns = &self.columns[model];
        let join = |part: &dyn Fn(usize, &str, &str) -> String| {
            let parts: Vec<String> =
                columns.iter().enumerate().map(|(n, (name, ty))| part(n, name, ty)).collect();
            parts.join(", ")
        };
        let updates: Vec<String> =
            columns.iter().skip(1).map(|(name, _)| format!("\"{name}\" = excluded.\"{name}\"")).collect();
        format!(
            "INSERT INTO {}.\"{model}\" ({}) SELECT {} FROM UNNEST({}) AS new ({}) ON CONFLICT (id) DO UPDATE SET {}",
            self.schema,
            join(&|_, name, _| format!("\"{name}\"")),
            join(&|n, _, ty| format!("c{n}::{ty}")),
            join(&|n, _, ty| format!("${}::{}[]", n + 1, if n < 3 { ty } else { "text" })),
            join(&|n, _, _| format!("c{n}")),
            updates.join(", ")
        )
    }

    /// Deletes the copies.
    pub(super) async fn drop(self, pool: &PgPool) -> Result<()> {
        let sql = format!("DROP SCHEMA {} CASCADE", self.schema);
        sqlx::query(AssertSqlSafe(sql)).execute(pool).await?;
        Ok(())
    }
}

fn like(to: &str, from: &str, table: &str) -> String {
    format!("CREATE TABLE {to}.\"{table}\" (LIKE {from}.\"{table}\" INCLUDING ALL)")
}

/// The text of a column that isn't of a type of its own in the statement.
fn cell(model: &Model, state: &State, column: &str) -> Result<Option<String>> {
    Ok(match column {
        "created_at" => Some(state.created_at.to_string()),
        "updated_at" => Some(state.updated_at.to_string()),
        field => match state.fields.get(field) {
            Some(Value::Null) => None,
            Some(value @ (Value::List(_) | Value::Object(_) | Value::Json(_))) => {
                Some(value.to_json().to_string())
            }
            Some(value) => value.to_text(),
            None => bail!("the table of {} has the column {column}, which is no field", model.name),
        },
    })
}

/// A line of `COPY`'s text format.
fn log_entry(log: &mut Vec<u8>, made: &Made, partition: i32, offset: i64) {
    let event = &made.model.events[&made.event];
    let data = stored_to_json(&event.fields, &made.fields).to_string();
    let mut line = String::with_capacity(data.len() + 300);
    // Writing to a String can't fail.
    let _ = write!(
        line,
        "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{partition}\t{offset}\t",
        made.at,
        made.model.name,
        made.aggregate,
        made.state.version,
        made.id,
        event.type_name,
        made.actor,
        made.command,
        made.command
    );
    // JSON text has no control characters; a backslash is COPY's own escape.
    line.push_str(&data.replace('\\', "\\\\"));
    line.push('\n');
    log.extend_from_slice(line.as_bytes());
}
