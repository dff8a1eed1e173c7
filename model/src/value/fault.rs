//! Where a fault is, and how faults are collected.

use std::fmt;

use super::FieldError;

/// A body with more faults is answered with this many and a last one that says so: the answer travels through Kafka,
/// whose records are bounded, and a body of a megabyte can hold a hundred thousand faults.
pub const MAX_ERRORS: usize = 100;

/// Lists and objects in a command's body that may stand inside each other. Records, states and answers wrap what a body
/// holds in a few levels more, and what reads them gives up at 128: a deeper body would be accepted and then lost.
pub const MAX_NESTING: usize = 100;

/// Longest piece of the caller's text that a message or pointer repeats, in characters.
const MAX_ECHO: usize = 64;

/// A place in a body. Rendered only when there is a fault there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path<'a> {
    /// A JSON pointer, as it is.
    Base(&'a str),
    /// A member of an object.
    Member(&'a Path<'a>, &'a str),
    /// An item of a list.
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Base(pointer) => f.write_str(pointer),
            Path::Item(parent, index) => write!(f, "{parent}/{index}"),
            Path::Member(parent, name) => {
                write!(f, "{parent}/{}", clip(name).replace('~', "~0").replace('/', "~1"))
            }
        }
    }
}

/// Adds a fault, unless there are [`MAX_ERRORS`] already.
pub(crate) fn report(errors: &mut Vec<FieldError>, at: Path<'_>, code: &str, detail: impl Into<String>) {
    if errors.len() < MAX_ERRORS {
        errors.push(FieldError { pointer: at.to_string(), code: code.to_owned(), detail: detail.into() });
    } else if errors.len() == MAX_ERRORS {
        errors.push(FieldError {
            pointer: String::new(),
            code: "too_many_errors".to_owned(),
            detail: format!("There are more than {MAX_ERRORS} errors; these are the first."),
        });
    }
}

/// The beginning of the caller's text, for a message.
pub(crate) fn clip(text: &str) -> String {
    match text.char_indices().nth(MAX_ECHO) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The name among `known` that `unknown` is most likely meant to be.
pub(crate) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    if unknown.len() > MAX_ECHO {
        return None;
    }
    let allowed = (unknown.chars().count() / 3).clamp(1, 3);
    known
        .map(|name| (strsim::damerau_levenshtein(&unknown.to_lowercase(), name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.as_str())
}

/// `` `a`, `b` or `c` ``.
pub(crate) fn choices(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
