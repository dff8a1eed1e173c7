//! `GET /v1/live/{model}`, and of an SQL projection: the feed for those without WebSockets, as Server-Sent Events or as long poll, by what the client
//! accepts.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::response::Response;
use http::header::ACCEPT;
use http::{HeaderMap, Uri};

use super::open::Transport;
use super::wanted::{self, Ask};
use super::{events, poll};
use crate::app::Shared;
use crate::caller::Caller;
use crate::client_address::ClientAddress;
use crate::headers::LAST_EVENT_ID;
use crate::problem::{Kind, Problem};
use crate::queries;

/// The longest wait of a poll, seconds.
pub(crate) const MAX_WAIT: u64 = 60;
/// How long a poll waits by default, seconds.
pub(crate) const DEFAULT_WAIT: u64 = 30;

/// The feed in one of its other forms.
pub(crate) async fn follow(
    State(app): State<Shared>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // By its place, for a model may be called `tickets`. Names of models need no decoding.
    let name = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    let wants_events = accepts_events(&headers);
    let (ask, wait) = read(name, queries::parameters(query)?, &headers, wants_events)?;
    let name = ask.name.clone();
    let (wanted, from) = wanted::read(&app, &caller, ask)?;
    if app.cancel.is_cancelled() {
        return Err(Kind::ShuttingDown.because("The server stops; ask again, any instance."));
    }
    let transport = if wants_events { Transport::Events } else { Transport::Poll };
    let place = app.live.open.take(&caller, address, transport)?;
    let feed = app.api.live.subscribe(wanted, from);
    match wants_events {
        true => Ok(events::stream(app, caller, place, (name, feed))),
        false => poll::wait(&app, &caller, &place, (&name, feed), wait).await,
    }
}

/// Whether the client asks for an event stream.
fn accepts_events(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// What the address and the headers ask for, and how long a poll waits.
fn read(
    name: String,
    parameters: Vec<(String, String)>,
    headers: &HeaderMap,
    wants_events: bool,
) -> Result<(Ask, Duration), Problem> {
    let mut ask = Ask { name, from: "now".to_owned(), ..Ask::default() };
    let (mut wait, mut seen) = (DEFAULT_WAIT, Vec::new());
    for (name, value) in parameters {
        if matches!(name.as_str(), "id" | "from" | "wait") {
            if seen.contains(&name) {
                let detail = format!("`{name}` is given twice.");
                return Err(Problem::at(Kind::InvalidQuery, &format!("/{name}"), "repeated", detail));
            }
            seen.push(name.clone());
        }
        match name.as_str() {
            "id" => ask.id = Some(value),
            "from" => ask.from = value,
            "wait" if !wants_events => wait = seconds(&value)?,
            _ => ask.parameters.push((name, value)),
        }
    }
    // What a browser says by itself when it comes again is newer than the address.
    if let Some(last) = headers.get(&LAST_EVENT_ID).filter(|last| wants_events && !last.is_empty()) {
        let last = last.to_str().map_err(|_| {
            Kind::InvalidHeader.because("`Last-Event-ID` has characters that are not visible ASCII.")
        })?;
        ask.from = last.to_owned();
    }
    Ok((ask, Duration::from_secs(wait)))
}

fn seconds(text: &str) -> Result<u64, Problem> {
    text.parse().ok().filter(|seconds| *seconds <= MAX_WAIT).ok_or_else(|| {
        let detail = format!("`wait` is a number of seconds from 0 to {MAX_WAIT}.");
        Problem::at(Kind::InvalidQuery, "/wait", "invalid_value", detail)
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    fn asked(query: &[(&str, &str)], headers: &HeaderMap, events: bool) -> Result<(Ask, Duration), Problem> {
        let parameters = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        read("order".to_owned(), parameters.collect(), headers, events)
    }

    #[test]
    fn the_form_is_what_is_accepted() {
        assert!(accepts_events(&with(ACCEPT, "text/event-stream")));
        assert!(accepts_events(&with(ACCEPT, "application/json;q=0.5, Text/Event-Stream;q=1")));
        assert!(!accepts_events(&with(ACCEPT, "application/json, */*")));
        assert!(!accepts_events(&HeaderMap::new()));
    }

    #[test]
    fn a_browser_that_comes_again_goes_on_where_it_was() {
        let again = with(LAST_EVENT_ID, "order:AQ");
        let (ask, _) = asked(&[("from", "snapshot"), ("status", "paid"), ("id", "1")], &again, true).unwrap();
        assert_eq!((ask.from.as_str(), ask.id.as_deref()), ("order:AQ", Some("1")));
        assert_eq!(ask.parameters, [("status".to_owned(), "paid".to_owned())]);
        let (ask, _) = asked(&[("from", "snapshot")], &again, false).unwrap();
        assert_eq!(ask.from, "snapshot", "a poll has no events");
        let (ask, _) = asked(&[], &with(LAST_EVENT_ID, ""), true).unwrap();
        assert_eq!(ask.from, "now");
    }

    #[test]
    fn a_poll_waits_for_at_most_a_minute() {
        let wait =
            |text: &str| asked(&[("wait", text)], &HeaderMap::new(), false).map(|(_, wait)| wait.as_secs());
        assert_eq!((wait("0").ok(), wait("60").ok()), (Some(0), Some(60)));
        for bad in ["61", "-1", "", "1.5", "x"] {
            assert_eq!(wait(bad).unwrap_err().errors[0].pointer, "/wait", "{bad}");
        }
        assert!(asked(&[("from", "now"), ("from", "now")], &HeaderMap::new(), false).is_err());
        let (ask, _) = asked(&[("wait", "1")], &HeaderMap::new(), true).unwrap();
        assert_eq!(ask.parameters.len(), 1, "an event stream has no such parameter, which the list says");
    }
}
