//! The decider against a real Kafka and a real registry, and the live feed with a real PostgreSQL too.
//!
//! Needs the stack of `cargo dev test`. Every test has topics of its own.

#![allow(clippy::unwrap_used)]

mod decider;
mod live;
mod stage;
mod store;
mod unique;
