//! The server's own log, on standard error: pretty on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Loaded, LogFormat};

/// `log.level` is no filter.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("`log.level` (from {origin}) isn't valid: {detail}")]
#[diagnostic(help(
    "Give a level (error, warn, info, debug, trace), or directives such as `info,writ_api=debug`."
))]
pub(crate) struct Error {
    origin: String,
    detail: String,
}

/// Starts logging. Once per process.
pub(crate) fn start(loaded: &Loaded) -> Result<(), Error> {
    let log = &loaded.config.log;
    let invalid = |detail: String| Error { origin: loaded.origin("log.level").to_owned(), detail };
    let filter = EnvFilter::try_new(&log.level).map_err(|error| invalid(error.to_string()))?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = match log.format {
        LogFormat::Auto if terminal => builder.with_ansi(true).try_init(),
        LogFormat::Pretty => builder.with_ansi(terminal).try_init(),
        LogFormat::Auto | LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(true).try_init()
        }
    };
    result.map_err(|error| invalid(error.to_string()))
}
