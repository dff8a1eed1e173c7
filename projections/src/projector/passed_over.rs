//! The events that no row has been given: the table `writ_passed_over`. Normally empty.
//!
//! The rows are the judge of *first wins by (aggregate id, version)*, and write down here what they don't apply, in the
//! transaction that passes it. Whoever reads the topic later is given the same events by leaving these out. When rows are
//! filled again, each batch first takes the entries of its offsets out and then judges anew.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgConnection};

use super::batch::Place;
use crate::tables::{PASSED_OVER, Schema};

/// Why an event has no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its row had that version already.
    Duplicate,
    /// It could not be applied, or waits for one that could not.
    Hole,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Reason::Duplicate => "duplicate",
            Reason::Hole => "hole",
        }
    }
}

/// Where an event stands.
pub(crate) type Spot = (Place, i64);

/// The table `writ_passed_over`.
#[derive(Debug, Clone)]
pub(crate) struct PassedOver {
    table: String,
}

impl PassedOver {
    /// That of `schema`.
    pub(crate) fn new(schema: &Schema) -> PassedOver {
        PassedOver { table: schema.table(PASSED_OVER) }
    }

    /// The entries between two offsets of a partition, the second one excluded.
    pub(crate) async fn between(
        &self,
        connection: &mut PgConnection,
        ranges: &[(Place, i64, i64)],
    ) -> Result<BTreeSet<Spot>, sqlx::Error> {
        let table = &self.table;
        let select =
            format!("SELECT p.topic, p.partition, p.\"offset\" FROM {table} AS p JOIN {RANGES} ON {WITHIN}");
        self.spots(connection, select, ranges).await
    }

    /// Takes them out, and says which they were.
    pub(crate) async fn reopen(
        &self,
        connection: &mut PgConnection,
        ranges: &[(Place, i64, i64)],
    ) -> Result<BTreeSet<Spot>, sqlx::Error> {
        let delete = format!(
            "DELETE FROM {} AS p USING {RANGES} WHERE {WITHIN} RETURNING p.topic, p.partition, p.\"offset\"",
            self.table
        );
        self.spots(connection, delete, ranges).await
    }

    async fn spots(
        &self,
        connection: &mut PgConnection,
        sql: String,
        ranges: &[(Place, i64, i64)],
    ) -> Result<BTreeSet<Spot>, sqlx::Error> {
        let topics: Vec<String> = ranges.iter().map(|(place, _, _)| place.topic.to_string()).collect();
        let partitions: Vec<i32> = ranges.iter().map(|(place, _, _)| place.partition).collect();
        let (from, until): (Vec<i64>, Vec<i64>) =
            ranges.iter().map(|(_, from, until)| (*from, *until)).unzip();
        let rows: Vec<(String, i32, i64)> = sqlx::query_as(AssertSqlSafe(sql))
            .bind(&topics)
            .bind(&partitions)
            .bind(&from)
            .bind(&until)
            .fetch_all(connection)
            .await?;
        let place = |topic: String, partition| Place { topic: topic.into(), partition };
        Ok(rows.into_iter().map(|(topic, partition, offset)| (place(topic, partition), offset)).collect())
    }

    /// Writes events down. One that stands there already keeps its reason.
    pub(crate) async fn insert(
        &self,
        connection: &mut PgConnection,
        passed: &[(Spot, Reason)],
    ) -> Result<(), sqlx::Error> {
        if passed.is_empty() {
            return Ok(());
        }
        let insert = format!(
            "INSERT INTO {} (topic, partition, \"offset\", reason) \
             SELECT * FROM UNNEST($1::text[], $2::integer[], $3::bigint[], $4::text[]) ON CONFLICT DO NOTHING",
            self.table
        );
        let topics: Vec<String> = passed.iter().map(|((place, _), _)| place.topic.to_string()).collect();
        let partitions: Vec<i32> = passed.iter().map(|((place, _), _)| place.partition).collect();
        let offsets: Vec<i64> = passed.iter().map(|((_, offset), _)| *offset).collect();
        let reasons: Vec<&str> = passed.iter().map(|(_, reason)| reason.name()).collect();
        sqlx::query(AssertSqlSafe(insert))
            .bind(&topics)
            .bind(&partitions)
            .bind(&offsets)
            .bind(&reasons)
            .execute(connection)
            .await?;
        Ok(())
    }
}

const RANGES: &str =
    "UNNEST($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) AS r (topic, partition, low, high)";
const WITHIN: &str =
    "p.topic = r.topic AND p.partition = r.partition AND p.\"offset\" >= r.low AND p.\"offset\" < r.high";
