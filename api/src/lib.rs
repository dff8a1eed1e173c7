//! The HTTP interface of Writ: commands in, queries out, errors as problem documents.
//!
//! The modules stand in the order in which a request passes them. A connection is served by [`server`], every request
//! goes through `middleware`, which finds out its `caller`, and finds its handler in `router`. A command is checked against the model and its
//! references, put into Kafka, and its answer awaited (`commands`); a query asks the read model (`queries`).
//!
//! Architecture invariants: nothing here writes to PostgreSQL or to an event topic. Every status and every error
//! document comes from [`problem`]. The server starts and answers whatever else is missing.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod app;
mod body;
mod bounded;
mod caller;
pub mod client_address;
mod clock;
mod commands;
mod connection;
pub mod cors;
mod docs;
mod export;
mod hardening;
mod headers;
mod health;
mod history;
pub mod identity;
pub mod live;
pub mod mail;
pub mod metrics;
mod middleware;
pub mod openapi;
pub mod options;
mod per_address;
pub mod problem;
mod projections;
mod queries;
pub mod rate_limit;
mod redis_link;
mod references;
mod router;
pub mod server;
pub mod sign_in_guard;
mod stalled;
mod timed;
pub mod tls;
// For the fuzz targets only: nobody else has a use for half a request.
#[doc(hidden)]
pub mod untrusted;

#[cfg(test)]
mod tests;

pub use app::Api;
pub use options::Options;
pub use server::{Error, Server};
