//! Instants, dates and durations as text: RFC 3339 and ISO 8601, strictly, so that nothing is guessed or lost.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, date};

use super::Timestamp;

const EPOCH: Date = date(1970, 1, 1);
const MILLIS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

impl Timestamp {
    /// 0001-01-01T00:00:00.000Z: PostgreSQL has no year 0.
    pub const MIN: Timestamp = Timestamp(-62_135_596_800_000);
    /// 9999-12-31T23:59:59.999Z: the last one that RFC 3339 can write.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999);

    /// Whether RFC 3339 can write it.
    pub fn is_in_range(self) -> bool {
        (Timestamp::MIN..=Timestamp::MAX).contains(&self)
    }

    /// This time and then `span`; the end of time when that is too late to be written.
    #[must_use]
    pub fn plus(self, span: Duration) -> Timestamp {
        let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(span)).min(Timestamp::MAX)
    }
}

/// What a clock says, to the millisecond; 1970 for one that stands before it.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Outside [`Timestamp::MIN`] to [`Timestamp::MAX`] there is no RFC 3339 text: then the milliseconds as a number.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match EPOCH
            .to_datetime(jiff::civil::Time::midnight())
            .checked_add(SignedDuration::from_millis(self.0))
        {
            Ok(civil) if self.is_in_range() => write!(f, "{civil:.3}Z"),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// RFC 3339 with any offset, at most three digits of a second. Errors: what would be right.
impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "write it as RFC 3339 with an offset, such as \"2026-01-31T12:00:00.000Z\"".to_owned();
        if !text.is_ascii() || text.len() < 20 || !matches!(text.as_bytes()[10], b'T' | b't') {
            return Err(wrong());
        }
        let day = parse_date(&text[..10])?;
        let clock = &text[11..19];
        let number =
            |range: std::ops::Range<usize>, max: i64| two_digits(&clock[range], max).ok_or_else(wrong);
        if !is_shaped(clock, "00:00:00") {
            return Err(wrong());
        }
        if &clock[6..] == "60" {
            return Err("leap seconds can't be kept; send second 59".to_owned());
        }
        let seconds = number(0..2, 23)? * 3600 + number(3..5, 59)? * 60 + number(6..8, 59)?;
        let (fraction, offset) = match text[19..].strip_prefix('.') {
            Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("0", &text[19..]),
        };
        let fraction = match fraction.len() {
            0 => return Err(wrong()),
            1..=3 => format!("{fraction:0<3}").parse::<i64>().map_err(|_| wrong())?,
            _ => return Err("times are kept in milliseconds; send at most 3 digits of a second".to_owned()),
        };
        let offset_minutes = match offset {
            "Z" | "z" => 0,
            _ if is_shaped(offset, "+00:00") || is_shaped(offset, "-00:00") => {
                let hours = two_digits(&offset[1..3], 23).ok_or_else(wrong)?;
                let minutes = two_digits(&offset[4..6], 59).ok_or_else(wrong)?;
                (hours * 60 + minutes) * if offset.starts_with('-') { -1 } else { 1 }
            }
            _ => return Err(wrong()),
        };
        let millis = i64::from(days_since_epoch(day)) * MILLIS_PER_DAY + seconds * 1000 + fraction;
        let instant = Timestamp(millis - offset_minutes * 60_000);
        if !instant.is_in_range() {
            return Err("the years 0001 to 9999 can be kept".to_owned());
        }
        Ok(instant)
    }
}

/// Reads `2026-01-31`. Errors: what would be right.
pub fn parse_date(text: &str) -> Result<Date, String> {
    if !is_shaped(text, "0000-00-00") {
        return Err("write it as year, month and day, such as \"2026-01-31\"".to_owned());
    }
    let day: Date = text.parse().map_err(|_| "there is no such day in the calendar".to_owned())?;
    if day.year() < 1 {
        return Err("the years 0001 to 9999 can be kept".to_owned());
    }
    Ok(day)
}

/// Days from 1970-01-01.
pub(crate) fn days_since_epoch(day: Date) -> i32 {
    let hours = day.duration_since(EPOCH).as_hours();
    i32::try_from(hours / 24).expect("invariant: the calendar has less than four million days either way")
}

/// The date so many days from 1970-01-01; `None` outside the years 0001 to 9999.
pub(crate) fn date_from_days(days: i32) -> Option<Date> {
    let span = SignedDuration::from_hours(i64::from(days) * 24);
    let civil: DateTime = EPOCH.to_datetime(jiff::civil::Time::midnight()).checked_add(span).ok()?;
    Some(civil.date()).filter(|day| day.year() >= 1)
}

/// Reads an ISO 8601 duration of days, hours, minutes and seconds, in milliseconds; a day is 24 hours.
/// Errors: what would be right.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || "write it as an ISO 8601 duration, such as \"PT24H\" or \"P1DT30M\"".to_owned();
    let too_long = || "the duration is too long to be kept in milliseconds".to_owned();
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let body = unsigned.strip_prefix('P').ok_or_else(wrong)?;
    let (days, clock) = match body.split_once('T') {
        Some((_, "")) => return Err(wrong()),
        Some(parts) => parts,
        None => (body, ""),
    };
    if days.contains(['Y', 'M', 'W']) {
        return Err(
            "years, months and weeks have no exact length here; use days, hours, minutes and seconds"
                .to_owned(),
        );
    }
    let mut total: i128 = 0;
    for (part, units) in
        [(days, &[('D', MILLIS_PER_DAY)][..]), (clock, &[('H', 3_600_000), ('M', 60_000), ('S', 1000)][..])]
    {
        let mut rest = part;
        for (unit, millis) in units {
            let Some((number, after)) = rest.split_once(*unit) else { continue };
            let (whole, fraction) = match number.split_once('.') {
                Some((whole, fraction)) if *unit == 'S' && (1..=3).contains(&fraction.len()) => {
                    (whole, fraction)
                }
                Some(_) if *unit == 'S' => {
                    return Err(
                        "durations are kept in milliseconds; send at most 3 digits of a second".to_owned()
                    );
                }
                Some(_) => return Err("only seconds can have a fraction".to_owned()),
                None => (number, ""),
            };
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            if whole.is_empty() || !digits(whole) || !digits(fraction) {
                return Err(wrong());
            }
            if whole.len() > 19 {
                return Err(too_long());
            }
            let whole: i128 = whole.parse().map_err(|_| wrong())?;
            let thousandths: i128 = format!("{fraction:0<3}").parse().map_err(|_| wrong())?;
            total += whole * i128::from(*millis) + thousandths;
            rest = after;
        }
        if !rest.is_empty() {
            return Err(wrong());
        }
    }
    if body.is_empty() {
        return Err(wrong());
    }
    i64::try_from(total * sign).map_err(|_| too_long())
}

/// The ISO 8601 form of so many milliseconds: `PT24H`, `PT0.5S`.
pub fn format_duration(millis: i64) -> String {
    SignedDuration::from_millis(millis).to_string()
}

/// Whether `text` has a digit where `shape` has one, and else the same characters.
fn is_shaped(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, like)| match like {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

fn two_digits(text: &str, max: i64) -> Option<i64> {
    text.parse().ok().filter(|number| *number <= max)
}
