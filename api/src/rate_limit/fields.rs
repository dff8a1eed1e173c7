//! The response's fields `RateLimit-Policy` and `RateLimit`, by draft-ietf-httpapi-ratelimit-headers-10: lists of structured
//! fields (RFC 9651) with one member per limit, named by a string.
//!
//! For a bucket the quota `q` is its size and the window `w` the time in which it fills up, `r` is what it holds and `t`
//! when it is full again, in seconds, rounded up.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::gcra;
use super::limiter::Reading;
use crate::headers::{RATE_LIMIT, RATE_LIMIT_POLICY};

/// Adds both fields, if there is something to say.
pub(super) fn add(headers: &mut HeaderMap, readings: &[Reading]) {
    if readings.is_empty() {
        return;
    }
    let policies = readings.iter().map(|Reading { limit, rate, .. }| {
        let window = whole_seconds(Duration::from_micros(gcra::capacity(*rate)));
        format!("\"{}\";q={};w={window}", limit.name(), rate.burst)
    });
    let states = readings.iter().map(|Reading { limit, remaining, reset, .. }| {
        format!("\"{}\";r={remaining};t={}", limit.name(), whole_seconds(*reset))
    });
    headers.insert(RATE_LIMIT_POLICY, value(policies));
    headers.insert(RATE_LIMIT, value(states));
}

/// Whole seconds after which it is over.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn value(members: impl Iterator<Item = String>) -> HeaderValue {
    let list = members.collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(list).expect("names and numbers are a valid header value")
}

#[cfg(test)]
mod tests {
    use super::super::limiter::Limit;
    use super::super::options::Rate;
    use super::*;

    #[test]
    fn each_limit_is_a_member_of_both_lists() {
        let reading = Reading {
            limit: Limit::Address,
            rate: Rate { per_minute: 60, burst: 10 },
            remaining: 7,
            reset: Duration::from_millis(2_001),
            wait: Duration::ZERO,
        };
        let key = Reading { limit: Limit::Key, rate: Rate { per_minute: 6_000, burst: 50 }, ..reading };
        let mut headers = HeaderMap::new();
        add(&mut headers, &[reading, key]);
        assert_eq!(headers["ratelimit-policy"], "\"address\";q=10;w=10, \"key\";q=50;w=1");
        assert_eq!(headers["ratelimit"], "\"address\";r=7;t=3, \"key\";r=7;t=3");
        let mut none = HeaderMap::new();
        add(&mut none, &[]);
        assert!(none.is_empty());
    }
}
