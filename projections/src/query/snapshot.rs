//! The rows of a list together with the places in the event topic that they are of: every row is the fold of its events below
//! them, so whoever goes on from there misses nothing and gets nothing twice.
//!
//! # Why rows and places agree
//!
//! The projector writes rows and places in one transaction, and both are read here from one snapshot of PostgreSQL
//! (`REPEATABLE READ`). A rebuilt table takes the place of a model's with its own places, in one transaction too; but which
//! table a name means isn't decided by the snapshot. So the table is locked first, as readers lock it, and the
//! snapshot is taken after: `LOCK TABLE` takes none. Until the end, no other table can take its place; and what has taken
//! it before is in the snapshot, with its generation and its places (`rebuild/replace.rs`).

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, QueryBuilder};

use super::request::ListRequest;
use super::{Error, Queries, Row, View, bounded, read};
use crate::tables::{OFFSETS, PROJECTIONS};

/// The isolation level of which the module's documentation speaks.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The rows of a list at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The next offset of each partition of the model's event topic, by the partition's number: what stands below is in the rows
    /// or was passed over. Of partitions beyond the last one nothing is in them: 0.
    pub places: Vec<i64>,
    /// In no order.
    pub rows: Vec<Row>,
}

/// A snapshot that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The list has more rows than the caller wants to have in memory.
    #[error("there are more than {0} rows")]
    TooManyRows(usize),
    /// As of any query.
    #[error(transparent)]
    Query(#[from] Error),
}

impl Queries {
    /// All rows of a model that `request` is about, and the places that they are of; its order, its limit and its cursor don't
    /// count. They are in memory all at once: at most `limit`. Waits while half of the connections are taken by others like it.
    pub async fn snapshot(&self, request: &ListRequest<'_>, limit: usize) -> Result<Snapshot, SnapshotError> {
        if request.subject.model().is_none() {
            return Err(
                Error::Failed(format!("{} is no model: its rows have no events", request.name())).into()
            );
        }
        let view = self.view_of(request.subject.asked);
        // Nobody closes it.
        let _permit = self.snapshots.acquire().await.map_err(|error| Error::Failed(error.to_string()))?;
        let mut transaction = bounded(self.pool.begin_with(BEGIN)).await?;
        let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", view.table.qualified);
        bounded(sqlx::query(AssertSqlSafe(lock)).execute(&mut *transaction)).await?;
        let places = self.places_of(&mut transaction, request.name()).await?;
        let rows = self.all(&mut transaction, &view, request, limit).await?;
        bounded(transaction.commit()).await?;
        Ok(Snapshot { places, rows })
    }

    /// The places of the rows of a model.
    async fn places_of(&self, connection: &mut PgConnection, model: &str) -> Result<Vec<i64>, Error> {
        let select = format!(
            "SELECT place.topic, place.partition, place.next FROM {} AS entry JOIN {} AS place \
             ON place.projection = entry.name AND place.generation = entry.generation \
             WHERE entry.name = $1 AND entry.state <> 'building' ORDER BY place.partition",
            self.schema.table(PROJECTIONS),
            self.schema.table(OFFSETS)
        );
        let found: Vec<(String, i32, i64)> =
            bounded(sqlx::query_as(AssertSqlSafe(select)).bind(model).fetch_all(connection)).await?;
        if found.is_empty() {
            return Err(Error::Unavailable(format!("the rows of {model} have no places yet")));
        }
        let mut places = Vec::with_capacity(found.len());
        for (topic, partition, next) in &found {
            if *topic != found[0].0 {
                return Err(Error::Failed(format!(
                    "the rows of {model} are of {topic} and of {}",
                    found[0].0
                )));
            }
            let index = usize::try_from(*partition)
                .map_err(|_| Error::Failed(format!("{topic} has a partition {partition}")))?;
            places.resize(index, 0);
            places.push(*next);
        }
        Ok(places)
    }

    async fn all(
        &self,
        connection: &mut PgConnection,
        view: &View,
        request: &ListRequest<'_>,
        limit: usize,
    ) -> Result<Vec<Row>, SnapshotError> {
        let mut sql = QueryBuilder::new("SELECT ");
        self.row(&mut sql, view, request);
        sql.push(format!(" FROM {} AS t WHERE ", view.table.qualified));
        view.condition(&mut sql, request);
        // One more than wanted says that there are too many.
        sql.push(format!(" LIMIT {}", limit.saturating_add(1).min(i64::MAX as usize)));
        let rows = bounded(sql.build().fetch_all(connection)).await?;
        if rows.len() > limit {
            return Err(SnapshotError::TooManyRows(limit));
        }
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }
}
