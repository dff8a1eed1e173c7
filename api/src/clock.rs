//! The one place where the api reads the clock for what it decides and sends on.

use std::time::SystemTime;

use writ_model::Timestamp;

/// The time, to the millisecond.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}
