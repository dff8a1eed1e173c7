//! Everything that reads Kafka and acts: the [`decider`], which turns commands into events, and the
//! [`directory`], which keeps what every api instance knows of accounts, and the [`live`] feed, which tells
//! subscribers what changes, and the [`reactions`], which send the commands that follow on events. And the operator's tools
//! for its topics: [`dead_letters`] and [`repartition`]. [`group`] is how a role takes part in a consumer group,
//! [`scan`] how a tool reads a topic once.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod dead_letters;
pub mod decider;
pub mod directory;
mod event;
pub mod group;
mod header;
pub mod live;
pub mod metrics;
mod node;
pub mod reactions;
pub mod repartition;
pub mod scan;
mod state_key;
