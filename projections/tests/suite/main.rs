//! The read path against a real Kafka, a real registry and a real PostgreSQL: `cargo dev test` gives them.
//!
//! Every test has topics and a schema of its own; the schema is dropped at its end.

#![allow(clippy::unwrap_used)]

mod cache;
mod dead_letters;
mod exports;
mod followed;
mod history;
mod layout;
mod leaks;
mod lists;
mod log;
mod matching;
mod outage;
mod pages;
mod permitted;
mod positions;
mod projector;
mod rebuild;
mod shop;
mod shown;
mod snapshots;
mod stage;
mod statements;
mod states;
mod stopped;
mod tables;
mod values;
