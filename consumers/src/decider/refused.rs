//! What follows when a reaction's command is refused: the reaction's `on_rejected`, worked out here and committed in the same
//! transaction as the refusal. So it happens exactly once, as the refusal does, and needs no reader of its own.

use writ_model::decide::Actor;
use writ_model::react::{self, Happened};
use writ_model::value::stored_from_json;
use writ_model::{Models, Rejection, State, Timestamp};
use writ_producers::envelope::{CommandRecord, Reacting};
use writ_producers::limits::{MAX_COMMAND_BYTES, json_bytes};

use super::batch::Deciding;
use crate::reactions::metrics;

/// Why nothing follows although something should.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("this server's models have no such reaction or event any more")]
    Gone,
    #[error("what happened can't be read by today's declaration: {0}")]
    Unreadable(String),
    #[error("the command would have {0} bytes, at most {MAX_COMMAND_BYTES} are sent")]
    TooLarge(usize),
    #[error(transparent)]
    Reaction(#[from] react::ReactError),
}

impl Deciding<'_> {
    /// Adds what follows on this refusal, if anything does.
    pub(super) fn react(&mut self, command: &CommandRecord, rejection: &Rejection) {
        let Some(reacting) = &command.reacting else { return };
        let Reacting { model, reaction, .. } = &**reacting;
        let labels = [("model", model.clone()), ("reaction", reaction.clone())];
        ::metrics::counter!(metrics::REJECTED, &labels).increment(1);
        match follow(self.models, command, reacting, rejection) {
            Ok(None) => {}
            Ok(Some(next)) => {
                self.decided.bytes += json_bytes(&next);
                self.decided.commands.push(next);
            }
            // The refusal stands; that the saga has stopped is for an operator.
            Err(error) => {
                ::metrics::counter!(metrics::FAILED, &labels).increment(1);
                tracing::error!(
                    %error,
                    model,
                    reaction,
                    event.id = %reacting.event_id,
                    command.id = %command.id,
                    "what follows on a refused command can't be worked out"
                );
            }
        }
    }
}

fn follow(
    models: &Models,
    command: &CommandRecord,
    reacting: &Reacting,
    rejection: &Rejection,
) -> Result<Option<CommandRecord>, Error> {
    let model = models.get(&reacting.model).ok_or(Error::Gone)?;
    let reaction = model.reactions.iter().find(|reaction| reaction.name == reacting.reaction);
    let (Some(reaction), Some(event)) = (reaction, model.events.get(&reacting.event)) else {
        return Err(Error::Gone);
    };
    let data = stored_from_json(&event.fields, &reacting.data).map_err(|errors| {
        let faults = errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail));
        Error::Unreadable(faults.collect::<Vec<_>>().join("; "))
    })?;
    let state = reacting.state.as_ref().map(|state| State::from_json(model, state)).transpose();
    let state = state.map_err(Error::Unreadable)?;
    let happened = Happened {
        event_id: reacting.event_id,
        aggregate: reacting.aggregate,
        version: reacting.version,
        event: &reacting.event,
        data: &data,
        state: state.as_ref(),
        at: Timestamp(reacting.at),
        actor: reacting.actor,
    };
    let Some(planned) = react::on_rejected(models, model, reaction, &happened, reacting.item, rejection)?
    else {
        return Ok(None);
    };
    let next = CommandRecord {
        // Of the refused command: it is refused once.
        id: react::rejected_id(command.id),
        model: planned.model,
        aggregate: planned.aggregate,
        command: planned.command,
        input: planned.input,
        actor: Actor::unrestricted(),
        expected_version: None,
        at: command.at,
        idempotent: true,
        correlation: command.correlation,
        causation: Some(reacting.event_id),
        traceparent: command.traceparent.clone(),
        reacting: None,
    };
    match json_bytes(&next) {
        bytes if bytes > MAX_COMMAND_BYTES => Err(Error::TooLarge(bytes)),
        _ => Ok(Some(next)),
    }
}
