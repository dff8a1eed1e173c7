//! `POST /v1/commands`: any number of commands as NDJSON, answered line by line as the outcomes come.
//!
//! Every line passes three stations: checked (some lines ahead, at once), enqueued (one after another, so Kafka has
//! them in the order of the lines), answered (a bounded window, in the order of the lines). Each station waits for the
//! next, and the last one for the client: memory is bounded whatever the length of the batch.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use writ_producers::commands::{Accepted, Commands, Error};
use writ_producers::envelope::CommandRecord;

use super::answer::{self, Answer};
use super::{Call, Sent, Wait, single};
use crate::app::{App, Shared};
use crate::body::Held;
use crate::caller::Caller;
use crate::headers::{self, IDEMPOTENCY_KEY_LIMIT};
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};
use crate::{body, queries};

/// The media types of NDJSON; the first is the one that we send.
const MEDIA_TYPES: &[&str] = &["application/x-ndjson", "application/ndjson", "application/jsonl"];
/// Lines that are checked ahead. More would only hold more memory: what takes time is waiting for references.
const LOOKAHEAD: usize = 16;
/// Answers that go out in one chunk when they are there at the same time.
const CHUNK: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// One line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    model: String,
    command: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default = "empty")]
    input: Json,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    if_match: Option<u64>,
}

fn empty() -> Json {
    Json::Object(serde_json::Map::new())
}

pub(crate) async fn post(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(trace): Extension<Trace>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wait = Wait::parse(&queries::parameters(query)?)?;
    headers::check_content_type(&headers, MEDIA_TYPES)?;
    let commands = app.api.commands.clone().ok_or_else(single::no_commands)?;
    let permit = app.batches.clone().try_acquire_owned().map_err(|_| {
        Kind::Overloaded
            .because(format!("{} batches are under way; try again later.", app.options.max_batches))
    })?;

    let lines = super::lines::read(body, app.clone());
    let answers =
        answers(app, commands, (caller, trace), wait, lines).ready_chunks(CHUNK).map(move |lines| {
            let _held_to_the_end = &permit;
            Ok::<_, Infallible>(Bytes::from(lines.concat()))
        });
    Ok(([(CONTENT_TYPE, MEDIA_TYPES[0])], Body::from_stream(answers)).into_response())
}

fn answers(
    app: Shared,
    commands: Commands,
    sender: (Caller, Trace),
    wait: Wait,
    lines: impl Stream<Item = Result<Bytes, Problem>> + Send,
) -> impl Stream<Item = Vec<u8>> + Send {
    let window = app.options.batch_window.max(1);
    let (holding, checking, finishing, sender) = (app.clone(), app.clone(), app.clone(), Arc::new(sender));
    lines
        // One after another, before any is checked: a line must not hold room that the line before it waits for.
        .then(move |line| {
            let app = holding.clone();
            async move {
                let line = line?;
                let held = app.bodies.hold(line.len()).await;
                Ok((line, held))
            }
        })
        .map(move |line| check(checking.clone(), sender.clone(), line))
        .buffered(LOOKAHEAD)
        .then(move |checked| {
            let (app, commands) = (app.clone(), commands.clone());
            async move {
                let (record, _held) = checked?;
                enqueue(&app, &commands, record).await
            }
        })
        .map(move |sent| {
            let app = finishing.clone();
            async move {
                let result = finish(&app, sent, wait).await;
                answer::line(&result)
            }
        })
        .buffered(window)
}

/// Checks a line in a task of its own: a check that holds a connection to PostgreSQL must go on while the client or
/// Kafka lets the batch wait.
async fn check(
    app: Shared,
    sender: Arc<(Caller, Trace)>,
    line: Result<(Bytes, Held), Problem>,
) -> Result<(CommandRecord, Held), Problem> {
    let check = async move {
        let (line, held) = line?;
        let call = parse(&line)?;
        drop(line);
        let (model, command) = (call.model.clone(), call.command.clone());
        let checked = super::check(&app.api.models, call, &sender.0, &sender.1).map_err(within_input)?;
        let record =
            super::prepare(&app, &sender.0, checked).await.map_err(within_input).inspect_err(|problem| {
                super::count(&model, &command, problem.kind.slug());
            })?;
        Ok((record, held))
    };
    AbortOnDropHandle::new(tokio::spawn(check.in_current_span())).await.unwrap_or_else(|error| {
        tracing::error!(error = %error, "a line of a batch could not be checked");
        Err(Kind::Internal.because("The line could not be handled; the server's log says why."))
    })
}

