//! One document: a model with its fields, commands, rules and indexes.

use std::collections::HashSet;
use std::ops::Range;

use indexmap::IndexMap;

use super::commands::{self, Draft};
use super::fields::{self, Fields, Place};
use super::report::{Report, list, shown, suggest};
use super::types::Directory;
use super::yaml::{self, Node};
use super::{
    Command, Guard, Model, Type, allow, events, expressions, indexes, names, state_machine, uniques,
};
use crate::expression::{Env, Expected};

/// Every key that a model may have.
pub(super) const KEYS: &[&str] =
    &["model", "doc", "fields", "crud", "commands", "allow", "unique", "index", "search", "reactions"];

/// Columns that every table has and an index may name.
const COLUMNS: &[&str] = &["created_at", "updated_at"];

/// What a model is called whose name is missing or wrong, so that the rest of it can be checked.
pub(super) const NAMELESS: &str = "nameless";

/// The name of the model in a document and where it stands. `None`: the document is no map.
pub(super) fn name(report: &mut Report<'_>, root: &Node) -> Option<(String, Range<usize>)> {
    let hint = "a document starts with `model: NAME`, `projection: NAME` or `channel: NAME`";
    yaml::entries(report, root, hint)?;
    let at = root.span.start..root.span.start;
    let Some(entry) = root.get("model") else {
        report.error(&at, "this document has no `model`", hint);
        return Some((NAMELESS.to_owned(), at));
    };
    let name = yaml::text(report, &entry.value, "the name of the model, such as `order`")
        .filter(|name| names::check_model(report, &entry.value.span, name))
        .unwrap_or(NAMELESS);
    Some((name.to_owned(), entry.value.span.clone()))
}

/// Reads a document. What is wrong is reported; the result is of use only if nothing was.
pub(super) fn read(
    report: &mut Report<'_>,
    directory: &Directory,
    root: &Node,
    name: String,
    at: &Range<usize>,
) -> Option<Model> {
    let members = yaml::members(report, root, "a model", KEYS)?;
    let doc = members.value("doc").and_then(|node| yaml::text(report, node, "say what the model stands for"));
    let state = match members.value("fields") {
        Some(node) => fields::read_all(report, directory, node, Place::State),
        None => Fields::default(),
    };
    if state.fields.is_empty() && state.broken.is_empty() {
        report.error(at, "the model has no fields", "declare them: `fields: { title: text }`");
    }
    let key = key(report, &state);
    let mut drafts = commands::read_all(report, directory, &state, &members);
    let state_field = state_machine::find(report, at, &state, &drafts);
    if let Some(field) = &state_field {
        // Only `from` and `to` move the state machine.
        for draft in drafts.iter_mut().filter(|draft| draft.partial) {
            draft.input.shift_remove(field);
            draft.state_inputs.retain(|(name, _)| name != field);
        }
    }
    for draft in &drafts {
        check_changes(report, &state, state_field.as_deref(), draft);
    }
    let events =
        events::derive(report, &directory.app, &name, &state.fields, state_field.as_deref(), &drafts);
    let allow =
        members.get("allow").map(|entry| allow::of_model(report, &state, &drafts, entry)).unwrap_or_default();
    let indexes =
        members.value("index").map(|node| indexes::read(report, &state, COLUMNS, node)).unwrap_or_default();
    let search = members.value("search").map(|node| search(report, &state, node)).unwrap_or_default();
    let uniques = uniques::read_all(report, &state, &members);
    let commands = drafts.into_iter().map(|draft| command(report, &state, draft)).collect::<Vec<_>>();
    Some(Model {
        app: directory.app.clone(),
        name,
        doc: doc.map(str::to_owned),
        key,
        state_field,
        commands: commands.into_iter().map(|command| (command.name.clone(), command)).collect(),
        events,
        allow: allow.rules,
        field_rules: allow.fields,
        uniques,
        indexes,
        search,
        // They name commands of other models, so they are read when all models are there.
        reactions: Vec::new(),
        fields: state.fields,
    })
}

fn key(report: &mut Report<'_>, state: &Fields) -> Option<String> {
    let mut keys = state.fields.values().filter(|field| field.key).map(|field| &field.name);
    let key = keys.next()?;
    for other in keys {
        let message = format!("`{other}` can't be the key, `{key}` is it already");
        report.error(
            &state.span(other),
            message,
            "keep one `key: true`; the other one may be `unique: true`",
        );
    }
    Some(key.clone())
}

