//! The list of reactions of a model, item by item.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;

use super::super::Known;
use super::super::report::{Report, list};
use super::super::yaml::{self, Members, Node};
use super::super::{Field, Model, Type, names};
use super::names::{Context, TAKEN};
use super::{Action, Delay, Reaction, Trigger, action, cycles, options, target, trigger};
use crate::expression::types::{Slot, Ty};
use crate::expression::{Compiled, Expected};

/// Reactions of one model.
const MOST: usize = 200;

/// Keys that every reaction may have.
const ALWAYS: &[&str] = &["name", "on", "every", "when"];

/// The other keys, each with those that it belongs to.
const OTHERS: &[(&str, &[&str])] = &[
    ("for_each", &["on"]),
    ("after", &["on"]),
    ("at", &["on"]),
    ("unless", &["after", "at"]),
    ("time_zone", &["every"]),
    ("catch_up", &["every"]),
    ("jitter", &["every"]),
    ("to", &["command"]),
    ("input", &["command", "queue"]),
    ("on_rejected", &["command"]),
    ("channels", &["notify"]),
    ("title", &["notify"]),
    ("body", &["notify"]),
    ("priority", &["queue", "webhook"]),
    ("attempts", &["queue", "webhook"]),
    ("backoff", &["queue", "webhook"]),
    ("timeout", &["queue", "webhook"]),
    ("unique", &["queue", "webhook"]),
];

