//! From a request to a record in Kafka, and from the outcome to an answer.
//!
//! What can be known without the state is checked here, before Kafka: the model, the command, the path, the shape of
//! the input and, best effort, its references. The decider checks again; it alone decides.

pub(crate) mod answer;
pub(crate) mod batch;
pub(crate) mod identity;
pub(crate) mod lines;
pub(crate) mod single;

use serde_json::Value as Json;
use writ_model::access::{Early, Known, early};
use writ_model::{Command, Model, Models, Object};
use writ_producers::commands::Accepted;
use writ_producers::envelope::CommandRecord;
use writ_projections::positions::Reads;

use crate::app::App;
use crate::caller::Caller;
use crate::clock::now;
use crate::identity::grants;
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};
use crate::queries::{self, unknown_parameter};
use crate::references::{self, Reference};
use answer::Answer;

/// The parts without which the read model can't be asked what exists.
const READ_SIDE: [&str; 2] = ["postgres", "projector"];

/// How far an answer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Wait {
    /// Kafka has the command.
    Accepted,
    /// The event is committed.
    #[default]
    Committed,
    /// The read model shows it.
    Projected,
}

impl Wait {
    /// From the query parameters of a command, which has only this one.
    pub(crate) fn parse(parameters: &[(String, String)]) -> Result<Wait, Problem> {
        let mut wait = Wait::default();
        for (name, value) in parameters {
            wait = match (name.as_str(), value.as_str()) {
                ("wait", "accepted") => Wait::Accepted,
                ("wait", "committed") => Wait::Committed,
                ("wait", "projected") => Wait::Projected,
                ("wait", _) => {
                    let detail = "`wait` is one of accepted, committed, projected.";
                    return Err(Problem::at(Kind::InvalidQuery, "/wait", "invalid_value", detail));
                }
                _ => {
                    let error = unknown_parameter(name, "a command takes only `wait`");
                    return Err(Problem::of_errors(Kind::InvalidQuery, vec![error]));
                }
            };
        }
        Ok(wait)
    }
}

/// A command as it was asked for, not checked yet.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) model: String,
    /// UUID or natural key; absent for creating commands.
    pub(crate) id: Option<String>,
    pub(crate) command: String,
    pub(crate) input: Json,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) expected_version: Option<u64>,
}

/// A command that is well formed and may be sent.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) record: CommandRecord,
    references: Vec<Reference>,
    input: Object,
}

/// Everything that can be checked by the declarations alone.
pub(crate) fn check(models: &Models, call: Call, caller: &Caller, trace: &Trace) -> Result<Checked, Problem> {
    let model = queries::model(models, &call.model)?;
    let command = find_command(model, &call)?;
    let path_id = match &call.id {
        Some(text) => Some(model.parse_id(text).ok_or_else(|| queries::no_id(&model.name, text))?),
        None => None,
    };
    let input =
        command.parse_input(&call.input).map_err(|errors| Problem::of_errors(Kind::InvalidInput, errors))?;

    let known = path_id.or_else(|| natural_key(model, &input));
    let actor = caller.actor.clone();
    let asked = Known { actor: &actor, id: known, input: Some(&input), now: None };
    if early(model, &command.name, &asked) == Early::No {
        return Err(refused(caller, model, command));
    }
    let identity = identity::of(&model.name, known, &actor, call.idempotency_key.as_deref());
    let record = CommandRecord {
        id: identity.command,
        model: call.model,
        aggregate: identity.aggregate,
        command: call.command,
        input: call.input,
        actor,
        expected_version: call.expected_version,
        at: now().0,
        idempotent: call.idempotency_key.is_some(),
        correlation: identity.command,
        causation: None,
        traceparent: Some(trace.traceparent()),
        reacting: None,
    };
    Ok(Checked { references: references::find(&command.input, &input), record, input })
}

/// The problem of a command that no state would allow this caller.
fn refused(caller: &Caller, model: &Model, command: &Command) -> Problem {
    if caller.is_anonymous() {
        let (model, command) = (&model.name, &command.name);
        return Kind::Unauthenticated
            .because(format!("`{command}` of {model} needs a sign-in; /docs says how."));
    }
    forbidden(&model.name, &command.name)
}

/// The problem of a command that the caller may not send. Which rule it is, is nobody's business.
pub(crate) fn forbidden(model: &str, command: &str) -> Problem {
    Kind::Forbidden.because(format!("You may not send `{command}` to this {model}."))
}

