//! The JSON of a row, written from a state: byte for byte what `select.rs` lets PostgreSQL write.
//!
//! Columns of plain kinds are written without spaces. Lists, objects and JSON are kept as `jsonb`, whose text is another one: a
//! space behind each `:` and `,`, the members of an object by the length of their names and then by their bytes, numbers
//! without an exponent.

use serde_json::{Number, Value as Json};
use uuid::Uuid;
use writ_model::access::Visible;
use writ_model::value::fit_decimal;
use writ_model::{Model, State, Type, Value};

use crate::query::Row;
use crate::query::select::{Fields, Part};
use crate::tables::Kind;

impl Row {
    /// Its JSON text, as a list shows it; without the rows that references lead to.
    pub fn to_json(&self) -> String {
        item(self.id, self.version, self.state.get(), &self.created_at, &self.updated_at)
    }
}

/// The JSON text of a row with this state.
pub(super) fn item(id: Uuid, version: u64, state: &str, created_at: &str, updated_at: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"version\":{version},\"state\":{state},\"created_at\":\"{created_at}\",\"updated_at\":\"{updated_at}\"}}"
    )
}

/// The JSON text of a row's state: the fields that are shown.
pub(super) fn state(model: &Model, state: &State, visible: &Visible, fields: Option<&Fields>) -> String {
    let mut out = String::with_capacity(256);
    let value = |name: &str| state.fields.get(name).unwrap_or(&Value::Null);
    match fields {
        None => {
            let shown = model.fields.values().filter(|field| visible.shows(&field.name));
            members(
                &mut out,
                shown,
                |field| &field.name,
                |out, field| column(out, &field.ty, value(&field.name)),
            );
        }
        Some(fields) => {
            // What else can be asked for is shown anyway.
            let shown = fields.parts.iter().filter_map(|part| Some((part, model.fields.get(&part.name)?)));
            members(
                &mut out,
                shown,
                |(part, _)| &part.name,
                |out, (part, field)| match &*part.inner {
                    [] => column(out, &field.ty, value(&field.name)),
                    inner => reduced(out, &field.ty, value(&field.name), inner),
                },
            );
        }
    }
    out
}

/// An object without spaces.
fn members<'a, Item: Copy>(
    out: &mut String,
    items: impl Iterator<Item = Item>,
    name: impl Fn(Item) -> &'a str,
    write: impl Fn(&mut String, Item),
) {
    out.push('{');
    for (index, item) in items.enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        quoted(out, name(item));
        out.push(':');
        write(out, item);
    }
    out.push('}');
}

/// The value of a field at the top.
fn column(out: &mut String, ty: &Type, value: &Value) {
    match (ty, value) {
        (_, Value::Text(text)) => quoted(out, text),
        // The column has exactly so many digits behind the point.
        (Type::Decimal { precision, scale, .. }, Value::Decimal(value)) => {
            let fitted = fit_decimal(value, *precision, *scale);
            plain(out, &fitted.as_ref().unwrap_or(value).to_plain_string());
        }
        (_, value) => match value.to_text() {
            Some(text) if matches!(Kind::of(ty), Kind::Integer | Kind::Boolean) => out.push_str(&text),
            Some(text) => plain(out, &text),
            None => jsonb(out, &value.to_json()),
        },
    }
}

/// Those parts of a value that were asked for; null for what is no object, or no list where it should be one.
fn reduced(out: &mut String, ty: &Type, value: &Value, parts: &[Part]) {
    match (ty, value) {
        _ if parts.is_empty() => jsonb(out, &value.to_json()),
        (Type::List { of, .. }, Value::List(items)) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                reduced(out, &of.ty, item, parts);
            }
            out.push(']');
        }
        (Type::Object(fields), Value::Object(object)) => {
            let shown = parts.iter().filter_map(|part| Some((part, fields.get(&part.name)?)));
            members(
                out,
                shown,
                |(part, _)| &part.name,
                |out, (part, field)| {
                    let value = object.get(&part.name).unwrap_or(&Value::Null);
                    reduced(out, &field.ty, value, &part.inner);
                },
            );
        }
        _ => out.push_str("null"),
    }
}

/// A text without anything to escape.
fn plain(out: &mut String, text: &str) {
    out.extend(["\"", text, "\""]);
}

fn quoted(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("invariant: every text has a JSON form"));
}

/// As PostgreSQL writes a `jsonb`.
fn jsonb(out: &mut String, json: &Json) {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(value) => number(out, value),
        Json::String(text) => quoted(out, text),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                jsonb(out, item);
            }
            out.push(']');
        }
        Json::Object(members) => {
            let mut members: Vec<(&String, &Json)> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| (name.len(), *name));
            out.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                quoted(out, name);
                out.push_str(": ");
                jsonb(out, value);
            }
            out.push('}');
        }
    }
}

/// As a `numeric` is written that was read from the number's text: all of its digits, and as many behind the point as the text
/// has, the exponent counted in.
fn number(out: &mut String, number: &Number) {
    let text = number.to_string();
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", &*text),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: isize = exponent.parse().expect("invariant: the exponent of a binary fraction is small");
    let digits = format!("{whole}{fraction}");
    // There is no negative zero.
    out.push_str(if digits.bytes().all(|digit| digit == b'0') { "" } else { sign });
    // Where the point stands among the digits, or how far beside them.
    let point = whole.len().cast_signed() + exponent;
    let digit = |place: isize| usize::try_from(place).ok().and_then(|place| digits.as_bytes().get(place));
    let digit = |place: isize| digit(place).map_or('0', |digit| char::from(*digit));
    let begin = (0..point - 1).find(|place| digit(*place) != '0').unwrap_or(point - 1);
    out.extend((begin..point).map(digit));
    let scale = fraction.len().cast_signed() - exponent;
    if scale > 0 {
        out.push('.');
        out.extend((point..point + scale).map(digit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_all_their_digits() {
        for (text, expected) in [
            ("0", "0"),
            ("-7", "-7"),
            ("18446744073709551615", "18446744073709551615"),
            ("-0.0", "0.0"),
            ("100000.0", "100000.0"),
            ("1e16", "10000000000000000"),
            ("1.5e-7", "0.00000015"),
            ("-1.25e17", "-125000000000000000"),
            ("1.234567890123456e17", "123456789012345600"),
            ("0.1", "0.1"),
            ("2.5e-1", "0.25"),
        ] {
            let mut out = String::new();
            number(&mut out, &text.parse().unwrap());
            assert_eq!(out, expected, "{text}");
        }
    }
}
