//! From YAML text to a tree whose every node knows its place in the text.
//!
//! Built from the parser's events with an explicit stack and a depth limit, so that no file, however hostile, can exhaust
//! the stack. Aliases are refused: a few lines of them can stand for gigabytes.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::report::{Report, list, shown, suggest};

const DEEPEST: usize = 64;
const LARGEST: usize = 1024 * 1024;

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
    /// follow the value letter by letter (several lines, escapes).
    pub(super) fn span_of_part(&self, file: &str, part: &Range<usize>) -> Range<usize> {
        let (Some(scalar), Some(raw)) = (self.scalar(), file.get(self.span.clone())) else {
            return self.span.clone();
        };
        let inner = match scalar.style {
            ScalarStyle::Plain => 0..raw.len(),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted if raw.len() >= 2 => 1..raw.len() - 1,
            _ => return self.span.clone(),
        };
        let follows = raw.get(inner.clone()).is_some_and(|raw| raw.trim_end() == scalar.text.trim_end());
        if !follows || part.start > part.end || scalar.text.get(part.clone()).is_none() {
            return self.span.clone();
        }
        let start = self.span.start + inner.start;
        start + part.start..start + part.end
    }
}

/// All documents of a file, as far as they can be read. `intact` is false when something was left out.
pub(super) struct Documents {
    pub(super) roots: Vec<Node>,
    pub(super) intact: bool,
}

/// Reads a file; what can't be read is reported.
pub(super) fn load(report: &mut Report<'_>) -> Documents {
    let text = report.text();
    let broken = Documents { roots: Vec::new(), intact: false };
    if text.len() > LARGEST {
        report.error(
            &(0..0),
            format!("the file has {} bytes, a model file has at most {LARGEST}", text.len()),
            "give each model a file of its own",
        );
        return broken;
    }
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let forbidden = |c: char| c == '\u{feff}' || (c.is_control() && !matches!(c, '\t' | '\n' | '\r'));
    if let Some((at, c)) = body.char_indices().find(|(_, c)| forbidden(*c)) {
        let at = at + text.len() - body.len();
        report.error(
            &(at..at + c.len_utf8()),
            format!("the file contains the character U+{:04X}, so it is no YAML text", c as u32),
            "remove the character, or save the file as UTF-8 text",
        );
        return broken;
    }
    Loader::new(report, body, text.len() - body.len()).run()
}

/// A collection that isn't complete yet.
enum Frame {
    List { start: usize, items: Vec<Node> },
    Map { start: usize, entries: Vec<Entry>, seen: HashMap<String, Range<usize>>, key: Option<Key> },
}

/// A key that waits for its value. `None`: reported already, the value is dropped.
type Key = Option<(String, Range<usize>)>;

struct Loader<'r, 'a> {
    report: &'r mut Report<'a>,
    body: &'a str,
    /// Byte offset in the file of each character of the body; the parser counts characters.
    offsets: Vec<usize>,
    stack: Vec<Frame>,
    roots: Vec<Node>,
    intact: bool,
}

impl<'r, 'a> Loader<'r, 'a> {
    fn new(report: &'r mut Report<'a>, body: &'a str, skipped: usize) -> Self {
        let ends = std::iter::once(body.len());
        let offsets = body.char_indices().map(|(at, _)| at).chain(ends).map(|at| at + skipped).collect();
        Loader { report, body, offsets, stack: Vec::new(), roots: Vec::new(), intact: true }
    }

