//! `index:` of a model or a projection: the columns by which its rows are found fast.

use super::Type;
use super::fields::Fields;
use super::report::{Report, shown, suggest};
use super::yaml::{self, Kind, Node};

const FORMS: &str = "write the fields of one index: `index: [status, created_at]`, or a list for each index: \
                     `index: [[status, created_at], [customer]]`";

/// Names of fields for each index. `fixed`: columns beside the fields that an index may name.
pub(super) fn read(report: &mut Report<'_>, state: &Fields, fixed: &[&str], node: &Node) -> Vec<Vec<String>> {
    let Some(items) = yaml::items(report, node, FORMS) else { return Vec::new() };
    let mut indexes = Vec::new();
    if items.iter().all(|item| matches!(item.kind, Kind::Scalar(_))) {
        add(report, &mut indexes, state, fixed, node);
        return indexes;
    }
    for item in items {
        match item.kind {
            Kind::List(_) => add(report, &mut indexes, state, fixed, item),
            Kind::Scalar(_) | Kind::Map(_) => {
                let message = format!("{} stands beside a list, so it must be one too", item.what());
                report.error(&item.span, message, FORMS);
            }
        }
    }
    indexes
}

/// Reads the fields of one index.
fn add(report: &mut Report<'_>, indexes: &mut Vec<Vec<String>>, state: &Fields, fixed: &[&str], node: &Node) {
    let before = report.len();
    let mut names: Vec<String> = Vec::new();
    let items = yaml::items(report, node, FORMS).unwrap_or_default();
    if items.is_empty() {
        report.error(&node.span, "an index needs at least one field", FORMS);
    }
    for item in items {
        let Some(name) = yaml::text(report, item, FORMS) else { continue };
        match state.fields.get(name).map(|field| &field.ty) {
            Some(ty @ (Type::List { .. } | Type::Object(_) | Type::Json)) => {
                let message = format!("`{name}` is of type {}, which an index can't order", ty.name());
                report.error(&item.span, message, "name fields with single values");
            }
            None if !fixed.contains(&name) && !state.has(name) => {
                let known = state.fields.keys().map(String::as_str).chain(fixed.iter().copied());
                let message = format!("there is no field {}", shown(name));
                report.error(&item.span, message, suggest(name, known));
            }
            _ if names.iter().any(|known| known == name) => {
                report.error(&item.span, format!("`{name}` is given twice"), "remove one of them");
            }
            _ => names.push(name.to_owned()),
        }
    }
    if report.len() > before {
        return;
    }
    if indexes.contains(&names) {
        report.error(&node.span, "this index is given twice", "remove one of them");
    } else {
        indexes.push(names);
    }
}
