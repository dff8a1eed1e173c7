//! The one place where the api reads the clock for what it decides and sends on.

use std::time::{SystemTime, UNIX_EPOCH};

use writ_model::Timestamp;

/// The time, to the millisecond.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
