//! The statement that asks for places.

use std::collections::HashMap;

use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnectOptions, PgListener};

use super::line::{LIMIT, Line};
use crate::database::is_undefined;
use crate::tables::{OFFSETS, PROJECTIONS, Schema};

/// A projection's place in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) projection: String,
    pub(super) topic: String,
    pub(super) partition: i32,
}

/// What PostgreSQL has for a [`Key`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The offset that comes next.
    pub(super) next: i64,
    /// The event at which the projection has stopped.
    pub(super) stopped_at: Option<String>,
}

/// Asks for places, and hears of their moves.
#[derive(Debug)]
pub(super) struct Look {
    select: String,
    line: Line,
}

impl Look {
    pub(super) fn new(connect: &PgConnectOptions, schema: &Schema) -> Look {
        let select = format!(
            "SELECT asked.nth, place.next, \
             CASE WHEN catalog.state = 'stopped' THEN COALESCE(catalog.error_at, 'an event') END \
             FROM UNNEST($1::text[], $2::text[], $3::integer[]) WITH ORDINALITY \
             AS asked (projection, topic, partition, nth) \
             JOIN {} AS catalog ON catalog.name = asked.projection AND catalog.state IN ('live', 'stopped') \
             LEFT JOIN {} AS place ON place.projection = catalog.name AND place.generation = catalog.generation \
             AND place.topic = asked.topic AND place.partition = asked.partition",
            schema.table(PROJECTIONS),
            schema.table(OFFSETS)
        );
        Look { select, line: Line::new(connect, schema, "writ-positions") }
    }

    /// Returns when places have moved, or the connection is lost. Never while there is no connection.
    pub(super) async fn news(&mut self) {
        self.line.news().await;
    }

    /// The places of those of `keys` that have any. Listens from before it asks.
    pub(super) async fn places(&mut self, keys: Vec<Key>) -> Result<HashMap<Key, Found>, String> {
        match tokio::time::timeout(LIMIT, self.try_places(&keys)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                self.line.close();
                Err(error.to_string())
            }
            Err(_) => {
                self.line.close();
                Err(format!("no answer within {} s", LIMIT.as_secs()))
            }
        }
    }

    async fn try_places(&mut self, keys: &[Key]) -> Result<HashMap<Key, Found>, sqlx::Error> {
        if let Some(line) = self.line.open() {
            match ask(line, &self.select, keys).await {
                Ok(found) => return Ok(found),
                // It may have died while nobody looked: a new one decides.
                Err(error) => {
                    tracing::debug!(error = %error, "the connection that listens for places is made anew");
                }
            }
        }
        ask(self.line.renew().await?, &self.select, keys).await
    }
}

async fn ask(line: &mut PgListener, select: &str, keys: &[Key]) -> Result<HashMap<Key, Found>, sqlx::Error> {
    let projections: Vec<&str> = keys.iter().map(|key| key.projection.as_str()).collect();
    let topics: Vec<&str> = keys.iter().map(|key| key.topic.as_str()).collect();
    let partitions: Vec<i32> = keys.iter().map(|key| key.partition).collect();
    let asked = sqlx::query_as(AssertSqlSafe(select))
        .bind(projections)
        .bind(topics)
        .bind(partitions)
        .fetch_all(line)
        .await;
    let rows: Vec<(i64, Option<i64>, Option<String>)> = match asked {
        Ok(rows) => rows,
        // The projector will make the tables: nothing has been applied so far.
        Err(error) if is_undefined(&error) => Vec::new(),
        Err(error) => return Err(error),
    };
    let found = |(nth, next, stopped_at): (i64, Option<i64>, Option<String>)| {
        let key = usize::try_from(nth - 1).ok().and_then(|index| keys.get(index))?;
        Some((key.clone(), Found { next: next.unwrap_or(0), stopped_at }))
    };
    Ok(rows.into_iter().filter_map(found).collect())
}
