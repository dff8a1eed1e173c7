//! The list of reactions of a model, item by item.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;

use super::super::report::{Report, list, shown, suggest};
use super::super::yaml::{self, Kind, Members, Node};
use super::super::{Field, Model, Type, names};
use super::names::{Context, TAKEN};
use super::{Action, Delay, Every, Reaction, Trigger, action, cycles, options, target};
use crate::cron::{self, CatchUp, Cron};
use crate::expression::types::{Slot, Ty};
use crate::expression::{Compiled, Expected};

/// Reactions of one model.
const MOST: usize = 200;
/// Events that one reaction names.
const MOST_EVENTS: usize = 50;
/// The longest jitter: a day, in milliseconds.
const LONGEST_JITTER: i64 = 24 * 60 * 60 * 1000;

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

/// What a reaction may name.
pub(super) struct Known<'a> {
    pub(super) models: &'a IndexMap<String, Arc<Model>>,
    /// Models with faults, or in files that can't be read: what seems to be missing may be missing for that reason.
    pub(super) faulty: &'a HashSet<String>,
}

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
            // Until there is a role that runs them.
            report.warning(&entry.key_span, "reactions are checked but not run by this version", None);
            let found = of_model(report, &known, model, &entry.value);
            for (reaction, span) in &found {
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
    let trigger = trigger(report, model, &members, item);
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
    let unless = members.value("unless").map(|node| self::events(report, model, "unless", node));
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

fn trigger(report: &mut Report<'_>, model: &Model, members: &Members<'_>, item: &Node) -> Option<Trigger> {
    match (members.get("on"), members.get("every")) {
        (Some(entry), None) => {
            let names = events(report, model, "on", &entry.value);
            (!names.is_empty()).then_some(Trigger::On(names))
        }
        (None, Some(entry)) => {
            every(report, members, &entry.value).map(|every| Trigger::Every(Box::new(every)))
        }
        (Some(_), Some(entry)) => {
            let hint = "write a reaction for each";
            report.error(&entry.key_span, "a reaction has `on` or `every`, not both", hint);
            None
        }
        (None, None) => {
            let hint = "say to what: `on: placed`, or by time `every: \"0 3 * * *\"`";
            report.error(&item.span, "the reaction reacts to nothing", hint);
            None
        }
    }
}

/// Names of events of the model: one, or a list. Empty: what is there is reported.
fn events(report: &mut Report<'_>, model: &Model, key: &str, node: &Node) -> Vec<String> {
    let hint = format!("name an event of the model, or a list of them: `{key}: placed`");
    let items: Vec<&Node> = match &node.kind {
        Kind::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    if items.is_empty() {
        report.error(&node.span, format!("`{key}` names no event"), hint.as_str());
    }
    if let Some(item) = items.get(MOST_EVENTS) {
        report.error(
            &item.span,
            format!("`{key}` names at most {MOST_EVENTS} events"),
            "write two reactions",
        );
    }
    let (mut names, mut sound) = (Vec::new(), true);
    for item in items.into_iter().take(MOST_EVENTS) {
        let Some(name) = yaml::text(report, item, &hint) else {
            sound = false;
            continue;
        };
        if names.iter().any(|known| known == name) {
            report.error(&item.span, format!("{} is given twice", shown(name)), "remove one of them");
        } else if model.events.contains_key(name) {
            names.push(name.to_owned());
        } else {
            sound = false;
            let hint = match name.split_once('.') {
                Some((own, event)) if own == model.name => Some(format!("write `{event}`")),
                Some((other, _)) => Some(format!(
                    "a reaction stands in the model of its events: move it to the reactions of {}",
                    shown(other)
                )),
                None => suggest(name, model.events.keys().map(String::as_str)),
            };
            report.error(&item.span, format!("`{}` has no event {}", model.name, shown(name)), hint);
        }
    }
    if sound { names } else { Vec::new() }
}

fn every(report: &mut Report<'_>, members: &Members<'_>, node: &Node) -> Option<Every> {
    let hint = "write a cron expression in quotes: `every: \"0 3 * * *\"`";
    let text = yaml::text(report, node, hint);
    let zone = match members.value("time_zone") {
        Some(node) => time_zone(report, node),
        None => Some(cron::UTC),
    };
    // The expression is judged also where the zone is wrong.
    let cron = text.and_then(|text| match Cron::parse(text, zone.unwrap_or(cron::UTC)) {
        Ok(cron) => Some(cron),
        Err(fault) => {
            let span = node.span_of_part(report.text(), &fault.span);
            report.error(&span, fault.message, fault.hint);
            None
        }
    });
    let catch_up = members.value("catch_up").and_then(|node| {
        let name = yaml::text(report, node, "`catch_up: skip`, `once` or `all`")?;
        let found = CatchUp::ALL.iter().find(|(known, _)| *known == name);
        if found.is_none() {
            let message = format!("there is no way {} to catch up", shown(name));
            report.error(&node.span, message, suggest(name, CatchUp::ALL.map(|(name, _)| name)));
        }
        found.map(|(_, catch_up)| *catch_up)
    });
    let jitter = members
        .value("jitter")
        .and_then(|node| options::duration(report, node, "jitter", 0..=LONGEST_JITTER));
    zone?;
    Some(Every { cron: cron?, catch_up: catch_up.unwrap_or_default(), jitter: jitter.unwrap_or_default() })
}

fn time_zone<'n>(report: &mut Report<'_>, node: &'n Node) -> Option<&'n str> {
    let hint = "a name of the IANA database, such as `Europe/Berlin` or `UTC`";
    let name = yaml::text(report, node, hint)?;
    if cron::time_zone(name).is_some() {
        return Some(name);
    }
    let zones = cron::time_zones();
    // `Berlin` and `europe/berlin` are `Europe/Berlin`.
    let same = |zone: &&String| {
        let city = zone.rsplit('/').next().unwrap_or(zone);
        zone.eq_ignore_ascii_case(name) || city.eq_ignore_ascii_case(name)
    };
    let near = match zones.iter().find(same) {
        Some(zone) => Some(format!("did you mean `{zone}`?")),
        None => suggest(name, zones.iter().map(String::as_str)),
    };
    let hint = near.unwrap_or_else(|| hint.to_owned());
    report.error(&node.span, format!("there is no time zone {}", shown(name)), hint);
    None
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
