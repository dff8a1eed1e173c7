//! How many rows there are: counted as long as that is cheap, else what PostgreSQL's planner estimates. An estimate comes from
//! what PostgreSQL knows of all rows, so who may read only some of them gets none: it would say something of the others.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sqlx::{Postgres, QueryBuilder};
use writ_model::access::Readable;

use super::request::ListRequest;
use super::{Error, Queries, View, bounded};

/// Up to here they are counted.
const MOST: i64 = 10_000;

/// A number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many.
    pub value: i64,
    /// Counted. If not, it is an estimate; for who reads only some of the rows, it is at least this many.
    pub exact: bool,
}

pub(super) async fn count(queries: &Queries, view: &View, request: &ListRequest<'_>) -> Result<Count, Error> {
    let mut sql = QueryBuilder::new("SELECT count(*) FROM (SELECT 1");
    rows(&mut sql, view, request);
    sql.push(format!(" LIMIT {MOST}) AS bounded"));
    let value: i64 = bounded(sql.build_query_scalar().fetch_one(&queries.pool)).await?;
    if value < MOST {
        return Ok(Count { value, exact: true });
    }
    if request.subject.visible().rows != Readable::All {
        return Ok(Count { value, exact: false });
    }
    let mut sql = QueryBuilder::new("EXPLAIN (FORMAT JSON) SELECT 1");
    rows(&mut sql, view, request);
    let plan = plan(queries, sql).await?;
    let estimate = plan.pointer("/0/Plan/Plan Rows").and_then(Json::as_f64).unwrap_or_default();
    // Never fewer than were counted.
    #[allow(clippy::cast_possible_truncation, reason = "a number of rows")]
    Ok(Count { value: (estimate as i64).max(MOST), exact: false })
}

/// What an `EXPLAIN (FORMAT JSON)` says.
pub(super) async fn plan(queries: &Queries, mut sql: QueryBuilder<Postgres>) -> Result<Json, Error> {
    bounded(sql.build_query_scalar().fetch_one(&queries.pool)).await
}

fn rows(sql: &mut QueryBuilder<Postgres>, view: &View, request: &ListRequest<'_>) {
    sql.push(format!(" FROM {} AS t WHERE ", view.table.qualified));
    view.condition(sql, request);
}
