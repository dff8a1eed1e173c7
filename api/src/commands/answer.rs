//! The one place where outcomes, rejections and failures of the write path become statuses and bodies.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, LOCATION};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;
use writ_model::{FieldError, Rejection};
use writ_producers::commands::Error;
use writ_producers::envelope::{Committed, EventSummary, Outcome};

use super::Sent;
use crate::headers::{self, WRIT_POSITION, WRIT_PROJECTED};
use crate::problem::{Kind, Problem};

/// The answer to a command that was taken.
#[derive(Debug)]
pub(crate) enum Answer {
    /// `?wait=accepted`: it is in Kafka.
    Accepted { command_id: Uuid, id: Uuid },
    /// Its event is committed. `projected`: whether the read model shows it, if that was asked for.
    Committed { model: String, committed: Committed, projected: Option<bool> },
}

/// The body of an accepted command.
#[derive(Debug, Serialize)]
struct AcceptedBody {
    command_id: Uuid,
    id: Uuid,
}

/// The body of a committed command.
#[derive(Debug, Serialize)]
struct CommittedBody<'a> {
    id: Uuid,
    version: u64,
    state: &'a serde_json::Value,
    events: &'a [EventSummary],
}

/// A line of the answer to a batch.
#[derive(Debug, Serialize)]
struct Line<'a, Body: Serialize> {
    status: u16,
    #[serde(flatten)]
    body: Body,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    projected: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a Problem>,
}

#[derive(Debug, Serialize)]
struct Empty {}

impl Answer {
    fn status(&self) -> StatusCode {
        match self {
            Answer::Accepted { .. } => StatusCode::ACCEPTED,
            Answer::Committed { committed, .. } if committed.created => StatusCode::CREATED,
            Answer::Committed { .. } => StatusCode::OK,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = self.status();
        match self {
            Answer::Accepted { command_id, id } => {
                (status, Json(AcceptedBody { command_id, id })).into_response()
            }
            Answer::Committed { model, committed, projected } => {
                let mut response = (status, Json(body(&committed))).into_response();
                let headers = response.headers_mut();
                headers.insert(ETAG, headers::etag(committed.version));
                headers.insert(WRIT_POSITION, ascii(committed.position.to_string()));
                if committed.created {
                    headers.insert(LOCATION, ascii(format!("/v1/{model}/{}", committed.id)));
                }
                if let Some(projected) = projected {
                    headers.insert(
                        WRIT_PROJECTED,
                        HeaderValue::from_static(if projected { "true" } else { "false" }),
                    );
                }
                response
            }
        }
    }
}

/// An answer whose headers are members.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    status: u16,
    body: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    projected: Option<bool>,
}

impl From<Answer> for Told {
    fn from(answer: Answer) -> Told {
        const STRINGS: &str = "invariant: an answer has string keys only";
        let status = answer.status().as_u16();
        match answer {
            Answer::Accepted { command_id, id } => {
                let body = to_raw_value(&AcceptedBody { command_id, id }).expect(STRINGS);
                Told { status, body, position: None, etag: None, projected: None }
            }
            Answer::Committed { committed, projected, .. } => Told {
                status,
                body: to_raw_value(&body(&committed)).expect(STRINGS),
                position: Some(committed.position.to_string()),
                etag: Some(format!("\"{}\"", committed.version)),
                projected,
            },
        }
    }
}

fn body(committed: &Committed) -> CommittedBody<'_> {
    let Committed { id, version, state, events, .. } = committed;
    CommittedBody { id: *id, version: *version, state, events }
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("invariant: model names, UUIDs and numbers are ASCII")
}

/// The answer as a line of a batch, with its line end.
pub(crate) fn line(result: &Result<Answer, Problem>) -> Vec<u8> {
    let line = match result {
        Ok(answer) => {
            let status = answer.status().as_u16();
            match answer {
                Answer::Accepted { command_id, id } => {
                    let body = AcceptedBody { command_id: *command_id, id: *id };
                    serde_json::to_vec(&Line { status, body, position: None, projected: None, problem: None })
                }
                Answer::Committed { committed, projected, .. } => serde_json::to_vec(&Line {
                    status,
                    body: body(committed),
                    position: Some(committed.position.to_string()),
                    projected: *projected,
                    problem: None,
                }),
            }
        }
        Err(problem) => serde_json::to_vec(&Line {
            status: problem.kind.status().as_u16(),
            body: Empty {},
            position: None,
            projected: None,
            problem: Some(problem),
        }),
    };
    let mut line = line.expect("invariant: an answer has string keys only");
    line.push(b'\n');
    line
}