/// What a line asks for.
pub(crate) fn parse(line: &[u8]) -> Result<Call, Problem> {
    let json: Json = body::json("The line", line)?;
    let line: Line = serde_json::from_value(json).map_err(|error| {
        let detail = format!("The line is no command: {error}.");
        Problem::at(Kind::InvalidInput, "", "invalid_line", detail)
    })?;
    let Line { model, command, id, input, idempotency_key, if_match } = line;
    if idempotency_key.as_ref().is_some_and(|key| !headers::is_idempotency_key(key.as_bytes())) {
        let detail =
            format!("The key is 1 to {IDEMPOTENCY_KEY_LIMIT} visible ASCII characters, such as a UUID.");
        return Err(Problem::at(Kind::InvalidInput, "/idempotency_key", "invalid_value", detail));
    }
    Ok(Call { model, id, command, input, idempotency_key, expected_version: if_match })
}

/// Pointers of a line begin at the line.
fn within_input(mut problem: Problem) -> Problem {
    for error in &mut problem.errors {
        error.pointer.insert_str(0, "/input");
    }
    if problem.errors.is_empty() { problem } else { Problem::of_errors(problem.kind, problem.errors) }
}

/// Enqueues, and waits while too many commands are under way: a batch is in no hurry, and refusing a line would break
/// the order of the next ones.
async fn enqueue(app: &App, commands: &Commands, record: CommandRecord) -> Result<(Sent, Accepted), Problem> {
    let deadline = Instant::now() + app.options.command_timeout();
    let mut pause = FIRST_PAUSE;
    loop {
        match commands.enqueue(&record) {
            Ok(accepted) => return Ok((Sent::from(record), accepted)),
            Err(Error::Overloaded) if Instant::now() + pause < deadline => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => {
                let problem = answer::of_error(error, record.id);
                super::count(&record.model, &record.command, problem.kind.slug());
                return Err(problem);
            }
        }
    }
}

async fn finish(app: &App, sent: Result<(Sent, Accepted), Problem>, wait: Wait) -> Result<Answer, Problem> {
    let (sent, accepted) = sent?;
    let (model, command) = (sent.model.clone(), sent.command.clone());
    let result = super::finish(app, sent, accepted, wait).await;
    super::count(&model, &command, answer::result_label(&result));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_model_command_and_input() {
        let call =
            parse(br#"{"model":"order","command":"ship","id":"10248","if_match":3,"idempotency_key":"k"}"#)
                .unwrap();
        assert_eq!(
            (call.model.as_str(), call.command.as_str(), call.id.as_deref()),
            ("order", "ship", Some("10248"))
        );
        assert_eq!((call.expected_version, call.idempotency_key.as_deref()), (Some(3), Some("k")));
        assert_eq!(call.input, serde_json::json!({}));
    }

    #[test]
    fn a_line_that_is_no_command_says_why() {
        for (line, kind, part) in [
            (r#"{"model""#, Kind::MalformedJson, "EOF"),
            (r#"[]"#, Kind::InvalidInput, "no command"),
            (r#"{"model":"order"}"#, Kind::InvalidInput, "`command`"),
            (r#"{"model":"order","command":"place","body":{}}"#, Kind::InvalidInput, "`body`"),
            (r#"{"model":"order","command":"place","if_match":"3"}"#, Kind::InvalidInput, "string \"3\""),
            (
                r#"{"model":"order","command":"place","idempotency_key":"a b"}"#,
                Kind::InvalidInput,
                "visible ASCII",
            ),
        ] {
            let problem = parse(line.as_bytes()).unwrap_err();
            assert_eq!(problem.kind, kind, "{line}");
            assert!(problem.detail.contains(part), "{line}: {}", problem.detail);
        }
    }
}
