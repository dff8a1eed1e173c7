//! From a batch of events to the commands that follow. Reads states where a reaction asks for them, writes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quick_cache::unsync::Cache;
use rdkafka::message::{Message, OwnedMessage};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_model::decide::Actor;
use writ_model::declaration::Reaction;
use writ_model::react::{self, Effect};
use writ_model::{Model, State};
use writ_producers::dead_letter::{Author, Letter, Origin, Original};
use writ_producers::envelope::{CommandRecord, Reacting, header};
use writ_producers::limits::{MAX_COMMAND_BYTES, json_bytes};

use super::session::SessionError;
use super::{Reactions, metrics};
use crate::event::{Decoder, Happened, NoEvent};
use crate::header::text;

/// Pauses while the projector isn't there: it is behind by milliseconds as a rule.
const FIRST_PAUSE: Duration = Duration::from_millis(3);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// After so long the session ends, so that the group doesn't take this member for dead; the next one goes on waiting.
const PATIENCE: Duration = Duration::from_secs(20);

/// A model with reactions.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) model: Arc<Model>,
    pub(super) decoder: Decoder,
}

/// What follows from one event, or from several.
#[derive(Debug, Default)]
pub(super) struct Fired {
    pub(super) commands: Vec<CommandRecord>,
    pub(super) letters: Vec<Letter>,
    /// For the metrics: model, reaction, and when the event was written.
    pub(super) counted: Vec<(String, String, SystemTime)>,
    /// How large it is in a transaction, about.
    pub(super) bytes: usize,
}

impl Fired {
    pub(super) fn extend(&mut self, other: Fired) {
        self.commands.extend(other.commands);
        self.letters.extend(other.letters);
        self.counted.extend(other.counted);
        self.bytes += other.bytes;
    }
}

/// A batch while it is worked out.
pub(super) struct Firing<'a> {
    pub(super) reactions: &'a Reactions,
    pub(super) followed: &'a HashMap<String, Followed>,
    pub(super) seen: &'a mut Cache<Uuid, u64>,
    pub(super) author: &'a Author,
}

/// An event of the batch, as far as it could be read.
enum Read<'a> {
    Event(&'a Model, Box<Happened>),
    /// It came before.
    Again,
    Unreadable(String),
}

/// A model, and the aggregates and versions of which states are to be read.
type Wanted<'a> = (&'a Model, Vec<(Uuid, u64)>);
/// States by aggregate and version. `None`: there is none, and never will be.
type States = HashMap<(Uuid, u64), Option<State>>;

