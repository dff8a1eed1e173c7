//! The feed as Server-Sent Events (HTML standard, section 9.2): each item an event, its `id` the place to resume from.
//!
//! A stream is the body of an answer that goes on: [`crate::stalled`] ends one that nobody takes. It ends, too, when the caller
//! isn't signed in any more or may see something else, with the event `ended`; and when the server stops. Browsers then come again
//! by themselves, with `Last-Event-ID`.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use http::HeaderName;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::feed::{Item, Subscription};
use super::open::Place;
use super::wanted::{self, sees_the_same};
use super::{jitter, rows};
use crate::app::Shared;
use crate::caller::{Caller, lasting};
use crate::clock::now;
use crate::problem::Kind;

/// Between the end of a stream and the next attempt, milliseconds; with the spread of [`super::Options`] on top when the server stops.
const RETRY: u64 = 1_000;
/// A comment: nothing, but not silence.
const KEEP_ALIVE: &str = ":\n\n";

/// One stream.
struct Events {
    app: Shared,
    caller: Caller,
    place: Place,
    model: String,
    feed: Subscription,
    connection: Uuid,
    said_retry: bool,
}

/// The answer, whose body is the stream.
pub(super) fn stream(
    app: Shared,
    caller: Caller,
    place: Place,
    (model, feed): (String, Subscription),
) -> Response {
    let events = Events { app, caller, place, model, feed, connection: Uuid::new_v4(), said_retry: false };
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // What some proxies ask for, else they collect before they pass on.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(pieces(events))).into_response()
}

fn pieces(events: Events) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold(Some(events), |events| async move {
        let mut events = events?;
        let (text, goes_on) = events.next().await;
        events.app.live.sent.increment(1);
        Some((Ok(Bytes::from(text)), goes_on.then_some(events)))
    })
}

impl Events {
    /// What comes next, and whether anything follows.
    async fn next(&mut self) -> (String, bool) {
        if !self.said_retry {
            self.said_retry = true;
            // At once, so that the client knows that it is connected.
            return (format!("retry: {RETRY}\n\n"), true);
        }
        loop {
            let silence = Instant::now() + self.app.options.live.keep_alive();
            let wake = match self.caller.lasting.until {
                Some(until) => silence.min(Instant::now() + until_then(until)),
                None => silence,
            };
            tokio::select! {
                () = self.app.cancel.cancelled() => {
                    let after = jitter(self.connection, self.app.options.live.reconnect_spread());
                    return (format!("retry: {}\n\n", RETRY + u64::try_from(after.as_millis()).unwrap_or(0)), false);
                }
                () = self.place.signalled() => {
                    if let Some(end) = self.ask_again().await {
                        return (end, false);
                    }
                }
                () = tokio::time::sleep_until(wake) => {
                    if let Some(end) = self.ask_again().await {
                        return (end, false);
                    }
                    if Instant::now() >= silence {
                        return (KEEP_ALIVE.to_owned(), true);
                    }
                }
                item = self.feed.next() => return match item {
                    Some(item) => self.text(item),
                    None => (ended("failed", None), false),
                },
            }
        }
    }

    /// The end, if the caller may see something else now, or nothing.
    async fn ask_again(&mut self) -> Option<String> {
        let caller = match lasting::again(&self.app, &self.caller).await {
            Ok(caller) => caller,
            Err(problem) if problem.kind == Kind::Unauthenticated => return Some(ended("signed_out", None)),
            Err(_) => return Some(ended("failed", None)),
        };
        let before = std::mem::replace(&mut self.caller, caller).actor;
        let is_same = sees_the_same(&self.app.api.models, &self.model, &before, &self.caller.actor);
        (!is_same).then(|| ended("permissions", None))
    }

    fn text(&self, item: Item) -> (String, bool) {
        let only = |name: &str, id: String| event(name, Some(&id), &json!({ "resume": id }));
        match item {
            Item::Started { resume } => (only("subscribed", resume.to_string()), true),
            Item::Ready { resume } => (only("ready", resume.to_string()), true),
            Item::Progress { resume } => (only("progress", resume.to_string()), true),
            Item::Reset { reason } => (event("reset", None, &json!({ "reason": reason.name() })), true),
            Item::Snapshot { rows } => (snapshots(&rows::pieces(rows)), true),
            Item::KeyedRows { rows } => (snapshots(&rows::keyed_pieces(rows)), true),
            Item::Change(frame) => {
                let (name, id, body) = (frame.kind.name(), frame.resume.to_string(), frame.body());
                (format!("event: {name}\nid: {id}\ndata: {{{body}}}\n\n"), true)
            }
            Item::Lagged { resume } => (ended("lagged", Some(resume.to_string())), false),
            Item::Failed(error) => {
                let why = event("error", None, &json!({ "problem": wanted::failed(error) }));
                (why + &ended("failed", None), false)
            }
        }
    }
}

#[derive(Serialize)]
struct Rows<'a> {
    rows: &'a [Box<serde_json::value::RawValue>],
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<&'a [Box<serde_json::value::RawValue>]>,
}

fn snapshots(pieces: &[rows::Piece]) -> String {
    let shown = |piece: &rows::Piece| {
        event("snapshot", None, &Rows { rows: &piece.rows, keys: piece.keys.as_deref() })
    };
    pieces.iter().map(shown).collect()
}

fn until_then(until: writ_model::Timestamp) -> Duration {
    Duration::from_millis(until.0.saturating_sub(now().0).max(0).unsigned_abs())
}

fn ended(reason: &str, resume: Option<String>) -> String {
    let mut data = json!({ "reason": reason });
    if let Some(resume) = &resume {
        data["resume"] = json!(resume);
    }
    event("ended", resume.as_deref(), &data)
}

/// JSON has no line ends outside of texts, and in texts they are escaped: one line of data is all of it.
fn event(name: &str, id: Option<&str>, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).expect("invariant: events have string keys only");
    let mut text = format!("event: {name}\n");
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    let _ = write!(text, "data: {data}\n\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_lines_with_an_empty_one_behind() {
        let text = event("ready", Some("order:AQ"), &json!({ "resume": "order:AQ" }));
        assert_eq!(text, "event: ready\nid: order:AQ\ndata: {\"resume\":\"order:AQ\"}\n\n");
        assert_eq!(ended("failed", None), "event: ended\ndata: {\"reason\":\"failed\"}\n\n");
        let broken = event("snapshot", None, &json!({ "rows": ["a\n\nid: x\r"] }));
        assert_eq!(broken.lines().count(), 3, "{broken}");
    }
}
