//! The decider against a real Kafka and a real registry.
//!
//! Needs the stack of `cargo dev test`. Every test has topics of its own.

#![allow(clippy::unwrap_used)]

mod decider;
mod stage;
mod store;
mod unique;
