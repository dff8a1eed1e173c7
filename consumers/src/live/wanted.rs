//! What is asked of the feed, and what it gives.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;
use writ_model::decide::Actor;
use writ_model::{FieldError, Models, Timestamp};
use writ_projections::Reader;
use writ_projections::query::{ListRequest, Row};

use super::frame::Frame;
use super::projection::Keyed;
use super::resume::Resume;
use super::views::View;

/// Why a subscription can't be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such model, nor an SQL projection.
    #[error("there is no model {0}")]
    NoModel(String),
    /// The parameters are wrong: every fault of each.
    #[error("the filters can't be followed")]
    Invalid(Vec<FieldError>),
    /// More rows than a snapshot may have.
    #[error("there are more than {0} rows; filter them, or read the list in pages and follow it from now")]
    TooManyRows(usize),
    /// Kafka, the registry or PostgreSQL is away, and was so for several tries: come back later.
    #[error("the live feed can't go on: {0}")]
    Unavailable(String),
    /// Anything else: a fault of this program or of the schema.
    #[error("the live feed failed: {0}")]
    Failed(String),
}

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// With the next change.
    Now,
    /// With the rows as they are, then every later change.
    Snapshot,
    /// Behind what was seen before, here or elsewhere.
    Resume(Resume),
}

/// What is followed, and by whom.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Name of the model, or of the SQL projection: they share one namespace.
    pub model: String,
    /// One aggregate only. Not of a projection.
    pub id: Option<Uuid>,
    /// Filters and `fields`, as a list takes them.
    pub params: Vec<(String, String)>,
    /// Who reads. Fixed: with other rights it is another subscription.
    pub actor: Actor,
}

impl Wanted {
    pub(super) fn request<'a>(&'a self, models: &'a Models) -> Result<ListRequest<'a>, Error> {
        let model = models.get(&self.model).ok_or_else(|| Error::NoModel(self.model.clone()))?;
        let reader = Reader { actor: &self.actor, now: now() };
        let id = self.id.map(|id| ("id".to_owned(), id.to_string()));
        let params: Vec<(String, String)> = self.params.iter().cloned().chain(id).collect();
        ListRequest::parse(reader.asks(&**model), &params).map_err(Error::Invalid)
    }

    pub(super) fn view(&self, models: &Models) -> Result<View, Error> {
        View::new(&self.request(models)?).map_err(Error::Invalid)
    }
}

/// What a subscriber gets.
#[derive(Debug)]
pub enum Item {
    /// It follows from now on.
    Started {
        /// Where it is.
        resume: Resume,
    },
    /// The resume can't be used: a snapshot follows.
    Reset {
        /// Why.
        reason: Reason,
    },
    /// Some of the rows as they are, at most 500. Others may follow.
    Snapshot {
        /// In no order.
        rows: Vec<Row>,
    },
    /// The same of an SQL projection.
    KeyedRows {
        /// In the order of their keys.
        rows: Vec<Keyed>,
    },
    /// The snapshot is complete, or what was missed is delivered.
    Ready {
        /// Where it is.
        resume: Resume,
    },
    /// Something happened.
    Change(Arc<Frame>),
    /// Nothing of interest has happened for a while, but the topic moved on.
    Progress {
        /// Where it is.
        resume: Resume,
    },
    /// The end: the subscriber was too slow.
    Lagged {
        /// Behind the last change that it took.
        resume: Resume,
    },
    /// The end: it can't be served.
    Failed(Error),
}

/// Why a resume can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The events are gone, or too many.
    TooOld,
    /// The topic has another number of partitions, or was made anew.
    Repartitioned,
    /// It is of another model, or of a place that the topic doesn't have.
    Unknown,
    /// It is of what was asked for then, or could be seen then: something else is now.
    OtherView,
    /// Rows of an SQL projection are others now.
    Changed,
}

impl Reason {
    /// As a message has it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::TooOld => "too_old",
            Reason::Repartitioned => "repartitioned",
            Reason::Unknown => "unknown",
            Reason::OtherView => "other_view",
            Reason::Changed => "changed",
        }
    }
}

/// The wall clock: rules may compare with it.
pub(super) fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
