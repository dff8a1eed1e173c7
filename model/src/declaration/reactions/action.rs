//! What a reaction does: exactly one of a command, a notification, a webhook and work for a queue.

use std::ops::Range;

use indexmap::IndexMap;

use super::super::Known;
use super::super::report::{Report, list, shown, suggest};
use super::super::yaml::{self, Entry, Kind, Members, Node};
use super::super::{Command, Field, Model, Type, names};
use super::names::Context;
use super::{Action, NotificationChannel, Notify, Queue, Sending, Webhook, options, target};
use crate::expression::{Compiled, Expected};

/// The keys that say what is done. A reaction has one of them.
pub(super) const KEYS: &[&str] = &["command", "notify", "webhook", "queue"];

const LONGEST_TITLE: usize = 500;
const LONGEST_BODY: usize = 20_000;
const LONGEST_KIND: usize = 100;

/// The key that says what is done. `None`: there is none, or more than one, and that is reported.
pub(super) fn key<'n>(
    report: &mut Report<'_>,
    members: &Members<'n>,
    at: &Range<usize>,
) -> Option<&'n Entry> {
    let mut given = KEYS.iter().filter_map(|key| members.get(key));
    let Some(first) = given.next() else {
        let hint = "say what: `command: product.reserve`, `queue: invoices`, `notify: state.customer` or `webhook: order.shipped`";
        report.error(at, "the reaction does nothing", hint);
        return None;
    };
    let mut alone = true;
    for other in given {
        let message = format!("a reaction does one thing, and this one has `{}` already", first.key);
        report.error(&other.key_span, message, "write a reaction for each");
        alone = false;
    }
    alone.then_some(first)
}

/// What the key `entry` of the reaction says. `None`: it is wrong, and that is reported.
pub(super) fn read(
    report: &mut Report<'_>,
    context: &mut Context<'_>,
    known: &Known<'_>,
    members: &Members<'_>,
    entry: &Entry,
) -> Option<Action> {
    match entry.key.as_str() {
        "command" => command(report, context, known, members, entry),
        "notify" => notify(report, context, members, entry).map(Action::Notify),
        "webhook" => webhook(report, context, members, &entry.value).map(Action::Webhook),
        _ => queue(report, context, members, &entry.value).map(Action::Queue),
    }
}

fn command(
    report: &mut Report<'_>,
    context: &mut Context<'_>,
    known: &Known<'_>,
    members: &Members<'_>,
    entry: &Entry,
) -> Option<Action> {
    let send = send(report, context, known, members, entry);
    let on_rejected = members.value("on_rejected").map(|node| {
        let members = yaml::members(report, node, "`on_rejected`", &["command", "to", "input"])?;
        let Some(entry) = members.get("command") else {
            let hint = "say what is sent then: `on_rejected: { command: cancel }`";
            report.error(&node.span, "`on_rejected` has no `command`", hint);
            return None;
        };
        context.name("error", Context::error());
        let send = self::send(report, context, known, &members, entry);
        context.names.pop();
        send
    });
    let on_rejected = match on_rejected {
        Some(read) => Some(read?),
        None => None,
    };
    Some(Action::Command { send: send?, on_rejected })
}

/// `command:` with its `to` and `input`.
fn send(
    report: &mut Report<'_>,
    context: &mut Context<'_>,
    known: &Known<'_>,
    members: &Members<'_>,
    entry: &Entry,
) -> Option<Sending> {
    let (model, command) = resolve(report, context, known, &entry.value)?;
    let before = report.len();
    let to = to(report, context, model, command, members, entry);
    let input = input(report, context, model, command, members.get("input"), entry);
    (report.len() == before).then(|| Sending {
        model: model.name.clone(),
        command: command.name.clone(),
        to,
        input,
    })
}

/// The command that `MODEL.COMMAND` or `COMMAND` names.
fn resolve<'k>(
    report: &mut Report<'_>,
    context: &Context<'k>,
    known: &Known<'k>,
    node: &Node,
) -> Option<(&'k Model, &'k Command)> {
    let text = yaml::text(
        report,
        node,
        "name a command: `command: cancel`, or of another model `command: product.reserve`",
    )?;
    let (model, command) = match text.split_once('.') {
        Some((model, command)) => (model.trim(), command.trim()),
        None => (context.model.name.as_str(), text.trim()),
    };
    let Some(declared) = known.models.get(model) else {
        if !known.faulty.contains(model) {
            let hint = suggest(model, known.models.keys().map(String::as_str));
            report.error(&node.span, format!("there is no model {}", shown(model)), hint);
        }
        return None;
    };
    let Some(found) = declared.commands.get(command) else {
        if !known.faulty.contains(model) {
            // Of another model, without saying of which.
            let others = known.models.values().filter(|other| other.commands.contains_key(command));
            let other = others.map(|other| format!("{}.{command}", other.name)).next();
            let hint = match other.filter(|_| !text.contains('.')) {
                Some(other) => Some(format!("did you mean `{other}`?")),
                None => suggest(command, declared.commands.keys().map(String::as_str)),
            };
            report.error(&node.span, format!("`{model}` has no command {}", shown(command)), hint);
        }
        return None;
    };
    Some((&**declared, found))
}

