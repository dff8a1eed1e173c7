//! `writ tail`: what happens to the rows of a model or an SQL projection, line by line, as a server's live feed tells it (docs/tail.md).
//!
//! [`target`] and [`token`] say where and as whom. [`follow`] goes round: a connection ([`connection`], [`session`]) delivers
//! [`message`]s to [`output`], which shows them as [`text`] or as they are, and from how it ended [`again`] says what comes next.
//!
//! **No gap, no repeat.** The place to go on from moves behind a message once all of it is written to standard output, and only
//! then. Whatever ends a connection, the next one begins at that place, and the server delivers from there on exactly once.

mod again;
mod connection;
mod error;
mod follow;
mod message;
mod output;
mod session;
mod target;
mod text;
mod token;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Failure;
use error::Error;
use follow::Follow;
use output::Format;
use target::Target;
use token::{Credentials, Token};

/// What `writ tail` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The model or SQL projection to follow, such as `order`.
    name: String,
    /// Only this one, by its id or natural key. Not of a projection.
    #[arg(long)]
    id: Option<String>,
    /// Only rows that this holds for, as in lists: `status=paid`, `total[gte]=100`. May be given several times; all must hold.
    #[arg(long = "filter", value_name = "FIELD[OP]=VALUE", value_parser = filter)]
    filters: Vec<(String, String)>,
    /// Show only these fields, separated by commas.
    #[arg(long)]
    fields: Option<String>,
    /// Where to begin: `now`; `snapshot`, all rows first; or the `resume` of an earlier run.
    #[arg(long, value_name = "PLACE", default_value = message::NOW)]
    from: String,
    /// The server.
    #[arg(long, env = "WRIT_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// An API key or access token. Others on this machine can see it while this runs: the variable WRIT_TOKEN and --token-file are
    /// better. An empty one: don't sign in.
    #[arg(long, conflicts_with = "token_file")]
    token: Option<Token>,
    /// The file with the API key or access token, read again for each connection. If left out, the variable WRIT_TOKEN has it; for
    /// a server on this machine also the key of the development stack, .writ/data/api-key.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Lines for people, or the server's messages, one JSON object per line.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Stop when everything up to now is shown: after the rows of `--from snapshot`, or what an earlier run has missed.
    #[arg(long)]
    until_caught_up: bool,
}

/// Splits a filter at its first `=`: no field or operator has one.
fn filter(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a filter is FIELD=VALUE or FIELD[OP]=VALUE, such as total[gte]=100"),
    }
}

/// Follows until a signal, or an error that trying again doesn't mend.
pub(crate) fn run(flags: Flags) -> Result<ExitCode, Failure> {
    let target = Target::parse(&flags.url).map_err(Failure::usage)?;
    let mut filters = BTreeMap::new();
    for (name, value) in flags.filters {
        if filters.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(Error::Repeated { name }));
        }
    }
    let credentials = Credentials::of(flags.token, flags.token_file, &target);
    let Flags { name, id, fields, .. } = flags;
    let wanted = message::Wanted { name, is_projection: false, id, filters, fields };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::failed(Error::Start { action: "there is no runtime", source }))?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signals(stop.clone())?;
        let mut follow =
            Follow::new(target, credentials, wanted, flags.from, flags.until_caught_up, flags.format)?;
        // Large: it holds all of a connection.
        Box::pin(follow.run(&stop)).await
    });
    // A reader that has stopped taking lines may hold a write; the process doesn't wait for it.
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS).map_err(Failure::failed)
}

/// The first signal asks to stop, which takes a moment; the second one ends the process at once.
fn stop_on_signals(stop: CancellationToken) -> Result<(), Error> {
    let listen =
        |kind| signal(kind).map_err(|source| Error::Start { action: "signals can't be received", source });
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    // Not joined: it waits for signals as long as the process lives.
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(0);
            }
            stop.cancel();
        }
    });
    Ok(())
}

/// Says something beside what is shown. That nobody reads it is no reason to stop.
fn notice(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_split_at_its_first_equals_sign() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(filter("total[gte]=100"), pair("total[gte]", "100"));
        assert_eq!(filter("note=a=b"), pair("note", "a=b"));
        assert_eq!(filter("note="), pair("note", ""));
        assert!(filter("total").is_err());
        assert!(filter("=100").is_err());
    }
}
