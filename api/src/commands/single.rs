//! `POST /v1/{model}/{command}` and `POST /v1/{model}/{id}/{command}`: one command, one answer.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;

use super::answer::{self, Answer};
use super::{Call, Sent, Wait};
use crate::app::{App, Shared};
use crate::caller::Caller;
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};
use crate::{body, headers, queries};

type QueryParameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// A command that creates an aggregate.
pub(crate) async fn create(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: QueryParameters,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let path = path.map(|Path((model, command))| (model, None, command));
    answer(&app, &caller, &trace, path, query, &headers, body).await
}

/// A command on an aggregate that exists.
pub(crate) async fn change(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    query: QueryParameters,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let path = path.map(|Path((model, id, command))| (model, Some(id), command));
    answer(&app, &caller, &trace, path, query, &headers, body).await
}

async fn answer(
    app: &App,
    caller: &Caller,
    trace: &Trace,
    path: Result<(String, Option<String>, String), PathRejection>,
    query: QueryParameters,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    match run(app, caller, trace, path, query, headers, body).await {
        Ok(answer) => answer.into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn run(
    app: &App,
    caller: &Caller,
    trace: &Trace,
    path: Result<(String, Option<String>, String), PathRejection>,
    query: QueryParameters,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    let path = path.map_err(queries::invalid_path)?;
    // The body is read first, so that a client gets its answer on a connection that stays usable.
    let (bytes, held) = body::read(body, &app.options, &app.bodies).await?;
    let (call, wait) = read(path, &queries::parameters(query)?, headers, &bytes)?;
    drop(bytes);
    perform(app, caller, trace, call, wait, held).await
}

/// One command by whatever way it came: checked, counted, sent, and its outcome awaited. `held`: the room of its input.
pub(crate) async fn perform(
    app: &App,
    caller: &Caller,
    trace: &Trace,
    call: Call,
    wait: Wait,
    held: body::Held,
) -> Result<Answer, Problem> {
    let checked = super::check(&app.api.models, call, caller, trace)?;
    let (model, command) = (checked.record.model.clone(), checked.record.command.clone());
    let result = send(app, caller, checked, held, wait).await;
    super::count(&model, &command, answer::result_label(&result));
    result
}

/// What the parts of a request ask for: path, query parameters, headers, body.
pub(crate) fn read(
    (model, id, command): (String, Option<String>, String),
    parameters: &[(String, String)],
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<(Call, Wait), Problem> {
    let wait = Wait::parse(parameters)?;
    let idempotency_key = headers::idempotency_key(headers)?;
    let expected_version = headers::expected_version(headers)?;
    if !bytes.is_empty() {
        headers::check_content_type(headers, &["application/json"])?;
    }
    let input = body::json("The body", bytes)?;
    Ok((Call { model, id, command, input, idempotency_key, expected_version }, wait))
}

async fn send(
    app: &App,
    caller: &Caller,
    checked: super::Checked,
    held: body::Held,
    wait: Wait,
) -> Result<Answer, Problem> {
    let commands = app.api.commands.as_ref().ok_or_else(no_commands)?;
    let record = super::prepare(app, caller, checked).await?;
    let accepted = commands.enqueue(&record).map_err(|error| answer::of_error(error, record.id))?;
    // What waits for its outcome from here on is small.
    let sent = Sent::from(record);
    drop(held);
    super::finish(app, sent, accepted, wait).await
}

/// This process has no way into Kafka.
pub(crate) fn no_commands() -> Problem {
    Kind::WriteSideUnavailable.because("This server takes no commands at the moment; /readyz says why.")
}
