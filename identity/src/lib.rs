//! The mechanisms of identity: who someone is, and what that someone may do. Nothing here speaks Kafka, HTTP, PostgreSQL
//! or Redis.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access_token;
mod digest;
pub mod keys;
pub mod password;
pub mod refresh_token;
pub mod seal;
mod time;
