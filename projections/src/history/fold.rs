//! The state of an aggregate as it was: its events folded from the first one, and what a stretch of them changed.
//!
//! *First wins by version*, as for the rows: of several events with one version the one that the row was given counts, and
//! the fold stops at a version that is missing, that stands in the dead letters, or that today's declaration can't read. What
//! it has then is old, but true, and it says why it went no further.
//!
//! The events are fetched a batch at a time, each beginning behind the last version, so memory holds one batch and one
//! state whatever the length of the history.

use std::fmt;
use std::str::FromStr;
use std::vec;

use serde_json::Value as Json;
use uuid::Uuid;
use writ_model::access::Visible;
use writ_model::diff::{Change, diff};
use writ_model::{Event, Object, State, Timestamp, evolve};

use super::entry::{Entry, Typed};
use super::{History, model_of};
use crate::query::{Error, Subject, bounded};

/// Events of one statement.
const BATCH: usize = 256;
/// Most events between the two versions of a [`Difference`].
pub const MAX_EVENTS: u64 = 1000;

/// A moment in the history of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// After its event with this version; at least 1.
    Version(u64),
    /// After its last event that is not later. Should an event be later than its successor, because clocks disagreed, the
    /// history before it counts: a state never leaves an event out.
    Time(Timestamp),
}

/// A whole number is a version, anything else RFC 3339. Errors: what would be right.
impl FromStr for AsOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return version(text).map(AsOf::Version);
        }
        text.parse().map(AsOf::Time).map_err(|_| {
            "write a version, such as 3, or a time with an offset, such as 2026-01-31T12:00:00.000Z".into()
        })
    }
}

fn version(text: &str) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (1..=i64::MAX as u64).contains(number));
    number.ok_or_else(|| "a version is a whole number from 1".into())
}

/// Two versions of an aggregate: `3..7`, or `3..` up to the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    from: u64,
    to: Option<u64>,
}

/// Errors: what would be right.
impl FromStr for Versions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "write two versions, such as 3..7, or 3.. for the changes up to now".to_owned();
        let (from, to) = text.split_once("..").ok_or_else(wrong)?;
        let from = version(from).map_err(|_| wrong())?;
        let to = if to.is_empty() { None } else { Some(version(to).map_err(|_| wrong())?) };
        match to {
            Some(to) if to < from => Err(format!("the earlier version comes first: {to}..{from}")),
            Some(to) if to - from > MAX_EVENTS => Err(too_far()),
            _ => Ok(Versions { from, to }),
        }
    }
}

fn too_far() -> String {
    format!("at most {MAX_EVENTS} versions lie between the two; compare a shorter stretch")
}

/// Why a fold went no further than its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// The version that is not folded.
    pub version: u64,
    reason: HaltReason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HaltReason {
    Missing,
    PassedOver,
    Unreadable(String),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version;
        match &self.reason {
            HaltReason::Missing => write!(f, "the event with version {version} is missing"),
            HaltReason::PassedOver => {
                write!(f, "the event with version {version} was not applied, and stands in the dead letters")
            }
            HaltReason::Unreadable(why) => write!(f, "the event with version {version} can't be read: {why}"),
        }
    }
}

/// A state of the past.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// As it was.
    pub state: State,
    /// Events that should have been folded were not: why.
    pub halt: Option<Halt>,
}

/// There is no state at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoState {
    /// The aggregate has never had an event.
    Never,
    /// Its first event came later, at this time.
    NotYet(Timestamp),
    /// It was deleted.
    Deleted {
        /// By the event with this version.
        version: u64,
        /// At this time.
        at: Timestamp,
    },
    /// It doesn't have that version.
    NoSuchVersion {
        /// The last one that there is; 0: none can be folded.
        last: u64,
        /// Why there are no more.
        halt: Option<Halt>,
    },
    /// More than [`MAX_EVENTS`] events lie between the two versions.
    TooFar,
}

