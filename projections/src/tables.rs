//! The tables: one per projection, derived from its declaration, and our own bookkeeping.
//!
//! `writ_projections` is the [`catalog`](crate::catalog). `writ_offsets` says, per projection and partition of an event
//! topic, which event comes next. It is written in the transaction that writes the projection, so the two always agree.
//! `writ_passed_over` holds the events that no row was given. `writ_meta` holds the layout's number, so that a later
//! release knows what it finds.
//!
//! [`ensure`] may run in many processes at once: an advisory lock lets one after the other through, and each finds its
//! work done or does it. Nothing here deletes data: a removed field's column stays,
//! unread, and a renamed field's column is renamed.

mod alter;
mod derive;
mod ensure;
mod indexes;
mod json;
mod kind;
mod name;
mod own;
mod rename;

pub use derive::{Column, Table};
pub use ensure::{Changed, Error, Unfit, ensure};
pub(crate) use ensure::{index, lock, make_bare};
pub use indexes::bring as bring_indexes;
pub(crate) use indexes::{keep as keep_indexes, words};
pub(crate) use json::{instant, object, object_of, plain, scalar};
pub(crate) use kind::{Kind, text};
pub use name::Schema;
pub(crate) use name::{column, fnv1a, literal, projection_column, quote};

/// Table of the projector's places in the event topics.
pub(crate) const OFFSETS: &str = "writ_offsets";
/// Table of the projections: which generation of each is live, which is being built, which has stopped and why.
pub(crate) const PROJECTIONS: &str = "writ_projections";
/// Table of the events that no row has been given: repeated versions, and holes that wait for a dead letter.
pub(crate) const PASSED_OVER: &str = "writ_passed_over";
/// Table, and name as a projection, of every event.
pub const EVENT_LOG: &str = "event_log";
/// Table of facts about the schema itself.
pub(crate) const META: &str = "writ_meta";
