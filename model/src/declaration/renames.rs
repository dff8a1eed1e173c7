//! `renamed_from`: the names that a field had before. On the wire and in `writ.state` it keeps the first of them for ever
//! (`docs/decisions/010`); everybody else sees the present one.

use std::collections::HashMap;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::Field;
use super::names;
use super::report::{Report, shown};
use super::yaml::{self, Entry, Kind, Node};

const HINT: &str =
    "write the name that the field had before: `renamed_from: qty`, or several, oldest first: `[count, qty]`";

impl Field {
    /// The name in the Avro schema and in stored states: the first that the field had.
    pub fn wire_name(&self) -> &str {
        self.renamed_from.first().unwrap_or(&self.name)
    }

    /// Every name by which JSON may call it: the present one, then the earlier ones, newest first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(self.renamed_from.iter().rev()).map(String::as_str)
    }

    /// The member of `given` that is meant, with the name that it has there.
    pub(crate) fn find_in<'a>(&'a self, given: &'a Map<String, Json>) -> Option<(&'a str, &'a Json)> {
        self.names().find_map(|name| Some((name, given.get(name)?)))
    }
}

/// One name or a list of them.
pub(super) fn read(report: &mut Report<'_>, node: &Node) -> Vec<String> {
    let nodes: Vec<&Node> = match &node.kind {
        Kind::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    if nodes.is_empty() {
        report.error(&node.span, "`renamed_from` names no field", HINT);
    }
    let mut old: Vec<String> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(name) = yaml::text(report, node, HINT) else { continue };
        if !names::check(report, &node.span, "a field", name) {
            continue;
        }
        if old.iter().any(|known| known == name) {
            report.error(&node.span, format!("`{name}` is given twice"), "remove one of them");
        } else {
            old.push(name.to_owned());
        }
    }
    old
}

/// The old names of one map of fields: none is a present name, and none belongs to two fields. `taken`: whether there is
/// a field of this name. Gives the fields whose old names are wrong, so that the caller forgets them.
pub(super) fn check(
    report: &mut Report<'_>,
    entries: &[Entry],
    fields: &IndexMap<String, Field>,
    taken: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut owners: HashMap<&str, &str> = HashMap::new();
    for (name, field) in fields {
        let Some(node) = entries
            .iter()
            .find(|entry| entry.key == *name)
            .and_then(|entry| entry.value.get("renamed_from"))
            .map(|entry| &entry.value)
        else {
            continue;
        };
        for old in &field.renamed_from {
            let before = report.len();
            if old == name {
                let message = format!("{} can't be renamed from itself", shown(name));
                report.error(&node.span, message, HINT);
            } else if taken(old) {
                report.error(
                    &node.span,
                    format!("{0} is still a field, so {1} can't be renamed from it", shown(old), shown(name)),
                    format!("remove `renamed_from`, or the field `{old}`"),
                );
            } else if let Some(other) = owners.insert(old, name) {
                report.error(
                    &node.span,
                    format!("{} and {} can't both be renamed from {}", shown(other), shown(name), shown(old)),
                    "a field becomes one field: the other one is new",
                );
            }
            if report.len() > before {
                wrong.push(name.clone());
            }
        }
    }
    wrong
}
