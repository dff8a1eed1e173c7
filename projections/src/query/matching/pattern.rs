//! `LIKE` and `ILIKE`: `%` stands for any characters, `_` for one, `\` before a character makes it a plain one.
//!
//! `ILIKE` is `LIKE` of both sides in lower case, character by character by the simple mapping of Unicode, as PostgreSQL's
//! collation `pg_c_utf8` has it, which the SQL of `filter.rs` names for that reason: whatever the database's own
//! collation is, one character becomes one, and it doesn't matter which language the text is of or what stands beside it.
//! Both sides have their own edition of Unicode: a letter that is newer than one of them has no lower case there.
//!
//! A pattern falls into the pieces between its `%`. The first one begins the text, the last one ends it, and each of those in
//! between is looked for behind the one before; the first place will do, since each piece has its fixed number of
//! characters.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    ignores_case: bool,
    /// At least one.
    pieces: Vec<Piece>,
}

/// What stands between two `%`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Piece {
    /// `None`: any one.
    chars: Vec<Option<char>>,
    /// All of them, unless there is a `None`: it is found faster.
    text: String,
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Pattern {
        let (mut pieces, mut piece) = (Vec::new(), Piece::default());
        let mut chars = pattern.chars();
        while let Some(char) = chars.next() {
            match char {
                '%' => pieces.push(std::mem::take(&mut piece)),
                '_' => piece.chars.push(None),
                // The parser has refused one at the end.
                '\\' => piece.chars.extend(chars.next().map(Some)),
                char => piece.chars.push(Some(char)),
            }
        }
        pieces.push(piece);
        for piece in &mut pieces {
            piece.text = piece.chars.iter().copied().collect::<Option<String>>().unwrap_or_default();
        }
        Pattern { ignores_case: false, pieces }
    }

    pub(super) fn ignoring_case(pattern: &str) -> Pattern {
        Pattern { ignores_case: true, ..Pattern::new(&lower(pattern)) }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        if self.ignores_case { self.is_like(&lower(text)) } else { self.is_like(text) }
    }

    fn is_like(&self, text: &str) -> bool {
        let [first, others @ ..] = &*self.pieces else { return false };
        let Some(rest) = first.strip(text) else { return false };
        let [between @ .., last] = others else { return rest.is_empty() };
        let behind = between.iter().try_fold(rest, |rest, piece| piece.find(rest));
        behind.is_some_and(|rest| last.ends(rest))
    }
}

impl Piece {
    /// What is behind it, if `text` begins with it.
    fn strip<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut rest = text.chars();
        for wanted in &self.chars {
            let found = rest.next()?;
            if wanted.is_some_and(|wanted| wanted != found) {
                return None;
            }
        }
        Some(rest.as_str())
    }

    /// What is behind the first place where it is.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        if !self.text.is_empty() {
            return text.split_once(&*self.text).map(|(_, rest)| rest);
        }
        let mut rest = text.chars();
        loop {
            if let Some(behind) = self.strip(rest.as_str()) {
                return Some(behind);
            }
            rest.next()?;
        }
    }

    fn ends(&self, text: &str) -> bool {
        let Some(before_last) = self.chars.len().checked_sub(1) else { return true };
        let begin = text.char_indices().rev().nth(before_last);
        begin.is_some_and(|(begin, _)| self.strip(&text[begin..]).is_some())
    }
}

/// In lower case, each character for itself.
pub(super) fn lower(text: &str) -> String {
    // More than one only for `İ`, of which the simple mapping has the first.
    text.chars().map(|char| char.to_lowercase().next().unwrap_or(char)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the words of PostgreSQL's manual have it, trying everything.
    fn is_like(text: &[char], pattern: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['%', rest @ ..] => (0..=text.len()).any(|skipped| is_like(&text[skipped..], rest)),
            ['_', rest @ ..] => !text.is_empty() && is_like(&text[1..], rest),
            ['\\', char, rest @ ..] | [char, rest @ ..] => {
                text.first() == Some(char) && is_like(&text[1..], rest)
            }
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_trying_everything_matches(text in "[abé%]{0,8}", pattern in "([abé%_]|\\\\[ab%_]){0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), is_like(&chars(&text), &chars(&pattern)));
        }
    }

    #[test]
    fn case_is_that_of_each_character() {
        for (text, pattern, expected) in [
            ("Große Straße", "%STRAßE", true),
            ("Große Straße", "%STRASSE", false),
            ("ΣΑΣ", "σασ", true),
            ("ΣΑΣ", "σας", false),
            ("İstanbul", "istanbul", true),
            ("A_b", "a\\_B", true),
            ("Axb", "a\\_B", false),
        ] {
            assert_eq!(Pattern::ignoring_case(pattern).matches(text), expected, "{text} ~ {pattern}");
        }
    }
}
