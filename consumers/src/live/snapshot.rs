//! The rows as they are, for a subscription that begins with them.

use tokio::time::sleep;
use writ_projections::query::{Error as QueryError, SnapshotError};

use super::catch_up::{CatchUp, PAUSE, Stop, TRIES};
use super::{Error, Item, metrics};

/// Rows of one piece.
const PIECE: usize = 500;

impl CatchUp {
    /// Hands the rows over, and says which offsets are the next ones behind them.
    pub(super) async fn snapshot(&self) -> Result<Vec<i64>, Stop> {
        ::metrics::counter!(metrics::SNAPSHOTS, "model" => self.wanted.model.clone()).increment(1);
        let mut tries = 0;
        let (rows, places, view) = loop {
            let partitions = self.hub().lock().next().len();
            let limit = self.shared.options.snapshot_rows;
            let request = self.wanted.request(&self.shared.models)?;
            match self.shared.queries.snapshot(&request, limit).await {
                Ok(snapshot) if snapshot.places.len() <= partitions => {
                    let mut places = snapshot.places;
                    places.resize(partitions, 0);
                    break (snapshot.rows, places, request.identity());
                }
                // The topic has got more partitions, which the feed will see soon.
                Ok(_) | Err(SnapshotError::Query(QueryError::Unavailable(_))) if tries < TRIES => {
                    sleep(PAUSE).await;
                }
                Ok(_) => return Err(Error::Unavailable("the topic has just changed".into()).into()),
                Err(SnapshotError::TooManyRows(limit)) => return Err(Error::TooManyRows(limit).into()),
                Err(SnapshotError::Query(QueryError::Unavailable(detail))) => {
                    return Err(Error::Unavailable(detail).into());
                }
                Err(SnapshotError::Query(QueryError::Failed(detail))) => {
                    return Err(Error::Failed(detail).into());
                }
            }
            tries += 1;
        };
        let mut rows = rows.into_iter();
        loop {
            let rows: Vec<_> = rows.by_ref().take(PIECE).collect();
            if rows.is_empty() {
                break;
            }
            self.item(Item::Snapshot { rows }).await?;
        }
        let resume = self.hub().lock().at(places.as_slice()).of(view);
        self.item(Item::Ready { resume }).await?;
        Ok(places)
    }
}
