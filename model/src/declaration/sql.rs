//! The SQL of a projection's statements: cut at its parameters, parsed, and held against the rules.
//!
//! PostgreSQL has the last word on every statement, when the first event comes. What can be known before is said here: the
//! statement is one, it writes and reads its own table only, and its outcome depends on nothing but that table and the
//! event. The last two are what makes a rebuild right: at another time it gives the same events, those of an aggregate
//! in the same order, to an empty table.
//!
//! ```text
//! text ─► tokens ─► pieces and parameters            (this file)
//!             └───► syntax tree ─► forms.rs, rules.rs (tables), columns.rs, functions.rs
//! ```

mod columns;
mod forms;
mod functions;
mod rules;

use std::ops::Range;

use indexmap::IndexMap;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Whitespace};

use super::Field;
use super::report::{Hint, shown};

/// Most bytes of a statement.
const LONGEST: usize = 20_000;

/// The table that the statement is for.
pub(super) struct Target<'a> {
    /// `None`: its name is wrong, and that is reported.
    pub(super) table: Option<&'a str>,
    pub(super) columns: &'a IndexMap<String, Field>,
    pub(super) key: &'a [String],
    /// Some columns are unknown, for a reason that is reported.
    pub(super) broken: bool,
}

/// What is wrong at a byte range of the statement.
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) hint: Hint,
}

/// A statement, cut.
pub(super) struct Cut {
    /// One more than there are parameters.
    pub(super) pieces: Vec<String>,
    pub(super) parameters: Vec<Name>,
    /// Where the first comment that ends with its line begins.
    pub(super) line_comment: Option<usize>,
}

/// A parameter as it stands in the text.
pub(super) struct Name {
    /// `total`, or the `time` of `:event.time`.
    pub(super) name: String,
    /// Whether it is one of `:event.…`.
    pub(super) of_event: bool,
    /// In brackets it may be meant as the end of a slice, `[1:n]`.
    in_brackets: bool,
    pub(super) span: Range<usize>,
}

/// Cuts a statement and holds it against the rules. The parameters may be unknown ones.
pub(super) fn read(text: &str, target: &Target<'_>) -> Result<Cut, Vec<Fault>> {
    if text.len() > LONGEST {
        let message = format!("a statement has at most {LONGEST} bytes, this one has {}", text.len());
        return Err(vec![Fault::new(0..text.len(), message, "compute less of it for each event")]);
    }
    if let Some(at) = text.find('\0') {
        return Err(vec![Fault::new(at..at + 1, "SQL can't contain NUL", "remove the character")]);
    }
    let places = Places::new(text);
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().map_err(|error| {
        let at = places.offset(error.location);
        let hint = "look for a quote or a comment that isn't closed";
        vec![Fault::new(at..at, format!("the SQL can't be read: {}", lower(&error.message)), hint)]
    })?;
    let tokens = single(&places, tokens)?;
    let (cut, tokens) = cut(text, &places, tokens)?;
    let statement =
        match Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens).parse_statements() {
            Ok(mut statements) if statements.len() == 1 => statements.swap_remove(0),
            Ok(_) => return Err(vec![Fault::new(0..text.len(), "one statement is needed", forms::HINT)]),
            Err(error) => return Err(vec![unparsed(text, &places, &cut, &error)]),
        };
    if let Some((message, hint)) = forms::refused(&statement) {
        return Err(vec![Fault::new(0..text.trim_end().len(), message, hint)]);
    }
    let faults = rules::check(&statement, target, &places);
    if faults.is_empty() { Ok(cut) } else { Err(faults) }
}

impl Fault {
    fn new(span: Range<usize>, message: impl Into<String>, hint: impl Into<Hint>) -> Fault {
        Fault { span, message: message.into(), hint: hint.into() }
    }
}

/// Byte offsets of what the parser places by line and column.
struct Places<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Places<'a> {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Places { text, lines: std::iter::once(0).chain(ends).collect() }
    }

    fn offset(&self, location: Location) -> usize {
        let line = usize::try_from(location.line.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(start) = self.lines.get(line) else { return self.text.len() };
        let column = usize::try_from(location.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let rest = &self.text[*start..];
        rest.char_indices().nth(column).map_or(self.text.len(), |(at, _)| start + at)
    }

    /// The whole text where the parser has no place.
    fn range(&self, span: Span) -> Range<usize> {
        if span == Span::empty() {
            return 0..self.text.len();
        }
        let start = self.offset(span.start);
        start..self.offset(span.end).max(start)
    }
}

/// The tokens without a `;` at the end. A second statement is a fault.
fn single(places: &Places<'_>, mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, Vec<Fault>> {
    let says =
        |token: &TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::SemiColon | Token::EOF);
    let Some(first) = tokens.iter().position(says) else {
        return Err(vec![Fault::new(0..places.text.len(), "the statement is missing", forms::HINT)]);
    };
    let end = |token: &TokenWithSpan| token.token == Token::SemiColon;
    let Some(end) = tokens.iter().skip(first).position(end).map(|at| at + first) else { return Ok(tokens) };
    if let Some(second) = tokens.iter().skip(end).find(|token| says(token)) {
        let at = places.range(second.span);
        let hint = "do both in one: `WITH changed AS (UPDATE … RETURNING …) INSERT …`, or in two projections";
        return Err(vec![Fault::new(at, "this is a second statement, each event has one", hint)]);
    }
    tokens.truncate(end);
    Ok(tokens)
}

