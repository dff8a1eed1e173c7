//! Collects the findings of one file, errors and warnings, and words what they have in common.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, Source};

/// The findings of one file.
pub(super) struct Report<'a> {
    source: &'a Source,
    found: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Report { source, found: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn error(&mut self, span: &Range<usize>, message: impl Into<String>, hint: impl Into<Hint>) {
        let error = self.diagnostic(span, message, hint);
        self.found.push(error);
    }

    /// Says what is right by the language and still probably not meant.
    pub(super) fn warning(&mut self, span: &Range<usize>, message: impl Into<String>, hint: impl Into<Hint>) {
        let warning = self.diagnostic(span, message, hint);
        self.warnings.push(warning);
    }

    fn diagnostic(
        &self,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: impl Into<Hint>,
    ) -> Diagnostic {
        Diagnostic {
            file: self.source.name.clone(),
            span: span.clone(),
            // A message about an expression of several lines may quote the end of one.
            message: message.into().replace(char::is_control, " "),
            hint: hint.into().0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// The text of the file.
    pub(super) fn text(&self) -> &'a str {
        &self.source.text
    }

    /// Errors, then warnings, both in the order of the text, each once.
    pub(super) fn finish(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let in_order = |mut found: Vec<Diagnostic>| {
            found.sort_by_key(|found| found.span.start);
            found.dedup();
            found
        };
        (in_order(self.found), in_order(self.warnings))
    }
}

/// What would be right, if there is something to say.
pub(super) struct Hint(Option<String>);

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Hint(Some(text.to_owned()))
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Hint(Some(text))
    }
}

impl From<Option<String>> for Hint {
    fn from(text: Option<String>) -> Self {
        Hint(text)
    }
}

/// `name` as a message shows it: in one line, not longer than a message can bear.
pub(super) fn shown(name: &str) -> String {
    const LONGEST: usize = 60;
    let mut text: String = name.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if name.chars().nth(LONGEST).is_some() {
        text.push('…');
    }
    // The quotes of an expression are no danger to a message.
    format!("`{}`", text.replace("\\'", "'").replace("\\\"", "\""))
}

/// `did you mean …?` where one of the known names is near, else the list of them.
pub(super) fn suggest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(name, &known) {
        return Some(format!("did you mean `{near}`?"));
    }
    match known.len() {
        0 => None,
        1 => Some(format!("there is only `{}`", known[0])),
        2..=24 => Some(format!("one of {}", list(known))),
        _ => None,
    }
}

/// The names in backticks, separated by commas.
pub(super) fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    // Names are at most 48 characters long. The distance of longer ones costs too much to be worth it.
    let length = name.chars().count();
    if length > 64 {
        return None;
    }
    let name = name.to_lowercase();
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance <= length.max(candidate.len()).div_ceil(3))
        // Of two that are equally far the one with the same beginning: `payed` is `paid`, not `placed`.
        .min_by(|(one, a), (other, b)| {
            let alike =
                |candidate: &str| name.chars().zip(candidate.chars()).take_while(|(a, b)| a == b).count();
            one.cmp(other).then(alike(b).cmp(&alike(a)))
        })
        .filter(|(distance, candidate)| *distance < candidate.chars().count())
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested() {
        assert_eq!(suggest("plced", ["placed", "paid"]).as_deref(), Some("did you mean `placed`?"));
        assert_eq!(suggest("payed", ["placed", "paid"]).as_deref(), Some("did you mean `paid`?"));
        assert_eq!(suggest("Text", ["text", "date"]).as_deref(), Some("did you mean `text`?"));
        assert_eq!(suggest("zzz", ["placed", "paid"]).as_deref(), Some("one of `placed`, `paid`"));
        assert_eq!(suggest("x", ["y"]).as_deref(), Some("there is only `y`"));
        assert_eq!(suggest("x", []), None);
    }

    #[test]
    fn a_long_name_is_cut_and_kept_in_one_line() {
        let text = shown(&"a\n".repeat(100));
        assert!(text.ends_with("…`"), "{text}");
        assert!(!text.contains('\n'));
        assert_eq!(shown("'a'"), "`'a'`");
    }
}