/// What a command may change, and what a creating one must give.
fn check_changes(report: &mut Report<'_>, state: &Fields, state_field: Option<&str>, draft: &Draft<'_>) {
    let inputs = draft.state_inputs.iter().map(|(name, span)| (name.as_str(), span));
    let sets = draft.set.iter().map(|entry| (entry.key.as_str(), &entry.key_span));
    for (name, span) in inputs.clone().chain(sets.clone()) {
        let Some(field) = state.fields.get(name) else {
            if !state.has(name) && !draft.state_inputs.iter().any(|(input, _)| input == name) {
                let hint = suggest(name, state.fields.keys().map(String::as_str));
                report.error(span, format!("the model has no field {}", shown(name)), hint);
            }
            continue;
        };
        if field.immutable && !draft.creates {
            let reason = if field.key { "it is the key" } else { "it is immutable" };
            let hint = "only a creating command gives it a value";
            report.error(span, format!("`{}` can't change `{name}`: {reason}", draft.name), hint);
        }
        if let (true, Some(to)) = (state_field == Some(name), &draft.to) {
            let message = format!("`{name}` is moved by `to: {}` already", to.0);
            report.error(span, message, "remove one of them");
        }
    }
    for (name, span) in sets {
        if state.has(name) && draft.input.contains_key(name) {
            report.error(
                span,
                format!("`{name}` is an input, so `set` can't give it another value"),
                "remove it from `input`, or declare an input with another name and set the field from it",
            );
        }
        if state.fields.get(name).is_some_and(|field| field.secret) {
            let hint = "make it an input: what comes from a caller is sealed before it is decided on";
            report.error(span, format!("`{name}` is secret, so no expression can set it"), hint);
        }
        if state.fields.get(name).is_some_and(|field| field.key) && draft.creates {
            let hint = "the id is derived from it before the command is decided: make it an input";
            report.error(span, format!("the key `{name}` can't be set by an expression"), hint);
        }
    }
    if draft.creates {
        check_complete(report, state, state_field, draft);
    }
}

fn check_complete(report: &mut Report<'_>, state: &Fields, state_field: Option<&str>, draft: &Draft<'_>) {
    let is_given = |name: &str| {
        draft.input.contains_key(name)
            || draft.set.iter().any(|entry| entry.key == name)
            || (draft.to.is_some() && (state_field == Some(name) || state_field.is_none()))
    };
    let missing = state
        .fields
        .values()
        .filter(|field| !field.optional && field.default.is_none() && !is_given(&field.name));
    let missing: Vec<&str> = missing.map(|field| field.name.as_str()).collect();
    if !missing.is_empty() {
        report.error(
            &draft.span,
            format!("`{}` creates without a value for {}", draft.name, list(missing)),
            "take it as `input`, `set` it, give it a `default`, or make it `optional`",
        );
    }
}

fn command(report: &mut Report<'_>, state: &Fields, draft: Draft<'_>) -> Command {
    let broken: HashSet<String> = state.broken.union(&draft.broken).cloned().collect();
    let env =
        Env { input: Some(&draft.input), state: (!draft.creates).then_some(&state.fields), channel: None };
    let mut require = Vec::new();
    for (that, otherwise) in draft.require {
        if let Some(that) = expressions::compile(report, that, env, Expected::Boolean, &broken) {
            require.push(Guard { that, otherwise });
        }
    }
    let mut set = IndexMap::new();
    for entry in draft.set {
        let Some(field) = state.fields.get(&entry.key) else { continue };
        let compiled = expressions::compile(report, &entry.value, env, Expected::Field(field), &broken);
        if let Some(compiled) = compiled {
            set.insert(entry.key.clone(), compiled);
        }
    }
    Command {
        name: draft.name,
        doc: draft.doc,
        creates: draft.creates,
        deletes: draft.deletes,
        state_inputs: draft.state_inputs.into_iter().map(|(name, _)| name).collect(),
        input: draft.input,
        partial: draft.partial,
        require,
        from: draft.from.into_iter().map(|(name, _)| name).collect(),
        to: draft.to.map(|(name, _)| name),
        set,
        emits: draft.emits.0,
    }
}

/// `search:`, the texts that `q=` looks into.
fn search(report: &mut Report<'_>, state: &Fields, node: &Node) -> Vec<String> {
    let hint = "name fields with text: `search: [company, city]`";
    let mut names: Vec<String> = Vec::new();
    let items = yaml::items(report, node, hint).unwrap_or_default();
    if items.is_empty() && node.is_list() {
        report.error(&node.span, "`search` names no field", hint);
    }
    for item in items {
        let Some(name) = yaml::text(report, item, hint) else { continue };
        let Some(field) = state.fields.get(name) else {
            if !state.has(name) {
                let texts = state.fields.values().filter(|field| is_text(&field.ty));
                let known = texts.map(|field| field.name.as_str());
                report.error(
                    &item.span,
                    format!("the model has no field {}", shown(name)),
                    suggest(name, known),
                );
            }
            continue;
        };
        if !is_text(&field.ty) {
            let message = format!("`{name}` is of type {}, which has no words to search", field.ty.name());
            report.error(&item.span, message, "name fields of type text, email, url or enum");
        } else if field.secret {
            let hint = "whoever may search could find out its words one by one";
            report.error(&item.span, format!("`{name}` is secret, so it can't be searched"), hint);
        } else if names.iter().any(|known| known == name) {
            report.error(&item.span, format!("`{name}` is given twice"), "remove one of them");
        } else {
            names.push(name.to_owned());
        }
    }
    names
}

fn is_text(ty: &Type) -> bool {
    matches!(ty, Type::Text { .. } | Type::Email | Type::Url | Type::Enum(_))
}
