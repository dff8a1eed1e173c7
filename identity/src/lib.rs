//! The mechanisms of identity: who someone is, and what that someone may do. Nothing here speaks Kafka, HTTP, PostgreSQL
//! or Redis. Times and what was stored are arguments; what must be random comes from the operating system; and nothing
//! waits, but for a [`password::Hasher`] whose threads are busy.
//!
//! What stands in Kafka are the built-in [`models`], of which a [`directory`] keeps what every instance has to know.
//!
//! In the order in which a request needs them: a [`password`] and a [`totp`] code prove an account, [`keys`] sign the
//! [`access_token`] that it gets, a [`refresh_token`] renews that, an [`api_key`] stands for a service, and [`seal`] keeps
//! secrets on their way through topics. What someone may do is said in `writ_model::access`.
//!
//! What is secret has no `Display`, its `Debug` hides it, and its memory is overwritten when it goes; that can't be said of
//! the copies that libraries make in between.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access_token;
pub mod api_key;
mod digest;
pub mod directory;
pub mod keys;
pub mod models;
pub mod password;
pub mod proof;
pub mod refresh_token;
pub mod seal;
mod time;
pub mod totp;

pub use digest::SecretHash;
