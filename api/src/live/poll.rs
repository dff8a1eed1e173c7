//! The feed as long poll: the answer comes as soon as there is something, or empty when the wait is over, with the place where the
//! next poll goes on.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http::header::CACHE_CONTROL;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::feed::{Item, Subscription};
use super::open::Place;
use super::rows::{self, Row};
use super::wanted::{self, sees_the_same};
use crate::app::App;
use crate::caller::{Caller, lasting};
use crate::problem::{Kind, Problem};
use crate::queries;

/// Most changes of one answer.
const MANY: usize = 500;

/// The answer.
#[derive(Debug, Default, Serialize)]
struct Polled {
    /// Why `from` was of no use; `snapshot` is in place of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reset: Option<&'static str>,
    /// All rows, if the answer begins with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<Vec<Shown>>,
    /// Of an SQL projection: the keys of these rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<Box<RawValue>>>,
    /// What happened since.
    changes: Vec<Box<RawValue>>,
    /// Goes into `from` of the next poll.
    resume: String,
}

/// A row as lists show it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Shown {
    OfModel(queries::Item),
    OfProjection(Box<RawValue>),
}

/// What there is to say so far.
#[derive(Default)]
struct Collected {
    polled: Polled,
    resume: Option<String>,
    /// What was missed, or the snapshot, is complete.
    is_ready: bool,
    /// What belongs to the last change follows at once.
    more: bool,
}

/// Waits for something to say, at most for `wait`.
pub(super) async fn wait(
    app: &App,
    caller: &Caller,
    place: &Place,
    (model, mut feed): (&str, Subscription),
    wait: Duration,
) -> Result<Response, Problem> {
    let deadline = Instant::now() + wait;
    // A snapshot and what was missed may take longer than the client wants to wait for changes, but not for ever.
    let last = Instant::now() + wait.max(app.options.request_timeout());
    let mut collected = Collected::default();
    loop {
        let until = if collected.resume.is_some() && collected.is_ready { deadline } else { last };
        tokio::select! {
            // What is there already counts, also when the time is over.
            biased;
            item = feed.next() => collected.take(item)?,
            () = place.signalled() => {
                let now = lasting::again(app, caller).await?;
                // What the feed still has was chosen for who may have seen more.
                if !sees_the_same(&app.api.models, model, &caller.actor, &now.actor) {
                    return collected.answer();
                }
            }
            () = app.cancel.cancelled() => return collected.answer(),
            () = tokio::time::sleep_until(until) => return collected.answer(),
        }
        while (collected.more || collected.polled.changes.len() < MANY)
            && let Some(item) = feed.next().now_or_never()
        {
            collected.take(item)?;
        }
        if collected.is_worth_telling() {
            return collected.answer();
        }
    }
}

impl Collected {
    fn take(&mut self, item: Option<Item>) -> Result<(), Problem> {
        let at = match item {
            Some(Item::Change(frame)) => {
                let change = format!("{{{}}}", frame.body());
                let change = RawValue::from_string(change).expect("invariant: the feed writes JSON");
                self.polled.changes.push(change);
                self.more = frame.more;
                frame.resume.to_string()
            }
            Some(Item::Snapshot { rows }) => {
                let rows = rows.into_iter().map(|row: Row| Shown::OfModel(row.into()));
                self.polled.snapshot.get_or_insert_default().extend(rows);
                return Ok(());
            }
            Some(Item::KeyedRows { rows }) => {
                let keys = rows.iter().map(|one| rows::raw(&one.key));
                self.polled.keys.get_or_insert_default().extend(keys);
                let rows = rows.iter().map(|one| Shown::OfProjection(rows::raw(&one.row)));
                self.polled.snapshot.get_or_insert_default().extend(rows);
                return Ok(());
            }
            Some(Item::Reset { reason }) => {
                self.polled.reset = Some(reason.name());
                self.polled.snapshot.get_or_insert_default();
                self.polled.changes.clear();
                self.is_ready = false;
                return Ok(());
            }
            Some(Item::Started { resume } | Item::Ready { resume } | Item::Lagged { resume }) => {
                self.is_ready = true;
                resume.to_string()
            }
            Some(Item::Progress { resume }) => resume.to_string(),
            Some(Item::Failed(error)) => return Err(wanted::failed(error)),
            None if self.resume.is_some() => {
                self.is_ready = true;
                return Ok(());
            }
            None => return Err(unavailable()),
        };
        self.resume = Some(at);
        Ok(())
    }

    fn is_worth_telling(&self) -> bool {
        let polled = &self.polled;
        let is_full = polled.changes.len() >= MANY && polled.snapshot.is_none() && !self.more;
        is_full || (self.is_ready && !self.more && (!polled.changes.is_empty() || polled.snapshot.is_some()))
    }

    fn answer(self) -> Result<Response, Problem> {
        // Half of a snapshot is nothing to go on from.
        let is_whole = self.is_ready || self.polled.snapshot.is_none();
        let Some(resume) = self.resume.filter(|_| is_whole) else { return Err(unavailable()) };
        let polled = Polled { resume, ..self.polled };
        Ok(([(CACHE_CONTROL, "no-store")], Json(polled)).into_response())
    }
}

fn unavailable() -> Problem {
    Kind::LiveUnavailable.because("The feed of this model can't be had at the moment; try again in a moment.")
}
