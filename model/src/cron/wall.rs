//! The wall clock as `croner` searches it: without a zone, so that every reading is one moment.

use std::cmp::Ordering;

use croner::errors::CronError;
use croner::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// What a clock on the wall shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wall(pub(super) DateTime);

impl Wall {
    /// The clock at an instant, where it goes `offset` before UTC.
    pub(super) fn of(offset: Offset, instant: jiff::Timestamp) -> Wall {
        Wall(offset.to_datetime(instant))
    }

    /// The next reading, in whole seconds, that the pattern names. `None`: none until the year 5000.
    pub(super) fn next(self, pattern: &croner::Cron) -> Option<Wall> {
        pattern.find_next_occurrence(&self, false).ok()
    }
}

impl CronDateTime for Wall {
    fn to_civil(&self) -> CivilDateTime {
        let number =
            |part: i8| u32::try_from(part).expect("invariant: no part of a date or a time is negative");
        let date = CivilDate::from_parts_unchecked(
            i32::from(self.0.year()),
            number(self.0.month()),
            number(self.0.day()),
        );
        let time = CivilTime::from_parts_unchecked(
            number(self.0.hour()),
            number(self.0.minute()),
            number(self.0.second()),
        );
        CivilDateTime::new(date, time)
    }

    fn civil_weekday(&self) -> Weekday {
        let days = self.0.weekday().to_sunday_zero_offset();
        Weekday::from_days_from_sunday(u32::try_from(days).expect("invariant: 0 to 6"))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let part = |part: u32| i8::try_from(part).map_err(|_| CronError::InvalidDate);
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let (month, day) = (part(civil.month())?, part(civil.day())?);
        let (hour, minute, second) = (part(civil.hour())?, part(civil.minute())?, part(civil.second())?);
        let wall = DateTime::new(year, month, day, hour, minute, second, 0);
        wall.map(|wall| Resolution::Single(Wall(wall))).map_err(|_| CronError::InvalidDate)
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Wall)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}
