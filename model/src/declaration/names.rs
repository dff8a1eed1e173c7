//! Which names a model may use, and what other names are made of them.

use std::ops::Range;

use super::allow;
use super::fields::Place;
use super::report::{Report, shown};
use crate::access::READ;

/// Names of models, projections and channels that topics, tables or routes of the system use.
const MODELS: &[(&str, &str)] = &[
    ("auth", "the routes of signing in"),
    ("channels", "the routes of channels"),
    ("commands", "the topic and the route of commands"),
    ("dead_letters", "the topic of what could not be decided"),
    ("event_log", "the table of all events"),
    ("events", "the list of events"),
    ("live", "the route of live updates"),
    ("logs", "the topic of the servers' logs"),
    ("models", "the list of models"),
    ("notifications", "the notifications of the system"),
    ("projections", "the list of projections"),
    ("reactions", "the topic of how far reactions have come"),
    ("replies", "the topic of answers"),
    ("state", "the topic of states"),
    ("tasks", "the list of tasks"),
    ("webhooks", "the list of webhooks"),
];

/// Names of fields that every aggregate has.
const FIELDS: &[(&str, &str)] = &[
    ("id", "every aggregate has an `id`"),
    ("version", "every aggregate has a `version`"),
    ("created_at", "every aggregate has a `created_at`"),
    ("updated_at", "every aggregate has an `updated_at`"),
    ("deleted", "the read model marks what is `deleted`"),
];

/// Parameters of queries, beside which the names of fields stand.
const PARAMETERS: &[&str] =
    &["sort", "limit", "after", "q", "as_of", "fields", "expand", "count", "format", "diff"];

/// Columns that PostgreSQL gives to every table. A model's columns get other names then; those of a projection are named in
/// SQL.
const SYSTEM_COLUMNS: &[&str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Words of the expression language that can't follow a dot.
const WORDS: &[&str] = &["in", "null", "true", "false"];

const LONGEST: usize = 48;

/// Whether `name` is written as the name of a model, a field or a command must be.
pub fn is_name(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Reports a name that isn't written as a name must be. `what` is `a field`, `a command` …
pub(super) fn check(report: &mut Report<'_>, span: &Range<usize>, what: &str, name: &str) -> bool {
    if is_name(name) {
        return true;
    }
    let hint = match snake_case(name) {
        Some(better) => format!("write `{better}`"),
        None => format!(
            "a name starts with a letter and has only lower-case letters, digits and `_`, at most {LONGEST} of them"
        ),
    };
    report.error(span, format!("{} is not a name for {what}", shown(name)), hint);
    false
}

pub(super) fn check_model(report: &mut Report<'_>, span: &Range<usize>, name: &str) -> bool {
    check_relation(report, span, "a model", name)
}

pub(super) fn check_projection(report: &mut Report<'_>, span: &Range<usize>, name: &str) -> bool {
    if !check_relation(report, span, "a projection", name) {
        return false;
    }
    if name.starts_with("writ_") {
        let message =
            format!("a projection can't be called `{name}`: tables of the system begin with `writ_`");
        report.error(span, message, "take another name");
        return false;
    }
    true
}

pub(super) fn check_channel(report: &mut Report<'_>, span: &Range<usize>, name: &str) -> bool {
    check_relation(report, span, "a channel", name)
}

fn check_relation(report: &mut Report<'_>, span: &Range<usize>, what: &str, name: &str) -> bool {
    if !check(report, span, what, name) {
        return false;
    }
    if let Some((_, reason)) = MODELS.iter().find(|(reserved, _)| *reserved == name) {
        report.error(
            span,
            format!("{what} can't be called `{name}`: the name stands for {reason}"),
            "take another name",
        );
        return false;
    }
    true
}

/// Fields of a state and of a projection become columns and parameters of queries. Inputs and parts of objects only must
/// be words.
pub(super) fn check_field(report: &mut Report<'_>, span: &Range<usize>, name: &str, place: Place) -> bool {
    if !check(report, span, "a field", name) {
        return false;
    }
    let reserved = |names: &[(&'static str, &'static str)]| {
        names.iter().find(|(reserved, _)| *reserved == name).map(|(_, reason)| (*reason).to_owned())
    };
    let parameter = || PARAMETERS.contains(&name).then(|| format!("`{name}` is a parameter of queries"));
    let system =
        || SYSTEM_COLUMNS.contains(&name).then(|| "PostgreSQL has such a column in every table".to_owned());
    let reason = if WORDS.contains(&name) {
        Some("it is a word of the expression language".to_owned())
    } else {
        match place {
            Place::State => reserved(FIELDS).or_else(parameter),
            Place::Column => parameter().or_else(system),
            Place::Input | Place::Part | Place::Item | Place::Message => None,
        }
    };
    if let Some(reason) = reason {
        report.error(span, format!("a field can't be called `{name}`: {reason}"), "take another name");
        return false;
    }
    true
}

pub(super) fn check_command(report: &mut Report<'_>, span: &Range<usize>, name: &str) -> bool {
    if !check(report, span, "a command", name) {
        return false;
    }
    let reason = match name {
        READ => "in `allow` it stands for queries",
        allow::FIELDS => "in `allow` it stands for rules about fields",
        _ => return true,
    };
    report.error(span, format!("a command can't be called `{name}`: {reason}"), "take another name");
    false
}

/// `order_placed` → `OrderPlaced`.
pub(super) fn pascal_case(name: &str) -> String {
    name.split('_')
        .flat_map(|part| {
            let mut letters = part.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters.collect::<Vec<_>>())
        })
        .collect()
}

/// What the author of `unitPrice` or `unit-price` may have meant, if that is a name.
fn snake_case(name: &str) -> Option<String> {
    if name.len() > LONGEST {
        return None;
    }
    let mut better = String::new();
    for c in name.trim().chars() {
        match c {
            'A'..='Z' => {
                if !better.is_empty() && !better.ends_with('_') {
                    better.push('_');
                }
                better.push(c.to_ascii_lowercase());
            }
            '-' | ' ' | '.' => better.push('_'),
            _ => better.push(c),
        }
    }
    is_name(&better).then_some(better)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_types() {
        assert_eq!(pascal_case("placed"), "Placed");
        assert_eq!(pascal_case("order_line_2_added"), "OrderLine2Added");
        assert_eq!(pascal_case("a__b_"), "AB");
    }

    #[test]
    fn better_names_are_found() {
        assert_eq!(snake_case("unitPrice").as_deref(), Some("unit_price"));
        assert_eq!(snake_case("Unit-price").as_deref(), Some("unit_price"));
        assert_eq!(snake_case("größe"), None);
        assert_eq!(snake_case(""), None);
    }

    #[test]
    fn a_name_is_at_most_48_long() {
        assert!(is_name(&"a".repeat(48)));
        assert!(!is_name(&"a".repeat(49)));
        assert!(!is_name("9a"));
        assert!(!is_name("_a"));
        assert!(!is_name(""));
    }
}
