//! A finding as people, editors and programs want to see it.

use std::ops::Range;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};
use serde::Serialize;

/// What a finding means for those who start the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// It doesn't start with these files.
    Error,
    /// It starts, and does what is probably not meant.
    Warning,
}

/// One finding, with what is needed to show it.
#[derive(Debug)]
pub(super) struct Finding<'a> {
    /// The path as the user would open it.
    pub(super) path: String,
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// Absent for what couldn't be read.
    pub(super) place: Option<Place<'a>>,
}

/// Where in a file.
#[derive(Debug)]
pub(super) struct Place<'a> {
    text: &'a str,
    span: Range<usize>,
}

impl<'a> Place<'a> {
    /// Within the text and between characters, whatever the span says.
    pub(super) fn new(text: &'a str, span: Range<usize>) -> Self {
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let mut end = span.end.clamp(start, text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        Place { text, span: start..end }
    }

    /// Line and column of the byte, in characters, from 1.
    fn line_and_column(&self, byte: usize) -> (usize, usize) {
        let before = &self.text[..byte];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (1 + before.matches('\n').count(), 1 + before[line_start..].chars().count())
    }
}

#[derive(Serialize)]
pub(super) struct Json<'a> {
    severity: Severity,
    file: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Finding<'_> {
    fn start(&self) -> (usize, usize) {
        self.place.as_ref().map_or((1, 1), |place| place.line_and_column(place.span.start))
    }

    pub(super) fn short(&self) -> String {
        let (line, column) = self.start();
        let hint = self.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        let severity = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        format!("{}:{line}:{column}: {severity}{}{hint}", self.path, self.message)
    }

    pub(super) fn to_json(&self) -> Json<'_> {
        let (line, column) = self.start();
        let (end_line, end_column) =
            self.place.as_ref().map_or((1, 1), |place| place.line_and_column(place.span.end));
        Json {
            severity: self.severity,
            file: &self.path,
            line,
            column,
            end_line,
            end_column,
            message: &self.message,
            hint: self.hint.as_deref(),
        }
    }

    pub(super) fn pretty(&self, terminal: bool) -> String {
        let mut diagnostic = MietteDiagnostic::new(match &self.place {
            Some(_) => self.message.clone(),
            None => format!("{}: {}", self.path, self.message),
        });
        diagnostic.help.clone_from(&self.hint);
        diagnostic.severity = Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        });
        let report = match &self.place {
            Some(place) => {
                diagnostic.labels = Some(vec![LabeledSpan::underline(place.span.clone())]);
                Report::new(diagnostic).with_source_code(NamedSource::new(&self.path, place.text.to_owned()))
            }
            None => Report::new(diagnostic),
        };
        let theme = match (terminal, std::env::var_os("NO_COLOR").is_some()) {
            (true, false) => GraphicalTheme::unicode(),
            (true, true) => GraphicalTheme::unicode_nocolor(),
            (false, _) => GraphicalTheme::none(),
        };
        let mut text = String::new();
        // Writing to a String doesn't fail; the short form stands in if the span can't be shown.
        match GraphicalReportHandler::new_themed(theme).render_report(&mut text, report.as_ref()) {
            Ok(()) => text,
            Err(_) => self.short(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "model: order\nfields:\n  größe: { type: txt }\n";

    fn finding(span: Range<usize>) -> Finding<'static> {
        Finding {
            path: "models/order.yaml".into(),
            severity: Severity::Error,
            message: "`txt` is no type".into(),
            hint: Some("Did you mean `text`?".into()),
            place: Some(Place::new(TEXT, span)),
        }
    }

    #[test]
    fn columns_count_characters() {
        let start = TEXT.find("txt").unwrap();
        let finding = finding(start..start + 3);
        assert_eq!(finding.short(), "models/order.yaml:3:18: `txt` is no type (Did you mean `text`?)");
        let json = finding.to_json();
        assert_eq!((json.line, json.column, json.end_line, json.end_column), (3, 18, 3, 21));
    }

    #[test]
    fn a_warning_says_that_it_is_one() {
        let error = finding(0..5);
        let json =
            |finding: &Finding<'_>| serde_json::to_value(finding.to_json()).unwrap()["severity"].clone();
        assert_eq!(json(&error), "error");
        let warning = Finding { severity: Severity::Warning, ..error };
        assert_eq!(json(&warning), "warning");
        assert!(warning.short().starts_with("models/order.yaml:1:1: warning: `txt`"), "{}", warning.short());
        assert_ne!(warning.pretty(false), finding(0..5).pretty(false));
    }

    #[test]
    fn the_source_line_is_underlined() {
        let start = TEXT.find("txt").unwrap();
        let text = finding(start..start + 3).pretty(false);
        for part in ["models/order.yaml:3:", "größe: { type: txt }", "Did you mean `text`?", "^"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains('\x1b'), "no colours outside a terminal:\n{text}");
    }

    #[test]
    fn a_span_that_is_off_is_shown_all_the_same() {
        let inside = TEXT.find('ö').unwrap() + 1;
        for span in
            [inside..inside, 0..usize::MAX, Range { start: usize::MAX, end: 0 }, TEXT.len()..TEXT.len()]
        {
            let finding = finding(span);
            assert!(!finding.pretty(false).is_empty());
            finding.to_json();
        }
        let empty = Finding { place: Some(Place::new("", 0..9)), ..finding(0..0) };
        assert!(empty.pretty(true).contains("`txt` is no type"));
    }
}
