//! Everything that writes to Kafka, and the vocabulary of its records.
//!
//! In the order in which data passes: [`limits`] (how large records may be), [`kafka`] (options and clients), [`topics`] (names and creation), [`watch`] (is
//! Kafka there), [`registry`] (schemas), [`envelope`] (the records), [`commands`] (the api's side: send a command, await
//! its answer), [`replies`] (answers from deciders in other processes), [`transaction`] (the decider's exactly-once
//! output), [`dead_letter`] (what a reader can't use). [`partitioner`] says where a key belongs. [`readiness`] is how each part says whether it works, [`thread`] is where a role runs whose client blocks.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod commands;
pub mod dead_letter;
pub mod envelope;
pub mod kafka;
pub mod limits;
pub mod metrics;
pub mod partitioner;
pub mod readiness;
pub mod registry;
pub mod replies;
pub mod thread;
pub mod topics;
pub mod transaction;
pub mod watch;
