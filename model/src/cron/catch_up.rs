//! Which ticks are to be fired now, of a schedule that was looked at last some time ago.

use std::collections::VecDeque;

use super::Cron;
use crate::value::Timestamp;

/// What becomes of ticks that nobody fired at their time, because no server was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CatchUp {
    /// They are left out. One that is at most [`GRACE`] old still counts as in time.
    Skip,
    /// The last one is fired, the others are left out.
    #[default]
    Once,
    /// Each is fired, in order: at most the last [`MOST_TICKS`].
    All,
}

impl CatchUp {
    /// All of them with their names in the model language.
    pub const ALL: [(&'static str, CatchUp); 3] =
        [("skip", CatchUp::Skip), ("once", CatchUp::Once), ("all", CatchUp::All)];
}

/// How late a tick may be noticed and still count as in time, in milliseconds: the least span between two ticks.
pub const GRACE: i64 = 60_000;

/// Ticks that are fired at once after a long absence. The older ones are left out.
pub const MOST_TICKS: usize = 100;

/// The first stretch of time that is searched, in milliseconds.
const FIRST_STRETCH: i64 = 60 * 60 * 1000;

/// The ticks to fire at `now`, in order, when all up to `last` are done with. `last` is the last tick that was fired, or the
/// time since when the schedule is there. Every tick lies after `last` and not after `now`; so a repeated call with the last
/// of them as `last` gives none of them again.
pub fn due(cron: &Cron, catch_up: CatchUp, last: Timestamp, now: Timestamp) -> Vec<Timestamp> {
    match catch_up {
        CatchUp::All => newest(cron, last, now, MOST_TICKS),
        CatchUp::Once => newest(cron, last, now, 1),
        CatchUp::Skip => {
            let recent = Timestamp(now.0.saturating_sub(GRACE + 1));
            newest(cron, last.max(recent), now, 1)
        }
    }
}

/// The newest `most` ticks after `last` and not after `now`, in order. Looks back from `now` in stretches of twice the length
/// each, so that a schedule of minutes that rested for a year isn't walked through.
fn newest(cron: &Cron, last: Timestamp, now: Timestamp, most: usize) -> Vec<Timestamp> {
    let mut stretch = FIRST_STRETCH;
    loop {
        let from = last.max(Timestamp(now.0.saturating_sub(stretch)).max(Timestamp::MIN));
        let mut ticks = VecDeque::with_capacity(most);
        let mut tick = cron.next_after(from);
        while let Some(at) = tick.filter(|at| *at <= now) {
            if ticks.len() == most {
                ticks.pop_front();
            }
            ticks.push_back(at);
            tick = cron.next_after(at);
        }
        if ticks.len() == most || from <= last || from == Timestamp::MIN {
            return ticks.into();
        }
        stretch = stretch.saturating_mul(2);
    }
}