fn to(
    report: &mut Report<'_>,
    context: &mut Context<'_>,
    model: &Model,
    command: &Command,
    members: &Members<'_>,
    at: &Entry,
) -> Option<Compiled> {
    let called = called(context, model, command);
    let Some(entry) = members.get("to") else {
        if !command.creates && model.name != context.model.name {
            let message = format!("`{called}` needs `to`: of which {} it is", model.name);
            report.error(&at.value.span, message, format!("give the id: `to: event.{}`", model.name));
        } else if !command.creates && context.event.is_none() {
            let message = format!("`{called}` needs `to`: a reaction by time has no aggregate of its own");
            report.error(
                &at.value.span,
                message,
                "react to an event, or let a queue's worker send the commands",
            );
        }
        return None;
    };
    if command.creates {
        let id = match &model.key {
            Some(key) => format!("it follows from `{key}`"),
            None => "it follows from the reaction and the event".to_owned(),
        };
        let message = format!("`{called}` creates, so it has no `to`");
        report.error(&entry.key_span, message, format!("remove it; the id is new, {id}"));
        return None;
    }
    let field = Field { optional: true, ..Field::plain("to", Type::Uuid) };
    let to = context.compile(report, &entry.value, Expected::Field(&field))?;
    if let Some((other, part)) = target::other_than(context, to.root(), &model.name) {
        let message =
            format!("this is the id of the model `{other}`, `{called}` is sent to `{}`", model.name);
        let span = entry.value.span_of_part(report.text(), &part);
        report.error(&span, message, format!("name a `ref` to `{}`", model.name));
        return None;
    }
    Some(to)
}

/// `input:`, held against the command's own.
fn input(
    report: &mut Report<'_>,
    context: &mut Context<'_>,
    model: &Model,
    command: &Command,
    entry: Option<&Entry>,
    at: &Entry,
) -> IndexMap<String, Compiled> {
    let called = called(context, model, command);
    let hint = "write the inputs and their values: `input: { order: id, quantity: line.quantity }`";
    let given = entry.and_then(|entry| yaml::entries(report, &entry.value, hint)).unwrap_or_default();
    let mut input = IndexMap::new();
    for entry in given {
        let Some(field) = command.input.get(&entry.key) else {
            let message = format!("`{called}` has no input {}", shown(&entry.key));
            let hint = match command.input.len() {
                0 => Some("it takes none".to_owned()),
                _ => suggest(&entry.key, command.input.keys().map(String::as_str)),
            };
            report.error(&entry.key_span, message, hint);
            continue;
        };
        if field.secret {
            let message = format!("the input `{}` is secret, so no reaction can give it", field.name);
            report.error(
                &entry.key_span,
                message,
                "secrets come from callers, and are sealed before they are written",
            );
            continue;
        }
        let Some(value) = context.compile(report, &entry.value, Expected::Field(field)) else { continue };
        if let Type::Ref { to, .. } = &field.ty
            && let Some((other, part)) = target::other_than(context, value.root(), to)
        {
            let message =
                format!("this is the id of the model `{other}`, `{}` is a `ref` to `{to}`", field.name);
            let span = entry.value.span_of_part(report.text(), &part);
            report.error(&span, message, format!("name a `ref` to `{to}`"));
            continue;
        }
        input.insert(entry.key.clone(), value);
    }
    let is_missing = |field: &&Field| {
        let is_required = !field.optional && field.default.is_none() && !command.partial;
        is_required && !given.iter().any(|entry| entry.key == field.name)
    };
    let missing: Vec<&str> =
        command.input.values().filter(is_missing).map(|field| field.name.as_str()).collect();
    let is_broken = entry.is_some_and(|entry| !matches!(entry.value.kind, Kind::Map(_)));
    if !missing.is_empty() && !is_broken {
        let span = entry.map_or(&at.value.span, |entry| &entry.key_span);
        let secrets =
            command.input.values().filter(|field| field.secret && missing.contains(&field.name.as_str()));
        let secrets: Vec<&str> = secrets.map(|field| field.name.as_str()).collect();
        if secrets.is_empty() {
            let message = format!("`{called}` needs {}", list(missing.iter().copied()));
            report.error(span, message, format!("give it: `input: {{ {}: … }}`", missing[0]));
        } else {
            let message =
                format!("`{called}` needs the secret {}, which no reaction can give", list(secrets));
            report.error(span, message, "send another command, without it");
        }
    }
    input
}

