//! `writ repartition`: more partitions for the commands, while all servers are stopped.

use std::path::Path;
use std::process::ExitCode;

use writ_consumers::repartition::{self, Plan, Progress, Repartition};

use crate::{Failure, config};

/// What `writ repartition` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// How many partitions `writ.commands` and `writ.state` shall have. Not fewer than they have.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: i32,
    /// Only say what would be moved.
    #[arg(long, visible_alias = "dry-run")]
    check: bool,
}

/// Nothing was done, or not all.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the partitions can't be changed")]
#[diagnostic(help("docs/operations.md has the steps."))]
struct Failed {
    #[source]
    source: repartition::Error,
}

/// Exit code 0 once the new number holds.
pub(crate) fn run(file: Option<&Path>, flags: &Flags) -> Result<ExitCode, Failure> {
    let kafka = config::load(file, Vec::new())?.config.kafka;
    let repartition = Repartition::new(&kafka, flags.partitions);
    let failed = |source| Failure::failed(Failed { source });
    if flags.check {
        println!("{}", described(&repartition.check().map_err(failed)?));
        println!("Nothing was changed.");
        return Ok(ExitCode::SUCCESS);
    }
    repartition
        .run(|progress| match progress {
            Progress::Planned(plan) => println!("{}", described(plan)),
            Progress::Moved { partition, records } => {
                println!("partition {partition}: {records} records moved elsewhere");
            }
            Progress::Proved(digest) => {
                println!("after:  {} records, digest {digest}, each where its key belongs", digest.records);
            }
            Progress::Late { commands } => eprintln!(
                "{commands} commands arrived meanwhile: a server with the role api still runs. Those that stand where \
                 their keys don't belong any more will go to the dead letters; `writ dead-letters replay` sends them again."
            ),
        })
        .map_err(failed)?;
    println!(
        "Done. Set kafka.partitions = {} for every server before it starts (writ.toml or WRIT_KAFKA_PARTITIONS).",
        flags.partitions
    );
    Ok(ExitCode::SUCCESS)
}

fn described(plan: &Plan) -> String {
    let Plan { commands, state, wanted, digest, to_move, .. } = plan;
    let resumed = match state > commands {
        true => " (an earlier run was interrupted; going on)",
        false => "",
    };
    format!(
        "{commands} partitions become {wanted}{resumed}: {to_move} of {} records belong elsewhere\n\
         before: {} records, digest {digest}",
        digest.records, digest.records
    )
}
