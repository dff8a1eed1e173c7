//! The answers: one row, a page of rows, all rows as a stream, which ids exist.
//!
//! Every query is for a [`Reader`](crate::Reader), who asks of a [`Subject`]: a model or an SQL projection, with what the
//! reader sees of it. A list goes through `query/request.rs` (parameters become a typed [`ListRequest`], whose names `subject.rs`
//! has found in the declaration; pure), `select.rs`, `filter.rs`, `permitted.rs` and `page.rs` (the request becomes SQL; every
//! value is bound, every name is a declared one, quoted), and PostgreSQL, which builds the JSON text of each row itself. The
//! only query without a reader is [`Queries::existing`].
//!
//! What a list has at one moment is a [`Snapshot`]; whether a state belongs to it is asked of its [`Matching`], without
//! PostgreSQL. The rows of an SQL projection have no states: who follows them asks again ([`Followed`]) when [`Moves`] says so.

mod asked;
mod cached;
mod count;
mod cursor;
mod export;
mod filter;
mod followed;
mod identity;
mod matching;
mod moves;
mod page;
pub(crate) mod permitted;
mod request;
mod select;
mod snapshot;
mod states;
mod subject;
mod whole;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Postgres, QueryBuilder, Row as _};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_model::Model;
use writ_model::access::Visible;
use writ_producers::readiness::{self, Readiness};
use writ_producers::topics::Topics;

use crate::cache::Cache;
use crate::database::{export_pool, is_passing, query_pool};
use crate::history::History;
use crate::positions::Positions;
use crate::tables::{Schema, Table, fnv1a, instant};
use crate::{InvalidOptions, Options};

pub use asked::Asked;
pub use cached::{Cached, Keep};
pub use count::Count;
pub use export::Export;
pub use followed::{Answer, Followed, KeyedRow};
pub use matching::{Keyed, Matching};
pub use moves::{Looked, Mark, Moves};
pub use request::{Format, ListRequest, MAX_LIMIT};
pub use select::Shown;
pub use snapshot::{Snapshot, SnapshotError};
pub use states::{State, Status};
pub use subject::Subject;
pub use whole::Whole;

/// A query that PostgreSQL takes and never answers ends here: its own `statement_timeout` comes first if it still can.
const LIMIT: Duration = Duration::from_secs(12);
/// Between two looks at whether PostgreSQL answers.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// One aggregate as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The aggregate.
    pub id: Uuid,
    /// Number of its last event.
    pub version: u64,
    /// Time of the creating event: RFC 3339 UTC, milliseconds.
    pub created_at: String,
    /// Time of the last event: RFC 3339 UTC, milliseconds.
    pub updated_at: String,
    /// Every declared field, or those that were asked for, as JSON text.
    pub state: Box<RawValue>,
    /// If references were to be expanded: for each of them the row that it leads to, or null, as JSON text.
    pub expanded: Option<Box<RawValue>>,
}

/// Rows in the order asked for: of a model, or the JSON text of each row of a projection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<Item = Row> {
    /// At most `limit` rows.
    pub items: Vec<Item>,
    /// Goes into `after=`; `None` on the last page.
    pub next: Option<String>,
    /// How many rows there are on all pages, if that was asked.
    pub count: Option<Count>,
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
    exports: PgPool,
    /// Snapshots that may be read at the same time: half of the connections. All who follow something may want one at once,
    /// as after an instance has stopped, and they would take every connection.
    snapshots: Arc<Semaphore>,
    schema: Schema,
    /// `None`: nothing is cached.
    cache: Option<Cache>,
    /// Derived once per model or projection.
    views: Arc<RwLock<HashMap<String, Arc<View>>>>,
}

/// What queries of one model or projection have in common.
#[derive(Debug)]
struct View {
    table: Table,
    /// A number for the columns and their order: cached answers of other ones are not these.
    layout: u64,
}

impl View {
    /// Appends what a row must fulfil, for its reader and for the request.
    fn condition(&self, sql: &mut QueryBuilder<Postgres>, request: &ListRequest<'_>) {
        sql.push(if self.table.is_model { "NOT deleted AND " } else { "" });
        permitted::push(sql, &request.subject.visible().rows, &self.table, "t");
        filter::push(sql, &request.filters, request.words.as_ref());
    }
}

impl Queries {
    /// A handle; connects on first use, so it succeeds while PostgreSQL is away. Must be called within a tokio runtime.
    pub fn new(options: &Options, cache: Option<Cache>) -> Result<Queries, InvalidOptions> {
        Ok(Queries {
            cache,
            pool: query_pool(options)?,
            exports: export_pool(options)?,
            snapshots: Arc::new(Semaphore::new((options.max_connections as usize / 2).max(1))),
            schema: Schema::new(&options.schema),
            views: Arc::default(),
        })
    }

    /// The aggregate with this id, unless it is deleted or the reader may not read it.
    pub async fn get(&self, subject: &Subject<'_>, id: Uuid) -> Result<Option<Row>, Error> {
        self.get_shown(subject, id, &Shown::default()).await
    }

    /// The same with what is `shown` of it.
    pub async fn get_shown(
        &self,
        subject: &Subject<'_>,
        id: Uuid,
        shown: &Shown,
    ) -> Result<Option<Row>, Error> {
        let mut sql = self.one(subject, id, |sql, view| self.columns(sql, view, subject, shown));
        let row = bounded(sql.build().fetch_optional(&self.pool)).await?;
        row.as_ref().map(read).transpose()
    }

