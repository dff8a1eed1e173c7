//! Declarations as they stand after the check: everything resolved, every expression typed and compiled.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::avro::EventCodec;
use crate::diagnostic::{Diagnostic, Source};
use crate::expression::Compiled;
use crate::unique::Unique;
use crate::value::{Decimal, Value};

pub use channel::{Channel, Each};
use check::Known;
pub use names::is_name;
pub use projection::{Metadata, Parameter, Projection, Statement};
pub use reactions::{
    Action, Backoff, Delay, Every, NotificationChannel, Notify, Queue, Reaction, Sending, TaskOptions,
    TaskUnique, Trigger, Webhook,
};

mod allow;
mod channel;
mod check;
mod commands;
mod events;
mod expressions;
mod fields;
mod identity;
mod indexes;
mod input;
mod model;
mod names;
pub(crate) mod places;
mod projection;
mod reactions;
mod renames;
mod report;
mod sql;
mod state_machine;
mod types;
mod uniques;
mod yaml;

/// All models of one application.
#[derive(Debug, Clone)]
pub struct Models {
    /// The application's name: first part of every event type (`<app>.<model>.<Event>`).
    pub app: String,
    /// By name, in the order of the files.
    pub models: IndexMap<String, Arc<Model>>,
    /// SQL projections by name, in the order of the files. No model has such a name.
    pub projections: IndexMap<String, Arc<Projection>>,
    /// Channels by name, in the order of the files. No model and no projection has such a name.
    pub channels: IndexMap<String, Arc<Channel>>,
    /// What is allowed and probably not meant, in file order: rules that are open to everyone, commands without one.
    pub warnings: Vec<Diagnostic>,
}

impl Models {
    /// Parses and checks all files together. Errors: every finding of every file, in file order. A finding about `app`
    /// itself names no file.
    pub fn check(app: &str, sources: &[Source]) -> Result<Models, Vec<Diagnostic>> {
        check::check(app, sources)
    }
    /// The model of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.get(name)
    }
}

/// One aggregate type.
#[derive(Debug)]
pub struct Model {
    /// The application's name.
    pub app: String,
    /// Lower snake case.
    pub name: String,
    /// From `doc:`.
    pub doc: Option<String>,
    /// The fields of the state, in declared order.
    pub fields: IndexMap<String, Field>,
    /// The name of the `key: true` field, if there is a natural key.
    pub key: Option<String>,
    /// The enum field that `from`/`to` move.
    pub state_field: Option<String>,
    /// By name, in declared order; `crud: true` adds `create`, `update` and `delete`.
    pub commands: IndexMap<String, Command>,
    /// Every event that some command emits.
    pub events: IndexMap<String, Event>,
    /// `allow` rules, each for one command or for `read`: see [`crate::access`].
    pub allow: Vec<Rule>,
    /// `allow: fields:`, who sees which fields. A field without a rule is seen by whoever reads the row.
    pub field_rules: Vec<FieldRule>,
    /// What no two aggregates share: `unique` of the fields, then that of the model.
    pub uniques: Vec<Unique>,
    /// Names of fields for each declared index (`index: [[status, created_at]]`).
    pub indexes: Vec<Vec<String>>,
    /// The text fields that `q=` searches, by an index (`search: [company, city]`); empty: all, without an index.
    pub search: Vec<String>,
    /// What its events and the time set off, each under a name of its own.
    pub reactions: Vec<Reaction>,
}

/// One `allow` rule.
#[derive(Debug)]
pub struct Rule {
    /// Command names, or `read`.
    pub applies_to: Vec<String>,
    /// The condition: a boolean over `state`, `input`, `actor`.
    pub that: Compiled,
}

/// One rule of `allow: fields:`.
#[derive(Debug, Clone)]
pub struct FieldRule {
    /// Names of fields; none of them is the key, none is secret.
    pub fields: Vec<String>,
    /// Who sees them: a boolean over `actor` and `now` alone.
    pub that: Compiled,
}

/// A declared field, of a state, an input, an object or a list item (there it is called `item`).
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Lower snake case.
    pub name: String,
    /// Its type with the constraints.
    pub ty: Type,
    /// May be null.
    pub optional: bool,
    /// Taken when a creating command leaves the field out.
    pub default: Option<Value>,
    /// Can't change after creation.
    pub immutable: bool,
    /// Natural key.
    pub key: bool,
    /// Personal data (see DESIGN section 9); parsed and checked.
    pub personal: bool,
    /// Secret (see DESIGN section 9); parsed and checked.
    pub secret: bool,
    /// From `doc:`.
    pub doc: Option<String>,
    /// The names that it had before, oldest first.
    pub renamed_from: Vec<String>,
}

