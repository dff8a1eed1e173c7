//! Everything that reads Kafka and acts. Now: the [`decider`], which turns commands into events.
//! [`group`] is how a role takes part in a consumer group.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod decider;
pub mod group;
pub mod metrics;
