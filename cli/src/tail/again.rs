//! What follows from the end of a connection: another one, or an error. Pure: how it ended goes in, what to do comes out.
//!
//! Until something was followed every failure is an error, since it is likely one of the command line. Later, what may pass by
//! itself is tried again for as long as it takes, from the place that was reached.

use std::io;
use std::time::Duration;

use super::error::Error;
use super::message::{Problem, Wanted};
use super::target::Target;
use super::text::clean;
use super::token::Credentials;

/// Before the second try; doubled with every further one.
const FIRST: Duration = Duration::from_millis(500);
/// Longest time between two tries, unless the server asks for more.
const LONGEST: Duration = Duration::from_secs(30);
/// Longest time that a server may ask for.
const PATIENCE: Duration = Duration::from_secs(300);

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// There was none.
    Unreachable(io::Error),
    /// The handshake was answered with an error.
    Refused { status: u16, problem: Option<Problem>, retry_after: Option<Duration> },
    /// It broke.
    Broken(String),
    /// The server closed it.
    Closed { code: u16, reason: String },
    /// The server stops, and said when to come back.
    Reconnect(Duration),
    /// The subscription was too slow.
    Lagged,
    /// The subscription would show something else now.
    Permissions,
    /// The subscription can't be, or can't go on.
    Problem(Problem),
    /// This isn't the protocol.
    Foreign(String),
    /// Trying again is of no use.
    Fatal(Error),
}

/// Another connection.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) after: Duration,
    /// Why, for people.
    pub(super) why: String,
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// As long as the server says, or not at all: its word has its own jitter.
    Exactly(Duration),
    /// At least so long.
    AtLeast(Duration),
}

/// As long as trying again takes by itself.
const USUAL: Wait = Wait::AtLeast(Duration::ZERO);
const AT_ONCE: Wait = Wait::Exactly(Duration::ZERO);

/// What an error tells of.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) target: &'a Target,
    pub(super) wanted: &'a Wanted,
    pub(super) credentials: &'a Credentials,
    /// The credentials have changed since they were sent.
    pub(super) renewed: bool,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Something was followed once.
    followed: bool,
    /// Ends since then.
    failures: u32,
}

impl Tries {
    /// Something is followed: what comes now is a new failure.
    pub(super) fn follows(&mut self) {
        self.followed = true;
        self.failures = 0;
    }

    /// Whether nothing was followed yet.
    pub(super) fn is_first(&self) -> bool {
        !self.followed
    }

