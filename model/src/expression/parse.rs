//! Text to syntax tree. The parser of the `cel` crate is a recursive one that takes 130 KB of stack for each level of
//! nesting in a debug build. So the text is scanned first (length, nesting, open quotes), and everything that
//! recurses over the tree of the parser runs on a thread with a stack for the deepest text that the scan lets pass.

use std::ops::Range;
use std::panic;

use cel::IdedExpr;
use cel::common::ast::SourceInfo;

use super::Fault;

/// Longest source, in bytes.
pub(crate) const MAX_LENGTH: usize = 4096;
/// Most brackets open at one place.
pub(crate) const MAX_BRACKETS: usize = 32;

/// Enough for twice the depth at which the parser stops by itself (96 levels).
const STACK: usize = 32 << 20;

/// A parsed text and what is needed to find the place of each node in it.
pub(crate) struct Parsed<'a> {
    pub(crate) source: &'a str,
    pub(crate) root: IdedExpr,
    info: SourceInfo,
    brackets: Vec<(usize, usize)>,
}

/// Runs `compile` on a stack that is deep enough for the parser.
pub(crate) fn with_deep_stack<T: Send>(
    compile: impl FnOnce() -> Result<T, Vec<Fault>> + Send,
) -> Result<T, Vec<Fault>> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("expression".to_owned()).stack_size(STACK);
        match thread.spawn_scoped(scope, compile) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)),
            Err(error) => Err(vec![Fault {
                span: 0..0,
                message: format!("the expression can't be compiled: no thread for the parser ({error})"),
                hint: None,
            }]),
        }
    })
}

/// Parses. Errors: the limits of the text, or else every syntax error.
pub(crate) fn parse(source: &str) -> Result<Parsed<'_>, Vec<Fault>> {
    let brackets = scan(source).map_err(|fault| vec![fault])?;
    // An environment without the standard library has no macros: calls such as `map` stay calls, with their place.
    match cel::Env::default().parser().parse_with_source_info(source) {
        Ok((root, info)) => Ok(Parsed { source, root, info, brackets }),
        Err(errors) => {
            let mut faults: Vec<Fault> = Vec::new();
            for error in errors.errors {
                let at = offset(source, error.pos);
                let word = source[at..].find(|c: char| !(c.is_alphanumeric() || c == '_'));
                let end = match word {
                    Some(0) => source[at..].chars().next().map_or(at, |c| at + c.len_utf8()),
                    Some(len) => at + len,
                    None => source.len(),
                };
                // One mistake makes the parser complain again at the same or the next token.
                if faults.is_empty() || error.msg.contains("literal") || error.msg.contains("reserved") {
                    faults.push(syntax_fault(at..end, &error.msg));
                }
            }
            Err(faults)
        }
    }
}

impl Parsed<'_> {
    /// The byte range of the token that stands for the node: the operator, the opening bracket of a call, a literal.
    pub(crate) fn token(&self, id: u64) -> Range<usize> {
        match self.info.offset_for(id) {
            Some((start, last)) => {
                let start = floor(self.source, start as usize);
                let end = floor(self.source, (last as usize).saturating_add(1));
                start..end.max(start)
            }
            None => 0..self.source.len(),
        }
    }

    /// The end of the bracket that opens at `open`.
    pub(crate) fn close_of(&self, open: usize) -> usize {
        let found = self.brackets.iter().find(|(at, _)| *at == open);
        found.map_or(self.source.len(), |(_, close)| close + 1)
    }

    /// The range, grown until every bracket in it has its partner in it.
    pub(crate) fn balanced(&self, mut span: Range<usize>) -> Range<usize> {
        loop {
            let before = span.clone();
            for (open, close) in &self.brackets {
                if span.contains(open) || span.contains(close) {
                    span = span.start.min(*open)..span.end.max(close + 1);
                }
            }
            if span == before {
                return span;
            }
        }
    }

    /// The name that ends before `end`, with blanks between.
    pub(crate) fn name_before(&self, end: usize) -> Range<usize> {
        let text = self.source[..end].trim_end();
        let start = text.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
        start..text.len()
    }

    /// The name that begins after `start`, with blanks between.
    pub(crate) fn name_after(&self, start: usize) -> Range<usize> {
        let text = &self.source[start..];
        let begin = start + (text.len() - text.trim_start().len());
        let name = &self.source[begin..];
        let len = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
        begin..begin + len
    }
}

