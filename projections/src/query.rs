//! The answers: one row, a page of rows, which ids exist.

use serde_json::value::RawValue;
use uuid::Uuid;
use writ_model::{FieldError, Model};

/// A list request, typed and checked against its model.
#[derive(Debug, Clone)]
pub struct ListRequest {}

impl ListRequest {
    /// Reads the query string's parameters. Errors: every fault of every parameter; the pointer names the parameter (`/total[gte]`).
    pub fn parse(model: &Model, params: &[(String, String)]) -> Result<ListRequest, Vec<FieldError>> {
        let _ = (model, params);
        todo!()
    }
}

/// One aggregate as the API shows it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The aggregate.
    pub id: Uuid,
    /// Number of its last event.
    pub version: u64,
    /// RFC 3339 UTC, milliseconds.
    pub created_at: String,
    /// RFC 3339 UTC, milliseconds.
    pub updated_at: String,
    /// Every declared field, as JSON text.
    pub state: Box<RawValue>,
}

/// Rows in the order asked for.
#[derive(Debug, Clone)]
pub struct Page {
    /// At most `limit` rows.
    pub items: Vec<Row>,
    /// Goes into `after=`; `None` on the last page.
    pub next: Option<String>,
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

/// A cheap handle on the read models.
#[derive(Debug, Clone)]
pub struct Queries {
    pool: sqlx::PgPool,
}

impl Queries {
    /// A handle; connects on first use, so it succeeds while PostgreSQL is away.
    pub fn new(options: &crate::Options) -> Result<Queries, crate::InvalidOptions> {
        let _ = options;
        todo!()
    }
    /// The aggregate with this id, unless deleted.
    pub async fn get(&self, model: &Model, id: Uuid) -> Result<Option<Row>, Error> {
        let _ = (model, id, &self.pool);
        todo!()
    }
    /// A page of rows.
    pub async fn list(&self, model: &Model, request: &ListRequest) -> Result<Page, Error> {
        let _ = (model, request);
        todo!()
    }
    /// Those of `ids` that exist.
    pub async fn existing(&self, model: &Model, ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        let _ = (model, ids);
        todo!()
    }
    /// Waits for places in the event topics.
    pub fn positions(&self, topics: writ_producers::topics::Topics) -> crate::positions::Positions {
        let _ = topics;
        todo!()
    }
    /// Keeps `readiness` (the part `postgres`) up to date until `cancel`.
    pub async fn watch(
        &self,
        cancel: tokio_util::sync::CancellationToken,
        readiness: tokio::sync::watch::Sender<writ_producers::readiness::Readiness>,
    ) {
        let _ = (cancel, readiness);
        todo!()
    }
}
