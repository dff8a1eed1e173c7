//! `writ check`: every error of every model file, with its place and what would be right.

use std::io::IsTerminal;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};
use serde::Serialize;
use writ_model::Models;

use crate::model_files::{self, ModelFiles};
use crate::{Failure, config};

/// What `writ check` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The folder of model files; the configured one if left out.
    folder: Option<PathBuf>,
    /// Print the JSON Schema of the model language, for editors, and check nothing.
    #[arg(long)]
    schema: bool,
    /// How findings are printed. `short`: `file:line:column: message`; `json`: one object per line.
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Pretty,
    Short,
    Json,
}

/// The models of a folder that `serve` can't start with.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the models in {} have {} (shown above)", folder.display(), count(*errors, "error"))]
#[diagnostic(help("Correct them; `writ check` shows them again without starting the server."))]
pub(crate) struct Invalid {
    folder: PathBuf,
    errors: usize,
}

/// Prints every finding. Exit code 1 if there is one.
pub(crate) fn run(file: Option<&Path>, flags: &Flags) -> Result<ExitCode, Failure> {
    if flags.schema {
        println!("{:#}", writ_model::json_schema::of_language());
        return Ok(ExitCode::SUCCESS);
    }
    let config = config::load(file, Vec::new())?.config;
    let folder = flags.folder.as_ref().unwrap_or(&config.models);
    let files = model_files::read(folder).map_err(Failure::usage)?;
    let (result, findings) = check(&config.app, folder, &files);
    for finding in &findings {
        match flags.format {
            Format::Pretty => println!("{}", finding.pretty(std::io::stdout().is_terminal())),
            Format::Short => println!("{}", finding.short()),
            Format::Json => println!("{}", serde_json::to_string(&finding.to_json()).map_err(internal)?),
        }
    }
    if matches!(flags.format, Format::Pretty) {
        let files = count(files.sources.len() + files.unreadable.len(), "file");
        match &result {
            Some(models) => {
                let names: Vec<_> = models.models.keys().map(String::as_str).collect();
                println!("{files}, {}: {}. No errors.", count(names.len(), "model"), names.join(", "));
            }
            None => println!("{files}, {}.", count(findings.len(), "error")),
        }
    }
    Ok(ExitCode::from(u8::from(result.is_none())))
}

/// The models of `folder` for a server; what is wrong with them goes to standard error.
pub(crate) fn load(app: &str, folder: &Path) -> Result<Models, Failure> {
    let files = model_files::read(folder).map_err(Failure::usage)?;
    let (result, findings) = check(app, folder, &files);
    result.ok_or_else(|| {
        for finding in &findings {
            eprintln!("{}", finding.pretty(std::io::stderr().is_terminal()));
        }
        Failure::failed(Invalid { folder: folder.to_owned(), errors: findings.len() })
    })
}

fn internal(error: serde_json::Error) -> Failure {
    Failure::failed(MietteDiagnostic::new(format!("a finding can't be written as JSON: {error}")))
}

/// `None` and at least one finding, or the models and none.
fn check<'a>(app: &str, folder: &Path, files: &'a ModelFiles) -> (Option<Models>, Vec<Finding<'a>>) {
    let path = |name: &str| if name.is_empty() { folder.to_owned() } else { folder.join(name) };
    let mut findings: Vec<_> = files
        .unreadable
        .iter()
        .map(|file| Finding {
            path: path(&file.name).display().to_string(),
            message: file.message.clone(),
            hint: Some(file.hint.to_owned()),
            place: None,
        })
        .collect();
    if files.sources.is_empty() && findings.is_empty() {
        findings.push(Finding {
            path: folder.display().to_string(),
            message: "there is no model file".into(),
            hint: Some("A model is a file whose name ends in .yaml or .yml.".into()),
            place: None,
        });
    }
    match Models::check(app, &files.sources) {
        Ok(models) if findings.is_empty() => (Some(models), findings),
        Ok(_) => (None, findings),
        Err(diagnostics) => {
            findings.extend(diagnostics.into_iter().map(|diagnostic| {
                let source = files.sources.iter().find(|source| source.name == diagnostic.file);
                Finding {
                    path: path(&diagnostic.file).display().to_string(),
                    place: source.map(|source| Place::new(&source.text, diagnostic.span)),
                    message: diagnostic.message,
                    hint: diagnostic.hint,
                }
            }));
            (None, findings)
        }
    }
}

/// One finding, with what is needed to show it.
#[derive(Debug)]
struct Finding<'a> {
    /// The path as the user would open it.
    path: String,
    message: String,
    hint: Option<String>,
    /// Absent for what couldn't be read.
    place: Option<Place<'a>>,
}

/// Where in a file.
#[derive(Debug)]
struct Place<'a> {
    text: &'a str,
    span: Range<usize>,
}

impl<'a> Place<'a> {
    /// Within the text and between characters, whatever the span says.
    fn new(text: &'a str, span: Range<usize>) -> Self {
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
struct Json<'a> {
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

    fn short(&self) -> String {
        let (line, column) = self.start();
        let hint = self.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{}:{line}:{column}: {}{hint}", self.path, self.message)
    }

    fn to_json(&self) -> Json<'_> {
        let (line, column) = self.start();
        let (end_line, end_column) =
            self.place.as_ref().map_or((1, 1), |place| place.line_and_column(place.span.end));
        Json {
            file: &self.path,
            line,
            column,
            end_line,
            end_column,
            message: &self.message,
            hint: self.hint.as_deref(),
        }
    }

    fn pretty(&self, terminal: bool) -> String {
        let mut diagnostic = MietteDiagnostic::new(match &self.place {
            Some(_) => self.message.clone(),
            None => format!("{}: {}", self.path, self.message),
        });
        diagnostic.help.clone_from(&self.hint);
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

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "model: order\nfields:\n  größe: { type: txt }\n";

    fn finding(span: Range<usize>) -> Finding<'static> {
        Finding {
            path: "models/order.yaml".into(),
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
