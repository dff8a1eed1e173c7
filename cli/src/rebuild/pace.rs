//! How fast a build is, and how long it will take.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rate is that of the last seconds: what was slow or fast before says nothing about the rest.
const WINDOW: Duration = Duration::from_secs(10);

/// The last looks at a build.
#[derive(Debug, Default)]
pub(super) struct Pace {
    looks: VecDeque<(Instant, i64)>,
}

impl Pace {
    /// Notes that `done` were done at `now`.
    pub(super) fn note(&mut self, now: Instant, done: i64) {
        // A build that was begun anew.
        if self.looks.back().is_some_and(|(_, before)| *before > done) {
            self.looks.clear();
        }
        self.looks.push_back((now, done));
        while self.looks.len() > 2 && self.looks.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.looks.pop_front();
        }
    }

    /// Events per second; `None` until there are two looks.
    pub(super) fn rate(&self) -> Option<f64> {
        let ((from, first), (to, last)) = (self.looks.front()?, self.looks.back()?);
        let seconds = (*to - *from).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let done = (last - first) as f64;
        (seconds > 0.0).then(|| done / seconds)
    }

    /// How long `left` more will take; `None` while that can't be said.
    pub(super) fn left(&self, left: i64) -> Option<Duration> {
        let rate = self.rate().filter(|rate| *rate > 0.0)?;
        #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
        Duration::try_from_secs_f64(left.max(0) as f64 / rate).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (begin, mut pace) = (Instant::now(), Pace::default());
        let at = |seconds| begin + Duration::from_secs(seconds);
        pace.note(at(0), 0);
        assert_eq!(pace.rate(), None);
        pace.note(at(1), 1_000);
        assert_eq!(pace.rate(), Some(1_000.0));
        assert_eq!(pace.left(5_000), Some(Duration::from_secs(5)));
        (2..=20).for_each(|second| pace.note(at(second), 1_000 + 100 * i64::try_from(second - 1).unwrap()));
        assert_eq!(pace.rate(), Some(100.0));
        pace.note(at(30), 2_900);
        pace.note(at(31), 2_900);
        pace.note(at(41), 2_900);
        assert_eq!((pace.rate(), pace.left(1)), (Some(0.0), None), "it stands still");
    }

    #[test]
    fn a_build_that_begins_anew_has_no_negative_rate() {
        let (begin, mut pace) = (Instant::now(), Pace::default());
        pace.note(begin, 5_000);
        pace.note(begin + Duration::from_secs(1), 10);
        assert_eq!(pace.rate(), None);
    }
}
