//! `writ keys`: makes and renews the keys that sign access tokens and seal secrets.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use writ_api::identity::keys;

use crate::Failure;
use crate::config::{Config, load};

/// What `writ keys` takes.
#[derive(Debug, Subcommand)]
pub(crate) enum Flags {
    /// Make the first keys of the application. All its servers need the same ones.
    Init {
        /// Only those that are missing, and succeed if none is.
        #[arg(long)]
        if_missing: bool,
    },
    /// Add the next signing key if it is due; running this every day is enough. Servers take changed files up by themselves.
    Rotate {
        /// Add a new sealing key too. The old ones stay, since they open what they have sealed.
        #[arg(long)]
        sealing: bool,
    },
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the keys can't be made or changed")]
#[diagnostic(help("`writ config` shows where `identity.keys` comes from."))]
struct Error(#[source] keys::Error);

pub(crate) fn run(file: Option<&Path>, flags: &Flags) -> Result<ExitCode, Failure> {
    let config: Config = load(file, Vec::new())?.config;
    let options = &config.identity;
    match flags {
        Flags::Init { if_missing } => {
            let made = if *if_missing { keys::init_missing(options) } else { keys::init(options) };
            let made = made.map_err(failed)?;
            if !made.is_empty() {
                for path in made {
                    println!("made {}", path.display());
                }
                println!(
                    "Every server of the application needs these files. Keep a copy where nobody else reads it."
                );
            }
        }
        Flags::Rotate { sealing } => {
            let changed = keys::rotate(options, *sealing).map_err(failed)?;
            for path in &changed {
                println!("changed {}; bring it to every server within a day", path.display());
            }
            let due = keys::rotation_due(options).map_err(failed)?;
            println!("The next signing key is due at {due}.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(error: keys::Error) -> Failure {
    Failure::usage(Error(error))
}
