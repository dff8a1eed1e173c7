//! The vocabulary of Writ: declarations, values, expressions, decisions and their encodings. No I/O happens here,
//! so nothing here can fail for a reason outside its arguments.
//!
//! The modules stand in the order in which data passes them: a model file becomes a checked [`Model`]
//! ([`declaration`]), a JSON body becomes a typed [`Value`] ([`value`]), [`decide()`] turns a command into an event,
//! [`evolve()`] merges the event into the state, [`react`](react::react) says what follows on it, and [`avro`] carries it
//! to Kafka. [`access`] says who may send and read what, [`cron`] when something is due by the clock.
//! [`compatibility`] says whether events that are there already and their readers bear a changed declaration.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod avro;
pub mod compatibility;
pub mod cron;
pub mod decide;
pub mod declaration;
pub mod diagnostic;
pub mod diff;
pub mod evolve;
pub mod expression;
pub mod json_schema;
pub mod position;
pub mod react;
pub mod secret;
#[cfg(test)]
mod testing;
pub mod unique;
pub mod value;

pub use decide::{Decision, Rejection, decide};
pub use declaration::{Command, Event, Field, Model, Models, Type};
pub use evolve::{State, evolve};
pub use position::Position;
pub use unique::Unique;
pub use value::{Decimal, FieldError, Object, Timestamp, Value};