    fn run(mut self) -> Documents {
        let mut parser = Parser::new_from_str(self.body);
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let at = self.offset(error.marker().index());
                    let hint = self.hint_for(at);
                    self.report.error(&(at..at), format!("this is no valid YAML: {}", error.info()), hint);
                    self.intact = false;
                    break;
                }
            };
            let span = self.offset(span.start.index())..self.offset(span.end.index());
            if !self.take(event, span) {
                self.intact = false;
                break;
            }
        }
        Documents { roots: self.roots, intact: self.intact }
    }

    fn offset(&self, index: usize) -> usize {
        let last = self.offsets.last().copied().unwrap_or(0);
        self.offsets.get(index).copied().unwrap_or(last)
    }

    fn hint_for(&self, at: usize) -> Option<String> {
        let before = self.report.text().get(..at)?;
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = self.report.text().get(start..)?.lines();
        let line = lines.next()?;
        let indented_by_tab = |line: &str| line.trim_start_matches(' ').starts_with('\t');
        if indented_by_tab(line) || lines.next().is_some_and(indented_by_tab) {
            return Some("indent with spaces, YAML allows no tab there".into());
        }
        if line.matches(": ").count() > 1 && !line.contains(['{', '"', '\'']) {
            return Some("put text that contains `: ` in quotes".into());
        }
        Some("look at the indentation, the brackets and the quotes here and in the line before".into())
    }

    /// Takes one event; false: the rest of the file is of no use.
    fn take(&mut self, event: Event<'_>, span: Range<usize>) -> bool {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse(anchor, tag.as_deref(), &span);
                // The parser counts the space behind a quoted text to it.
                let raw = self.report.text().get(span.clone()).unwrap_or_default();
                let span = span.start..span.start + raw.trim_end().len();
                let kind = Kind::Scalar(Scalar { text: text.into_owned(), style });
                self.complete(Node { span, kind });
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse(anchor, tag.as_deref(), &span);
                self.stack.push(Frame::List { start: span.start, items: Vec::new() });
                return self.deep_enough(&span);
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse(anchor, tag.as_deref(), &span);
                let (entries, seen) = (Vec::new(), HashMap::new());
                self.stack.push(Frame::Map { start: span.start, entries, seen, key: None });
                return self.deep_enough(&span);
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(_) => {
                self.report.error(
                    &span,
                    "aliases (`*name`) can't be used in a model",
                    "write the value out, a model reads better without them",
                );
                self.intact = false;
                let kind = Kind::Scalar(Scalar { text: String::new(), style: ScalarStyle::Plain });
                self.complete(Node { span, kind });
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        true
    }

    fn refuse(&mut self, anchor: usize, tag: Option<&Tag>, span: &Range<usize>) {
        if anchor > 0 {
            self.report.error(
                span,
                "anchors (`&name`) can't be used in a model",
                "remove it and write the value out where it is needed",
            );
        }
        if let Some(tag) = tag {
            let message = format!("the tag {} can't be used in a model", shown(&tag.to_string()));
            self.report.error(span, message, "remove it, the language knows the type of each value");
        }
    }

    fn deep_enough(&mut self, span: &Range<usize>) -> bool {
        if self.stack.len() <= DEEPEST {
            return true;
        }
        self.report.error(
            span,
            format!("the file is nested more than {DEEPEST} levels deep"),
            "a model needs a few levels only",
        );
        false
    }

    fn close(&mut self) {
        let node = match self.stack.pop() {
            Some(Frame::List { start, items }) => {
                let end = items.last().map_or(start, |item| item.span.end);
                Node { span: start..end.max(start), kind: Kind::List(items) }
            }
            Some(Frame::Map { start, entries, .. }) => {
                let end = entries.last().map_or(start, |entry| entry.value.span.end);
                Node { span: start..end.max(start), kind: Kind::Map(entries) }
            }
            None => return,
        };
        self.complete(node);
    }

    /// Puts a complete node where it belongs.
    fn complete(&mut self, node: Node) {
        match self.stack.last_mut() {
            None => self.roots.push(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, seen, key, .. }) => match key.take() {
                Some(Some((key, key_span))) => entries.push(Entry { key, key_span, value: node }),
                Some(None) => {}
                None => {
                    let span = node.span;
                    *key = Some(match node.kind {
                        Kind::Scalar(scalar) => match seen.get(&scalar.text) {
                            None => {
                                seen.insert(scalar.text.clone(), span.clone());
                                Some((scalar.text, span))
                            }
                            Some(_) => {
                                let message = format!("{} is given twice", shown(&scalar.text));
                                self.report.error(&span, message, "remove one of them");
                                None
                            }
                        },
                        _ => {
                            let message = "a key must be a name, not a list or a map";
                            self.report.error(
                                &span,
                                message,
                                "text that starts with `{` or `[` needs quotes",
                            );
                            None
                        }
                    });
                }
            },
        }
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