/// What changed between two versions.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The earlier version.
    pub from: u64,
    /// The later version.
    pub to: u64,
    /// What leads from the one state to the other. The state of what is deleted is null.
    pub changes: Vec<Change>,
    /// The events after `from`, up to `to`.
    pub events: Vec<Entry>,
}

impl History {
    /// The state of an aggregate at a moment, as its reader sees it. The inner error: it has none then; [`NoState::Never`] also
    /// if the reader may not read it now.
    pub async fn as_of(
        &self,
        subject: &Subject<'_>,
        id: Uuid,
        at: AsOf,
    ) -> Result<Result<Past, NoState>, Error> {
        let model = model_of(subject)?;
        let (up_to, time) = match at {
            AsOf::Version(version) => (version, None),
            AsOf::Time(time) => (u64::MAX, Some(time)),
        };
        let (mut fold, mut state) = (Fold::new(self, subject, id, up_to), None);
        let mut later = None;
        while let Some(step) = fold.next().await? {
            if time.is_some_and(|time| step.at > time) {
                later = Some(step.at);
                break;
            }
            state = Some(evolve(model, state, step.event, &step.fields, step.at));
        }
        let halt = fold.halt;
        Ok(match (state, at) {
            (Some(state), AsOf::Version(version)) if state.version < version => {
                Err(NoState::NoSuchVersion { last: state.version, halt })
            }
            (Some(state), _) if state.deleted => {
                Err(NoState::Deleted { version: state.version, at: state.updated_at })
            }
            (Some(mut state), _) => {
                subject.visible().strip(&mut state.fields);
                Ok(Past { state, halt })
            }
            (None, _) => Err(match (later, halt) {
                (Some(began), _) => NoState::NotYet(began),
                (None, None) => NoState::Never,
                (None, halt) => NoState::NoSuchVersion { last: 0, halt },
            }),
        })
    }

    /// What changed between two versions of an aggregate, of what its reader sees. The inner error: it doesn't have both; as of
    /// [`History::as_of`].
    pub async fn diff(
        &self,
        subject: &Subject<'_>,
        id: Uuid,
        versions: Versions,
    ) -> Result<Result<Difference, NoState>, Error> {
        let (model, visible) = (model_of(subject)?, subject.visible());
        let up_to = versions.to.unwrap_or(u64::MAX);
        let mut fold = Fold::new(self, subject, id, up_to);
        let (mut state, mut before) = (None, Json::Null);
        let mut events = Vec::new();
        while let Some(step) = fold.next().await? {
            let next = evolve(model, state, step.event, &step.fields, step.at);
            if next.version == versions.from {
                before = shown(&next, visible);
            } else if next.version > versions.from {
                if events.len() as u64 == MAX_EVENTS {
                    return Ok(Err(NoState::TooFar));
                }
                events.push(step.entry);
            }
            state = Some(next);
        }
        let halt = fold.halt;
        let Some(state) = state else {
            return Ok(Err(match halt {
                None => NoState::Never,
                halt => NoState::NoSuchVersion { last: 0, halt },
            }));
        };
        let last = state.version;
        if last < versions.to.unwrap_or(versions.from) {
            return Ok(Err(NoState::NoSuchVersion { last, halt }));
        }
        let changes = diff(&before, &shown(&state, visible));
        Ok(Ok(Difference { from: versions.from, to: last, changes, events }))
    }
}

/// The state as the reader sees it.
fn shown(state: &State, visible: &Visible) -> Json {
    if state.deleted {
        return Json::Null;
    }
    let mut state = state.clone();
    visible.strip(&mut state.fields);
    state.public_json()
}

/// An event to fold, with all of its fields.
struct Step<'a> {
    entry: Entry,
    event: &'a Event,
    fields: Object,
    at: Timestamp,
}

