//! What happened: the event log as answers. Lists of events, and the state of an aggregate as it was.
//!
//! The log (`event_log`) holds every event that could be decoded, in the form in which it was decoded then. It is read by
//! today's declarations: fields have today's names, and what these can't read is shown as it is kept, and marked
//! (`history/entry.rs`). A state of the past is folded from the log with the `evolve` that makes the rows, one batch of
//! events after the other, so its history may be longer than memory (`history/fold.rs`). For the server itself, that is done for
//! many aggregates at once (`history/states.rs`).
//!
//! A reader gets the events of what they may read **now**: of an aggregate that is deleted, the last state decides, which
//! its row keeps. That is a condition of the statement (`history/readable.rs`), so pages are full and cursors say nothing of what
//! lies between. Whoever may read an aggregate reads all of its past. Hidden fields are in no event, no state and no change.
//!
//! Lists are pages by keyset: an aggregate's events by version, all events by time; events of the same moment by where they
//! stand in their topics. That order is total and an event never changes its place in it, so events that are appended
//! meanwhile move nothing.

mod cursor;
mod entry;
mod fold;
mod readable;
mod request;
mod states;

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{PgPool, Postgres, QueryBuilder};
use uuid::Uuid;
use writ_model::{Model, Models};
use writ_producers::topics::Topics;

use crate::query::{Error, Subject, bounded};
use crate::reader::Reader;
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
    schema: Schema,
    topics: Topics,
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
        History { pool, schema: schema.clone(), topics, select: select.into() }
    }

    /// A page of all events that the reader may see.
    pub async fn events(
        &self,
        models: &Models,
        reader: Reader<'_>,
        request: &EventsRequest,
    ) -> Result<Page, Error> {
        let subjects: HashMap<&str, Subject<'_>> =
            models.models.iter().map(|(name, model)| (name.as_str(), reader.asks(model))).collect();
        let mut sql = QueryBuilder::new(&*self.select);
        if !reader.sees_everything() {
            readable::push_any(&mut sql, &self.schema, subjects.values());
            sql.push(" AND ");
        }
        request.push(&mut sql);
        let entries = self.fetch(sql, |model| subjects.get(model)).await?;
        Ok(page(entries, request.limit, |last| request.cursor(last)))
    }

    /// A page of one aggregate's events, deleted or not, by version. `None`: it has never had any, or the reader may not read
    /// it.
    pub async fn of(
        &self,
        subject: &Subject<'_>,
        id: Uuid,
        request: &EventsOfOne,
    ) -> Result<Option<Page>, Error> {
        let mut sql = self.of_one(subject, id)?;
        request.push(&mut sql);
        let entries = self.fetch(sql, |name| (name == subject.name()).then_some(subject)).await?;
        if entries.is_empty() && request.is_first() {
            return Ok(None);
        }
        Ok(Some(page(entries, request.limit, |last| request.cursor(last))))
    }

    /// The beginning of the statements for one aggregate's events.
    fn of_one(&self, subject: &Subject<'_>, id: Uuid) -> Result<QueryBuilder<Postgres>, Error> {
        let model = model_of(subject)?;
        let mut sql = QueryBuilder::new(&*self.select);
        sql.push("log.model = ").push_bind(model.name.clone()).push(" AND log.aggregate_id = ").push_bind(id);
        sql.push(" AND ");
        readable::push(&mut sql, &self.schema, model, &subject.visible().rows);
        Ok(sql)
    }

    async fn fetch<'s, 'a: 's>(
        &self,
        mut sql: QueryBuilder<Postgres>,
        subject: impl Fn(&str) -> Option<&'s Subject<'a>>,
    ) -> Result<Vec<Entry>, Error> {
        let rows = bounded(sql.build().fetch_all(&self.pool)).await?;
        rows.iter().map(|row| Ok(Entry::read(row, &subject)?.0)).collect()
    }
}

fn model_of<'a>(subject: &Subject<'a>) -> Result<&'a Model, Error> {
    subject
        .model()
        .ok_or_else(|| Error::Failed(format!("{} is no model, so it has no events", subject.name())))
}

/// One more than asked for was fetched: it says whether there is a next page.
fn page(mut items: Vec<Entry>, limit: usize, cursor: impl Fn(&Entry) -> String) -> Page {
    let full = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| full).map(cursor);
    Page { items, next }
}