impl Firing<'_> {
    /// What follows from each event, in their order. `None`: the role stops.
    pub(super) async fn fire(
        &mut self,
        records: &[OwnedMessage],
        cancel: &CancellationToken,
    ) -> Result<Option<Vec<Fired>>, SessionError> {
        let mut read = Vec::with_capacity(records.len());
        for record in records {
            let followed =
                self.followed.get(record.topic()).expect("invariant: only these are subscribed to");
            let Followed { model, decoder } = followed;
            ::metrics::counter!(metrics::EVENTS, "model" => model.name.clone()).increment(1);
            read.push(match decoder.decode(record, cancel).await {
                Ok(event) if self.is_new(&event) => Read::Event(model, Box::new(event)),
                Ok(_) => Read::Again,
                Err(NoEvent::Undecodable(reason)) => Read::Unreadable(reason),
                Err(NoEvent::Cancelled) => return Ok(None),
            });
        }
        let Some(states) = self.states(&read, cancel).await? else { return Ok(None) };
        let fired = records.iter().zip(read).map(|(record, read)| match read {
            Read::Event(model, event) => self.react(record, model, &event, &states),
            Read::Again => {
                ::metrics::counter!(metrics::PASSED_OVER).increment(1);
                Fired::default()
            }
            Read::Unreadable(reason) => self.bury(record, ("", ""), &Unusable::Event(reason)),
        });
        Ok(Some(fired.collect()))
    }

    /// First wins by (aggregate id, version). What was seen is forgotten in time; then the ids of the commands tell.
    fn is_new(&mut self, event: &Happened) -> bool {
        let is_new = self.seen.get(&event.aggregate).is_none_or(|seen| *seen < event.version);
        if is_new {
            self.seen.insert(event.aggregate, event.version);
        }
        is_new
    }

    /// The states after those events for which a reaction asks. `None`: the role stops.
    async fn states(
        &self,
        read: &[Read<'_>],
        cancel: &CancellationToken,
    ) -> Result<Option<States>, SessionError> {
        let mut wanted: HashMap<&str, Wanted<'_>> = HashMap::new();
        for read in read {
            let Read::Event(model, event) = read else { continue };
            let name = &event.event(model).name;
            if reactions(model, name).any(|reaction| reaction.uses_state) {
                let (_, places) = wanted.entry(&model.name).or_insert_with(|| (model, Vec::new()));
                places.push((event.aggregate, event.version));
            }
        }
        let mut states = States::new();
        for (model, mut places) in wanted.into_values() {
            let (mut pause, started) = (FIRST_PAUSE, Instant::now());
            while !places.is_empty() {
                // Of each aggregate one version at a time.
                let asked: HashMap<Uuid, u64> = places.iter().rev().copied().collect();
                let asked: Vec<(Uuid, u64)> = asked.into_iter().collect();
                let versions: HashMap<Uuid, u64> = asked.iter().copied().collect();
                let (found, detail) = match self.reactions.history.states_at(model, &asked).await {
                    Ok(found) => (found, "the projector is behind".to_owned()),
                    Err(error) => (HashMap::new(), error.to_string()),
                };
                let came = !found.is_empty();
                states.extend(found.into_iter().map(|(id, state)| ((id, versions[&id]), state)));
                places.retain(|place| !states.contains_key(place));
                let Some(&(id, version)) = places.first() else { break };
                if came {
                    continue;
                }
                if started.elapsed() > PATIENCE {
                    return Err(SessionError::Behind { model: model.name.clone(), id, version, detail });
                }
                if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return Ok(None);
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        Ok(Some(states))
    }

    /// The reactions to one event.
    fn react(&self, record: &OwnedMessage, model: &Model, event: &Happened, states: &States) -> Fired {
        let name = &event.event(model).name;
        let state = states.get(&(event.aggregate, event.version));
        let mut fired = Fired::default();
        for reaction in reactions(model, name) {
            let state = match state {
                Some(None) if reaction.uses_state => {
                    let letter = self.bury(record, (&model.name, &reaction.name), &Unusable::State);
                    fired.extend(letter);
                    continue;
                }
                state => state.and_then(Option::as_ref),
            };
            let happened = react::Happened {
                event_id: event.id,
                aggregate: event.aggregate,
                version: event.version,
                event: name,
                data: &event.fields,
                state,
                at: event.at,
                actor: event.actor.as_deref().and_then(|actor| actor.parse().ok()),
            };
            match react::react(&self.reactions.models, model, reaction, &happened) {
                Ok(firings) => {
                    for firing in firings {
                        let Effect::Command(planned) = firing.effect else { continue };
                        let command = CommandRecord {
                            id: firing.id,
                            model: planned.model,
                            aggregate: planned.aggregate,
                            command: planned.command,
                            input: planned.input,
                            // The model file says what happens: nobody is asked for a permission.
                            actor: Actor::unrestricted(),
                            expected_version: None,
                            at: now(),
                            idempotent: true,
                            correlation: event
                                .correlation_id
                                .as_deref()
                                .and_then(|id| id.parse().ok())
                                .unwrap_or(event.id),
                            causation: Some(event.id),
                            traceparent: text(record, header::TRACEPARENT).map(str::to_owned),
                            reacting: reaction
                                .on_rejected()
                                .and_then(|_| Reacting::new(model, &reaction.name, firing.item, &happened))
                                .map(Box::new),
                        };
                        let bytes = json_bytes(&command);
                        if bytes > MAX_COMMAND_BYTES {
                            let whole = (&*model.name, &*reaction.name);
                            fired.extend(self.bury(record, whole, &Unusable::TooLarge(bytes)));
                            continue;
                        }
                        fired.bytes += bytes;
                        fired.commands.push(command);
                        let at =
                            Duration::from_millis(event.written.unwrap_or_default().max(0).unsigned_abs());
                        fired.counted.push((model.name.clone(), reaction.name.clone(), UNIX_EPOCH + at));
                    }
                }
                Err(error) => {
                    let letter = self.bury(record, (&model.name, &reaction.name), &Unusable::Reaction(error));
                    fired.extend(letter);
                }
            }
        }
        fired
    }

    fn bury(&self, record: &OwnedMessage, (model, reaction): (&str, &str), error: &Unusable) -> Fired {
        let labels = [("model", model.to_owned()), ("reaction", reaction.to_owned())];
        ::metrics::counter!(metrics::FAILED, &labels).increment(1);
        let origin = Origin {
            topic: record.topic().to_owned(),
            partition: record.partition(),
            offset: record.offset(),
        };
        let original = Original {
            key: record.key().map(<[u8]>::to_vec),
            value: record.payload().map(<[u8]>::to_vec),
            headers: record.headers().cloned(),
            timestamp: record.timestamp().to_millis(),
        };
        let during = format!("reacting by `{model}.{reaction}`");
        let during = if reaction.is_empty() { "reading an event for the reactions" } else { &during };
        let letter = Letter::new(origin, original, self.author, during, error);
        tracing::error!(
            kafka.origin = %letter.origin,
            reason = letter.reason,
            model,
            reaction,
            "a reaction can't be worked out; the event goes to the dead letters"
        );
        let bytes = letter.original.size();
        Fired { letters: vec![letter], bytes, ..Fired::default() }
    }
}

/// Why an event has not all of its reactions.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("the event can't be read: {0}")]
    Event(String),
    #[error("the state after the event can't be known, since the event or one before it can't be applied")]
    State,
    #[error("the command would have {0} bytes, at most {MAX_COMMAND_BYTES} are sent")]
    TooLarge(usize),
    #[error("the reaction failed")]
    Reaction(#[source] react::ReactError),
}

/// Those to events of this name. What is done later or outside isn't run by this version; `writ check` says so.
fn reactions<'m>(model: &'m Model, event: &str) -> impl Iterator<Item = &'m Reaction> {
    model.reactions.iter().filter(move |reaction| reaction.is_run() && reaction.is_on(event))
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
