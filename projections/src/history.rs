//! What happened: the event log as answers. Lists of events, and the state of an aggregate as it was.
//!
//! The log (`event_log`) holds every event that could be decoded, in the form in which it was decoded then. It is read by
//! today's declarations: fields have today's names, and what these can't read is shown as it is kept, and marked
//! (`history/entry.rs`). A state of the past is folded from the log with the `evolve` that makes the rows, one batch of
//! events after the other, so its history may be longer than memory (`history/fold.rs`).
//!
//! Lists are pages by keyset: an aggregate's events by version, all events by time; events of the same moment by where they
//! stand in their topics. That order is total and an event never changes its place in it, so events that are appended
//! meanwhile move nothing.

mod cursor;
mod entry;
mod fold;
mod request;

use std::sync::Arc;

use sqlx::{PgPool, Postgres, QueryBuilder};
use uuid::Uuid;
use writ_model::{Model, Models};
use writ_producers::topics::Topics;

use crate::query::{Error, bounded};
use crate::tables::{EVENT_LOG, PASSED_OVER, Schema, instant, literal};

pub use entry::Entry;
pub use fold::{AsOf, Difference, Halt, MAX_EVENTS, NoState, Past, Versions};
pub use request::{EventsOfOne, EventsRequest};

/// Events in the order asked for.
#[derive(Debug, Clone)]
pub struct Page {
    /// At most `limit` events.
    pub items: Vec<Entry>,
    /// Goes into `after=`; `None` on the last page.
    pub next: Option<String>,
}

/// A cheap handle on the event log.
#[derive(Debug, Clone)]
pub struct History {
    pool: PgPool,
    /// Columns and tables, up to the conditions.
    select: Arc<str>,
}

impl History {
    pub(crate) fn new(pool: PgPool, schema: &Schema, topics: Topics) -> History {
        // The topics are `<prefix>.<model>`.
        let before_model = literal(&topics.events(""));
        let select = format!(
            "SELECT {}, log.model, log.aggregate_id, log.version, log.id, log.type, log.actor, log.correlation_id, \
             log.causation_id, log.partition, log.\"offset\", log.data::text, passed.reason \
             FROM {} AS log LEFT JOIN {} AS passed ON passed.topic = ({before_model} || log.model) COLLATE \"C\" \
             AND passed.partition = log.partition AND passed.\"offset\" = log.\"offset\" WHERE ",
            instant("log.time"),
            schema.table(EVENT_LOG),
            schema.table(PASSED_OVER)
        );
        History { pool, select: select.into() }
    }

    /// A page of all events.
    pub async fn events(&self, models: &Models, request: &EventsRequest) -> Result<Page, Error> {
        let mut sql = QueryBuilder::new(&*self.select);
        request.push(&mut sql);
        let entries = self.fetch(sql, |model| models.get(model).map(AsRef::as_ref)).await?;
        Ok(page(entries, request.limit, |last| request.cursor(last)))
    }

    /// A page of one aggregate's events, deleted or not, by version. `None`: it has never had any.
    pub async fn of(&self, model: &Model, id: Uuid, request: &EventsOfOne) -> Result<Option<Page>, Error> {
        let mut sql = QueryBuilder::new(&*self.select);
        sql.push("log.model = ").push_bind(model.name.clone()).push(" AND log.aggregate_id = ").push_bind(id);
        request.push(&mut sql);
        let entries = self.fetch(sql, |name| (name == model.name).then_some(model)).await?;
        if entries.is_empty() && request.is_first() {
            return Ok(None);
        }
        Ok(Some(page(entries, request.limit, |last| request.cursor(last))))
    }

    async fn fetch<'a>(
        &self,
        mut sql: QueryBuilder<Postgres>,
        model: impl Fn(&str) -> Option<&'a Model>,
    ) -> Result<Vec<Entry>, Error> {
        let rows = bounded(sql.build().fetch_all(&self.pool)).await?;
        rows.iter().map(|row| Ok(Entry::read(row, &model)?.0)).collect()
    }
}

/// One more than asked for was fetched: it says whether there is a next page.
fn page(mut items: Vec<Entry>, limit: usize, cursor: impl Fn(&Entry) -> String) -> Page {
    let full = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| full).map(cursor);
    Page { items, next }
}
