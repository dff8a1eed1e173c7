//! The ceilings: what the same machine does when Writ's own work is left out.

pub(crate) mod http;
pub(crate) mod kafka;
