//! The answers: one row, a page of rows, all rows as a stream, which ids exist.
//!
//! A list goes through `query/request.rs` (parameters become a typed [`ListRequest`], whose names `subject.rs` has found in
//! the declaration; pure), `select.rs`, `filter.rs` and `page.rs` (the request becomes SQL; every value is bound, every name
//! is a declared one, quoted), and PostgreSQL, which builds the JSON text of each row itself.

mod cached;
mod count;
mod cursor;
mod export;
mod filter;
mod page;
mod request;
mod select;
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
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_model::Model;
use writ_model::declaration::Projection;
use writ_producers::readiness::{self, Readiness};
use writ_producers::topics::Topics;

use crate::cache::Cache;
use crate::database::{export_pool, is_passing, query_pool};
use crate::history::History;
use crate::positions::Positions;
use crate::tables::{Schema, Table, fnv1a, instant};
use crate::{InvalidOptions, Options};

pub use cached::{Cached, Keep};
pub use count::Count;
pub use export::Export;
pub use request::{Format, ListRequest, MAX_LIMIT};
pub use select::Shown;
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
    /// Appends what a row must fulfil.
    fn condition(&self, sql: &mut QueryBuilder<Postgres>, request: &ListRequest) {
        sql.push(if self.table.is_model { "NOT deleted" } else { "TRUE" });
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
            schema: Schema::new(&options.schema),
            views: Arc::default(),
        })
    }

    /// The aggregate with this id, unless deleted.
    pub async fn get(&self, model: &Model, id: Uuid) -> Result<Option<Row>, Error> {
        self.get_shown(model, id, &Shown::default()).await
    }

    /// The same with what is `shown` of it.
    pub async fn get_shown(&self, model: &Model, id: Uuid, shown: &Shown) -> Result<Option<Row>, Error> {
        let view = self.view_of(model.into());
        let mut sql = QueryBuilder::new(format!(
            "SELECT {} FROM {} AS t WHERE NOT deleted AND id = ",
            self.columns(&view, shown),
            view.table.qualified
        ));
        sql.push_bind(id);
        let row = bounded(sql.build().fetch_optional(&self.pool)).await?;
        row.as_ref().map(read).transpose()
    }

    /// A page of a model's rows.
    pub async fn list(&self, model: &Model, request: &ListRequest) -> Result<Page, Error> {
        let view = self.view_of(model.into());
        let columns = self.columns(&view, &request.shown);
        self.page(&view, request, &columns, read).await
    }

    /// A page of a projection's rows, each as JSON text.
    pub async fn list_projection(
        &self,
        projection: &Projection,
        request: &ListRequest,
    ) -> Result<Page<Box<RawValue>>, Error> {
        let view = self.view_of(projection.into());
        let item = self.item(&view, &request.shown);
        self.page(&view, request, &item, |row| raw(row.try_get(0)?)).await
    }

    async fn page<Item>(
        &self,
        view: &View,
        request: &ListRequest,
        columns: &str,
        read: impl Fn(&PgRow) -> Result<Item, Error>,
    ) -> Result<Page<Item>, Error> {
        let mut sql = statement("SELECT", view, request, columns);
        let rows = bounded(sql.build().fetch_all(&self.pool)).await?;
        // One more than asked for was fetched: it says whether there is a next page.
        let full = rows.len() > request.limit;
        let shown = &rows[..rows.len().min(request.limit)];
        let next = match shown.last().filter(|_| full) {
            Some(last) => Some(cursor::encode(request, &last.try_get::<String, _>(last.len() - 1)?)),
            None => None,
        };
        let count = if request.count { Some(count::count(self, view, request).await?) } else { None };
        Ok(Page { items: shown.iter().map(read).collect::<Result<_, _>>()?, next, count })
    }

    /// How PostgreSQL would answer a list: for tests of what it costs.
    #[doc(hidden)]
    pub async fn plan(&self, model: &Model, request: &ListRequest) -> Result<serde_json::Value, Error> {
        let view = self.view_of(model.into());
        let columns = self.columns(&view, &request.shown);
        count::plan(self, statement("EXPLAIN (FORMAT JSON) SELECT", &view, request, &columns)).await
    }

    /// Those of `ids` that exist.
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

    fn view_of(&self, subject: Subject<'_>) -> Arc<View> {
        if let Some(view) = self.views.read().get(subject.name) {
            return view.clone();
        }
        let table = subject.table(&self.schema);
        let layout = fnv1a(Shown::default().state(&table).as_bytes());
        let view = Arc::new(View { table, layout });
        self.views.write().insert(subject.name.to_owned(), view.clone());
        view
    }

    /// The columns of a [`Row`], as a select list.
    fn columns(&self, view: &View, shown: &Shown) -> String {
        let (created, updated) = (instant("created_at"), instant("updated_at"));
        let (state, expanded) = (shown.state(&view.table), self.expanded(shown));
        format!("id, version, {created}, {updated}, {state}, {expanded}")
    }

    /// The JSON text of a row, as a select list.
    fn item(&self, view: &View, shown: &Shown) -> String {
        let state = shown.state(&view.table);
        if view.table.is_model { select::item(&state) } else { state }
    }

    fn expanded(&self, shown: &Shown) -> String {
        shown.expanded(|model| {
            let view = self.view_of(model.into());
            (self.item(&view, &Shown::default()), view.table.qualified.clone())
        })
    }
}

/// A list as SQL: the columns, then the sort keys for the cursor.
fn statement(verb: &str, view: &View, request: &ListRequest, columns: &str) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(format!("{verb} {columns}, {}", page::cursor_values(request)));
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