/// The result as a label of a metric.
pub(crate) fn result_label(result: &Result<Answer, Problem>) -> &'static str {
    match result {
        Ok(Answer::Accepted { .. }) => "accepted",
        Ok(Answer::Committed { .. }) => "committed",
        Err(problem) => problem.kind.slug(),
    }
}

/// What the decider made of the command.
pub(crate) fn of_outcome(sent: &Sent, outcome: Outcome) -> Result<Committed, Problem> {
    match outcome {
        Outcome::Committed(committed) => Ok(committed),
        Outcome::Rejected(rejection) => Err(of_rejection(sent, rejection)),
    }
}

/// Why the decider refused.
fn of_rejection(sent: &Sent, rejection: Rejection) -> Problem {
    let Sent { model, command, aggregate, .. } = sent;
    match rejection {
        Rejection::UnknownCommand { command } => Kind::UnknownCommand.because(format!(
            "The decider knows no command `{command}` of {model}; it may run with older models than this server."
        )),
        Rejection::Invalid { errors } => Problem::of_errors(Kind::InvalidInput, errors),
        Rejection::NotFound => Kind::NotFound.because(format!("There is no {model} with the id {aggregate}.")),
        Rejection::Forbidden => super::forbidden(model, command),
        Rejection::AlreadyExists { version: Some(version) } => Kind::AlreadyExists
            .because(format!("The {model} with the id {aggregate} exists already, with version {version}."))
            .at_version(version),
        Rejection::AlreadyExists { version: None } => {
            Kind::AlreadyExists.because(format!("The {model} with the id {aggregate} exists already."))
        }
        Rejection::VersionMismatch { expected, actual } => Kind::VersionMismatch
            .because(format!(
                "`If-Match` names version {expected}, the {model} has version {actual}. Read it again, then decide again."
            ))
            .at_version(actual),
        Rejection::WrongState { field, actual, allowed } => Kind::WrongState.because(format!(
            "`{command}` needs {field} to be {}; it is {actual}.",
            allowed.join(" or ")
        )),
        Rejection::GuardFailed { detail } => Kind::GuardFailed.because(detail),
        Rejection::Failed { detail } => Kind::EvaluationFailed.because(detail),
        Rejection::NotUnique { fields } => {
            let taken = |field: &String| FieldError {
                pointer: format!("/{field}"),
                code: "taken".to_owned(),
                detail: format!("another {model} has this value, or is about to take it"),
            };
            Problem::of_errors(Kind::NotUnique, fields.iter().map(taken).collect())
        }
        Rejection::KeyReused => Kind::IdempotencyKeyReused.because(
            "This idempotency key was used with another command or body. A repeat sends exactly the same; \
             a new command takes a new key.",
        ),
    }
}

/// Why there is no outcome.
pub(crate) fn of_error(error: Error, command_id: Uuid) -> Problem {
    match error {
        Error::Overloaded => Kind::Overloaded.because("Too many commands are under way; nothing was written."),
        Error::Unavailable(reason) => {
            tracing::debug!(error = reason, "a command can't be taken");
            Kind::WriteSideUnavailable.because("Kafka can't be reached; nothing was written. /readyz says more.")
        }
        Error::Unacknowledged(error) => {
            tracing::warn!(error = %error, writ.command.id = %command_id, "Kafka didn't acknowledge a command");
            Kind::WriteSideUnavailable
                .because("Kafka didn't confirm the command in time; repeat it with the same idempotency key.")
                .of_command(command_id)
        }
        Error::TooLarge { size, limit } => {
            Kind::TooLarge.because(format!("The command has {size} bytes, at most {limit} fit into a record."))
        }
        Error::Timeout(limit) => Kind::NoAnswer
            .because(format!(
                "The command is in Kafka and will be decided, but no answer came within {} ms; repeat it with the \
                 same idempotency key for its outcome.",
                limit.as_millis()
            ))
            .of_command(command_id),
        Error::ShuttingDown => Kind::ShuttingDown
            .because("The server stopped before the answer came; repeat with the same idempotency key.")
            .of_command(command_id),
    }
}

#[cfg(test)]
mod tests;
