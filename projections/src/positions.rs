//! `Writ-Position`: waits until the read models have applied an event.
//!
//! There is no poller of its own: of those who wait, one asks PostgreSQL every few milliseconds and tells the others.
//! When nobody waits, nobody asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::{Mutex, watch};
use writ_model::Position;
use writ_producers::topics::Topics;

use crate::database::is_undefined;
use crate::tables::{OFFSETS, PROJECTIONS, Schema, fnv1a};

/// Between two looks, while somebody waits.
const INTERVAL: Duration = Duration::from_millis(3);

/// Why a wait ended without the positions.
#[derive(Debug, thiserror::Error)]
pub enum NotReached {
    /// The limit passed.
    #[error("the read models have not reached {0} yet; ask again, or without Writ-Position")]
    TimedOut(Position),
    /// PostgreSQL can't be asked.
    #[error("PostgreSQL doesn't answer: {0}")]
    Unavailable(String),
}

/// The channel of NOTIFY on which every transaction that moves places says so, without a payload.
pub(crate) fn channel(schema: &Schema) -> String {
    format!("writ_{:016x}", fnv1a(schema.quoted().as_bytes()))
}

/// A cheap handle: waits for places in the event topics.
#[derive(Debug, Clone)]
pub struct Positions {
    shared: Arc<Shared>,
}

/// The next offset by topic and partition.
type Offsets = HashMap<(String, i32), i64>;

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    select: String,
    topics: Topics,
    /// What the last look found.
    seen: watch::Sender<Offsets>,
    /// Held by the one who asks.
    asking: Mutex<()>,
}

impl Positions {
    pub(crate) fn new(pool: PgPool, schema: &Schema, topics: Topics) -> Positions {
        let select = format!(
            "SELECT offsets.topic, offsets.partition, offsets.next FROM {} AS offsets \
             JOIN {} AS p ON p.name = offsets.projection AND p.generation = offsets.generation \
             WHERE p.kind = 'model' AND p.state = 'live'",
            schema.table(OFFSETS),
            schema.table(PROJECTIONS)
        );
        let (seen, _) = watch::channel(Offsets::new());
        Positions { shared: Arc::new(Shared { pool, select, topics, seen, asking: Mutex::new(()) }) }
    }

    /// Returns once every one of `positions` has been applied, or after `limit`.
    pub async fn wait(&self, positions: &[Position], limit: Duration) -> Result<(), NotReached> {
        let awaited: Vec<((String, i32), i64)> = positions
            .iter()
            .map(|place| ((self.shared.topics.events(&place.model), place.partition), place.offset))
            .collect();
        match tokio::time::timeout(limit, self.shared.reach(&awaited)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let seen = self.shared.seen.borrow();
                let late = awaited.iter().position(|(place, offset)| !is_past(&seen, place, *offset));
                match late.and_then(|index| positions.get(index)) {
                    Some(late) => Err(NotReached::TimedOut(late.clone())),
                    None => Ok(()),
                }
            }
        }
    }
}

fn is_past(seen: &Offsets, place: &(String, i32), offset: i64) -> bool {
    seen.get(place).is_some_and(|next| *next > offset)
}

impl Shared {
    async fn reach(&self, awaited: &[((String, i32), i64)]) -> Result<(), NotReached> {
        let mut news = self.seen.subscribe();
        loop {
            // What was seen before may be of a schema that has been dropped since, so it only counts once it is new.
            tokio::select! {
                changed = news.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                _asking = self.asking.lock() => {
                    self.look().await?;
                    if !self.is_reached(awaited) {
                        tokio::time::sleep(INTERVAL).await;
                    }
                }
            }
            if self.is_reached(awaited) {
                return Ok(());
            }
        }
    }

    fn is_reached(&self, awaited: &[((String, i32), i64)]) -> bool {
        let seen = self.seen.borrow();
        awaited.iter().all(|(place, offset)| is_past(&seen, place, *offset))
    }

    async fn look(&self) -> Result<(), NotReached> {
        let asked = sqlx::query_as(AssertSqlSafe(self.select.clone())).fetch_all(&self.pool).await;
        let rows: Vec<(String, i32, i64)> = match asked {
            Ok(rows) => rows,
            // The projector will make the table: nothing has been applied so far.
            Err(error) if is_undefined(&error) => Vec::new(),
            Err(error) => return Err(NotReached::Unavailable(error.to_string())),
        };
        let offsets = rows.into_iter().map(|(topic, partition, next)| ((topic, partition), next)).collect();
        self.seen.send_replace(offsets);
        Ok(())
    }
}
