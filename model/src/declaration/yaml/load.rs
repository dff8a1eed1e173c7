//! From YAML text to the tree.
//!
//! Built from the parser's events with an explicit stack and a depth limit, so that no file, however hostile, can exhaust
//! the stack. Aliases are refused: a few lines of them can stand for gigabytes.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::{Entry, Kind, Node, Scalar};
use crate::declaration::report::{Report, shown};

const DEEPEST: usize = 64;
const LARGEST: usize = 1024 * 1024;

/// All documents of a file, as far as they can be read. `intact` is false when something was left out.
pub(in crate::declaration) struct Documents {
    pub(in crate::declaration) roots: Vec<Node>,
    pub(in crate::declaration) intact: bool,
}

/// Reads a file; what can't be read is reported.
pub(in crate::declaration) fn load(report: &mut Report<'_>) -> Documents {
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
