//! Rows as the server reads them for itself, with every change that it has heard of.

use std::time::Duration;

use uuid::Uuid;
use writ_projections::query::Whole;

use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::queries::{self, unavailable};

/// How long a request waits for the read model to have a change that is known of.
const PATIENCE: Duration = Duration::from_secs(2);

/// The aggregate with this id as the read model has it, which is waited for until it has `version`.
pub(crate) async fn awaited(
    app: &App,
    model: &str,
    id: Uuid,
    version: u64,
) -> Result<Option<Whole>, Problem> {
    let model = queries::model(&app.api.models, model)?;
    app.api.queries.whole_at(model, id, version, PATIENCE).await.map_err(unavailable)
}

/// The same with at least `version` events in it, if it is there at all. `what` it is, for a problem.
pub(crate) async fn current(
    app: &App,
    model: &str,
    id: Uuid,
    version: u64,
    what: &str,
) -> Result<Option<Whole>, Problem> {
    match awaited(app, model, id, version).await? {
        Some(row) if row.version < version => Err(Kind::ReadSideUnavailable.because(format!(
            "The {what} was changed just now, and the read model isn't there yet; try again."
        ))),
        found => Ok(found),
    }
}
