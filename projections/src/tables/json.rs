//! Columns as JSON text, built by PostgreSQL: what a query answers with is exactly what [`writ_model::Value::to_json`]
//! says, in the declared order, without a row ever being taken apart and put together again in between.
//!
//! The text is joined with `||`: functions such as `json_build_object` take at most 100 arguments.

use super::derive::Column;
use super::kind::Kind;
use super::name::literal;

/// The JSON text of a column, or SQL null. `column` is an SQL expression.
fn bare(kind: Kind, column: &str) -> String {
    let plain = plain(kind, column);
    match kind {
        Kind::Text => format!("to_json({column})::text"),
        Kind::Integer | Kind::Boolean | Kind::Json => plain,
        Kind::Decimal { .. } | Kind::Uuid | Kind::Ref | Kind::Date | Kind::Timestamp | Kind::Duration => {
            format!("'\"' || {plain} || '\"'")
        }
    }
}

/// The text of a column as it stands in its JSON, without quotes, or SQL null.
pub(crate) fn plain(kind: Kind, column: &str) -> String {
    match kind {
        Kind::Text => column.to_owned(),
        Kind::Integer | Kind::Boolean | Kind::Json | Kind::Decimal { .. } | Kind::Uuid | Kind::Ref => {
            format!("{column}::text")
        }
        Kind::Date => format!("to_char({column}, 'YYYY-MM-DD')"),
        Kind::Timestamp => instant(column),
        Kind::Duration => duration(column),
    }
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn instant(column: &str) -> String {
    format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
}

/// ISO 8601 from milliseconds, as `writ_model::value::format_duration` writes it.
fn duration(column: &str) -> String {
    // `numeric`: the absolute value of the least bigint is no bigint.
    let magnitude = format!("abs({column}::numeric)");
    format!(
        "CASE WHEN {column} IS NULL THEN NULL WHEN {column} = 0 THEN 'PT0S' ELSE CASE WHEN {column} < 0 THEN '-PT' ELSE 'PT' END \
         || CASE WHEN {magnitude} >= 3600000 THEN div({magnitude}, 3600000)::text || 'H' ELSE '' END \
         || CASE WHEN mod({magnitude}, 3600000) >= 60000 \
         THEN div(mod({magnitude}, 3600000), 60000)::text || 'M' ELSE '' END \
         || CASE WHEN mod({magnitude}, 60000) > 0 \
         THEN trim_scale(mod({magnitude}, 60000) / 1000)::text || 'S' ELSE '' END END"
    )
}

/// The JSON text of a column, `null` where there is no value.
pub(crate) fn scalar(kind: Kind, column: &str) -> String {
    format!("COALESCE({}, 'null')", bare(kind, column))
}

/// The JSON text of an object with these members, each with the JSON text of its value.
pub(crate) fn object_of<'a>(members: impl Iterator<Item = (&'a str, String)>) -> String {
    let members: Vec<String> = members
        .enumerate()
        .map(|(index, (name, value))| {
            let name = serde_json::Value::String(name.to_owned()).to_string();
            let before = format!("{}{name}:", if index == 0 { "{" } else { "," });
            format!("{} || {value}", literal(&before))
        })
        .collect();
    if members.is_empty() { "'{}'".into() } else { format!("{} || '}}'", members.join(" || ")) }
}

/// The JSON text of an object with these columns as members.
pub(crate) fn object<'a>(columns: impl Iterator<Item = &'a Column>) -> String {
    object_of(columns.map(|column| (column.field.as_str(), scalar(column.kind, &column.quoted()))))
}
