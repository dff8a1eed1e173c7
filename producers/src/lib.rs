//! Everything that writes to Kafka. In the order in which data passes: [`kafka`] (options and clients), [`topics`]
//! (names and creation), [`registry`] (schemas), [`envelope`] (the records), [`commands`] (send, await the answer),
//! [`transaction`] (the decider's exactly-once output).

pub mod kafka;
pub mod topics;
pub mod registry;
pub mod envelope;
pub mod readiness;
pub mod commands;
pub mod transaction;
