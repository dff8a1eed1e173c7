//! `writ dead-letters`: what could not be used, why, and trying it again.

mod change;
mod show;
mod table;

use std::path::Path;
use std::process::ExitCode;

use miette::MietteDiagnostic;
use serde::Serialize;
use writ_consumers::dead_letters::{self, DeadLetters, State, Summary};
use writ_producers::dead_letter::Origin;
use writ_projections::projector::replay;

use crate::{Failure, config};

/// Lines of a list for people.
const LIMIT: usize = 50;

/// What `writ dead-letters` takes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Flags {
    /// Print them, oldest first.
    List(ListFlags),
    /// Print one with all it holds: reason, context, headers, value.
    Show {
        /// As in the list: `writ.commands:3:1204`.
        id: Origin,
        /// One JSON object; what is no text is in hex.
        #[arg(long)]
        json: bool,
    },
    /// Try them again: a command is sent again, an event is folded onto its row again.
    Replay(change::ReplayFlags),
    /// Mark them as done, without another try.
    Drop(change::DropFlags),
}

/// What `writ dead-letters list` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ListFlags {
    /// Print at most so many. 50 if left out, with --json all.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Also those that were replayed or dropped.
    #[arg(long)]
    done: bool,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

/// Why nothing was done, or not all.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum Error {
    #[error("the dead letters can't be looked after")]
    #[diagnostic(help("Nothing is lost: `writ dead-letters list` shows what is still open."))]
    Letters(#[from] dead_letters::Error),
    #[error("no event can be tried again")]
    #[diagnostic(help("Nothing is lost: `writ dead-letters list` shows what is still open."))]
    Replay(#[source] replay::Error),
    #[error("events can't be tried again")]
    #[diagnostic(help("Correct the configuration; `writ config` shows what is in force."))]
    Options(#[source] crate::serve::BoxError),
    #[error("nobody can be asked here whether this is meant")]
    #[diagnostic(help("Say `--yes` if it is."))]
    NoTerminal,
    #[error("the answer can't be read")]
    Answer(#[source] std::io::Error),
    #[error("there is no runtime")]
    Runtime(#[source] std::io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::failed(error)
    }
}

/// Runs one of the subcommands.
pub(crate) fn run(file: Option<&Path>, flags: &Flags) -> Result<ExitCode, Failure> {
    let config = config::load(file, Vec::new())?.config;
    let letters = DeadLetters::new(&config.kafka).map_err(Error::from)?;
    match flags {
        Flags::List(flags) => list(&letters, flags),
        Flags::Show { id, json } => show::run(&letters, id, *json),
        Flags::Replay(flags) => change::replay(&config, &letters, flags),
        Flags::Drop(flags) => change::drop(&letters, flags),
    }
}

fn list(letters: &DeadLetters, flags: &ListFlags) -> Result<ExitCode, Failure> {
    let mut found = letters.list().map_err(Error::from)?;
    if !flags.done {
        found.retain(|letter| letter.state == State::Open);
    }
    let limit = flags.limit.unwrap_or(if flags.json { usize::MAX } else { LIMIT });
    let shown = &found[..found.len().min(limit)];
    if flags.json {
        for letter in shown {
            println!("{}", json(&Json::of(letter))?);
        }
    } else if shown.is_empty() {
        println!("No dead letters.");
    } else {
        print!("{}", table::of(shown));
    }
    if shown.len() < found.len() {
        eprintln!("{} more; --limit N shows more of them.", found.len() - shown.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// A line of `list --json`.
#[derive(Serialize)]
struct Json<'a> {
    id: String,
    at: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    bytes: usize,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_of: Option<&'a str>,
}

impl<'a> Json<'a> {
    fn of(letter: &'a Summary) -> Self {
        Json {
            id: letter.origin.to_string(),
            at: time(letter.at),
            state: letter.state,
            key: letter.key.as_deref().map(show::text_or_hex),
            bytes: letter.size,
            reason: &letter.reason,
            group: letter.group.as_deref(),
            replay_of: letter.replay_of.as_deref(),
        }
    }
}

/// RFC 3339, UTC.
fn time(millis: i64) -> String {
    writ_model::Timestamp(millis).to_string()
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| {
        Failure::failed(MietteDiagnostic::new(format!("a dead letter can't be written as JSON: {error}")))
    })
}
