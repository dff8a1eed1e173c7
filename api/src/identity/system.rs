//! Commands that the server itself sends: those of the built-in models that have to do with passwords and tokens. They go the
//! way of every other command, with the role `system`, and in the name of whoever they are about.

use serde_json::Value as Json;
use uuid::Uuid;
use writ_identity::models::SYSTEM;
use writ_model::decide::Actor;
use writ_producers::commands::Accepted;
use writ_producers::envelope::{CommandRecord, Committed};

use crate::app::App;
use crate::clock::now;
use crate::commands::answer::Answer;
use crate::commands::{self, Sent, Wait, single};
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};

/// A command of a built-in model.
#[derive(Debug)]
pub(crate) struct Own<'a> {
    pub(crate) model: &'a str,
    pub(crate) aggregate: Uuid,
    pub(crate) command: &'a str,
    pub(crate) input: Json,
    /// In whose name.
    pub(crate) account: Option<Uuid>,
    pub(crate) wait: Wait,
}

/// Sends it and waits for its event.
pub(crate) async fn send(app: &App, trace: &Trace, own: Own<'_>) -> Result<Committed, Problem> {
    let wait = own.wait;
    let (sent, accepted) = enqueue(app, trace, own)?;
    match commands::finish(app, sent, accepted, wait).await? {
        Answer::Committed { committed, .. } => Ok(committed),
        Answer::Accepted { .. } => Err(unknown("an event to wait for")),
    }
}

/// Puts it into Kafka's queue, and leaves what comes of it to Kafka.
pub(crate) fn enqueue(app: &App, trace: &Trace, own: Own<'_>) -> Result<(Sent, Accepted), Problem> {
    let Own { model: name, aggregate, command, input, account, .. } = own;
    let model = app.api.models.get(name).ok_or_else(|| unknown(name))?;
    let declared = model.commands.get(command).ok_or_else(|| unknown(command))?;
    declared.parse_input(&input).map_err(|errors| Problem::of_errors(Kind::InvalidInput, errors))?;
    let id = Uuid::now_v7();
    let mut record = CommandRecord {
        id,
        model: name.to_owned(),
        aggregate,
        command: command.to_owned(),
        input,
        actor: Actor { id: account, roles: vec![SYSTEM.to_owned()], ..Actor::default() },
        expected_version: None,
        at: now().0,
        idempotent: false,
        correlation: id,
        causation: None,
        traceparent: Some(trace.traceparent()),
        reacting: None,
    };
    app.identity().keys.seal(declared, &mut record);
    let commands = app.api.commands.as_ref().ok_or_else(single::no_commands)?;
    let accepted = commands.enqueue(&record).map_err(|error| commands::answer::of_error(error, record.id))?;
    Ok((Sent::from(record), accepted))
}

/// A fault of this program: the built-in models have what it asks for.
fn unknown(name: &str) -> Problem {
    tracing::error!(name, "a built-in model lacks something");
    Kind::Internal.because("The request could not be handled; the server's log says why.")
}
