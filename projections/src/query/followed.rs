//! What somebody follows of the rows of an SQL projection: a list without order and pages, owned, to be asked again and again.
//!
//! # Why an answer is what the list has
//!
//! The statement is built of the same parts as the list's: the same columns, filters and rules. Rows and [`Mark`] are read in one
//! snapshot of PostgreSQL, and the table is locked first, as `snapshot.rs` explains: so the mark says exactly which events are in
//! the rows, and of which generation they are.

use sqlx::{AssertSqlSafe, QueryBuilder, Row as _};
use writ_model::FieldError;
use writ_model::access::Visible;
use writ_model::declaration::Projection;

use super::filter::Filter;
use super::moves::{self, Mark};
use super::request::ListRequest;
use super::select::{Fields, Shown};
use super::snapshot::{BEGIN, SnapshotError};
use super::{Error, Queries, bounded, filter, item, matching, permitted};
use crate::tables::object;

/// A list of a projection's rows as one reader sees it. Two that are equal have the same answer at any moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    name: String,
    filters: Vec<Filter>,
    visible: Visible,
    /// `None`: everything that is visible.
    fields: Option<Fields>,
    identity: u64,
    depends_on_time: bool,
}

/// All rows of a list at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What is in them.
    pub mark: Mark,
    /// In no order.
    pub rows: Vec<KeyedRow>,
}

/// A row of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRow {
    /// The JSON text of an object with the columns of its key, which no rule hides.
    pub key: String,
    /// Its JSON text as the list shows it.
    pub row: String,
}

impl ListRequest<'_> {
    /// This list, to be asked again and again. Errors (`not_followable`): each parameter that is about an order, about pages or about
    /// more than the rows themselves; and if this is a request for rows of a model, which have states ([`ListRequest::matching`]).
    pub fn followed(&self) -> Result<Followed, Vec<FieldError>> {
        let mut errors = matching::refused_parameters(&self.given);
        if self.subject.is_model() {
            errors.push(matching::refused("", "rows of a model are followed by their states"));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Followed {
            name: self.name().to_owned(),
            filters: self.filters.clone(),
            visible: self.subject.visible().clone(),
            fields: self.shown.fields.clone(),
            identity: self.identity(),
            depends_on_time: self.depends_on_time(),
        })
    }
}

impl Followed {
    /// The name of the projection.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the reader sees of the projection.
    pub fn visible(&self) -> &Visible {
        &self.visible
    }

    /// As [`ListRequest::identity`].
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// As [`ListRequest::depends_on_time`].
    pub fn depends_on_time(&self) -> bool {
        self.depends_on_time
    }
}

impl Queries {
    /// All rows of `followed`, which is of `projection`, and what is in them. They are in memory all at once: at most `limit`.
    pub async fn answer(
        &self,
        projection: &Projection,
        followed: &Followed,
        limit: usize,
    ) -> Result<Answer, SnapshotError> {
        let view = self.view_of(projection.into());
        let mut transaction = bounded(self.pool.begin_with(BEGIN)).await?;
        let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", view.table.qualified);
        bounded(sqlx::query(AssertSqlSafe(lock)).execute(&mut *transaction)).await?;
        let names = std::slice::from_ref(&followed.name);
        let mark = bounded(moves::marks(&mut transaction, &self.schema, names)).await?.remove(&followed.name);
        let mark = mark.ok_or_else(|| Error::Unavailable(format!("{} isn't there yet", followed.name)))?;
        let is_key = |name: &String| projection.key.contains(name);
        let key = object(view.table.columns.iter().filter(|column| is_key(&column.field)));
        let shown = Shown { fields: followed.fields.clone(), ..Shown::default() };
        let row = item(&view, &followed.visible, &shown);
        let mut sql =
            QueryBuilder::new(format!("SELECT {key}, {row} FROM {} AS t WHERE ", view.table.qualified));
        permitted::push(&mut sql, &followed.visible.rows, &view.table, "t");
        filter::push(&mut sql, &followed.filters, None);
        // One more than wanted says that there are too many.
        sql.push(format!(" LIMIT {}", limit.saturating_add(1).min(i64::MAX as usize)));
        let rows = bounded(sql.build().fetch_all(&mut *transaction)).await?;
        bounded(transaction.commit()).await?;
        if rows.len() > limit {
            return Err(SnapshotError::TooManyRows(limit));
        }
        let read = |row: &sqlx::postgres::PgRow| Ok(KeyedRow { key: row.try_get(0)?, row: row.try_get(1)? });
        let rows = rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(Error::from)?;
        Ok(Answer { mark, rows })
    }
}
