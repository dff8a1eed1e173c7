//! SQL projections: a table of the product's own, kept by one SQL statement per event.

mod read;

use indexmap::IndexMap;

use super::{Field, FieldRule};
use crate::expression::Compiled;

pub(super) use read::{name, read};

/// A declared SQL projection (`projection: daily_sales`).
#[derive(Debug)]
pub struct Projection {
    /// Lower snake case; also the name that its statements give to its table.
    pub name: String,
    /// From `doc:`.
    pub doc: Option<String>,
    /// The columns of its table, in declared order.
    pub fields: IndexMap<String, Field>,
    /// The names of the columns that identify a row: the table's primary key. At least one.
    pub key: Vec<String>,
    /// Names of columns for each declared index.
    pub indexes: Vec<Vec<String>>,
    /// `allow: read:`, a boolean over `state`, the columns of a row, and `actor`. `None`: nobody reads it without a permission.
    pub read: Option<Compiled>,
    /// `allow: fields:`, who sees which columns.
    pub field_rules: Vec<FieldRule>,
    /// What is run for which event; at most one for each event.
    pub statements: Vec<Statement>,
}

/// What is run, once, for each event of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The event's model.
    pub model: String,
    /// The event's name within it.
    pub event: String,
    /// The SQL text around the parameters: one piece more than there are parameters, whose values stand between them.
    pub pieces: Vec<String>,
    /// In the order of their places; the same one may stand in several.
    pub parameters: Vec<Parameter>,
}

/// A named parameter of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// `:total`: a recorded field of the event.
    Field(String),
    /// `:event.time`: what every event has.
    Event(Metadata),
}

/// What every event has beside its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// `:event.id`, a UUID.
    Id,
    /// `:event.type`, such as `shop.order.Placed`.
    Type,
    /// `:event.aggregate_id`, a UUID.
    AggregateId,
    /// `:event.version`, the aggregate's version after it.
    Version,
    /// `:event.time`, a timestamp.
    Time,
    /// `:event.actor`, text; null when anonymous.
    Actor,
    /// `:event.correlation_id`, text.
    CorrelationId,
    /// `:event.causation_id`, text.
    CausationId,
}

impl Metadata {
    /// All of them.
    pub const ALL: [Metadata; 8] = [
        Metadata::Id,
        Metadata::Type,
        Metadata::AggregateId,
        Metadata::Version,
        Metadata::Time,
        Metadata::Actor,
        Metadata::CorrelationId,
        Metadata::CausationId,
    ];

    /// What it is called behind `:event.`.
    pub fn name(self) -> &'static str {
        match self {
            Metadata::Id => "id",
            Metadata::Type => "type",
            Metadata::AggregateId => "aggregate_id",
            Metadata::Version => "version",
            Metadata::Time => "time",
            Metadata::Actor => "actor",
            Metadata::CorrelationId => "correlation_id",
            Metadata::CausationId => "causation_id",
        }
    }

    fn named(name: &str) -> Option<Metadata> {
        Metadata::ALL.into_iter().find(|metadata| metadata.name() == name)
    }
}
