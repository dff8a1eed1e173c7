//! `allow:` of a model or a projection: who may send which command, who reads which rows, who sees which fields.

use std::collections::HashSet;

use super::commands::Draft;
use super::fields::Fields;
use super::report::{Report, list, shown, suggest};
use super::yaml::{self, Entry, Node};
use super::{FieldRule, Rule, expressions};
use crate::access::{self, READ};
use crate::expression::tree::{self, Typed};
use crate::expression::{Compiled, Env, Expected, Fault};

/// The key for rules about single fields. No command is called like this.
pub(super) const FIELDS: &str = "fields";

const FIELDS_HINT: &str = "write the fields and who sees them: `fields: { phone: role('staff') }`";

/// The rules of a model.
#[derive(Default)]
pub(super) struct Allow {
    pub(super) rules: Vec<Rule>,
    pub(super) fields: Vec<FieldRule>,
}

/// A rule for several commands becomes one for each, because each has its own input.
pub(super) fn of_model(
    report: &mut Report<'_>,
    state: &Fields,
    drafts: &[Draft<'_>],
    entry: &Entry,
) -> Allow {
    let hint = "write the commands and who may send them: `pay, cancel: role('staff')`";
    let mut allow = Allow::default();
    let mut seen: HashSet<&str> = HashSet::new();
    let Some(entries) = yaml::entries(report, &entry.value, hint) else { return allow };
    for entry in entries {
        if entry.key.trim() == FIELDS {
            allow.fields = field_rules(report, state, &entry.value);
            continue;
        }
        for name in entry.key.split(',').map(str::trim) {
            let draft = drafts.iter().find(|draft| draft.name == name);
            if name == FIELDS {
                report.error(&entry.key_span, "`fields` is no command", FIELDS_HINT);
                continue;
            }
            if draft.is_none() && name != READ {
                let known = drafts.iter().map(|draft| draft.name.as_str()).chain([READ, FIELDS]);
                let message = format!("the model has no command {}", shown(name));
                report.error(&entry.key_span, message, suggest(name, known));
                continue;
            }
            if !seen.insert(name) {
                let hint = "join the conditions with `||` or `&&`";
                report.error(&entry.key_span, format!("there are two rules for `{name}`"), hint);
            }
            let that = match draft {
                None => read_rule(report, state, &entry.value),
                Some(draft) => {
                    let state_of = (!draft.creates).then_some(&state.fields);
                    let env = Env { input: Some(&draft.input), state: state_of, channel: None };
                    let broken = state.broken.union(&draft.broken).cloned().collect();
                    expressions::compile(report, &entry.value, env, Expected::Boolean, &broken)
                }
            };
            let Some(that) = that else { continue };
            warn_of_open(report, name, &that, &entry.value);
            allow.rules.push(Rule { applies_to: vec![name.to_owned()], that });
        }
    }
    warn_of_missing(report, drafts, &seen, entry);
    allow
}

/// `allow:` of a projection has rules for reading only: for rows, over its columns, and for single fields.
pub(super) fn of_projection(
    report: &mut Report<'_>,
    columns: &Fields,
    entry: &Entry,
) -> (Option<Compiled>, Vec<FieldRule>) {
    let (mut read, mut fields) = (None, Vec::new());
    let hint = "write who may read it: `allow: { read: role('staff') }`";
    let Some(entries) = yaml::entries(report, &entry.value, hint) else { return (read, fields) };
    let mut has_rule = false;
    for entry in entries {
        match entry.key.trim() {
            READ => {
                if std::mem::replace(&mut has_rule, true) {
                    let hint = "join the conditions with `||` or `&&`";
                    report.error(&entry.key_span, format!("there are two rules for `{READ}`"), hint);
                }
                read = read_rule(report, columns, &entry.value)
                    .filter(|that| has_no_id(report, that, &entry.value));
                if let Some(that) = &read {
                    warn_of_open(report, READ, that, &entry.value);
                }
            }
            FIELDS => fields = field_rules(report, columns, &entry.value),
            name => {
                let message = format!("a projection has no commands, so no rule for {}", shown(name));
                report.error(&entry.key_span, message, suggest(name, [READ, FIELDS]));
            }
        }
    }
    if !has_rule {
        warn_of_no_reader(report, entry);
    }
    (read, fields)
}

/// The rule `read`, which becomes a query.
fn read_rule(report: &mut Report<'_>, fields: &Fields, node: &Node) -> Option<Compiled> {
    let env = Env { input: None, state: Some(&fields.fields), channel: None };
    let that = expressions::compile(report, node, env, Expected::Boolean, &fields.broken)?;
    expressions::report(report, node, access::check_read_rule(&that, &fields.fields));
    Some(that)
}

fn has_no_id(report: &mut Report<'_>, that: &Compiled, node: &Node) -> bool {
    let mut faults = Vec::new();
    let what =
        |node: &tree::Node| matches!(node, tree::Node::Id).then_some("a row of a projection has no `id`");
    find(that.root(), &what, "compare a column: `state.customer == actor.id`", &mut faults);
    let result = if faults.is_empty() { Ok(()) } else { Err(faults) };
    expressions::report(report, node, result).is_some()
}

/// `fields:`, who sees which fields.
fn field_rules(report: &mut Report<'_>, fields: &Fields, node: &Node) -> Vec<FieldRule> {
    let mut rules = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    let Some(entries) = yaml::entries(report, node, FIELDS_HINT) else { return rules };
    for entry in entries {
        let mut names = Vec::new();
        for name in entry.key.split(',').map(str::trim) {
            if !can_be_hidden(report, fields, entry, name) {
                continue;
            }
            if !seen.insert(name) {
                let hint = "join the conditions with `||` or `&&`";
                report.error(&entry.key_span, format!("there are two rules for the field `{name}`"), hint);
            }
            names.push(name.to_owned());
        }
        // Both are refused, with a better reason than that there is none.
        let env = Env { input: Some(&fields.fields), state: Some(&fields.fields), channel: None };
        let that = expressions::compile(report, &entry.value, env, Expected::Boolean, &fields.broken)
            .filter(|that| asks_the_actor_only(report, that, &entry.value));
        if let Some(that) = that {
            rules.push(FieldRule { fields: names, that });
        }
    }
    rules
}

fn can_be_hidden(report: &mut Report<'_>, fields: &Fields, entry: &Entry, name: &str) -> bool {
    let Some(field) = fields.fields.get(name) else {
        if !fields.has(name) {
            let hint = match name.split_once('.') {
                Some((whole, _)) if fields.has(whole) => {
                    Some(format!("a rule is for a whole field: `{whole}`"))
                }
                _ => suggest(name, fields.fields.keys().map(String::as_str)),
            };
            report.error(&entry.key_span, format!("there is no field {}", shown(name)), hint);
        }
        return false;
    };
    if field.key {
        let message =
            format!("the key `{name}` can't be hidden: the id and the order of the rows come from it");
        report.error(&entry.key_span, message, "hide other fields, or say with `read` who reads the rows");
    } else if field.secret {
        let message = format!("`{name}` is secret, so nobody sees it anyway");
        report.error(&entry.key_span, message, "remove it from the rule");
    }
    !field.key && !field.secret
}

/// What a request hides is worked out once, before any row is there.
fn asks_the_actor_only(report: &mut Report<'_>, that: &Compiled, node: &Node) -> bool {
    let mut faults = Vec::new();
    let what = |node: &tree::Node| match node {
        tree::Node::State(_) | tree::Node::Id => {
            Some("a rule for fields is the same for all rows, so it can't ask for one of them")
        }
        tree::Node::Input(_) => Some("there is no input where fields are read"),
        _ => None,
    };
    let hint = "ask for the actor or the time: `actor.id`, `role('staff')`, `now`; rows are chosen by `read`";
    find(that.root(), &what, hint, &mut faults);
    let result = if faults.is_empty() { Ok(()) } else { Err(faults) };
    expressions::report(report, node, result).is_some()
}

/// A fault for every node that `what` has something to say of.
fn find(
    typed: &Typed,
    what: &dyn Fn(&tree::Node) -> Option<&'static str>,
    hint: &str,
    faults: &mut Vec<Fault>,
) {
    if let Some(message) = what(&typed.node) {
        faults.push(Fault {
            span: typed.span.clone(),
            message: message.to_owned(),
            hint: Some(hint.to_owned()),
        });
    }
    typed.each_part(&mut |part| find(part, what, hint, faults));
}

pub(super) fn warn_of_open(report: &mut Report<'_>, name: &str, that: &Compiled, node: &Node) {
    if access::is_open(that) {
        let message = format!("`{name}` is open to everyone, also to those who aren't signed in");
        report.warning(&node.span, message, "write `actor.id != null` for everybody who is");
    }
}

/// What no rule allows, nobody may do. Only where there are rules: without any, it says that by itself.
fn warn_of_missing(report: &mut Report<'_>, drafts: &[Draft<'_>], seen: &HashSet<&str>, allow: &Entry) {
    let names = drafts.iter().map(|draft| draft.name.as_str()).filter(|name| !seen.contains(name));
    let names: Vec<&str> = names.collect();
    if let Some(first) = names.first() {
        let message = format!("nobody may send {}: there is no rule", list(names.iter().copied()));
        report.warning(&allow.key_span, message, format!("write who may: `{first}: role('staff')`"));
    }
    if !seen.contains(READ) {
        warn_of_no_reader(report, allow);
    }
}

fn warn_of_no_reader(report: &mut Report<'_>, allow: &Entry) {
    let hint = "write who may: `read: role('staff')`";
    report.warning(&allow.key_span, format!("nobody may `{READ}`: there is no rule"), hint);
}
