//! Where in the files something of a model is declared, for findings that come after the check.

use std::ops::Range;

use super::report::Report;
use super::yaml::{self, Entry, Kind, Node};
use crate::diagnostic::Source;

/// File and byte range of the field at `path` in the event `event` of `model`: as far down as it is declared, else the
/// command that emits the event, else the name of the model. `None`: the files don't declare the model.
pub(crate) fn find(
    sources: &[Source],
    model: &str,
    event: Option<&str>,
    path: &[String],
) -> Option<(String, Range<usize>)> {
    sources.iter().find_map(|source| {
        // Its faults are not of interest here.
        let documents = yaml::load(&mut Report::new(source));
        let is_model = |root: &&Node| text(root, "model") == Some(model);
        let root = documents.roots.iter().find(is_model)?;
        Some((source.name.clone(), within(root, event, path)?))
    })
}

fn within(root: &Node, event: Option<&str>, path: &[String]) -> Option<Range<usize>> {
    let command = event.and_then(|event| emitter(root, event));
    if let Some((first, rest)) = path.split_first() {
        let is_declared = |entry: &&Entry| !entry.value.is_null();
        let input =
            command.and_then(|command| command.value.get("input")?.value.get(first)).filter(is_declared);
        let field = input.or_else(|| root.get("fields")?.value.get(first));
        if let Some(field) = field {
            return Some(descend(field, rest));
        }
    }
    let crud = || root.get("crud").filter(|_| event.is_some()).map(|entry| entry.key_span.clone());
    let command = command.map(|command| command.key_span.clone()).or_else(crud);
    command.or_else(|| Some(root.get("model")?.value.span.clone()))
}

/// The last part of the path that is there.
fn descend(field: &Entry, rest: &[String]) -> Range<usize> {
    let mut at = field;
    for name in rest {
        let Some(part) = parts(&at.value).and_then(|parts| parts.iter().find(|part| part.key == *name))
        else {
            break;
        };
        at = part;
    }
    at.key_span.clone()
}

/// The fields of an object, or of the items of a list of any depth.
fn parts(node: &Node) -> Option<&[Entry]> {
    if let Some(fields) = node.get("fields")
        && let Kind::Map(entries) = &fields.value.kind
    {
        return Some(entries);
    }
    let of = &node.get("of")?.value;
    match &of.kind {
        Kind::Map(entries) if text(of, "type").is_none() => Some(entries),
        _ => parts(of),
    }
}

fn emitter<'n>(root: &'n Node, event: &str) -> Option<&'n Entry> {
    let Kind::Map(commands) = &root.get("commands")?.value.kind else { return None };
    commands.iter().find(|command| text(&command.value, "emits").unwrap_or(&command.key) == event)
}

fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key)?.value.scalar().map(|scalar| scalar.text.as_str())
}
