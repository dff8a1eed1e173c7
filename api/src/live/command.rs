//! A command by a socket: the same way as by `POST`, with the same places among the requests, the same limits and the same
//! answers.

use std::future::Future;
use std::pin::Pin;

use super::message::Command;
use crate::app::{App, Shared};
use crate::body::Held;
use crate::caller::Caller;
use crate::commands::answer::Told;
use crate::commands::{Call, Wait, single};
use crate::headers::{self, IDEMPOTENCY_KEY_LIMIT};
use crate::middleware::{self, Trace};
use crate::problem::{Kind, Problem};

/// A command that is under way: its `ref`, and what comes of it.
pub(super) type Running = Pin<Box<dyn Future<Output = (String, Result<Told, Problem>)> + Send>>;

/// Begins a command. The error is told at once.
pub(super) fn run(app: Shared, caller: Caller, trace: Trace, command: Command) -> Result<Running, Problem> {
    let Command { reference, model, command, id, input, idempotency_key, if_match, wait } = command;
    if idempotency_key.as_ref().is_some_and(|key| !headers::is_idempotency_key(key.as_bytes())) {
        let detail =
            format!("The key is 1 to {IDEMPOTENCY_KEY_LIMIT} visible ASCII characters, such as a UUID.");
        return Err(Problem::at(Kind::InvalidInput, "/idempotency_key", "invalid_value", detail));
    }
    let parameters: Vec<_> = wait.map(|wait| ("wait".to_owned(), wait)).into_iter().collect();
    let wait = Wait::parse(&parameters)?;
    // About what its text had, which is gone.
    let held = app.bodies.hold_now(input.to_string().len())?;
    let call = Call { model, id, command, input, idempotency_key, expected_version: if_match };
    Ok(Box::pin(async move {
        let done = perform(&app, &caller, &trace, call, wait, held).await;
        (reference, done)
    }))
}

async fn perform(
    app: &App,
    caller: &Caller,
    trace: &Trace,
    call: Call,
    wait: Wait,
    held: Held,
) -> Result<Told, Problem> {
    let _admitted = middleware::admitted(app, true)?;
    let performing = single::perform(app, caller, trace, call, wait, held);
    match tokio::time::timeout(app.options.request_timeout(), performing).await {
        Ok(done) => done.map(Told::from),
        Err(_) => Err(middleware::timed_out(app)),
    }
}