/// The type of a value with its constraints.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Unicode text without NUL. Lengths in characters.
    Text {
        /// The least number of characters.
        min_length: Option<u64>,
        /// The greatest number of characters.
        max_length: Option<u64>,
        /// What the whole text must match.
        pattern: Option<Pattern>,
    },
    /// A 64-bit signed integer.
    Integer {
        /// The least value.
        min: Option<i64>,
        /// The greatest value.
        max: Option<i64>,
    },
    /// An exact decimal number of at most `precision` digits, `scale` of them after the point.
    Decimal {
        /// The number of all digits, 1 to 38.
        precision: u32,
        /// The number of digits after the point, at most `precision`.
        scale: u32,
        /// The least value.
        min: Option<Decimal>,
        /// The greatest value.
        max: Option<Decimal>,
    },
    /// true or false.
    Boolean,
    /// An instant, in milliseconds.
    Timestamp,
    /// A calendar date.
    Date,
    /// An exact span of time, in milliseconds; ISO 8601 in JSON.
    Duration,
    /// A UUID.
    Uuid,
    /// An e-mail address.
    Email,
    /// An absolute URL.
    Url,
    /// One of the names.
    Enum(Vec<String>),
    /// The id of an aggregate of the model `to`. JSON may give the natural key instead, where `to` has one.
    Ref {
        /// The name of the referenced model.
        to: String,
        /// How its ids come from its natural key, if it has one.
        key: Option<KeyOf>,
    },
    /// Any number of items of one type.
    List {
        /// What each item is. The field is called `item`.
        of: Box<Field>,
        /// The least number of items.
        min_length: Option<u64>,
        /// The greatest number of items.
        max_length: Option<u64>,
    },
    /// Named parts.
    Object(IndexMap<String, Field>),
    /// Any JSON.
    Json,
}

impl Type {
    /// The name of the type in the model language.
    pub fn name(&self) -> &'static str {
        match self {
            Type::Text { .. } => "text",
            Type::Integer { .. } => "integer",
            Type::Decimal { .. } => "decimal",
            Type::Boolean => "boolean",
            Type::Timestamp => "timestamp",
            Type::Date => "date",
            Type::Duration => "duration",
            Type::Uuid => "uuid",
            Type::Email => "email",
            Type::Url => "url",
            Type::Enum(_) => "enum",
            Type::Ref { .. } => "ref",
            Type::List { .. } => "list",
            Type::Object(_) => "object",
            Type::Json => "json",
        }
    }
}

/// What is needed to derive a referenced aggregate's id from its natural key.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyOf {
    /// The application's name.
    pub app: String,
    /// The referenced model.
    pub model: String,
    /// The type of its key field.
    pub ty: Box<Type>,
}

/// A regular expression that the whole text must match.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// As written.
    pub source: String,
    /// Anchored at both ends.
    pub regex: regex::Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// A declared command.
#[derive(Debug)]
pub struct Command {
    /// Lower snake case.
    pub name: String,
    /// From `doc:`.
    pub doc: Option<String>,
    /// Starts a new aggregate.
    pub creates: bool,
    /// Ends the aggregate.
    pub deletes: bool,
    /// What the caller sends. Fields of the state by name, or declared here and only recorded in the event.
    pub input: IndexMap<String, Field>,
    /// The names of those inputs that are fields of the state. The others are only recorded in the event.
    pub state_inputs: Vec<String>,
    /// Every input may be left out (`update` of `crud`): what is absent keeps its value.
    pub partial: bool,
    /// Guards, in order.
    pub require: Vec<Guard>,
    /// The values of the state field that allow it; empty: any.
    pub from: Vec<String>,
    /// The value of the state field after it.
    pub to: Option<String>,
    /// Assignments, in declared order.
    pub set: IndexMap<String, Compiled>,
    /// The name of the event.
    pub emits: String,
}

/// One `require` of a command.
#[derive(Debug)]
pub struct Guard {
    /// A boolean expression.
    pub that: Compiled,
    /// What the caller reads when it doesn't hold.
    pub otherwise: String,
}

/// A declared event: what the commands that emit it record.
#[derive(Debug)]
pub struct Event {
    /// As declared by `emits`, lower snake case.
    pub name: String,
    /// `<app>.<model>.<Event>`: the Avro schema's full name, the CloudEvents type, the API's `type`.
    pub type_name: String,
    /// Recorded fields: state fields that it changes, and inputs that are only recorded.
    pub fields: IndexMap<String, Field>,
    /// Begins the aggregate.
    pub creates: bool,
    /// Ends the aggregate.
    pub deletes: bool,
    /// Its Avro form.
    pub codec: EventCodec,
}
