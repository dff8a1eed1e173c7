//! Text to values and back, and the arithmetic of times.

use bigdecimal::BigDecimal;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan};
use uuid::Uuid;

use super::exact;
use super::functions::Function;
use crate::value::{Timestamp, Value};

const DAY: i64 = 86_400_000;
/// 0000-01-01T00:00:00.000Z, the first instant with a four-digit year.
const FIRST: i64 = -62_167_219_200_000;
/// 9999-12-31T23:59:59.999Z.
const LAST: i64 = 253_402_300_799_999;

/// The conversion functions. Errors say what text would be right.
pub(crate) fn convert(function: Function, value: &Value) -> Result<Value, String> {
    use Function as F;
    Ok(match (function, value) {
        (F::ToInteger, Value::Decimal(decimal)) => Value::Integer(exact::truncate(decimal)?),
        (F::ToInteger, Value::Text(text)) => {
            Value::Integer(text.parse().map_err(|_| "the text is no 64-bit integer such as '12'".to_owned())?)
        }
        (F::ToDecimal, Value::Integer(n)) => Value::Decimal(BigDecimal::from(*n)),
        (F::ToDecimal, Value::Text(text)) => Value::Decimal(exact::parse(text)?),
        (F::ToTimestamp, Value::Text(text)) => Value::Timestamp(parse_timestamp(text)?),
        (F::ToTimestamp, Value::Date(date)) => Value::Timestamp(midnight(*date)?),
        (F::ToDate, Value::Text(text)) => {
            Value::Date(text.parse().map_err(|_| "the text is no date such as '2026-01-31'".to_owned())?)
        }
        (F::ToDate, Value::Timestamp(at)) => Value::Date(date_of(*at)?),
        (F::ToDuration, Value::Text(text)) => Value::Duration(parse_duration(text)?),
        (F::ToUuid, Value::Text(text)) => {
            Value::Uuid(Uuid::try_parse(text).map_err(|_| "the text is no UUID".to_owned())?)
        }
        (F::ToText, Value::Text(_)) => value.clone(),
        (F::ToText, value) => Value::Text(to_text(value)?),
        (_, value) => value.clone(),
    })
}

fn to_text(value: &Value) -> Result<String, String> {
    Ok(match value {
        Value::Boolean(b) => b.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Decimal(decimal) => decimal.to_plain_string(),
        Value::Timestamp(at) => instant(*at)?.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        Value::Date(date) => date.to_string(),
        Value::Duration(ms) => SignedDuration::from_millis(*ms).to_string(),
        Value::Uuid(id) => id.to_string(),
        _ => return Err("the value has no text form".to_owned()),
    })
}

/// An RFC 3339 instant, to milliseconds.
fn parse_timestamp(text: &str) -> Result<Timestamp, String> {
    let wrong = || "the text is no instant such as '2026-01-31T12:00:00Z'".to_owned();
    let at: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    if at.subsec_nanosecond() % 1_000_000 != 0 {
        return Err("instants have milliseconds, this one has more digits".to_owned());
    }
    in_range(at.as_millisecond())
}

/// `24h`, `1h30m`, `PT24H`, to milliseconds.
fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || "the text is no duration such as '24h', '1h30m' or 'PT24H'".to_owned();
    let span: SignedDuration = text.parse().map_err(|_| wrong())?;
    if span.subsec_nanos() % 1_000_000 != 0 {
        return Err("durations have milliseconds, this one has more digits".to_owned());
    }
    i64::try_from(span.as_millis()).map_err(|_| wrong())
}

fn in_range(ms: i64) -> Result<Timestamp, String> {
    if (FIRST..=LAST).contains(&ms) {
        Ok(Timestamp(ms))
    } else {
        Err("the instant lies outside the years 0000 to 9999".to_owned())
    }
}

fn instant(at: Timestamp) -> Result<jiff::Timestamp, String> {
    jiff::Timestamp::from_millisecond(at.0)
        .map_err(|_| "the instant lies outside the years 0000 to 9999".to_owned())
}

/// The date of the instant in UTC.
fn date_of(at: Timestamp) -> Result<Date, String> {
    Ok(TimeZone::UTC.to_datetime(instant(at)?).date())
}

/// The first instant of the day in UTC.
fn midnight(date: Date) -> Result<Timestamp, String> {
    let at = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
    in_range(at.map_err(|_| "the date lies outside the years 0000 to 9999".to_owned())?.as_millisecond())
}

/// `at + by`.
pub(crate) fn add(at: Timestamp, by: i64) -> Result<Timestamp, String> {
    in_range(at.0.saturating_add(by))
}

/// `date + by`, which has to be whole days.
pub(crate) fn add_days(date: Date, by: i64) -> Result<Date, String> {
    if by % DAY != 0 {
        return Err("a date takes durations of whole days, such as '48h'".to_owned());
    }
    let outside = || "the date lies outside the years 0000 to 9999".to_owned();
    let span =
        i32::try_from(by / DAY).ok().and_then(|days| 0.days().try_days(days).ok()).ok_or_else(outside)?;
    let date = date.checked_add(span).map_err(|_| outside())?;
    if (0..=9999).contains(&date.year()) { Ok(date) } else { Err(outside()) }
}

/// From `b` to `a`, in milliseconds.
pub(crate) fn days_between(a: Date, b: Date) -> Result<i64, String> {
    Ok(midnight(a)?.0 - midnight(b)?.0)
}