    /// The statement for one row of a model; `columns` appends the select list.
    fn one(
        &self,
        subject: &Subject<'_>,
        id: Uuid,
        columns: impl FnOnce(&mut QueryBuilder<Postgres>, &View),
    ) -> QueryBuilder<Postgres> {
        let view = self.view_of(subject.asked);
        let mut sql = QueryBuilder::new("SELECT ");
        columns(&mut sql, &view);
        sql.push(format!(" FROM {} AS t WHERE NOT deleted AND id = ", view.table.qualified)).push_bind(id);
        sql.push(" AND ");
        permitted::push(&mut sql, &subject.visible().rows, &view.table, "t");
        sql
    }

    /// A page of a model's rows.
    pub async fn list(&self, request: &ListRequest<'_>) -> Result<Page, Error> {
        let columns = |sql: &mut QueryBuilder<Postgres>, view: &View| self.row(sql, view, request);
        self.page(request, columns, read).await
    }

    /// A page of a projection's rows, each as JSON text.
    pub async fn list_projection(&self, request: &ListRequest<'_>) -> Result<Page<Box<RawValue>>, Error> {
        let columns = |sql: &mut QueryBuilder<Postgres>, view: &View| {
            sql.push(item(view, request.subject.visible(), &request.shown));
        };
        self.page(request, columns, |row| raw(row.try_get(0)?)).await
    }

    async fn page<Item>(
        &self,
        request: &ListRequest<'_>,
        columns: impl FnOnce(&mut QueryBuilder<Postgres>, &View),
        read: impl Fn(&PgRow) -> Result<Item, Error>,
    ) -> Result<Page<Item>, Error> {
        let view = self.view_of(request.subject.asked);
        let mut sql = statement("SELECT ", &view, request, columns);
        let rows = bounded(sql.build().fetch_all(&self.pool)).await?;
        // One more than asked for was fetched: it says whether there is a next page.
        let full = rows.len() > request.limit;
        let shown = &rows[..rows.len().min(request.limit)];
        let next = match shown.last().filter(|_| full) {
            Some(last) => Some(cursor::encode(request, &last.try_get::<String, _>(last.len() - 1)?)),
            None => None,
        };
        let count = if request.count { Some(count::count(self, &view, request).await?) } else { None };
        Ok(Page { items: shown.iter().map(read).collect::<Result<_, _>>()?, next, count })
    }

    /// How PostgreSQL would answer a list: for tests of what it costs.
    #[doc(hidden)]
    pub async fn plan(&self, request: &ListRequest<'_>) -> Result<serde_json::Value, Error> {
        let view = self.view_of(request.subject.asked);
        let columns = |sql: &mut QueryBuilder<Postgres>, view: &View| self.row(sql, view, request);
        count::plan(self, statement("EXPLAIN (FORMAT JSON) SELECT ", &view, request, columns)).await
    }

    /// Those of `ids` that exist, whoever may read them: the check of what a command refers to. A reference is a fact about the
    /// data, and a command that names something hidden is no query: what it learns is that one id, which it has to know,
    /// exists. Not for answers.
    pub async fn existing(&self, model: &Model, ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        let view = self.view_of(model.into());
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

    fn view_of(&self, asked: Asked<'_>) -> Arc<View> {
        if let Some(view) = self.views.read().get(asked.name) {
            return view.clone();
        }
        let table = asked.table(&self.schema);
        let layout = fnv1a(Shown::default().state(&table, &asked.seen_whole()).as_bytes());
        let view = Arc::new(View { table, layout });
        self.views.write().insert(asked.name.to_owned(), view.clone());
        view
    }

    /// Appends the columns of a [`Row`] of a list.
    fn row(&self, sql: &mut QueryBuilder<Postgres>, view: &View, request: &ListRequest<'_>) {
        self.columns(sql, view, &request.subject, &request.shown);
    }

    /// Appends the columns of a [`Row`].
    fn columns(&self, sql: &mut QueryBuilder<Postgres>, view: &View, subject: &Subject<'_>, shown: &Shown) {
        let (created, updated) = (instant("created_at"), instant("updated_at"));
        let state = shown.state(&view.table, subject.visible());
        sql.push(format!("id, version, {created}, {updated}, {state}, "));
        shown.push_expanded(sql, |one| {
            let view = self.view_of((&one.model).into());
            (item(&view, &one.visible, &Shown::default()), view)
        });
    }
}

/// The JSON text of a row, as a select list.
fn item(view: &View, visible: &Visible, shown: &Shown) -> String {
    let state = shown.state(&view.table, visible);
    if view.table.is_model { select::item(&state) } else { state }
}

/// A list as SQL: what `columns` appends, then the sort keys for the cursor.
fn statement(
    verb: &str,
    view: &View,
    request: &ListRequest<'_>,
    columns: impl FnOnce(&mut QueryBuilder<Postgres>, &View),
) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(verb);
    columns(&mut sql, view);
    sql.push(", ").push(page::cursor_values(request));
    page::push(&mut sql, request, &view.table.qualified, |sql| view.condition(sql, request));
    sql
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
    let expanded: Option<String> = row.try_get(5)?;
    Ok(Row {
        id: row.try_get(0)?,
        version: u64::try_from(version).map_err(|_| Error::Failed(format!("version {version} in a row")))?,
        created_at: row.try_get(2)?,
        updated_at: row.try_get(3)?,
        state: raw(row.try_get(4)?)?,
        expanded: expanded.map(raw).transpose()?,
    })
}

fn raw(json: String) -> Result<Box<RawValue>, Error> {
    RawValue::from_string(json).map_err(|error| Error::Failed(error.to_string()))
}
