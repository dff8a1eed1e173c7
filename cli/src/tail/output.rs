//! Standard output: lines for people or for programs.

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;

use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::message::{FromServer, Wanted};
use super::text::Lines;

/// How messages are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A line per change, for people.
    Text,
    /// The server's messages as they are, one per line.
    Json,
}

/// Shows messages.
#[derive(Debug)]
pub(super) struct Output {
    /// `None`: as JSON.
    lines: Option<Lines>,
    /// Written elsewhere, so that a reader that takes its time holds up no signal.
    stdout: File,
}

impl Output {
    pub(super) fn new(format: Format, wanted: &Wanted) -> io::Result<Output> {
        // https://no-color.org: any value but the empty one.
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colours = io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb;
        let lines = match format {
            Format::Text => Some(Lines::new(wanted, colours)),
            Format::Json => None,
        };
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Output { lines, stdout: File::from_std(stdout.into()) })
    }

    pub(super) fn format(&self) -> Format {
        if self.lines.is_some() { Format::Text } else { Format::Json }
    }

    /// Returns when all of it is written. A reader that takes its time holds us up here, and through us the server's queue.
    pub(super) async fn show(&mut self, message: &FromServer, text: &str) -> io::Result<()> {
        let shown = match &mut self.lines {
            Some(lines) => lines.of(message),
            None if message.is_of_subscription() => line(text),
            None => return Ok(()),
        };
        if shown.is_empty() {
            return Ok(());
        }
        self.stdout.write_all(shown.as_bytes()).await?;
        // Writes are done elsewhere: only now it is known whether it was written.
        self.stdout.flush().await
    }
}

/// A JSON text as one line: outside of its texts, where they are escaped, a line break means nothing.
fn line(text: &str) -> String {
    let mut line = text.replace(['\n', '\r'], " ");
    line.push('\n');
    line
}