/// The command, if it belongs on this path.
fn find_command<'a>(model: &'a Model, call: &Call) -> Result<&'a Command, Problem> {
    let Some(command) = model.commands.get(&call.command) else {
        let names: Vec<_> = model.commands.keys().map(String::as_str).collect();
        return Err(Kind::UnknownCommand.because(format!(
            "{} has no command `{}`. It has: {}.",
            model.name,
            call.command,
            names.join(", ")
        )));
    };
    let (model, name) = (&model.name, &command.name);
    match (command.creates, &call.id) {
        (true, Some(_)) => Err(Kind::UnknownCommand
            .because(format!("`{name}` creates a new {model}, so it takes no id: POST /v1/{model}/{name}."))),
        (false, None) => Err(Kind::UnknownCommand.because(format!(
            "`{name}` acts on an existing {model}, so it needs its id: POST /v1/{model}/{{id}}/{name}."
        ))),
        _ => Ok(command),
    }
}

/// The id that the natural key in the input of a creating command fixes.
fn natural_key(model: &Model, input: &Object) -> Option<uuid::Uuid> {
    model.id_of_key_value(input.get(model.key.as_ref()?)?)
}

/// What is left to do before a command goes to Kafka: refuses what the caller can't hand out and references to what doesn't
/// exist, and seals its secrets.
pub(crate) async fn prepare(app: &App, caller: &Caller, checked: Checked) -> Result<CommandRecord, Problem> {
    let Checked { mut record, references, input } = checked;
    grants::check(app, caller, &record.model, &record.command, &input)?;
    let model = queries::model(&app.api.models, &record.model)?;
    if let Some(command) = model.commands.get(&record.command) {
        app.identity().keys.seal(command, &mut record);
    }
    check_references(app, record, references).await
}

async fn check_references(
    app: &App,
    record: CommandRecord,
    references: Vec<Reference>,
) -> Result<CommandRecord, Problem> {
    // A read model that isn't there, or is being caught up, says nothing about what exists.
    if app.api.parts.iter().any(|part| READ_SIDE.contains(&part.name) && !part.is_ready()) {
        return Ok(record);
    }
    app.references
        .check(&app.api.models, &app.api.queries, references)
        .await
        .map_err(|errors| Problem::of_errors(Kind::UnknownReference, errors))?;
    Ok(record)
}

/// What is left of a command once it is on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) model: String,
    pub(crate) command: String,
    pub(crate) id: uuid::Uuid,
    pub(crate) aggregate: uuid::Uuid,
}

impl From<CommandRecord> for Sent {
    fn from(record: CommandRecord) -> Self {
        Sent { model: record.model, command: record.command, id: record.id, aggregate: record.aggregate }
    }
}

/// Waits as far as `wait` says.
pub(crate) async fn finish(
    app: &App,
    sent: Sent,
    mut accepted: Accepted,
    wait: Wait,
) -> Result<Answer, Problem> {
    let failed = |error| answer::of_error(error, sent.id);
    if wait == Wait::Accepted {
        accepted.acknowledged().await.map_err(failed)?;
        return Ok(Answer::Accepted { command_id: sent.id, id: sent.aggregate });
    }
    let outcome = accepted.outcome(app.options.command_timeout()).await.map_err(failed)?;
    let committed = answer::of_outcome(&sent, outcome)?;
    if committed.state.is_null() {
        app.references.forget(&sent.model, committed.id);
    } else if committed.created {
        app.references.remember(&sent.model, committed.id);
    }
    let projected = match wait {
        Wait::Projected => {
            let position = std::slice::from_ref(&committed.position);
            Some(app.api.positions.wait(Reads::Rows, position, app.api.position_wait).await.is_ok())
        }
        Wait::Accepted | Wait::Committed => None,
    };
    Ok(Answer::Committed { model: sent.model, committed, projected })
}

/// Counts a command by its result. Only of commands that are declared: a metric must not grow with what clients invent.
pub(crate) fn count(model: &str, command: &str, result: &'static str) {
    let labels =
        [("model", model.to_owned()), ("command", command.to_owned()), ("result", result.to_owned())];
    metrics::counter!(crate::metrics::COMMANDS_TOTAL, &labels).increment(1);
}
