//! The constraints of types, held against typed values.

use std::fmt::Display;
use std::str::FromStr;

use email_address::{EmailAddress, Options};

use super::fault::{Path, choices, clip, report};
use super::{Decimal, DecimalFault, FieldError, Value, fit_decimal};
use crate::declaration::{Field, Type};

/// Longest URL, in bytes: an indexed column of PostgreSQL holds it.
const MAX_URL: usize = 2048;
/// Schemes of URLs that a page may link to. Others, such as `javascript:`, run code where they are shown.
const URL_SCHEMES: [&str; 7] = ["http", "https", "ws", "wss", "ftp", "ftps", "sftp"];

/// Holds a computed value against a field, through lists and objects.
pub(super) fn field(
    value: Value,
    field: &Field,
    at: Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<Value> {
    if value == Value::Null {
        if field.optional {
            return Some(Value::Null);
        }
        report(errors, at, "required", "must not be null");
        return None;
    }
    let value = match (&field.ty, value) {
        (Type::List { of, .. }, Value::List(items)) => {
            let mut checked = Vec::with_capacity(items.len());
            let mut sound = true;
            for (index, item) in items.into_iter().enumerate() {
                match self::field(item, of, Path::Item(&at, index), errors) {
                    Some(item) => checked.push(item),
                    None => sound = false,
                }
            }
            sound.then_some(Value::List(checked))?
        }
        (Type::Object(fields), Value::Object(mut members)) => {
            let mut checked = super::Object::with_capacity(fields.len());
            let mut sound = true;
            for (name, member) in fields {
                let value = members.swap_remove(name).unwrap_or(Value::Null);
                match self::field(value, member, Path::Member(&at, name), errors) {
                    Some(value) => drop(checked.insert(name.clone(), value)),
                    None => sound = false,
                }
            }
            sound.then_some(Value::Object(checked))?
        }
        // A whole number is a decimal too.
        (Type::Decimal { .. }, Value::Integer(whole)) => Value::Decimal(Decimal::from(whole)),
        (_, value) => value,
    };
    constraints(&field.ty, value, at, errors)
}

/// Holds one value against the constraints of its own type, not of its parts. Gives it back in canonical form.
pub(super) fn constraints(
    ty: &Type,
    value: Value,
    at: Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<Value> {
    let mut sound = true;
    let mut fault = |code: &str, detail: String| {
        sound = false;
        report(errors, at, code, detail);
    };
    let value = match (ty, value) {
        (Type::Text { min_length, max_length, pattern }, Value::Text(text)) => {
            if text.contains('\0') {
                fault("nul_character", "text can't hold the character U+0000".to_owned());
            }
            length(text.chars().count(), "characters", *min_length, *max_length, &mut fault);
            if let Some(pattern) = pattern
                && !pattern.regex.is_match(&text)
            {
                fault("pattern_mismatch", format!("must match `{}`", pattern.source));
            }
            Value::Text(text)
        }
        (Type::Integer { min, max }, Value::Integer(value)) => {
            range(&value, min.as_ref(), max.as_ref(), &mut fault);
            Value::Integer(value)
        }
        (Type::Decimal { precision, scale, min, max }, Value::Decimal(value)) => {
            match fit_decimal(&value, *precision, *scale) {
                Ok(value) => {
                    range(&value, min.as_ref(), max.as_ref(), &mut fault);
                    Value::Decimal(value)
                }
                Err(DecimalFault::TooPrecise) => {
                    fault(
                        "too_precise",
                        format!("at most {scale} digits after the point; nothing is rounded"),
                    );
                    Value::Null
                }
                Err(DecimalFault::OutOfRange) => {
                    let whole = precision.saturating_sub(*scale);
                    fault(
                        "out_of_range",
                        format!("at most {whole} digits before the point and {scale} after it"),
                    );
                    Value::Null
                }
            }
        }
        (Type::Timestamp, Value::Timestamp(instant)) => {
            if !instant.is_in_range() {
                fault("out_of_range", "the years 0001 to 9999 can be kept".to_owned());
            }
            Value::Timestamp(instant)
        }
        (Type::Date, Value::Date(day)) => {
            if day.year() < 1 {
                fault("out_of_range", "the years 0001 to 9999 can be kept".to_owned());
            }
            Value::Date(day)
        }
        (Type::Email, Value::Text(text)) => {
            let options =
                Options::default().with_required_tld().without_display_text().without_domain_literal();
            if EmailAddress::parse_with_options(&text, options).is_err() || text.contains('\0') {
                fault(
                    "invalid_format",
                    format!("`{}` is no e-mail address such as `ada@example.org`", clip(&text)),
                );
            }
            Value::Text(text)
        }
        (Type::Url, Value::Text(text)) => {
            if let Some(detail) = url_fault(&text) {
                fault("invalid_format", detail);
            }
            Value::Text(text)
        }
        (Type::Enum(names), Value::Text(text)) => {
            if !names.contains(&text) {
                fault("not_in_enum", format!("`{}` is none of the values: {}", clip(&text), choices(names)));
            }
            Value::Text(text)
        }
        (Type::List { min_length, max_length, .. }, Value::List(items)) => {
            length(items.len(), "items", *min_length, *max_length, &mut fault);
            Value::List(items)
        }
        (Type::Json, Value::Json(json)) => {
            if json_holds_nul(&json) {
                fault("nul_character", "JSON text and names can't hold the character U+0000".to_owned());
            }
            Value::Json(json)
        }
        (Type::Boolean, value @ Value::Boolean(_))
        | (Type::Duration, value @ Value::Duration(_))
        | (Type::Uuid | Type::Ref { .. }, value @ Value::Uuid(_))
        | (Type::Object(_), value @ Value::Object(_)) => value,
        (_, _) => {
            fault("wrong_type", "is of another type".to_owned());
            Value::Null
        }
    };
    sound.then_some(value)
}

fn range<T: PartialOrd + Display>(
    value: &T,
    min: Option<&T>,
    max: Option<&T>,
    fault: &mut impl FnMut(&str, String),
) {
    if let Some(min) = min.filter(|min| value < min) {
        fault("out_of_range", format!("must be at least {min}"));
    }
    if let Some(max) = max.filter(|max| value > max) {
        fault("out_of_range", format!("must be at most {max}"));
    }
}

fn length(length: usize, of: &str, min: Option<u64>, max: Option<u64>, fault: &mut impl FnMut(&str, String)) {
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    if let Some(min) = min.filter(|min| length < *min) {
        fault("too_short", format!("has {length} {of}, at least {min} are needed"));
    }
    if let Some(max) = max.filter(|max| length > *max) {
        fault("too_long", format!("has {length} {of}, at most {max} are allowed"));
    }
}

/// What is wrong with a URL. The parser drops white space and control characters, so they are refused before.
fn url_fault(text: &str) -> Option<String> {
    if text.len() > MAX_URL {
        return Some(format!("a URL has at most {MAX_URL} bytes"));
    }
    let clean = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    match url::Url::from_str(text) {
        Ok(url) if clean && url.has_host() && URL_SCHEMES.contains(&url.scheme()) => None,
        _ => Some(format!("`{}` is no absolute URL such as `https://example.org/path`", clip(text))),
    }
}

fn json_holds_nul(json: &serde_json::Value) -> bool {
    use serde_json::Value as Json;
    match json {
        Json::String(text) => text.contains('\0'),
        Json::Array(items) => items.iter().any(json_holds_nul),
        Json::Object(members) => {
            members.iter().any(|(name, value)| name.contains('\0') || json_holds_nul(value))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}
