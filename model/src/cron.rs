//! Cron expressions with a time zone: when they come next, without a clock. Checked when the models are loaded
//! ([`crate::declaration`]), asked by what fires reactions by time.
//!
//! The `croner` crate reads the expression and finds its next moment on the wall clock. What the wall clock of a zone means
//! is decided here, by the rules that Vixie's cron is known for, because `croner` knows only one hour for them:
//!
//! - An expression whose minute and hour hold no `*` names times of the day. Each comes once on every day that it names: one
//!   that the clock leaps over in spring comes at the first moment after the leap, one that the clock shows twice in autumn
//!   comes the first time.
//! - Every other one names a rhythm. It comes whenever the clock shows a moment of it: in spring what is leapt over is left
//!   out, in autumn what is shown twice comes twice, so that `*/15 * * * *` always comes every quarter of an hour.

mod catch_up;
mod read;
#[cfg(test)]
mod tests;
mod wall;

use jiff::tz::{AmbiguousOffset, TimeZone};

use self::wall::Wall;
use crate::value::Timestamp;

pub use self::catch_up::{CatchUp, GRACE, MOST_TICKS, due};
pub(crate) use self::read::{time_zone, time_zones};

/// The time zone where none is given.
pub const UTC: &str = "UTC";

/// A checked expression in its time zone. Cheap enough to keep; each question costs microseconds.
#[derive(Debug, Clone)]
pub struct Cron {
    /// As written.
    pub expression: String,
    /// The name of the zone in the IANA database, such as `Europe/Berlin`.
    pub time_zone: String,
    pattern: croner::Cron,
    zone: TimeZone,
    kind: Kind,
}

/// What the moments of an expression are when the clock is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Times of the day: each once.
    Times,
    /// A rhythm: whenever the clock shows one.
    Rhythm,
}

impl Cron {
    /// The first moment after `time`. `None`: there is none until the year 5000, or `time` lies outside of the years that
    /// RFC 3339 can write.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        if !time.is_in_range() {
            return None;
        }
        let instant = jiff::Timestamp::from_millisecond(time.0).ok()?;
        let next = match self.kind {
            Kind::Times => self.next_time(instant),
            Kind::Rhythm => self.next_beat(instant),
        }?;
        // Moments are whole seconds.
        Some(Timestamp(next.as_millisecond())).filter(|next| next.is_in_range())
    }

    /// The wall clock is read from `after` on, and each time that it names means one instant. The later of two readings never
    /// means an earlier instant, so the first that lies after `after` is the next one.
    fn next_time(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let mut wall = Wall::of(self.zone.to_offset(after), after);
        loop {
            wall = wall.next(&self.pattern)?;
            let instant = self.instant(wall)?;
            if instant > after {
                return Some(instant);
            }
        }
    }

    /// The one instant that a time of the day means.
    fn instant(&self, wall: Wall) -> Option<jiff::Timestamp> {
        match self.zone.to_ambiguous_timestamp(wall.0).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(wall.0).ok()
            }
            AmbiguousOffset::Gap { after, .. } => {
                // By the clock of after the leap it would be before it.
                let before_leap = after.to_timestamp(wall.0).ok()?;
                self.zone.following(before_leap).next().map(|leap| leap.timestamp())
            }
        }
    }

    /// Between two changes of the clock wall time and real time run alike, so each such span is searched by itself.
    fn next_beat(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let mut base = after;
        let mut span_from = after;
        loop {
            let offset = self.zone.to_offset(span_from);
            let wall = Wall::of(offset, base).next(&self.pattern)?;
            let instant = offset.to_timestamp(wall.0).ok()?;
            match self.zone.following(span_from).next().map(|change| change.timestamp()) {
                Some(change) if instant >= change => {
                    span_from = change;
                    // The first moment of the span may be one.
                    base = change.checked_sub(jiff::SignedDuration::from_secs(1)).ok()?;
                }
                _ => return Some(instant),
            }
        }
    }
}
