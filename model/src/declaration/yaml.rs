//! The YAML of a model file: a tree whose every node knows its place in the text, and the ways to read it that report what
//! is not as expected.

mod load;

use std::ops::Range;

use saphyr_parser::ScalarStyle;

pub(super) use self::load::load;
use super::report::{Report, list, shown, suggest};

/// A value of the file.
pub(super) struct Node {
    /// Byte range in the file's text.
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

pub(super) struct Scalar {
    pub(super) text: String,
    style: ScalarStyle,
}

/// One `key: value`.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Node,
}

impl Scalar {
    /// Without quotes, so that it may be a number, a boolean or null.
    pub(super) fn is_plain(&self) -> bool {
        self.style == ScalarStyle::Plain
    }

    pub(super) fn is_null(&self) -> bool {
        self.is_plain() && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match self.text.as_str() {
            "true" | "True" | "TRUE" if self.is_plain() => Some(true),
            "false" | "False" | "FALSE" if self.is_plain() => Some(false),
            _ => None,
        }
    }

    /// Whether it is a number as JSON writes it (`-12.50`).
    pub(super) fn is_number(&self) -> bool {
        let digits = self.text.strip_prefix('-').unwrap_or(&self.text);
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let only_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        self.is_plain() && only_digits(whole) && only_digits(part)
    }

    /// Whether the ends of lines are lost in it: YAML joins the lines of every text but that behind `|`.
    pub(super) fn folds(&self) -> bool {
        self.style != ScalarStyle::Literal
    }

    /// Of each letter of the value its byte offset there and its byte range in `raw`, the scalar as it stands in the
    /// file; none for what YAML makes of spaces and the ends of lines. `None`: `raw` isn't the value with other spaces.
    fn offsets_in(&self, raw: &str) -> Option<Vec<(usize, Option<Range<usize>>)>> {
        let content = match self.style {
            // The span of a block begins behind its `|` or `>`.
            ScalarStyle::Plain | ScalarStyle::Literal | ScalarStyle::Folded => 0..raw.len(),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted if raw.len() >= 2 => 1..raw.len() - 1,
            _ => return None,
        };
        let content_start = content.start;
        let mut letters = raw
            .get(content)?
            .char_indices()
            .map(|(at, letter)| (content_start + at, letter))
            .filter(|(_, letter)| !letter.is_whitespace())
            .peekable();
        let mut offsets = Vec::with_capacity(self.text.len());
        for (value, letter) in self.text.char_indices() {
            if letter.is_whitespace() {
                offsets.push((value, None));
                continue;
            }
            let (at, found) = letters.next()?;
            if found != letter {
                return None;
            }
            let mut end = at + letter.len_utf8();
            if self.style == ScalarStyle::SingleQuoted && letter == '\'' {
                // Written twice.
                end = letters.next_if(|(next, quote)| *next == end && *quote == '\'')?.0 + 1;
            }
            offsets.push((value, Some(at..end)));
        }
        letters.next().is_none().then_some(offsets)
    }

    /// The text for an expression or a document: everything but null.
    pub(super) fn as_text(&self) -> Option<&str> {
        (!self.is_null()).then_some(self.text.as_str())
    }
}

impl Node {
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }

    pub(super) fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    /// The member `key` of a map, without any report.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub(super) fn what(&self) -> String {
        match &self.kind {
            Kind::List(_) => "a list".into(),
            Kind::Map(_) => "a map".into(),
            Kind::Scalar(scalar) if scalar.is_null() => "nothing".into(),
            Kind::Scalar(scalar) if scalar.is_plain() => shown(&scalar.text),
            Kind::Scalar(scalar) => format!("the text {}", shown(&scalar.text)),
        }
    }

    /// The place in the file of `part`, a byte range of the scalar's value. The whole scalar where the text doesn't
    /// follow the value letter by letter (escapes).
    pub(super) fn span_of_part(&self, file: &str, part: &Range<usize>) -> Range<usize> {
        let whole = self.span.clone();
        let (Some(scalar), Some(raw)) = (self.scalar(), file.get(whole.clone())) else { return whole };
        if part.start > part.end || scalar.text.get(part.clone()).is_none() {
            return whole;
        }
        let Some(offsets) = scalar.offsets_in(raw) else { return whole };
        // Behind the last letter there is the end of the text.
        let end_of_text = offsets.iter().rev().find_map(|(_, at)| at.clone()).map_or(0, |at| at.end);
        let start = offsets
            .iter()
            .filter(|(value, _)| *value >= part.start)
            .find_map(|(_, at)| at.as_ref().map(|at| at.start))
            .unwrap_or(end_of_text);
        let end = offsets
            .iter()
            .take_while(|(value, _)| *value < part.end)
            .filter_map(|(_, at)| at.as_ref().map(|at| at.end))
            .last()
            .unwrap_or(start);
        whole.start + start..whole.start + end.max(start)
    }
}

/// The members of a map whose keys are known to the language.
pub(super) struct Members<'n> {
    entries: &'n [Entry],
}

impl<'n> Members<'n> {
    pub(super) fn get(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(super) fn value(&self, key: &str) -> Option<&'n Node> {
        self.get(key).map(|entry| &entry.value)
    }
}

/// Opens a map that may have the keys `known`; others are reported. `what` is `a model`, `a field` …
pub(super) fn members<'n>(
    report: &mut Report<'_>,
    node: &'n Node,
    what: &str,
    known: &[&str],
) -> Option<Members<'n>> {
    let entries = entries(report, node, &format!("{what} is a map of {}", list(known.iter().copied())))?;
    for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        let message = format!("{what} has no key {}", shown(&entry.key));
        report.error(&entry.key_span, message, suggest(&entry.key, known.iter().copied()));
    }
    Some(Members { entries })
}

/// The entries of a map; anything else is reported with `hint`.
pub(super) fn entries<'n>(report: &mut Report<'_>, node: &'n Node, hint: &str) -> Option<&'n [Entry]> {
    match &node.kind {
        Kind::Map(entries) => Some(entries),
        _ => {
            report.error(&node.span, format!("expected a map, found {}", node.what()), hint);
            None
        }
    }
}

/// The items of a list; anything else is reported with `hint`.
pub(super) fn items<'n>(report: &mut Report<'_>, node: &'n Node, hint: &str) -> Option<&'n [Node]> {
    match &node.kind {
        Kind::List(items) => Some(items),
        _ => {
            report.error(&node.span, format!("expected a list, found {}", node.what()), hint);
            None
        }
    }
}

/// Text; anything else is reported with `hint`.
pub(super) fn text<'n>(report: &mut Report<'_>, node: &'n Node, hint: &str) -> Option<&'n str> {
    let text = node.scalar().and_then(Scalar::as_text);
    if text.is_none() {
        report.error(&node.span, format!("expected text, found {}", node.what()), hint);
    }
    text
}

/// `true` or `false`; anything else is reported and counts as false. Absent counts as false.
pub(super) fn flag(report: &mut Report<'_>, entry: Option<&Entry>) -> bool {
    let Some(entry) = entry else { return false };
    let value = entry.value.scalar().and_then(Scalar::as_bool);
    if value.is_none() {
        let message = format!("`{}` is true or false, found {}", entry.key, entry.value.what());
        report.error(&entry.value.span, message, "write `true`, without quotes");
    }
    value.unwrap_or(false)
}
