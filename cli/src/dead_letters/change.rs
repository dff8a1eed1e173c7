//! Trying dead letters again, and giving them up.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use writ_consumers::dead_letters::{Changes, DeadLetters, Summary};
use writ_producers::dead_letter::{Mark, Origin};
use writ_producers::registry::Registry;
use writ_projections::cache::Cache;
use writ_projections::projector::replay::{Replay, Replayed};

use super::Error;
use crate::config::Config;
use crate::{Failure, check};

/// What `writ dead-letters replay` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayFlags {
    #[command(flatten)]
    which: Which,
    /// Also a letter that was replayed or dropped before.
    #[arg(long, conflicts_with = "all")]
    again: bool,
}

/// What `writ dead-letters drop` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DropFlags {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// As in the list: `writ.commands:3:1204`.
    #[arg(required_unless_present = "all")]
    ids: Vec<Origin>,
    /// All that are open.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Without a question.
    #[arg(long)]
    yes: bool,
}

impl Which {
    fn pick(&self, changes: &Changes<'_>, again: bool) -> Result<Vec<Summary>, Error> {
        if self.all {
            return Ok(changes.open());
        }
        self.ids.iter().map(|id| Ok(changes.pick(id, again)?)).collect()
    }
}

/// Sends commands again, folds events again. Exit code 1 if an event still can't be applied.
pub(super) fn replay(
    config: &Config,
    letters: &DeadLetters,
    flags: &ReplayFlags,
) -> Result<ExitCode, Failure> {
    let mut changes = letters.begin().map_err(Error::from)?;
    let picked = flags.which.pick(&changes, flags.again)?;
    if flags.which.all && !confirmed(flags.which.yes, "Replay", picked.len())? {
        return Ok(ExitCode::SUCCESS);
    }
    let (commands, events): (Vec<Summary>, Vec<Summary>) =
        picked.into_iter().partition(|letter| letters.is_command(&letter.origin));
    // Some of all can't be sent: the others are not to wait for them.
    let (keyed, keyless): (Vec<Summary>, Vec<Summary>) =
        commands.into_iter().partition(|letter| letter.key.is_some() || !flags.which.all);
    for letter in &keyless {
        println!("{}  not sent: it has no key, so no decider could ever take it; drop it", letter.origin);
    }
    let mut sent = 0;
    changes
        .send(&keyed, |count| {
            for letter in &keyed[sent..sent + count] {
                println!("{}  sent again", letter.origin);
            }
            sent += count;
        })
        .map_err(Error::from)?;
    let refused = if events.is_empty() { 0 } else { fold(config, &mut changes, &events)? };
    Ok(ExitCode::from(u8::from(refused + keyless.len() > 0)))
}

/// How many were refused.
fn fold(config: &Config, changes: &mut Changes<'_>, events: &[Summary]) -> Result<usize, Failure> {
    let (models, _) = check::load(&config.app, &config.models)?;
    let models = Arc::new(models);
    let registry = Registry::new(&config.registry).map_err(|error| Error::Options(error.into()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    // Its pool belongs to the runtime.
    let _inside = runtime.enter();
    let (prefix, schema) = (&config.kafka.topic_prefix, &config.postgres.schema);
    let cache = Cache::new(&config.redis, prefix, schema).map_err(|error| Error::Options(error.into()))?;
    let replay = Replay::new(&config.postgres, &config.kafka, registry, models, cache)
        .map_err(|error| Error::Options(error.into()))?;
    let mut refused = 0;
    for letter in events {
        let origin = &letter.origin;
        let said = match runtime.block_on(replay.apply(origin)).map_err(Error::Replay)? {
            Replayed::Applied { is_cached: false } => "its row has it now".to_owned(),
            Replayed::Applied { is_cached: true } => {
                "its row has it now; Redis doesn't answer, so queries may show the row as it was for a minute"
                    .to_owned()
            }
            Replayed::AlreadyThere => "its row had it already".to_owned(),
            Replayed::Refused(reason) => {
                refused += 1;
                println!("{origin}  not applied: {reason}");
                continue;
            }
        };
        // The row first: if this fails, another replay finds that the row has it.
        changes.mark(std::slice::from_ref(origin), Mark::Replayed).map_err(Error::from)?;
        println!("{origin}  {said}");
    }
    Ok(refused)
}

/// Marks letters as dropped.
pub(super) fn drop(letters: &DeadLetters, flags: &DropFlags) -> Result<ExitCode, Failure> {
    let mut changes = letters.begin().map_err(Error::from)?;
    let picked = flags.which.pick(&changes, false)?;
    if !confirmed(flags.which.yes, "Drop", picked.len())? {
        return Ok(ExitCode::SUCCESS);
    }
    let origins: Vec<Origin> = picked.into_iter().map(|letter| letter.origin).collect();
    changes.mark(&origins, Mark::Dropped).map_err(Error::from)?;
    for origin in origins {
        println!("{origin}  dropped");
    }
    Ok(ExitCode::SUCCESS)
}

fn confirmed(yes: bool, what: &str, count: usize) -> Result<bool, Error> {
    if count == 0 {
        println!("No dead letters are open.");
        return Ok(false);
    }
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::NoTerminal);
    }
    print!("{what} {count} dead {}? [y/N] ", if count == 1 { "letter" } else { "letters" });
    std::io::stdout().flush().map_err(Error::Answer)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Error::Answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