/// Limits, and pairs of brackets by their byte offsets.
fn scan(source: &str) -> Result<Vec<(usize, usize)>, Fault> {
    if source.len() > MAX_LENGTH {
        return Err(Fault {
            span: MAX_LENGTH.min(source.len())..source.len(),
            message: format!("the expression is longer than {MAX_LENGTH} bytes ({})", source.len()),
            hint: Some("split it: several `require` entries, or one `set` entry for each part".to_owned()),
        }
        .on_boundaries(source));
    }
    let bytes = source.as_bytes();
    let (mut open, mut pairs) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\'' | b'"' => {
                let end = end_of_text(bytes, at).ok_or_else(|| Fault {
                    span: at..source.len(),
                    message: "the text that begins here has no closing quote".to_owned(),
                    hint: Some("write text in single quotes: 'like this'".to_owned()),
                })?;
                at = end;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n);
                continue;
            }
            b'(' | b'[' | b'{' => {
                open.push(at);
                if open.len() > MAX_BRACKETS {
                    return Err(Fault {
                        span: at..at + 1,
                        message: format!("more than {MAX_BRACKETS} brackets are open here"),
                        hint: Some("split the expression into parts with less nesting".to_owned()),
                    });
                }
            }
            b')' | b']' | b'}' => {
                if let Some(begin) = open.pop() {
                    pairs.push((begin, at));
                }
            }
            _ => {}
        }
        at += 1;
    }
    Ok(pairs)
}

/// The offset after the closing quote of the text literal whose opening quote is at `at`.
fn end_of_text(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = bytes[at];
    let prefix = |n: usize| at.checked_sub(n).map(|i| bytes[i].to_ascii_lowercase());
    // `r'…'`, `br'…'`, `rb'…'`: a name such as `bar` can't stand before a quote.
    let raw = prefix(1) == Some(b'r') || (prefix(1) == Some(b'b') && prefix(2) == Some(b'r'));
    let triple = bytes[at..].starts_with(&[quote; 3]);
    let mut i = at + if triple { 3 } else { 1 };
    while i < bytes.len() {
        if bytes[i] == b'\\' && !raw {
            i += 2;
        } else if triple && bytes[i..].starts_with(&[quote; 3]) {
            return Some(i + 3);
        } else if !triple && bytes[i] == quote {
            return Some(i + 1);
        } else if !triple && matches!(bytes[i], b'\n' | b'\r') {
            return None;
        } else {
            i += 1;
        }
    }
    None
}

/// The byte offset of the parser's line and column, which count from 1, columns in characters.
fn offset(source: &str, (line, column): (isize, isize)) -> usize {
    let mut start = 0;
    for (n, text) in source.split_inclusive('\n').enumerate() {
        if n as isize + 1 == line {
            let column = usize::try_from(column - 1).unwrap_or(0);
            return text.char_indices().nth(column).map_or(start + text.len(), |(i, _)| start + i);
        }
        start += text.len();
    }
    source.len()
}

/// The nearest character boundary at or before `at`.
fn floor(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl Fault {
    fn on_boundaries(mut self, source: &str) -> Fault {
        self.span = floor(source, self.span.start)..floor(source, self.span.end);
        self
    }
}

const ESCAPES: &str = r"write a backslash as \\, or the text as r'…'";
const INTEGERS: &str =
    "integers lie between -9223372036854775808 and 9223372036854775807; a decimal has a point: 1.0";

/// The parser's words in ours.
fn syntax_fault(span: Range<usize>, message: &str) -> Fault {
    let text = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let unexpected = |start: &str| {
        text.strip_prefix(start)
            .and_then(|rest| rest.split("' expecting").next())
            .map(|t| t.trim_end_matches('\''))
    };
    let (message, hint) = if text.contains("'<EOF>'") {
        ("the expression ends too early".to_owned(), Some("a value, a name or a closing bracket is missing"))
    } else if let Some(token) = unexpected("mismatched input '")
        .or_else(|| unexpected("extraneous input '"))
        .or_else(|| unexpected("no viable alternative at input '"))
    {
        (format!("`{token}` can't stand here"), hint_for(token))
    } else if let Some(token) = unexpected("token recognition error at: '") {
        match token.trim() {
            text if text.starts_with(['\'', '"']) => {
                ("the text has an unknown escape".to_owned(), Some(ESCAPES))
            }
            token => (format!("`{token}` is no part of the language"), hint_for(token)),
        }
    } else if text.contains("invalid int literal") {
        ("the number is no 64-bit integer".to_owned(), Some(INTEGERS))
    } else if text.contains("invalid double literal") {
        ("the number is too large".to_owned(), None)
    } else if let Some(word) = text.strip_prefix("reserved identifier: ") {
        (format!("`{word}` is a reserved word of CEL"), None)
    } else if text.contains("string literal") {
        ("the text has an unknown escape".to_owned(), Some(ESCAPES))
    } else if text.contains("Recursion limit") {
        ("the expression is nested too deeply".to_owned(), Some("split it into parts with less nesting"))
    } else {
        (format!("the expression can't be read: {text}"), None)
    };
    Fault { span, message, hint: hint.map(str::to_owned) }
}

fn hint_for(token: &str) -> Option<&'static str> {
    match token {
        "=" => Some("compare with `==`"),
        "&" => Some("write `&&` for `and`"),
        "|" => Some("write `||` for `or`"),
        "and" => Some("write `&&`"),
        "or" => Some("write `||`"),
        "not" => Some("write `!`"),
        _ => None,
    }
}