/// Reads the reactions of all models into them. Those of a model with faults of its own are judged when these are gone.
pub(in super::super) fn read_all(
    files: &mut [(Report<'_>, Vec<Node>)],
    models: &mut IndexMap<String, Arc<Model>>,
    faulty: &HashSet<String>,
) {
    let mut read: HashMap<String, Vec<Reaction>> = HashMap::new();
    let mut places = cycles::Places::new();
    let known = Known { models, faulty };
    for (file, (report, roots)) in files.iter_mut().enumerate() {
        for root in roots.iter() {
            let Some(entry) = root.get("reactions") else { continue };
            let name =
                root.get("model").and_then(|entry| entry.value.scalar()).map(|name| name.text.as_str());
            let Some(model) =
                name.and_then(|name| models.get(name)).filter(|model| !faulty.contains(&model.name))
            else {
                continue;
            };
            let found = of_model(report, &known, model, &entry.value);
            for (reaction, span) in &found {
                if !reaction.is_run() {
                    let message = format!("`{}` is checked but not run by this version", reaction.name);
                    report.warning(
                        span,
                        message,
                        "so far only commands that are sent at once are".to_owned(),
                    );
                }
                places.insert((model.name.clone(), reaction.name.clone()), (file, span.clone()));
            }
            read.insert(model.name.clone(), found.into_iter().map(|(reaction, _)| reaction).collect());
        }
    }
    for (name, reactions) in read {
        let model = models.get_mut(&name).and_then(Arc::get_mut);
        model.expect("invariant: the models were just made, nobody else has them").reactions = reactions;
    }
    cycles::warn(models, &places, files);
}

/// Each reaction with its place.
fn of_model(
    report: &mut Report<'_>,
    known: &Known<'_>,
    model: &Model,
    node: &Node,
) -> Vec<(Reaction, Range<usize>)> {
    let hint = "write a list: `- { on: placed, command: product.reserve, to: event.product }`";
    let items = yaml::items(report, node, hint).unwrap_or_default();
    if let Some(item) = items.get(MOST) {
        let message = format!("a model has at most {MOST} reactions");
        report.error(&item.span, message, "make some of them commands of a model of its own");
    }
    let mut reactions: Vec<(Reaction, Range<usize>)> = Vec::new();
    for item in items.iter().take(MOST) {
        let Some(reaction) = of_item(report, known, model, item) else { continue };
        let span = item.get("name").map_or(&item.span, |entry| &entry.value.span);
        if reactions.iter().any(|(other, _)| other.name == reaction.name) {
            let message = format!("two reactions are called `{}`", reaction.name);
            let hint = "give one of them another `name`; ids are derived from it, so keep that of the one that ran before";
            report.error(span, message, hint);
        }
        reactions.push((reaction, item.span.clone()));
    }
    reactions
}

fn of_item(report: &mut Report<'_>, known: &Known<'_>, model: &Model, item: &Node) -> Option<Reaction> {
    let keys: Vec<&str> =
        ALWAYS.iter().chain(action::KEYS).copied().chain(OTHERS.iter().map(|(key, _)| *key)).collect();
    let members = yaml::members(report, item, "a reaction", &keys)?;
    let before = report.len();
    refuse_what_does_not_fit(report, &members);
    let action_key = action::key(report, &members, &item.span);
    let trigger = trigger::read(report, model, &members, item);
    let name = members.value("name").and_then(|node| {
        yaml::text(report, node, "a name, such as `name: reserve_goods`")
            .filter(|name| names::check(report, &node.span, "a reaction", name))
    });
    // Without its events no name in its expressions can be judged.
    let trigger = trigger?;
    let events = match &trigger {
        Trigger::On(events) => Some(events.as_slice()),
        Trigger::Every(_) => None,
    };
    let mut context = Context::new(model, events);
    let has_event = events.is_some();
    let for_each =
        members.value("for_each").filter(|_| has_event).map(|node| for_each(report, &mut context, node));
    let for_each = match for_each {
        Some(read) => Some(read?),
        None => None,
    };
    let when = members.value("when").and_then(|node| context.compile(report, node, Expected::Boolean));
    let delay = if has_event { delay(report, &mut context, &members) } else { None };
    let unless = members.value("unless").map(|node| trigger::events(report, model, "unless", node));
    let action = action::read(report, &mut context, known, &members, action_key?)?;
    let name = match name {
        Some(name) => name.to_owned(),
        None if members.get("name").is_some() => return None,
        None => derived_name(&trigger, &members, model, &action),
    };
    if !names::is_name(&name) {
        let hint = "give it a shorter one: `name: reserve_goods`";
        report.error(&item.span, format!("the name of the reaction would be too long: `{name}`"), hint);
    }
    (report.len() == before).then(|| Reaction {
        name,
        trigger,
        for_each,
        when,
        delay,
        unless: unless.unwrap_or_default(),
        action,
        uses_state: context.uses_state,
    })
}

fn refuse_what_does_not_fit(report: &mut Report<'_>, members: &Members<'_>) {
    for (key, belongs_to) in OTHERS {
        let Some(entry) = members.get(key) else { continue };
        // One fault is enough for a reaction that has both or neither.
        let is_clear = |keys: &[&str]| keys.iter().filter(|key| members.get(key).is_some()).count() == 1;
        let is_judged = match belongs_to {
            ["on"] | ["every"] => is_clear(&["on", "every"]),
            ["after", "at"] => true,
            _ => is_clear(action::KEYS),
        };
        if is_judged && !belongs_to.iter().any(|other| members.get(other).is_some()) {
            let others = list(belongs_to.iter().copied()).replace(", ", " and ");
            let hint = match *key {
                "unless" => {
                    "it calls off what waits: add `after: 24h`, or write a condition as `when`".to_owned()
                }
                "after" | "at" => "say with `every` when it is done".to_owned(),
                _ => "remove it".to_owned(),
            };
            report.error(&entry.key_span, format!("`{key}` belongs to {others}"), hint);
        }
    }
    if let (Some(_), Some(at)) = (members.get("after"), members.get("at")) {
        report.error(&at.key_span, "a reaction has `after` or `at`, not both", "remove one of them");
    }
}

fn for_each(report: &mut Report<'_>, context: &mut Context<'_>, node: &Node) -> Option<(String, Compiled)> {
    let hint = "name an item and give the list: `for_each: { line: event.lines }`";
    let entry = match yaml::entries(report, node, hint)? {
        [entry] => entry,
        _ => {
            report.error(&node.span, "`for_each` goes over one list", hint);
            return None;
        }
    };
    let list = context.compile(report, &entry.value, Expected::Any)?;
    let slot = match &list.root().slot.ty {
        Ty::List(item) => Slot::clone(item),
        ty => {
            let message = format!("`for_each` goes over a list, this is {ty}");
            report.error(&entry.value.span, message, hint);
            return None;
        }
    };
    if !names::check(report, &entry.key_span, "an item", &entry.key) {
        return None;
    }
    if TAKEN.contains(&entry.key.as_str()) {
        let message = format!("an item can't be called `{}`: the name means something else", entry.key);
        report.error(&entry.key_span, message, "take another name, such as `line`");
        return None;
    }
    context.item = match target::declared(context, list.root()) {
        Some(Type::List { of, .. }) => Some(of.ty.clone()),
        _ => None,
    };
    context.name(&entry.key, slot);
    Some((entry.key.clone(), list))
}

fn delay(report: &mut Report<'_>, context: &mut Context<'_>, members: &Members<'_>) -> Option<Delay> {
    if let Some(node) = members.value("after") {
        let literal = node.scalar().and_then(|scalar| options::duration_of(&scalar.text));
        if let Some(millis) = literal {
            if millis < 0 {
                report.error(
                    &node.span,
                    "`after` can't be negative",
                    "write how long it waits: `after: 24h`",
                );
            }
            return Delay::of_millis(millis);
        }
        let is_number = node.scalar().is_some_and(|scalar| scalar.is_number());
        if is_number {
            let hint = "say of what: `90s`, `24h`, `1h30m` or `PT24H`";
            report.error(&node.span, "a duration needs a unit", hint);
            return None;
        }
        let field = Field::plain("after", Type::Duration);
        return context.compile(report, node, Expected::Field(&field)).map(Delay::After);
    }
    let node = members.value("at")?;
    let field = Field { optional: true, ..Field::plain("at", Type::Timestamp) };
    context.compile(report, node, Expected::Field(&field)).map(Delay::At)
}

impl Delay {
    /// So many milliseconds.
    fn of_millis(millis: i64) -> Option<Delay> {
        let field = Field::plain("after", Type::Duration);
        let source = format!("duration('{}')", crate::value::format_duration(millis));
        let env = crate::expression::Env { input: None, state: None, channel: None };
        Compiled::compile(&source, env, Expected::Field(&field)).ok().map(Delay::After)
    }
}

/// The events, the delay and the action, joined by `_`.
fn derived_name(trigger: &Trigger, members: &Members<'_>, model: &Model, action: &Action) -> String {
    let mut parts: Vec<String> = match trigger {
        Trigger::On(events) => events.clone(),
        Trigger::Every(_) => vec!["every".to_owned()],
    };
    if let Some(node) = members.value("after") {
        parts.push("after".to_owned());
        let text = node.scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
        if options::duration_of(text).is_some() {
            parts.push(text.to_ascii_lowercase().replace('.', "_"));
        }
    } else if members.get("at").is_some() {
        parts.push("at".to_owned());
    }
    parts.push(match action {
        Action::Command { send, .. } if send.model == model.name => send.command.clone(),
        Action::Command { send, .. } => format!("{}_{}", send.model, send.command),
        Action::Notify(_) => "notify".to_owned(),
        Action::Webhook(webhook) => format!("webhook_{}", webhook.kind.replace('.', "_")),
        Action::Queue(queue) => format!("queue_{}", queue.name),
    });
    parts.join("_")
}
