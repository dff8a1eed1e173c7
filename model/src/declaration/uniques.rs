//! What no two aggregates share: `unique` of a field and of the model.

use std::ops::Range;

use super::fields::Fields;
use super::report::{Report, list, shown, suggest};
use super::yaml::{self, Kind, Members, Node, Scalar};
use super::{Field, Type};
use crate::unique::Unique;

const FORMS: &str = "write the fields that are unique together: `unique: [a, b]`, or a list for each constraint: \
                     `unique: [[a, b], [c]]`";
const OPTIONS: &str = "write `unique: true`, or `unique: { ignore_case: true }`";

/// The constraints of a model: those of its fields, then its own `unique:`.
pub(super) fn read_all(report: &mut Report<'_>, state: &Fields, members: &Members<'_>) -> Vec<Unique> {
    let mut all = Uniques { state, uniques: Vec::new() };
    if let Some(Node { kind: Kind::Map(fields), .. }) = members.value("fields") {
        for field in fields {
            if let Some(entry) = field.value.get("unique")
                && let Some(ignore_case) = of_field(report, &entry.value)
            {
                let named = vec![(field.key.as_str(), &entry.key_span)];
                all.add(report, &entry.key_span, named, ignore_case);
            }
        }
    }
    if let Some(node) = members.value("unique") {
        of_model(report, &mut all, node);
    }
    all.uniques
}

/// `unique:` of a field: whether it ignores case. `None`: the field isn't unique, or that can't be read.
fn of_field(report: &mut Report<'_>, node: &Node) -> Option<bool> {
    if let Some(unique) = node.scalar().and_then(Scalar::as_bool) {
        return unique.then_some(false);
    }
    if !matches!(node.kind, Kind::Map(_)) {
        let message = format!("`unique` is true or a map of options, found {}", node.what());
        report.error(&node.span, message, OPTIONS);
        return None;
    }
    let options = yaml::members(report, node, "`unique` of a field", &["ignore_case"])?;
    Some(yaml::flag(report, options.get("ignore_case")))
}

/// `unique:` of a model: the fields of one constraint, or a list of constraints.
fn of_model(report: &mut Report<'_>, all: &mut Uniques<'_>, node: &Node) {
    let Some(items) = yaml::items(report, node, FORMS) else { return };
    if items.is_empty() {
        report.error(&node.span, "`unique` names no fields", FORMS);
        return;
    }
    if items.iter().all(|item| matches!(item.kind, Kind::Scalar(_))) {
        constraint(report, all, node, false);
        return;
    }
    for item in items {
        match &item.kind {
            Kind::List(_) => constraint(report, all, item, false),
            Kind::Map(_) => {
                let known = &["fields", "ignore_case"];
                let Some(options) = yaml::members(report, item, "a constraint", known) else { continue };
                let ignore_case = yaml::flag(report, options.get("ignore_case"));
                match options.value("fields") {
                    Some(fields) => constraint(report, all, fields, ignore_case),
                    None => {
                        let hint = "name them: `{ fields: [a, b], ignore_case: true }`";
                        report.error(&item.span, "the constraint has no `fields`", hint);
                    }
                }
            }
            Kind::Scalar(_) => {
                let message = format!("{} stands beside a list, so it must be one too", item.what());
                report.error(&item.span, message, FORMS);
            }
        }
    }
}

/// One list of fields.
fn constraint(report: &mut Report<'_>, all: &mut Uniques<'_>, node: &Node, ignore_case: bool) {
    let hint = "name fields of the model: `[a, b]`";
    let Some(items) = yaml::items(report, node, hint) else { return };
    if items.is_empty() {
        report.error(&node.span, "the constraint names no fields", hint);
        return;
    }
    let before = report.len();
    let mut named: Vec<(&str, &Range<usize>)> = Vec::new();
    for item in items {
        let Some(name) = yaml::text(report, item, hint) else { continue };
        if named.iter().any(|(known, _)| *known == name) {
            report.error(&item.span, format!("{} is given twice", shown(name)), "remove one of them");
        } else {
            named.push((name, &item.span));
        }
    }
    if report.len() == before {
        all.add(report, &node.span, named, ignore_case);
    }
}

/// What is found so far.
struct Uniques<'a> {
    state: &'a Fields,
    uniques: Vec<Unique>,
}

impl Uniques<'_> {
    /// Adds a constraint over fields, each with the place to report for it, if there is nothing wrong with it.
    fn add(
        &mut self,
        report: &mut Report<'_>,
        at: &Range<usize>,
        named: Vec<(&str, &Range<usize>)>,
        ignore_case: bool,
    ) {
        let before = report.len();
        let mut fields: Vec<&Field> = Vec::with_capacity(named.len());
        for (name, span) in &named {
            match self.state.fields.get(*name) {
                Some(field) => {
                    check_field(report, span, field);
                    fields.push(field);
                }
                None if self.state.has(name) => {}
                None => {
                    let known = self.state.fields.keys().map(String::as_str);
                    report.error(
                        span,
                        format!("the model has no field {}", shown(name)),
                        suggest(name, known),
                    );
                }
            }
        }
        // What rests on an unknown field or type can't be judged.
        if report.len() > before || fields.len() < named.len() {
            return;
        }
        if ignore_case && !fields.iter().any(|field| has_case(&field.ty)) {
            let names = list(fields.iter().map(|field| field.name.as_str()));
            let message = format!("`ignore_case` is for text, email, url and enum; {names} has no case");
            report.error(at, message, "remove `ignore_case`");
            return;
        }
        if let Some(key) = fields.iter().find(|field| field.key)
            && !ignore_case
        {
            let message = format!("`unique` says nothing new: no two have the same key `{}`", key.name);
            let hint = "remove it, or ignore case: then keys that differ only by case can't both exist";
            report.error(at, message, hint);
            return;
        }
        let unique = Unique::new(fields, ignore_case);
        if let Some(other) = self.uniques.iter().find(|other| other.fields == unique.fields) {
            let hint = if other.ignore_case == ignore_case {
                "remove one of them"
            } else {
                "keep the one that ignores case: it refuses what the other one does"
            };
            let names = list(unique.fields.iter().map(String::as_str));
            report.error(at, format!("{names} is unique already"), hint);
            return;
        }
        self.uniques.push(unique);
    }
}

fn check_field(report: &mut Report<'_>, span: &Range<usize>, field: &Field) {
    let name = &field.name;
    if let Type::List { .. } | Type::Object(_) | Type::Json = field.ty {
        let message = format!("`{name}` is of type {}, which can't be unique", field.ty.name());
        report.error(span, message, "`unique` is for single values");
    }
    if field.secret {
        let hint =
            "whoever may send the command can test a guess: the answer says whether the value is taken";
        report.error(span, format!("`{name}` is secret, so it can't be unique"), hint);
    }
}

fn has_case(ty: &Type) -> bool {
    matches!(ty, Type::Text { .. } | Type::Email | Type::Url | Type::Enum(_))
}
