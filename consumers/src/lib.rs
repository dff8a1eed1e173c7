//! Everything that reads Kafka and acts: the [`decider`], which turns commands into events, and the
//! [`directory`], which keeps what every api instance knows of accounts, and the [`live`] feed, which tells
//! subscribers what changes. And the operator's tools
//! for its topics: [`dead_letters`] and [`repartition`]. [`group`] is how a role takes part in a consumer group,
//! [`scan`] how a tool reads a topic once.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod dead_letters;
pub mod decider;
pub mod directory;
pub mod group;
mod header;
pub mod live;
pub mod metrics;
mod node;
pub mod repartition;
pub mod scan;
mod state_key;
