//! One document `projection: NAME`: its columns, its indexes, and what it does for which event.

use std::collections::HashSet;
use std::ops::Range;

use super::super::Known;
use super::super::fields::{self, Fields, Place};
use super::super::report::{Report, list, shown, suggest};
use super::super::sql::{self, Name, Target};
use super::super::types::Directory;
use super::super::yaml::{self, Entry, Node, Scalar};
use super::super::{Event, allow, indexes, names};
use super::{Metadata, Parameter, Projection, Statement};

/// Every key that a projection may have.
const KEYS: &[&str] = &["projection", "doc", "fields", "index", "allow", "on"];

const EXAMPLE: &str = "write the event and its statement: `order.placed: INSERT INTO …`";

/// The name of the projection in a document, whose entry `projection` is given. `None`: it is wrong.
pub(in super::super) fn name<'n>(report: &mut Report<'_>, entry: &'n Entry) -> Option<&'n str> {
    yaml::text(report, &entry.value, "the name of the projection, such as `daily_sales`")
        .filter(|name| names::check_projection(report, &entry.value.span, name))
}

/// Reads a document. What is wrong is reported; the result is of use only if nothing was.
pub(in super::super) fn read(
    report: &mut Report<'_>,
    directory: &Directory,
    known: &Known<'_>,
    root: &Node,
    name: Option<&str>,
    at: &Range<usize>,
) -> Option<Projection> {
    let members = yaml::members(report, root, "a projection", KEYS)?;
    let doc = members.value("doc").and_then(|node| yaml::text(report, node, "say what a row stands for"));
    let columns = match members.value("fields") {
        Some(node) => fields::read_all(report, directory, node, Place::Column),
        None => Fields::default(),
    };
    if columns.fields.is_empty() && columns.broken.is_empty() {
        let hint = "declare its columns: `fields: { day: { type: date, key: true }, orders: integer }`";
        report.error(at, "the projection has no fields", hint);
    }
    let key: Vec<String> =
        columns.fields.values().filter(|field| field.key).map(|field| field.name.clone()).collect();
    if key.is_empty() && !columns.fields.is_empty() && columns.broken.is_empty() {
        let hint = "say which fields identify a row: `day: { type: date, key: true }`; it may be several";
        report.error(at, "the projection has no key", hint);
    }
    let indexes =
        members.value("index").map(|node| indexes::read(report, &columns, &[], node)).unwrap_or_default();
    let (read, field_rules) =
        members.get("allow").map(|entry| allow::of_projection(report, &columns, entry)).unwrap_or_default();
    let broken = !columns.broken.is_empty();
    let target = Target { table: name, columns: &columns.fields, key: &key, broken };
    let statements = match members.get("on") {
        Some(entry) => statements(report, known, &target, entry),
        None => {
            let hint = format!("say what is done for which event: `on:`, then {EXAMPLE}");
            report.error(at, "the projection has no statement", hint);
            Vec::new()
        }
    };
    Some(Projection {
        name: name?.to_owned(),
        doc: doc.map(str::to_owned),
        fields: columns.fields,
        key,
        indexes,
        read,
        field_rules,
        statements,
    })
}

/// `on:`, a statement for each event.
fn statements(report: &mut Report<'_>, known: &Known<'_>, target: &Target<'_>, on: &Entry) -> Vec<Statement> {
    let entries = yaml::entries(report, &on.value, EXAMPLE);
    if entries.is_some_and(<[Entry]>::is_empty) {
        report.error(&on.value.span, "the projection has no statement", EXAMPLE);
    }
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    let mut statements = Vec::new();
    for entry in entries.unwrap_or_default() {
        let named = event(report, known, entry);
        if let Some((model, event)) = named.pair
            && !seen.insert((model, event))
        {
            let message = format!("there are two statements for `{model}.{event}`");
            report.error(&entry.key_span, message, "join them, or make a projection for each");
        }
        let statement = statement(report, target, &entry.value, named.event);
        if let (Some((model, event)), Some((pieces, parameters))) = (named.pair, statement) {
            let (model, event) = (model.to_owned(), event.to_owned());
            statements.push(Statement { model, event, pieces, parameters });
        }
    }
    statements
}