/// Finds the parameters: the pieces between them, and the tokens with each of them as one.
fn cut(
    text: &str,
    places: &Places<'_>,
    tokens: Vec<TokenWithSpan>,
) -> Result<(Cut, Vec<TokenWithSpan>), Vec<Fault>> {
    let mut found = Cut { pieces: Vec::new(), parameters: Vec::new(), line_comment: None };
    let mut whole: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let end = tokens.iter().rev().find(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
    let end = end.map_or(text.len(), |token| places.range(token.span).end);
    let (mut from, mut index, mut brackets) = (0, 0, 0_usize);
    while let Some(token) = tokens.get(index) {
        match &token.token {
            Token::LBracket => brackets += 1,
            Token::RBracket => brackets = brackets.saturating_sub(1),
            Token::Placeholder(name) => {
                let message = format!("{} has no value", shown(name));
                let hint = "parameters have names: `:total` is a field of the event, `:event.time` its time";
                return Err(vec![Fault::new(places.range(token.span), message, hint)]);
            }
            Token::Whitespace(Whitespace::SingleLineComment { .. }) if found.line_comment.is_none() => {
                found.line_comment = Some(places.offset(token.span.start));
            }
            Token::Colon => {
                if let Some((name, of_event, length)) = parameter(&tokens[index..]) {
                    let last = &tokens[index + length - 1];
                    let span = places.offset(token.span.start)..places.offset(last.span.end);
                    found.pieces.push(text[from..span.start].to_owned());
                    from = span.end;
                    let shown = text[span.clone()].to_owned();
                    let place = Span::new(token.span.start, last.span.end);
                    whole.push(TokenWithSpan::new(Token::Placeholder(shown), place));
                    found.parameters.push(Name { name, of_event, in_brackets: brackets > 0, span });
                    index += length;
                    continue;
                }
            }
            _ => {}
        }
        whole.push(token.clone());
        index += 1;
    }
    found.pieces.push(text[from..end.max(from)].to_owned());
    Ok((found, whole))
}

/// The parameter that the tokens begin with: its name, whether it is one of the event's, and how many tokens it is.
fn parameter(tokens: &[TokenWithSpan]) -> Option<(String, bool, usize)> {
    let touches = |at: usize| tokens.get(at).filter(|next| next.span.start == tokens[at - 1].span.end);
    let word = |at: usize| match &touches(at)?.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.clone()),
        _ => None,
    };
    let name = word(1)?;
    let point = touches(2).is_some_and(|next| next.token == Token::Period);
    match word(3).filter(|_| point && name == "event") {
        Some(of_event) => Some((of_event, true, 4)),
        None => Some((name, false, 2)),
    }
}

/// What the parser said, in its place.
fn unparsed(text: &str, places: &Places<'_>, cut: &Cut, error: &ParserError) -> Fault {
    let (ParserError::ParserError(said) | ParserError::TokenizerError(said)) = error else {
        return Fault::new(
            0..text.len(),
            "the SQL is nested too deep to be read",
            "write it in a flatter way",
        );
    };
    let (said, at) = match said.rsplit_once(" at Line: ") {
        Some((said, place)) => (said, location(place).map(|place| places.offset(place))),
        None => (said.as_str(), None),
    };
    let end = text.trim_end().len();
    let at = at.unwrap_or(end);
    if let Some(parameter) = cut.parameters.iter().find(|parameter| parameter.span.start == at) {
        let message = format!("{} can't stand here", shown(&text[parameter.span.clone()]));
        let hint = if parameter.in_brackets {
            "a parameter is a value; in a slice, put a space behind the colon: `[1: n]`"
        } else {
            "a parameter is a value: it can't be the name of a table or of a column"
        };
        return Fault::new(parameter.span.clone(), message, hint);
    }
    let length =
        text[at..].find(|c: char| c.is_whitespace() || "(),;".contains(c)).unwrap_or(text.len() - at);
    let said = lower(said).replace("expected: ", "expected ").replace("found: ", "found ");
    let message = format!("the SQL can't be read here: {said}");
    let hint = "if PostgreSQL takes it as it stands, write this part in another way: the check doesn't know all of \
                PostgreSQL, see \"SQL that the check can't read\" in docs/models.md";
    Fault::new(at..at + length, message, hint)
}

/// `3, Column: 12`.
fn location(text: &str) -> Option<Location> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?))
}

/// With a small letter first, as it stands in the middle of a message.
fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
