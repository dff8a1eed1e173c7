//! The generic cell rate algorithm (ITU-T I.371, annex A, as a virtual scheduling algorithm): a bucket of tokens whose whole
//! state is the time at which it will be full again, here `full_at`.
//!
//! A bucket of `burst` tokens that gets one each `interval` lacks `debt / interval` tokens, where `debt = full_at - now`. A
//! token is taken by moving `full_at` on by one interval, and there is none left if that would be further away than
//! `burst` intervals. `take.lua` is the same in Redis, where the clock is Redis' own. All times are microseconds.

use super::options::Rate;

const MINUTE: u64 = 60_000_000;

/// Microseconds between two new tokens, at least one.
pub(super) fn interval(rate: Rate) -> u64 {
    (MINUTE / u64::from(rate.per_minute)).max(1)
}

/// Microseconds in which an empty bucket fills up.
pub(super) fn capacity(rate: Rate) -> u64 {
    interval(rate) * u64::from(rate.burst)
}

/// What the bucket lacks now. `full_at` is never further away than the bucket is large, unless the clock was set back or the
/// rate has changed: then the bucket is empty, not closed for years.
pub(super) fn debt(rate: Rate, full_at: u64, now: u64) -> u64 {
    full_at.saturating_sub(now).min(capacity(rate))
}

/// How long until there is a token. 0: there is one.
pub(super) fn wait(rate: Rate, debt: u64) -> u64 {
    (debt + interval(rate)).saturating_sub(capacity(rate))
}

/// Whole tokens that are left.
pub(super) fn remaining(rate: Rate, debt: u64) -> u64 {
    capacity(rate).saturating_sub(debt) / interval(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_minute: 60, burst: 3 };
    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_token_per_interval() {
        let (mut full_at, mut granted) = (0, Vec::new());
        // Four requests a second for five seconds.
        for now in (0..20).map(|quarter| quarter * SECOND / 4) {
            let owed = debt(RATE, full_at, now);
            if wait(RATE, owed) == 0 {
                full_at = now + owed + interval(RATE);
                granted.push(now / (SECOND / 4));
            }
        }
        assert_eq!(granted, [0, 1, 2, 4, 8, 12, 16], "3, then one each second");
    }

    #[test]
    fn what_is_left_and_how_long_to_wait_follow_from_the_debt() {
        assert_eq!((remaining(RATE, 0), wait(RATE, 0)), (3, 0));
        assert_eq!((remaining(RATE, 2 * SECOND), wait(RATE, 2 * SECOND)), (1, 0));
        assert_eq!((remaining(RATE, 2 * SECOND + 1), wait(RATE, 2 * SECOND + 1)), (0, 1));
        assert_eq!((remaining(RATE, 3 * SECOND), wait(RATE, 3 * SECOND)), (0, SECOND));
    }

    #[test]
    fn a_clock_that_is_set_back_empties_a_bucket_and_no_more() {
        assert_eq!(debt(RATE, 1_000_000 * SECOND, 5), 3 * SECOND);
    }

    #[test]
    fn the_fastest_rate_has_an_interval() {
        assert_eq!(interval(Rate { per_minute: u32::MAX, burst: 1 }), 1);
        assert_eq!(capacity(Rate { per_minute: 1, burst: u32::MAX }), MINUTE * u64::from(u32::MAX));
    }
}
