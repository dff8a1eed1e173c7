//! What `writ check` says of a model file: where, what is wrong, and what would be right.

use std::ops::Range;

/// The text of one model file. `name` is what messages call it (a path relative to the models folder).
#[derive(Debug, Clone)]
pub struct Source {
    /// How messages name the file.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// Line and column of a byte offset, both from 1; columns count characters. An offset beyond the end, or inside
    /// of a character, counts as the nearest place before it.
    pub fn location(&self, offset: usize) -> (usize, usize) {
        let offset = floor_boundary(&self.text, offset);
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before[line_start..].chars().filter(|c| *c != '\u{feff}').count() + 1;
        (line, column)
    }

    /// The line of a byte offset, without its end.
    pub fn line_at(&self, offset: usize) -> &str {
        let offset = floor_boundary(&self.text, offset);
        let start = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[offset..].find('\n').map_or(self.text.len(), |at| offset + at);
        self.text[start..end].trim_end_matches('\r')
    }
}

/// One finding of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The [`Source::name`] of the file.
    pub file: String,
    /// Byte range in the file's text, on character boundaries.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// The finding in one line: `order.yaml:3:15: message (hint)`. `source` is the file that it is about.
    pub fn one_line(&self, source: &Source) -> String {
        let (line, column) = source.location(self.span.start);
        let hint = self.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{}:{line}:{column}: {}{hint}", self.file, self.message)
    }
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_and_in_characters() {
        let source = Source { name: "a.yaml".into(), text: "\u{feff}a: é!\r\nbc\n".into() };
        assert_eq!(source.location(0), (1, 1));
        let exclamation = source.text.find('!').expect("in the text");
        assert_eq!(source.location(exclamation), (1, 5));
        assert_eq!(source.location(exclamation - 1), (1, 4), "inside of a character");
        let c = source.text.find('c').expect("in the text");
        assert_eq!(source.location(c), (2, 2));
        assert_eq!(source.line_at(c), "bc");
        assert_eq!(source.line_at(3), "\u{feff}a: é!");
        assert_eq!(source.location(1000), (3, 1));
    }
}