/// What a key of `on:` names.
struct Named<'e, 'm> {
    /// Model and event, unless the key isn't of that form.
    pair: Option<(&'e str, &'e str)>,
    /// The event, unless it is unknown.
    event: Option<&'m Event>,
}

fn event<'e, 'm>(report: &mut Report<'_>, known: &Known<'m>, entry: &'e Entry) -> Named<'e, 'm> {
    let pair = entry.key.split_once('.').map(|(model, event)| (model.trim(), event.trim()));
    let Some((model, event)) = pair else {
        let message = format!("{} is no event", shown(&entry.key));
        report.error(&entry.key_span, message, "write the model and the event: `order.placed`");
        return Named { pair: None, event: None };
    };
    let unknown = Named { pair, event: None };
    if known.faulty.contains(model) {
        return unknown;
    }
    let Some(declared) = known.models.get(model) else {
        let message = format!("there is no model {}", shown(model));
        report.error(&entry.key_span, message, suggest(model, known.models.keys().map(String::as_str)));
        return unknown;
    };
    let Some(found) = declared.events.get(event) else {
        let message = format!("`{model}` has no event {}", shown(event));
        report.error(&entry.key_span, message, suggest(event, declared.events.keys().map(String::as_str)));
        return unknown;
    };
    Named { pair, event: Some(found) }
}

/// The statement at `node`, cut at its parameters. `None`: it is wrong, or can't be judged without its event.
fn statement(
    report: &mut Report<'_>,
    target: &Target<'_>,
    node: &Node,
    event: Option<&Event>,
) -> Option<(Vec<String>, Vec<Parameter>)> {
    let hint = "write it behind `|`, indented, or in double quotes";
    let text = yaml::text(report, node, hint)?;
    let cut = match sql::read(text, target) {
        Ok(cut) => cut,
        Err(faults) => {
            for fault in faults {
                let span = node.span_of_part(report.text(), &fault.span);
                report.error(&span, fault.message, fault.hint);
            }
            return None;
        }
    };
    let has_lines = report.text().get(node.span.clone()).is_some_and(|raw| raw.contains('\n'));
    if let Some(at) = cut.line_comment
        && has_lines
        && node.scalar().is_some_and(Scalar::folds)
    {
        let span = node.span_of_part(report.text(), &(at..at + 2));
        let message = "YAML joins the lines of this text, so the comment takes in all that follows";
        report.error(&span, message, "write `|` in place of `>`, or comment with `/* … */`");
        return None;
    }
    let event = event?;
    let before = report.len();
    let mut parameters = Vec::with_capacity(cut.parameters.len());
    for name in cut.parameters {
        match parameter(event, &name) {
            Ok(parameter) => parameters.push(parameter),
            Err((message, hint)) => {
                let span = node.span_of_part(report.text(), &name.span);
                report.error(&span, message, hint);
            }
        }
    }
    (report.len() == before).then_some((cut.pieces, parameters))
}

/// What a name stands for in an event, or what is wrong with it and what would be right.
fn parameter(event: &Event, name: &Name) -> Result<Parameter, (String, Option<String>)> {
    let (text, given) = (&name.name, shown(&name.name));
    if name.of_event {
        return Metadata::named(text).map(Parameter::Event).ok_or_else(|| {
            let names = Metadata::ALL.map(Metadata::name);
            (format!("an event has no {given}"), suggest(text, names))
        });
    }
    match event.fields.get(text) {
        Some(field) if field.secret => {
            let hint = "a secret is shown to nobody, so no table that is queried has it";
            Err((format!("{given} is secret, so it can't be a parameter"), Some(hint.to_owned())))
        }
        Some(_) => Ok(Parameter::Field(text.clone())),
        None => {
            let message = format!("the event `{}` records no field {given}", event.name);
            let hint = if Metadata::named(text).is_some() {
                Some(format!("write `:event.{text}`"))
            } else if event.fields.is_empty() {
                let names = list(Metadata::ALL.map(Metadata::name));
                Some(format!("it records nothing but what `:event.…` gives: {names}"))
            } else {
                suggest(text, event.fields.keys().map(String::as_str))
            };
            Err((message, hint))
        }
    }
}
