//! The mechanisms of identity: who someone is, and what that someone may do. Nothing here speaks Kafka, HTTP, PostgreSQL
//! or Redis.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access_token;
pub mod api_key;
mod digest;
pub mod keys;
pub mod password;
pub mod permission;
pub mod refresh_token;
pub mod seal;
mod time;
