//! Text to values and back, and the arithmetic of times.

use bigdecimal::BigDecimal;
use jiff::SignedDuration;
use jiff::civil::Date;
use uuid::Uuid;

use super::exact;
use super::functions::Function;
use crate::value::{self, Timestamp, Value};

const DAY: i64 = 24 * 60 * 60 * 1000;
const EPOCH: Date = jiff::civil::date(1970, 1, 1);
const OUTSIDE: &str = "the result lies outside the years 0001 to 9999";

/// The conversion functions. Errors say what text would be right.
pub(crate) fn convert(function: Function, value: &Value) -> Result<Value, String> {
    use Function as F;
    Ok(match (function, value) {
        (F::ToInteger, Value::Decimal(decimal)) => Value::Integer(exact::truncate(decimal)?),
        (F::ToInteger, Value::Text(text)) => {
            Value::Integer(text.parse().map_err(|_| "the text is no 64-bit integer such as '12'".to_owned())?)
        }
        (F::ToDecimal, Value::Integer(n)) => Value::Decimal(BigDecimal::from(*n)),
        (F::ToDecimal, Value::Text(text)) => Value::Decimal(value::parse_decimal(text)?),
        (F::ToTimestamp, Value::Text(text)) => Value::Timestamp(text.parse()?),
        (F::ToTimestamp, Value::Date(date)) => Value::Timestamp(midnight(*date)?),
        (F::ToDate, Value::Text(text)) => Value::Date(value::parse_date(text)?),
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
        Value::Timestamp(at) => at.to_string(),
        Value::Date(date) => date.to_string(),
        Value::Duration(millis) => value::format_duration(*millis),
        Value::Uuid(id) => id.to_string(),
        _ => return Err("the value has no text form".to_owned()),
    })
}

/// ISO 8601 as everywhere (`PT24H`, `P1D`), or CEL's `24h`, `1h30m`, `500ms`; in milliseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    if text.trim_start_matches('-').starts_with('P') {
        return value::parse_duration(text);
    }
    let wrong = || "write it as '24h', '1h30m', '90s' or 'PT24H'".to_owned();
    // Jiff's reader takes more: words, blanks, `ago`.
    if !text.chars().all(|c| c.is_ascii_digit() || matches!(c, 'h' | 'm' | 's' | '.' | '-')) {
        return Err(wrong());
    }
    let span: SignedDuration = text.parse().map_err(|_| wrong())?;
    if span.subsec_nanos() % 1_000_000 != 0 {
        return Err("durations are kept in milliseconds".to_owned());
    }
    i64::try_from(span.as_millis()).map_err(|_| wrong())
}

fn in_range(at: Timestamp) -> Result<Timestamp, String> {
    if at.is_in_range() { Ok(at) } else { Err(OUTSIDE.to_owned()) }
}

/// The date of the instant in UTC.
fn date_of(at: Timestamp) -> Result<Date, String> {
    shift(EPOCH, in_range(at)?.0.div_euclid(DAY))
}

/// The first instant of the day in UTC.
fn midnight(date: Date) -> Result<Timestamp, String> {
    in_range(Timestamp(days_between(date, EPOCH)))
}

fn shift(date: Date, days: i64) -> Result<Date, String> {
    let hours = days.checked_mul(24).ok_or_else(|| OUTSIDE.to_owned())?;
    let date = date.checked_add(SignedDuration::from_hours(hours)).map_err(|_| OUTSIDE.to_owned())?;
    if date.year() >= 1 { Ok(date) } else { Err(OUTSIDE.to_owned()) }
}

/// `at + by`.
pub(crate) fn add(at: Timestamp, by: i64) -> Result<Timestamp, String> {
    in_range(Timestamp(at.0.saturating_add(by)))
}

/// `date + by`, which has to be whole days.
pub(crate) fn add_days(date: Date, by: i64) -> Result<Date, String> {
    if by % DAY != 0 {
        return Err("a date takes durations of whole days, such as '48h'".to_owned());
    }
    shift(date, by / DAY)
}

/// From `b` to `a`, in milliseconds.
pub(crate) fn days_between(a: Date, b: Date) -> i64 {
    a.duration_since(b).as_hours() / 24 * DAY
}
