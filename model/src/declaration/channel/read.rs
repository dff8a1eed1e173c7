//! One document `channel: NAME`.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use super::super::Known;
use super::super::fields::{self, Fields, Place};
use super::super::report::{Report, list, shown, suggest};
use super::super::types::{Directory, NAMES};
use super::super::yaml::{self, Entry, Kind, Members, Node};
use super::super::{Field, allow, expressions, names};
use super::{Channel, Each, can_be_key};
use crate::expression::{Compiled, Env, Expected, OfChannel};

/// Every key that a channel may have.
const KEYS: &[&str] = &["channel", "doc", "of", "key", "presence", "messages", "allow"];
/// What `allow` of a channel has rules for.
const DEEDS: [&str; 2] = ["join", "send"];

/// The name of the channel in a document, whose entry `channel` is given. `None`: it is wrong.
pub(in super::super) fn name<'n>(report: &mut Report<'_>, entry: &'n Entry) -> Option<&'n str> {
    yaml::text(report, &entry.value, "the name of the channel, such as `desk`")
        .filter(|name| names::check_channel(report, &entry.value.span, name))
}

/// Reads a document. What is wrong is reported; the result is of use only if nothing was.
pub(in super::super) fn read(
    report: &mut Report<'_>,
    directory: &Directory,
    known: &Known<'_>,
    root: &Node,
    name: Option<&str>,
) -> Option<Channel> {
    let members = yaml::members(report, root, "a channel", KEYS)?;
    let doc = members.value("doc").and_then(|node| yaml::text(report, node, "say what it is for"));
    let each = each(report, directory, known, &members);
    let presence = members.value("presence").map(|node| {
        let Fields { fields, .. } = fields::read_all(report, directory, node, Place::Message);
        fields
    });
    let messages = members.get("messages").map(|entry| messages(report, directory, entry));
    let (join, send) = match (members.get("allow"), &each) {
        (Some(entry), Some(each)) => rules(report, known, each, entry),
        // What the rules may name is unknown.
        (Some(_), None) | (None, _) => (None, None),
    };
    let each = each?;
    Some(Channel {
        name: name?.to_owned(),
        doc: doc.map(str::to_owned),
        each,
        presence,
        messages,
        join,
        send,
    })
}

/// `of:` or `key:`.
fn each(
    report: &mut Report<'_>,
    directory: &Directory,
    known: &Known<'_>,
    members: &Members<'_>,
) -> Option<Each> {
    match (members.get("of"), members.get("key")) {
        (None, None) => Some(Each::Single),
        (Some(_), Some(key)) => {
            let message = "a channel is `of` the aggregates of a model, or has a `key` of its own";
            report.error(&key.key_span, message, "remove one of them");
            None
        }
        (Some(of), None) => {
            let model = yaml::text(report, &of.value, "the name of a model: `of: order`")?;
            if !known.models.contains_key(model) && !known.faulty.contains(model) {
                let hint = suggest(model, known.models.keys().map(String::as_str));
                report.error(&of.value.span, format!("there is no model {}", shown(model)), hint);
                return None;
            }
            Some(Each::Aggregate(model.to_owned()))
        }
        (None, Some(entry)) => key(report, directory, entry).map(|field| Each::Key(Box::new(field))),
    }
}

fn key(report: &mut Report<'_>, directory: &Directory, entry: &Entry) -> Option<Field> {
    let field = fields::read(report, directory, entry, Place::Message)?;
    if !can_be_key(&field.ty) {
        let message = format!("the key of a channel can't be of type {}", field.ty.name());
        let single = NAMES.iter().copied().filter(|name| !matches!(*name, "list" | "object" | "json"));
        report.error(&entry.key_span, message, format!("a key is a single value: {}", list(single)));
        return None;
    }
    if field.optional || field.default.is_some() {
        let hint = "remove `optional` and `default`; without `key` there is one channel of this name";
        report.error(&entry.key_span, "the key of a channel is always given", hint);
    }
    Some(field)
}

/// `messages:`, events and the fields of their payloads.
fn messages(
    report: &mut Report<'_>,
    directory: &Directory,
    messages: &Entry,
) -> IndexMap<String, IndexMap<String, Field>> {
    let hint = "write the events and what each carries: `typing: { is_typing: boolean }`; without `messages` any event may be sent";
    let entries = yaml::entries(report, &messages.value, hint).unwrap_or_default();
    if entries.is_empty() && matches!(messages.value.kind, Kind::Map(_)) {
        report.error(&messages.key_span, "`messages` names no event", hint);
    }
    let mut all = IndexMap::new();
    for entry in entries {
        let is_named = names::check(report, &entry.key_span, "an event", &entry.key);
        let fields = match entry.value.is_null() {
            // An event that says all by its name.
            true => IndexMap::new(),
            false => fields::read_all(report, directory, &entry.value, Place::Message).fields,
        };
        if is_named {
            all.insert(entry.key.clone(), fields);
        }
    }
    all
}

/// `allow:`, who may join and who may send.
fn rules(
    report: &mut Report<'_>,
    known: &Known<'_>,
    each: &Each,
    allow: &Entry,
) -> (Option<Compiled>, Option<Compiled>) {
    let mut rules: HashMap<&str, Option<Compiled>> = HashMap::new();
    let hint = "write who may: `allow: { join: actor.id != null, send: role('staff') }`";
    for entry in yaml::entries(report, &allow.value, hint).unwrap_or_default() {
        for name in entry.key.split(',').map(str::trim) {
            let Some(deed) = DEEDS.into_iter().find(|deed| *deed == name) else {
                let message = format!("`allow` of a channel has no rule {}", shown(name));
                report.error(&entry.key_span, message, suggest(name, DEEDS));
                continue;
            };
            let that = rule(report, known, each, &entry.value);
            if let Some(that) = &that {
                allow::warn_of_open(report, deed, that, &entry.value);
            }
            if rules.insert(deed, that).is_some() {
                let hint = "join the conditions with `||` or `&&`";
                report.error(&entry.key_span, format!("there are two rules for `{deed}`"), hint);
            }
        }
    }
    if !rules.contains_key("join") {
        let hint = "write who may: `join: role('staff')`";
        report.warning(&allow.key_span, "nobody may `join`: there is no rule", hint);
    }
    let mut take = |deed| rules.remove(deed).flatten();
    (take("join"), take("send"))
}

fn rule(report: &mut Report<'_>, known: &Known<'_>, each: &Each, node: &Node) -> Option<Compiled> {
    let state = match each {
        // `None`: it is faulty, and that is reported.
        Each::Aggregate(model) => {
            Some(&known.models.get(model).filter(|_| !known.faulty.contains(model))?.fields)
        }
        Each::Single | Each::Key(_) => None,
    };
    let key = match each {
        Each::Key(field) => Some(&**field),
        Each::Single | Each::Aggregate(_) => None,
    };
    let env = Env { input: None, state, channel: Some(OfChannel { key }) };
    expressions::compile(report, node, env, Expected::Boolean, &HashSet::new())
}
