//! `writ check`: every error of every model file, with its place and what would be right; and warnings of what is right by the
//! language and probably not meant. With `--against` also what the events in Kafka and their readers wouldn't bear.

mod against;
mod finding;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use miette::MietteDiagnostic;
use writ_identity::models;
use writ_model::Models;
use writ_model::compatibility;
use writ_model::diagnostic::Diagnostic;

use self::finding::{Finding, Place, Severity};
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
    /// Compare the events with every version that the schema registry has of them; the configured registry if URL is left
    /// out.
    #[arg(long, value_name = "URL", num_args = 0..=1)]
    against: Option<Option<String>>,
    /// How findings are printed. `short`: `file:line:column: message`, with `warning:` before that of a warning; `json`: one
    /// object per line.
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

/// The models of a folder that don't fit the events in Kafka.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error(
    "{} of the models in {} would break the reading of events (shown above)",
    count(*changes, "change"),
    folder.display()
)]
#[diagnostic(help(
    "Take one of the ways out; `writ check --against` compares again without starting the server."
))]
pub(crate) struct Incompatible {
    folder: PathBuf,
    changes: usize,
}

/// Prints every finding. Exit code 1 if there is an error.
pub(crate) fn run(file: Option<&Path>, flags: &Flags) -> Result<ExitCode, Failure> {
    if flags.schema {
        println!("{:#}", writ_model::json_schema::of_language());
        return Ok(ExitCode::SUCCESS);
    }
    let config = config::load(file, Vec::new())?.config;
    let folder = flags.folder.as_ref().unwrap_or(&config.models);
    let files = model_files::read(folder).map_err(Failure::usage)?;
    let models = match check(&config.app, folder, &files) {
        Ok(models) => models,
        Err(errors) => {
            print(flags.format, &errors)?;
            if matches!(flags.format, Format::Pretty) {
                let files = count(files.sources.len() + files.unreadable.len(), "file");
                println!("{files}, {}.", count(errors.len(), "error"));
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let warnings = models.warnings.iter().cloned();
    let warnings: Vec<_> =
        warnings.map(|warning| placed(folder, &files, Severity::Warning, warning)).collect();
    print(flags.format, &warnings)?;
    if matches!(flags.format, Format::Pretty) {
        let declared = models.models.keys().map(String::as_str);
        let names: Vec<_> = declared.filter(|name| !writ_identity::models::is_built_in(name)).collect();
        let files = count(files.sources.len(), "file");
        let projections: Vec<_> = models.projections.keys().map(String::as_str).collect();
        let channels: Vec<_> = models.channels.keys().map(String::as_str).collect();
        let listed = |names: &[&str], what| match names.len() {
            0 => String::new(),
            several => format!("; {}: {}", count(several, what), names.join(", ")),
        };
        let more = listed(&projections, "projection") + &listed(&channels, "channel");
        let warnings = match warnings.len() {
            0 => String::new(),
            several => format!(", {} (shown above)", count(several, "warning")),
        };
        println!(
            "{files}, {}: {}{more}. No errors{warnings}.",
            count(names.len(), "model"),
            names.join(", ")
        );
    }
    let Some(url) = &flags.against else { return Ok(ExitCode::SUCCESS) };
    let comparison = against::compare(&config, url.as_deref(), &models)?;
    print(flags.format, &located(folder, &files, &comparison.findings))?;
    if matches!(flags.format, Format::Pretty) {
        against::print_summary(&config.kafka.topic_prefix, &comparison);
    }
    Ok(ExitCode::from(u8::from(!comparison.findings.is_empty())))
}

fn print(format: Format, findings: &[Finding<'_>]) -> Result<(), Failure> {
    for finding in findings {
        match format {
            Format::Pretty => println!("{}", finding.pretty(std::io::stdout().is_terminal())),
            Format::Short => println!("{}", finding.short()),
            Format::Json => println!("{}", serde_json::to_string(&finding.to_json()).map_err(internal)?),
        }
    }
    Ok(())
}

/// The models of `folder` for a server, with their files; what is wrong with them goes to standard error.
pub(crate) fn load(app: &str, folder: &Path) -> Result<(Models, ModelFiles), Failure> {
    let files = model_files::read(folder).map_err(Failure::usage)?;
    let errors = match check(app, folder, &files) {
        Ok(models) => return Ok((models, files)),
        Err(errors) => {
            show(&errors);
            errors.len()
        }
    };
    Err(Failure::failed(Invalid { folder: folder.to_owned(), errors }))
}

/// What a server says that finds events in Kafka which its models can't read; the findings go to standard error.
pub(crate) fn incompatible(folder: &Path, files: &ModelFiles, found: &[compatibility::Finding]) -> Failure {
    show(&located(folder, files, found));
    Failure::failed(Incompatible { folder: folder.to_owned(), changes: found.len() })
}

fn show(findings: &[Finding<'_>]) {
    for finding in findings {
        eprintln!("{}", finding.pretty(std::io::stderr().is_terminal()));
    }
}

fn internal(error: serde_json::Error) -> Failure {
    Failure::failed(MietteDiagnostic::new(format!("a finding can't be written as JSON: {error}")))
}

/// Errors: all of them, at least one.
fn check<'a>(app: &str, folder: &Path, files: &'a ModelFiles) -> Result<Models, Vec<Finding<'a>>> {
    let mut findings: Vec<_> = files
        .unreadable
        .iter()
        .map(|file| Finding {
            path: path(folder, &file.name),
            severity: Severity::Error,
            message: file.message.clone(),
            hint: Some(file.hint.to_owned()),
            place: None,
        })
        .collect();
    if files.sources.is_empty() && findings.is_empty() {
        findings.push(Finding {
            path: folder.display().to_string(),
            severity: Severity::Error,
            message: "there is no model file".into(),
            hint: Some("A model is a file whose name ends in .yaml or .yml.".into()),
            place: None,
        });
    }
    match models::check(app, &files.sources) {
        Ok(models) if findings.is_empty() => Ok(models),
        Ok(_) => Err(findings),
        Err(diagnostics) => {
            let placed = |diagnostic| placed(folder, files, Severity::Error, diagnostic);
            findings.extend(diagnostics.into_iter().map(placed));
            Err(findings)
        }
    }
}

/// The path as the user would open it.
fn path(folder: &Path, name: &str) -> String {
    let path = if name.is_empty() { folder.to_owned() } else { folder.join(name) };
    path.display().to_string()
}

fn placed<'a>(
    folder: &Path,
    files: &'a ModelFiles,
    severity: Severity,
    diagnostic: Diagnostic,
) -> Finding<'a> {
    let source = files.sources.iter().find(|source| source.name == diagnostic.file);
    Finding {
        path: path(folder, &diagnostic.file),
        severity,
        place: source.map(|source| Place::new(&source.text, diagnostic.span)),
        message: diagnostic.message,
        hint: diagnostic.hint,
    }
}

fn located<'a>(folder: &Path, files: &'a ModelFiles, found: &[compatibility::Finding]) -> Vec<Finding<'a>> {
    let diagnostics = found.iter().map(|finding| finding.diagnostic(&files.sources));
    diagnostics.map(|diagnostic| placed(folder, files, Severity::Error, diagnostic)).collect()
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