/// The command as the file would name it.
fn called(context: &Context<'_>, model: &Model, command: &Command) -> String {
    match model.name == context.model.name {
        true => command.name.clone(),
        false => format!("{}.{}", model.name, command.name),
    }
}

fn notify(
    report: &mut Report<'_>,
    context: &mut Context<'_>,
    members: &Members<'_>,
    entry: &Entry,
) -> Option<Notify> {
    let field = Field { optional: true, ..Field::plain("notify", Type::Uuid) };
    let account = context.compile(report, &entry.value, Expected::Field(&field));
    let channels = match members.value("channels") {
        Some(node) => channels(report, node),
        None => vec![NotificationChannel::Inbox],
    };
    let mut template = |key: &str, longest: usize| {
        let node = members.value(key)?;
        let text = yaml::text(report, node, "write a text, in quotes where it has a `{`")?;
        if text.chars().nth(longest).is_some() {
            report.error(&node.span, format!("`{key}` has at most {longest} characters"), "shorten it");
        }
        Some(text.to_owned())
    };
    let (title, body) = (template("title", LONGEST_TITLE), template("body", LONGEST_BODY));
    if members.get("title").is_none() {
        let hint = "write what is read first: `title: \"Order {{ number }} is on its way\"`";
        report.error(&entry.key_span, "a notification needs a `title`", hint);
    }
    Some(Notify { account: account?, channels, title: title?, body })
}

fn channels(report: &mut Report<'_>, node: &Node) -> Vec<NotificationChannel> {
    let hint = "write a list: `channels: [inbox, push, email]`";
    let mut channels = Vec::new();
    let items = yaml::items(report, node, hint).unwrap_or_default();
    if items.is_empty() && node.is_list() {
        report.error(&node.span, "`channels` names none, so nobody would hear of it", hint);
    }
    for item in items {
        let Some(name) = yaml::text(report, item, hint) else { continue };
        match NotificationChannel::ALL.iter().find(|(known, _)| *known == name) {
            None => {
                let message = format!("there is no channel {}", shown(name));
                report.error(
                    &item.span,
                    message,
                    suggest(name, NotificationChannel::ALL.map(|(name, _)| name)),
                );
            }
            Some((_, channel)) if channels.contains(channel) => {
                report.error(&item.span, format!("`{name}` is given twice"), "remove one of them");
            }
            Some((_, channel)) => channels.push(*channel),
        }
    }
    channels
}

fn webhook(
    report: &mut Report<'_>,
    context: &mut Context<'_>,
    members: &Members<'_>,
    node: &Node,
) -> Option<Webhook> {
    let options = options::read(report, context, members);
    let hint = "a type has names with points between them: `webhook: order.shipped`";
    let kind = yaml::text(report, node, hint)?;
    if kind.len() > LONGEST_KIND || !kind.split('.').all(names::is_name) {
        report.error(&node.span, format!("{} is no type of webhook", shown(kind)), hint);
        return None;
    }
    Some(Webhook { kind: kind.to_owned(), options: options? })
}

fn queue(
    report: &mut Report<'_>,
    context: &mut Context<'_>,
    members: &Members<'_>,
    node: &Node,
) -> Option<Queue> {
    let options = options::read(report, context, members);
    let name = yaml::text(report, node, "the name of the queue: `queue: invoices`")
        .filter(|name| names::check(report, &node.span, "a queue", name));
    let hint = "write names and values: `input: { order: id, total: event.total }`";
    let given = members.value("input").and_then(|node| yaml::entries(report, node, hint)).unwrap_or_default();
    let mut input = IndexMap::new();
    for entry in given {
        if names::check(report, &entry.key_span, "an input", &entry.key)
            && let Some(value) = context.compile(report, &entry.value, Expected::Any)
        {
            input.insert(entry.key.clone(), value);
        }
    }
    Some(Queue { name: name?.to_owned(), input, options: options? })
}
