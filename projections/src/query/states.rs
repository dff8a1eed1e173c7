//! Which projections there are and how each is: live, being built, stopped and why.

use serde::Serialize;
use sqlx::{AssertSqlSafe, Row as _};
use writ_model::Models;
use writ_model::access::Readable;

use super::{Error, Queries, bounded};
use crate::database::is_undefined;
use crate::reader::Reader;
use crate::tables::{EVENT_LOG, PROJECTIONS, instant};

/// What a generation of a projection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It follows the events and answers queries.
    Live,
    /// It catches up with the events, beside the one that answers queries.
    Building,
    /// A statement failed at an event. It answers queries as it was before that event.
    Stopped,
}

/// One generation of one projection.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its name: of the model, of the SQL projection, or `event_log`.
    pub name: String,
    /// `model`, `sql` or `event_log`.
    pub kind: String,
    /// Raised by every rebuild.
    pub generation: i32,
    /// What it does.
    pub state: State,
    /// Stopped: what PostgreSQL said.
    pub error: Option<String>,
    /// Stopped: the event, as model, partition and offset.
    pub error_at: Option<String>,
    /// Building: events passed.
    pub done: Option<i64>,
    /// Building: events to pass, when that was last looked at.
    pub total: Option<i64>,
    /// When this generation began: RFC 3339 UTC.
    pub started_at: Option<String>,
    /// When its state last changed: RFC 3339 UTC.
    pub changed_at: Option<String>,
}

impl Queries {
    /// Every projection of which the reader may read something, by name and generation; the event log, if there is any. What no
    /// declaration speaks of, why something has stopped, and how many events there are is for those who may do everything:
    /// PostgreSQL's words may quote a value. None before a projector has run for the first time.
    pub async fn states(&self, models: &Models, reader: Reader<'_>) -> Result<Vec<Status>, Error> {
        let sql = format!(
            "SELECT name, kind, generation, state, error, error_at, done, total, {}, {} FROM {} ORDER BY name, generation",
            instant("started_at"),
            instant("changed_at"),
            self.schema.table(PROJECTIONS)
        );
        let rows =
            match bounded(async { Ok(sqlx::query(AssertSqlSafe(sql)).fetch_all(&self.pool).await) }).await? {
                Err(error) if is_undefined(&error) => Vec::new(),
                rows => rows?,
            };
        let everything = reader.sees_everything();
        let statuses = rows
            .iter()
            .map(|row| {
                let state = match row.try_get::<&str, _>(3)? {
                    "live" => State::Live,
                    "building" => State::Building,
                    "stopped" => State::Stopped,
                    other => return Err(Error::Failed(format!("a projection has the state {other}"))),
                };
                Ok(Status {
                    name: row.try_get(0)?,
                    kind: row.try_get(1)?,
                    generation: row.try_get(2)?,
                    state,
                    error: row.try_get(4)?,
                    error_at: row.try_get(5)?,
                    done: row.try_get(6)?,
                    total: row.try_get(7)?,
                    started_at: row.try_get(8)?,
                    changed_at: row.try_get(9)?,
                })
            })
            .collect::<Result<Vec<Status>, Error>>()?;
        if everything {
            return Ok(statuses);
        }
        let is_readable = |name: &str| reads(models, reader, name);
        let any = models.models.keys().any(|name| is_readable(name));
        let shown = statuses
            .into_iter()
            .filter(|status| if status.name == EVENT_LOG { any } else { is_readable(&status.name) });
        let without = |status| Status { error: None, error_at: None, done: None, total: None, ..status };
        Ok(shown.map(without).collect())
    }
}

/// Whether the reader may read anything of the model or the projection of this name.
fn reads(models: &Models, reader: Reader<'_>, name: &str) -> bool {
    let subject = match (models.get(name), models.projections.get(name)) {
        (Some(model), _) => reader.asks(model),
        (None, Some(projection)) => reader.asks(projection),
        (None, None) => return false,
    };
    subject.visible().rows != Readable::Nothing
}