/// Gives an aggregate's events in the order of their versions, without a hole.
struct Fold<'f, 'a> {
    history: &'f History,
    subject: &'f Subject<'a>,
    id: Uuid,
    up_to: u64,
    batch: vec::IntoIter<(Entry, Option<Typed<'a>>)>,
    /// The last version that was given.
    version: u64,
    /// The log has no more than the batch.
    is_last: bool,
    halt: Option<Halt>,
}

impl<'f, 'a> Fold<'f, 'a> {
    fn new(history: &'f History, subject: &'f Subject<'a>, id: Uuid, up_to: u64) -> Fold<'f, 'a> {
        let (batch, is_last) = (Vec::new().into_iter(), false);
        Fold { history, subject, id, up_to, batch, version: 0, is_last, halt: None }
    }

    /// `None`: there are no more, or none that can be folded; then `halt` says why.
    async fn next(&mut self) -> Result<Option<Step<'a>>, Error> {
        loop {
            let Some((entry, fields)) = self.batch.next() else {
                if self.is_last || self.version >= self.up_to || self.halt.is_some() {
                    return Ok(None);
                }
                self.fetch().await?;
                continue;
            };
            // The same version once more.
            if entry.version <= self.version {
                continue;
            }
            let version = self.version + 1;
            let reason = match (fields, &entry.passed_over, &entry.unreadable) {
                _ if entry.version != version => HaltReason::Missing,
                (_, Some(_), _) => HaltReason::PassedOver,
                (Some((event, fields)), None, _) => {
                    let unreadable = |_| Error::Failed("the event log has a time that is none".into());
                    let at = entry.time.parse().map_err(unreadable)?;
                    self.version = version;
                    return Ok(Some(Step { entry, event, fields, at }));
                }
                (None, None, why) => HaltReason::Unreadable(why.clone().unwrap_or_default()),
            };
            self.halt = Some(Halt { version, reason });
            self.is_last = true;
            self.batch = Vec::new().into_iter();
        }
    }

    async fn fetch(&mut self) -> Result<(), Error> {
        let mut sql = self.history.of_one(self.subject, self.id)?;
        sql.push(" AND log.version > ").push_bind(i64::try_from(self.version).unwrap_or(i64::MAX));
        sql.push(" AND log.version <= ").push_bind(i64::try_from(self.up_to).unwrap_or(i64::MAX));
        // Of events with one version, the one that the row was given comes first.
        sql.push(format!(
            " ORDER BY log.version, (passed.reason IS NOT NULL), log.partition, log.\"offset\" LIMIT {BATCH}"
        ));
        let rows = bounded(sql.build().fetch_all(&self.history.pool)).await?;
        self.is_last = rows.len() < BATCH;
        let subject = self.subject;
        let read = |row| Entry::read(row, |name| (name == subject.name()).then_some(subject));
        self.batch = rows.iter().map(read).collect::<Result<Vec<_>, Error>>()?.into_iter();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_version_or_a_time() {
        assert_eq!("3".parse(), Ok(AsOf::Version(3)));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(AsOf::Time(Timestamp(1000))));
        for bad in ["", "0", "-1", "+1", "1.0", "9223372036854775808", "yesterday", "2026-01-31", "٣", "3..4"]
        {
            assert!(bad.parse::<AsOf>().is_err(), "{bad}");
        }
    }

    #[test]
    fn two_versions_are_in_order() {
        assert_eq!("3..7".parse(), Ok(Versions { from: 3, to: Some(7) }));
        assert_eq!("3..".parse(), Ok(Versions { from: 3, to: None }));
        assert_eq!("3..3".parse(), Ok(Versions { from: 3, to: Some(3) }));
        assert_eq!("7..3".parse::<Versions>().unwrap_err(), "the earlier version comes first: 3..7");
        assert!("1..1002".parse::<Versions>().unwrap_err().contains("1000"));
        for bad in ["", "3", "..", "..3", "0..3", "a..b", "3...7", "3..7..9", "-1..2", "3..+7", "3.. 7"] {
            assert!(bad.parse::<Versions>().is_err(), "{bad}");
        }
    }
}
