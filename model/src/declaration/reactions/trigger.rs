//! What sets a reaction off: events of its model, or the time.

use super::super::Model;
use super::super::report::{Report, shown, suggest};
use super::super::yaml::{self, Kind, Members, Node};
use super::{Every, Trigger, options};
use crate::cron::{self, CatchUp, Cron};

/// Events that one reaction names.
const MOST_EVENTS: usize = 50;
/// The longest jitter: a day, in milliseconds.
const LONGEST_JITTER: i64 = 24 * 60 * 60 * 1000;

/// What sets the reaction off. `None`: it is wrong, and that is reported.
pub(super) fn read(
    report: &mut Report<'_>,
    model: &Model,
    members: &Members<'_>,
    item: &Node,
) -> Option<Trigger> {
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
pub(super) fn events(report: &mut Report<'_>, model: &Model, key: &str, node: &Node) -> Vec<String> {
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