    /// What to do. `share`: from 0 to 1, another one each time, so that many don't come back at once.
    pub(super) fn next(&mut self, end: End, about: About<'_>, share: f64) -> Result<Again, Error> {
        let (wait, why) = self.may_pass(end, about)?;
        let delay = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST).mul_f64(0.5 + share / 2.0);
        let after = match wait {
            Wait::Exactly(time) if self.failures == 0 => time,
            Wait::Exactly(time) | Wait::AtLeast(time) => delay.max(time),
        };
        self.failures += 1;
        Ok(Again { after: after.min(PATIENCE), why })
    }

    /// The time that was asked for, and why it ended; or the error, if it won't pass by itself.
    fn may_pass(&self, end: End, about: About<'_>) -> Result<(Wait, String), Error> {
        let url = about.target.base.clone();
        let first = self.is_first();
        match end {
            End::Fatal(error) => Err(error),
            End::Reconnect(after) => Ok((Wait::Exactly(after), "The server stops.".to_owned())),
            End::Lagged => {
                let why = "More happened than was taken from here in time, and the server let go.";
                Ok((AT_ONCE, why.to_owned()))
            }
            End::Permissions => Ok((AT_ONCE, "What may be read here has changed.".to_owned())),
            End::Unreachable(source) if first && is_of_tls(&source) => {
                Err(Error::NoTls { url, source: source.into() })
            }
            End::Unreachable(source) if first => Err(Error::Unreachable { url, source: source.into() }),
            End::Unreachable(source) => Ok((USUAL, format!("The server isn't there: {source}."))),
            End::Broken(detail) if first => Err(Error::Lost { url, detail: clean(&detail) }),
            End::Broken(detail) => Ok((USUAL, format!("The connection is lost: {}.", clean(&detail)))),
            End::Closed { code, reason } => self.closed(code, &clean(&reason), about),
            End::Refused { status, problem, retry_after } => {
                self.refused(status, problem.as_ref(), retry_after, about)
            }
            End::Problem(problem) => self.problem(&problem, about),
            End::Foreign(detail) => Err(Error::NoFeed { url, detail: clean(&detail) }),
        }
    }

    /// docs/live.md, "How it ends".
    fn closed(&self, code: u16, reason: &str, about: About<'_>) -> Result<(Wait, String), Error> {
        let said = if reason.is_empty() { format!("code {code}") } else { format!("{reason} ({code})") };
        match code {
            4401 => self.signed_out(reason, about),
            4403 => Err(Error::NothingLeft { model: about.wanted.name.clone() }),
            // We are to blame, and would be again.
            1002 | 1003 | 1007 | 1009 | 1010 => Err(Error::Protocol { detail: said }),
            _ if self.is_first() => Err(Error::Lost { url: about.target.base.clone(), detail: said }),
            // Whoever sends too much is to rest.
            4429 => Ok((Wait::AtLeast(LONGEST), format!("The server has closed the connection: {said}."))),
            _ => Ok((USUAL, format!("The server has closed the connection: {said}."))),
        }
    }

    fn refused(
        &self,
        status: u16,
        problem: Option<&Problem>,
        retry_after: Option<Duration>,
        about: About<'_>,
    ) -> Result<(Wait, String), Error> {
        let url = about.target.base.clone();
        let detail = match problem {
            Some(problem) => clean(&problem.text()),
            None => format!("the answer has the status {status}"),
        };
        match status {
            401 => self.signed_out(&detail, about),
            403 => Err(Error::Forbidden { detail }),
            408 | 429 | 500..=599 if self.is_first() => Err(Error::Unavailable { url, detail }),
            408 | 429 | 500..=599 => Ok((
                Wait::AtLeast(retry_after.unwrap_or_default()),
                format!("The server doesn't let us in: {detail}."),
            )),
            _ => Err(Error::NoFeed { url, detail }),
        }
    }

    fn signed_out(&self, detail: &str, about: About<'_>) -> Result<(Wait, String), Error> {
        let credentials = about.credentials;
        if about.renewed && !self.is_first() {
            let why = format!("Signed out: {detail}. {} is another one now.", capital(&credentials.origin()));
            return Ok((AT_ONCE, why));
        }
        let (origin, detail) = (credentials.origin(), detail.to_owned());
        Err(Error::SignIn { origin, detail, help: credentials.advice() })
    }

    fn problem(&self, problem: &Problem, about: About<'_>) -> Result<(Wait, String), Error> {
        let url = &about.target.base;
        let detail = clean(&problem.text());
        match (problem.status, problem.slug()) {
            (408 | 429 | 500..=599, _) if self.is_first() => {
                Err(Error::Unavailable { url: url.clone(), detail })
            }
            (408 | 429 | 500..=599, _) => {
                Ok((USUAL, format!("The server can't go on at the moment: {detail}.")))
            }
            (401, _) => self.signed_out(&detail, about),
            (403, _) => Err(Error::Forbidden { detail }),
            (_, slug) => {
                let is_place = problem.errors.iter().any(|fault| fault.pointer == "/from");
                let help = match slug {
                    "unknown-model" => {
                        format!("{url}/docs lists the models and SQL projections of this server.")
                    }
                    _ if is_place => {
                        "Begin with `--from now`, or with `--from snapshot` and a filter that fewer rows fit."
                            .to_owned()
                    }
                    _ => format!(
                        "Filters and fields are those of lists: {url}/docs has them, docs/queries.md explains them."
                    ),
                };
                Err(Error::Asked { detail, help })
            }
        }
    }
}

fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
