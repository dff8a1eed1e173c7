//! The whole system, seen from outside: the real binary, a real Kafka, registry and PostgreSQL, spoken to over HTTP.
//! One file per area. `cargo dev test` starts the servers and runs this.
//!
//! Every server under test has topics, a PostgreSQL schema and a data folder of its own ([`harness::World`]), so the
//! tests don't meet. Tests of one area share a running server where none of them disturbs it ([`harness::shared`]).

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that isn't as it should be")]
#![expect(clippy::print_stderr, reason = "the server's log is shown when a test fails")]

mod backpressure;
mod bad_input;
mod batch;
mod check;
mod client_ts;
mod commands;
mod concurrency;
mod contract;
mod dead_letters;
mod events;
mod evolution;
mod harness;
mod history;
mod idempotency;
mod identity;
mod live;
mod oidc;
mod openapi;
mod queries;
mod reactions;
mod rebuild;
mod recovery;
mod repartition;
mod restore;
mod tail;
mod unique;
