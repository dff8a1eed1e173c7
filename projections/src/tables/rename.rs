//! Renamed fields in PostgreSQL: the column takes the new name and keeps its values, and so do the parts of objects in a
//! `jsonb` column.
//!
//! What a column or a part of it was called before stands in the column's comment. A server with older model files finds
//! it there and waits, where it would otherwise add the old column anew, without values.

use writ_model::{Field, Type};

use super::name::{self, literal};

const COMMENT: &str = "renamed from: ";
const SEPARATOR: &str = ", ";

/// What a column was before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History {
    /// Earlier names of the column, newest first.
    pub(super) names: Vec<String>,
    /// Everything that has had another name: the column, and parts of it as `lines.quantity`.
    pub(super) marks: Vec<String>,
    /// Over the column's name: its value with parts under their names of today. `None`: no part was renamed.
    pub(super) converted: Option<String>,
}

impl History {
    pub(super) fn of(field: &Field) -> History {
        let names: Vec<String> = field.renamed_from.iter().rev().map(|old| name::column(old)).collect();
        let mut marks = names.clone();
        mark_parts(field.wire_name(), &field.ty, &mut marks);
        let column = name::quote(&name::column(&field.name));
        History { names, marks, converted: converted(&field.ty, &column, 0) }
    }

    /// The comment on the column. `None`: nothing was renamed.
    pub(super) fn comment(&self) -> Option<String> {
        (!self.marks.is_empty()).then(|| format!("{COMMENT}{}", self.marks.join(SEPARATOR)))
    }
}

/// The marks in a comment; none if it isn't ours.
pub(super) fn marks(comment: Option<&str>) -> Vec<String> {
    let ours = comment.and_then(|comment| comment.strip_prefix(COMMENT));
    ours.map(|marks| marks.split(SEPARATOR).map(str::to_owned).collect()).unwrap_or_default()
}

fn mark_parts(path: &str, ty: &Type, marks: &mut Vec<String>) {
    match ty {
        Type::List { of, .. } => mark_parts(path, &of.ty, marks),
        Type::Object(fields) => {
            for field in fields.values() {
                marks.extend(field.renamed_from.iter().rev().map(|old| format!("{path}.{old}")));
                mark_parts(&format!("{path}.{}", field.wire_name()), &field.ty, marks);
            }
        }
        _ => {}
    }
}

/// An SQL expression for the `jsonb` value `value`. It reads old names and new ones, so running it again changes nothing.
fn converted(ty: &Type, value: &str, depth: usize) -> Option<String> {
    match ty {
        Type::List { of, .. } => {
            let item = converted(&of.ty, &format!("i{depth}.v"), depth + 1)?;
            Some(format!(
                "CASE jsonb_typeof({value}) WHEN 'array' THEN \
                 (SELECT COALESCE(jsonb_agg({item} ORDER BY i{depth}.n), '[]') \
                 FROM jsonb_array_elements({value}) WITH ORDINALITY AS i{depth}(v, n)) ELSE {value} END"
            ))
        }
        Type::Object(fields) => {
            let object = format!("o{depth}.v");
            let parts: Vec<String> =
                fields.values().filter_map(|field| part(field, &object, depth + 1)).collect();
            if parts.is_empty() {
                return None;
            }
            let old: Vec<String> =
                fields.values().flat_map(|field| &field.renamed_from).map(|old| literal(old)).collect();
            Some(format!(
                "(SELECT CASE jsonb_typeof({object}) WHEN 'object' THEN ({object} - ARRAY[{}]::text[]) || {} ELSE {object} END \
                 FROM (SELECT {value} AS v) AS o{depth})",
                old.join(", "),
                parts.join(" || ")
            ))
        }
        _ => None,
    }
}

/// An object with the part under its present name, or an empty one. `None`: the part is as it was.
fn part(field: &Field, object: &str, depth: usize) -> Option<String> {
    let names = std::iter::once(&field.name).chain(field.renamed_from.iter().rev());
    let found: Vec<String> = names.map(|name| format!("{object}->{}", literal(name))).collect();
    let found = format!("COALESCE({})", found.join(", "));
    let inner = converted(&field.ty, &found, depth);
    if field.renamed_from.is_empty() && inner.is_none() {
        return None;
    }
    let value = inner.unwrap_or_else(|| found.clone());
    Some(format!(
        "CASE WHEN {found} IS NULL THEN '{{}}'::jsonb ELSE jsonb_build_object({}, {value}) END",
        literal(&field.name)
    ))
}
