//! The answers: one row, a page of rows, which ids exist.
//!
//! A list goes through `query/request.rs` (parameters become a typed [`ListRequest`]; pure), `filter.rs` and `page.rs` (the
//! request becomes SQL; every value is bound, every name is a declared one, quoted), and PostgreSQL, which builds the
//! JSON text of each row itself.

mod cursor;
mod filter;
mod page;
mod request;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, QueryBuilder, Row as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_model::Model;
use writ_producers::readiness::{self, Readiness};
use writ_producers::topics::Topics;

use crate::database::{is_passing, query_pool};
use crate::history::History;
use crate::positions::Positions;
use crate::tables::{Schema, Table, instant, object};
use crate::{InvalidOptions, Options};

pub use request::{ListRequest, MAX_LIMIT};

/// A query that PostgreSQL takes and never answers ends here: its own `statement_timeout` comes first if it still can.
const LIMIT: Duration = Duration::from_secs(12);
/// Between two looks at whether PostgreSQL answers.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// One aggregate as the API shows it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The aggregate.
    pub id: Uuid,
    /// Number of its last event.
    pub version: u64,
    /// Time of the creating event: RFC 3339 UTC, milliseconds.
    pub created_at: String,
    /// Time of the last event: RFC 3339 UTC, milliseconds.
    pub updated_at: String,
    /// Every declared field, as JSON text.
    pub state: Box<RawValue>,
}

/// Rows in the order asked for.
#[derive(Debug, Clone)]
pub struct Page {
    /// At most `limit` rows.
    pub items: Vec<Row>,
    /// Goes into `after=`; `None` on the last page.
    pub next: Option<String>,
}

/// A query without an answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL isn't reachable, is too busy, or its tables aren't there yet: try again.
    #[error("PostgreSQL doesn't answer: {0}")]
    Unavailable(String),
    /// Anything else: a fault of this program or of the schema.
    #[error("the query failed: {0}")]
    Failed(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) {
            Error::Unavailable(error.to_string())
        } else {
            Error::Failed(error.to_string())
        }
    }
}

/// A cheap handle on the read models.
#[derive(Debug, Clone)]
pub struct Queries {
    pool: PgPool,
    schema: Schema,
    /// Derived once per model.
    views: Arc<RwLock<HashMap<String, Arc<View>>>>,
}

/// What queries of one model have in common.
#[derive(Debug)]
struct View {
    table: Table,
    /// The columns of a [`Row`], as a select list.
    select: String,
}

impl Queries {
    /// A handle; connects on first use, so it succeeds while PostgreSQL is away. Must be called within a tokio runtime.
    pub fn new(options: &Options) -> Result<Queries, InvalidOptions> {
        let pool = query_pool(options)?;
        Ok(Queries { pool, schema: Schema::new(&options.schema), views: Arc::default() })
    }

    /// The aggregate with this id, unless deleted.
    pub async fn get(&self, model: &Model, id: Uuid) -> Result<Option<Row>, Error> {
        let view = self.view(model);
        let sql =
            format!("SELECT {} FROM {} WHERE id = $1 AND NOT deleted", view.select, view.table.qualified);
        let row = bounded(sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_optional(&self.pool)).await?;
        row.as_ref().map(read).transpose()
    }

    /// A page of rows.
    pub async fn list(&self, model: &Model, request: &ListRequest) -> Result<Page, Error> {
        let view = self.view(model);
        let mut sql = QueryBuilder::new("SELECT ");
        sql.push(&view.select).push(", ").push(page::cursor_values(request));
        sql.push(" FROM ").push(&view.table.qualified).push(" WHERE NOT deleted");
        filter::push(&mut sql, request);
        page::push(&mut sql, request);
        let rows = bounded(sql.build().fetch_all(&self.pool)).await?;
        // One more than asked for was fetched: it says whether there is a next page.
        let full = rows.len() > request.limit;
        let shown = &rows[..rows.len().min(request.limit)];
        let next = match shown.last().filter(|_| full) {
            Some(last) => Some(cursor::encode(request, &last.try_get::<String, _>(5)?)),
            None => None,
        };
        Ok(Page { items: shown.iter().map(read).collect::<Result<_, _>>()?, next })
    }

    /// Those of `ids` that exist.
    pub async fn existing(&self, model: &Model, ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        let view = self.view(model);
        let sql = format!("SELECT id FROM {} WHERE id = ANY($1) AND NOT deleted", view.table.qualified);
        bounded(sqlx::query_scalar(AssertSqlSafe(sql)).bind(ids).fetch_all(&self.pool)).await
    }

    /// Waits for places in the event topics.
    pub fn positions(&self, topics: Topics) -> Positions {
        Positions::new(&self.pool, &self.schema, topics)
    }

    /// What happened: the event log.
    pub fn history(&self, topics: Topics) -> History {
        History::new(self.pool.clone(), &self.schema, topics)
    }

    /// Keeps `readiness` (the part `postgres`) up to date until `cancel`.
    pub async fn watch(&self, cancel: CancellationToken, readiness: watch::Sender<Readiness>) {
        loop {
            let now = match bounded(sqlx::query("SELECT 1").execute(&self.pool)).await {
                Ok(_) => Readiness::Ready,
                Err(error) => Readiness::Waiting(error.to_string()),
            };
            readiness::set(&readiness, now);
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
            }
        }
    }

    fn view(&self, model: &Model) -> Arc<View> {
        if let Some(view) = self.views.read().get(&model.name) {
            return view.clone();
        }
        let table = Table::derive(&self.schema, model);
        let (created, updated) = (instant("created_at"), instant("updated_at"));
        let select = format!("id, version, {created}, {updated}, {}", object(&table.columns));
        let view = Arc::new(View { table, select });
        self.views.write().insert(model.name.clone(), view.clone());
        view
    }
}

/// Runs a statement under [`LIMIT`].
pub(crate) async fn bounded<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(LIMIT, statement).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Unavailable(format!("no answer within {} s", LIMIT.as_secs()))),
    }
}

fn read(row: &PgRow) -> Result<Row, Error> {
    let version: i64 = row.try_get(1)?;
    let state: String = row.try_get(4)?;
    Ok(Row {
        id: row.try_get(0)?,
        version: u64::try_from(version).map_err(|_| Error::Failed(format!("version {version} in a row")))?,
        created_at: row.try_get(2)?,
        updated_at: row.try_get(3)?,
        state: RawValue::from_string(state).map_err(|error| Error::Failed(error.to_string()))?,
    })
}
