//! `writ rebuild`: asks for a projection to be built anew beside the one that is live, and follows it.
//!
//! The building is done by a server with the role projector; this command only writes the request into PostgreSQL and
//! looks at how far it is. So it can be interrupted at any time.

mod pace;
mod show;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use writ_projections::rebuild::{self, Build, Followed, Projections, Requested};

use crate::{Failure, config};
use show::Bars;

/// Between two looks at the build.
const LOOK: Duration = Duration::from_millis(250);
/// How long a build may show no sign of life before it is asked whether anybody works on it.
const PATIENCE: Duration = Duration::from_secs(3);
/// What the shell's convention says of a process that SIGINT ended.
const EXIT_INTERRUPTED: u8 = 130;

/// What `writ rebuild` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// What is to be built anew: a model, a SQL projection, or `event_log`. `writ projections` lists them.
    #[arg(value_name = "NAME", required_unless_present = "all")]
    name: Option<String>,
    /// Everything, one after the other.
    #[arg(long, conflicts_with = "name")]
    all: bool,
    /// Only ask for it; don't follow it.
    #[arg(long)]
    detach: bool,
}

/// Why a projection isn't built anew.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum Error {
    #[error("the projections can't be asked")]
    #[diagnostic(help("Nothing was changed. `writ config` shows where PostgreSQL is looked for."))]
    Projections(#[from] rebuild::Error),
    #[error("there is no projection `{name}`")]
    #[diagnostic(help("There are: {known}."))]
    Unknown { name: String, known: String },
    #[error("there is no projection yet")]
    #[diagnostic(help("A server with the role projector makes them when it starts."))]
    None,
    #[error("{names} could not be built anew")]
    #[diagnostic(help(
        "What was live before is live still. Mend what the message names, then run `writ rebuild` again; \
         `writ projections` shows the state of all."
    ))]
    NotBuilt { names: String },
    #[error("there is no runtime")]
    Runtime(#[source] std::io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::failed(error)
    }
}

/// A runtime for a tool: one thread.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)
}

/// Exit code 0 once what was asked for is live, or with `--detach` once it is asked for.
pub(crate) fn run(file: Option<&Path>, flags: &Flags) -> Result<ExitCode, Failure> {
    let config = config::load(file, Vec::new())?.config;
    let code = runtime()?.block_on(async {
        let projections = Projections::new(&config.postgres).map_err(rebuild::Error::from)?;
        rebuild(&projections, flags).await
    })?;
    Ok(code)
}

async fn rebuild(projections: &Projections, flags: &Flags) -> Result<ExitCode, Error> {
    let names = names(projections, flags).await?;
    let mut asked = BTreeMap::new();
    for name in names {
        let (build, said) = match projections.request(&name).await? {
            Requested::Begun(generation) => (generation, "is asked for"),
            Requested::Under(generation) => (generation, "is under way already"),
            Requested::Unknown => return Err(unknown(projections, name).await?),
        };
        println!("{name}: generation {build} {said}");
        asked.insert(name, build);
    }
    if !projections.has_builder().await? {
        eprintln!(
            "No server builds at the moment: this waits for one with the role projector (`writ serve`)."
        );
    }
    if flags.detach {
        println!("`writ projections` shows how far it is.");
        return Ok(ExitCode::SUCCESS);
    }
    tokio::select! {
        followed = follow(projections, asked) => followed,
        _ = tokio::signal::ctrl_c() => {
            eprintln!(
                "Not followed any more. The server goes on building; `writ projections` shows how far it is, and \
                 the same command follows it again."
            );
            Ok(ExitCode::from(EXIT_INTERRUPTED))
        }
    }
}

async fn names(projections: &Projections, flags: &Flags) -> Result<Vec<String>, Error> {
    if let Some(name) = &flags.name {
        return Ok(vec![name.clone()]);
    }
    let all: Vec<String> = projections.list().await?.into_iter().map(|one| one.name).collect();
    if all.is_empty() { Err(Error::None) } else { Ok(all) }
}

async fn unknown(projections: &Projections, name: String) -> Result<Error, Error> {
    let known: Vec<String> = projections.list().await?.into_iter().map(|one| one.name).collect();
    Ok(if known.is_empty() { Error::None } else { Error::Unknown { name, known: known.join(", ") } })
}

/// Until all of them have ended, one way or the other.
async fn follow(projections: &Projections, mut asked: BTreeMap<String, i32>) -> Result<ExitCode, Error> {
    let mut bars = Bars::new(asked.keys());
    let mut failed = Vec::new();
    let mut alive = Instant::now();
    let mut before: Vec<Build> = Vec::new();
    while !asked.is_empty() {
        let mut seen = Vec::new();
        for (name, generation) in asked.clone() {
            match projections.follow(&name, generation).await? {
                Followed::Building(build) => {
                    bars.show(&name, &build);
                    if let Some(error) = build.error.clone() {
                        bars.failed(&name, &error, build.error_at.as_deref());
                        failed.push(name.clone());
                        asked.remove(&name);
                    }
                    seen.push(build);
                }
                Followed::Live { generation } => {
                    bars.done(&name, generation);
                    asked.remove(&name);
                }
                Followed::Gone => {
                    bars.failed(&name, "the build was given up: nobody declares it any more", None);
                    failed.push(name.clone());
                    asked.remove(&name);
                }
            }
        }
        if seen != before {
            (before, alive) = (seen, Instant::now());
        } else if alive.elapsed() > PATIENCE {
            alive = Instant::now();
            if !projections.has_builder().await? {
                bars.waiting(asked.keys());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    match failed.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Err(Error::NotBuilt { names: failed.join(", ") }),
    }
}
