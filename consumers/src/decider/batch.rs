//! One batch, decided in memory: every command in order, each seeing what the ones before it did. Writes nothing.

use std::collections::HashMap;

use indexmap::IndexMap;
use rdkafka::message::{Header, OwnedHeaders};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use writ_model::decide::Request;
use writ_model::{Decision, Model, Models, Rejection, State, Timestamp, decide, evolve, value};
use writ_producers::envelope::{CommandRecord, EventSummary, Outcome, ReplyTo, frame, header};
use writ_producers::limits;
use writ_producers::registry::SchemaIds;
use writ_producers::topics::Topics;

use super::SessionError;
use super::store::Partition;
use crate::metrics;

/// A record of `writ.commands` as it was read.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) reply_to: Option<ReplyTo>,
}

/// What a batch will write and answer.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) events: Vec<Event>,
    /// The last state of each changed aggregate, by key.
    pub(super) states: IndexMap<String, (i32, State)>,
    pub(super) outcomes: Vec<Remembered>,
    pub(super) answers: Vec<(ReplyTo, Answer)>,
    pub(super) dead_letters: Vec<DeadLetter>,
    /// The latest time of a command: what outcomes expire by.
    pub(super) now: i64,
    /// What the records will have together, about.
    pub(super) bytes: usize,
}

/// An event record, and the answer to its command but for the position.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) topic: String,
    pub(super) model: String,
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) headers: OwnedHeaders,
    pub(super) summary: EventSummary,
    pub(super) aggregate: Uuid,
    pub(super) state: serde_json::Value,
    pub(super) created: bool,
    /// Of all records that it leads to.
    pub(super) bytes: usize,
}

/// An answer, known now or once the event at this index is written and has a position.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Known(Outcome),
    Event(usize),
}

/// An outcome to keep for repeats.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) partition: i32,
    pub(super) key: String,
    pub(super) fingerprint: Uuid,
    pub(super) at: i64,
    pub(super) answer: Answer,
}

/// The value of an outcome in `writ.state`, under `model/id#command id`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredOutcome {
    pub(super) fingerprint: Uuid,
    /// Time of the command, milliseconds.
    pub(super) at: i64,
    pub(super) outcome: Outcome,
}

impl StoredOutcome {
    /// The time of an outcome; `None` for a state.
    pub(super) fn time_of(value: &[u8]) -> Option<i64> {
        #[derive(Deserialize)]
        struct Timed {
            #[serde(rename = "fingerprint")]
            _fingerprint: Uuid,
            at: i64,
        }
        serde_json::from_slice::<Timed>(value).ok().map(|outcome| outcome.at)
    }
}

/// A command that can't even be read.
#[derive(Debug)]
pub(super) struct DeadLetter {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) reason: String,
    pub(super) origin: String,
}

/// A batch while it is decided.
pub(super) struct Deciding<'a> {
    models: &'a Models,
    schemas: &'a SchemaIds,
    topics: &'a Topics,
    owned: &'a HashMap<i32, Partition>,
    /// Aggregates that this batch has touched; `None`: it doesn't exist.
    overlay: HashMap<String, Option<State>>,
    /// Outcomes of this batch by key: fingerprint and answer.
    fresh: HashMap<String, (Uuid, Answer)>,
    decided: Decided,
}

impl<'a> Deciding<'a> {
    pub(super) fn new(
        models: &'a Models,
        schemas: &'a SchemaIds,
        topics: &'a Topics,
        owned: &'a HashMap<i32, Partition>,
    ) -> Self {
        let decided = Decided { now: i64::MIN, ..Decided::default() };
        Deciding { models, schemas, topics, owned, overlay: HashMap::new(), fresh: HashMap::new(), decided }
    }

    /// The transaction is large enough; what comes next belongs into another one.
    pub(super) fn is_full(&self) -> bool {
        self.decided.bytes >= limits::MAX_TRANSACTION_BYTES
    }

    pub(super) fn finish(self) -> Decided {
        self.decided
    }

    /// Decides one command. Errors: the store can't be read; the whole batch is then dropped.
    pub(super) fn decide(&mut self, record: &Command) -> Result<(), SessionError> {
        let command: CommandRecord = match serde_json::from_slice(&record.value) {
            Ok(command) => command,
            Err(error) => {
                self.bury(record, error.to_string());
                return Ok(());
            }
        };
        let partition =
            self.owned.get(&record.partition).expect("only commands of owned partitions are kept");
        self.decided.now = self.decided.now.max(command.at);
        let key = command.key();
        let memory = command.idempotent.then(|| (format!("{key}#{}", command.id), fingerprint(&command)));
        if let Some((outcome_key, fingerprint)) = &memory
            && let Some(answer) = self.remembered(partition, outcome_key, *fingerprint)?
        {
            count(&command.model, "repeated");
            self.answer(record, answer);
            return Ok(());
        }
        let answer = match self.decide_new(partition, record.partition, &command)? {
            Ok(event) => {
                count(&command.model, "committed");
                Answer::Event(event)
            }
            Err(rejection) => {
                count(&command.model, "rejected");
                // Many faults in a large input make a larger answer.
                let size = limits::json_bytes(&rejection);
                let rejection = if size <= limits::MAX_OUTCOME_BYTES {
                    rejection
                } else {
                    let detail =
                        "the command was rejected for more reasons than an answer can hold".to_owned();
                    Rejection::Failed { detail }
                };
                self.decided.bytes += size.min(limits::MAX_OUTCOME_BYTES);
                Answer::Known(Outcome::Rejected(rejection))
            }
        };
        if let Some((outcome_key, fingerprint)) = memory {
            self.fresh.insert(outcome_key.clone(), (fingerprint, answer.clone()));
            self.decided.outcomes.push(Remembered {
                partition: record.partition,
                key: outcome_key,
                fingerprint,
                at: command.at,
                answer: answer.clone(),
            });
        }
        self.answer(record, answer);
        Ok(())
    }

    fn decide_new(
        &mut self,
        partition: &Partition,
        number: i32,
        command: &CommandRecord,
    ) -> Result<Result<usize, Rejection>, SessionError> {
        let Some(model) = self.models.get(&command.model) else {
            let detail = format!("this server has no model `{}`", command.model);
            return Ok(Err(Rejection::Failed { detail }));
        };
        let key = command.key();
        let state = match self.overlay.get(&key) {
            Some(state) => state.clone(),
            None => match partition.get(&key)?.map(|bytes| read_state(model, &bytes)) {
                None => None,
                Some(Ok(state)) => Some(state),
                Some(Err(detail)) => return Ok(Err(Rejection::Failed { detail })),
            },
        };
        // Times of one aggregate never go back, whatever the clocks of the api instances say.
        let now = state.as_ref().map_or(command.time(), |state| command.time().max(state.updated_at));
        let request = Request {
            id: command.aggregate,
            command: &command.command,
            input: &command.input,
            expected_version: command.expected_version,
            now,
            actor: &command.actor,
        };
        let decided = decide(model, state.as_ref(), &request)
            .and_then(|decision| self.event(model, command, state.clone(), &decision, now));
        match decided {
            Ok((event, state)) => {
                self.decided.states.insert(key.clone(), (number, state.clone()));
                self.overlay.insert(key, Some(state));
                self.decided.bytes += event.bytes;
                self.decided.events.push(event);
                Ok(Ok(self.decided.events.len() - 1))
            }
            Err(rejection) => {
                self.overlay.insert(key, state);
                Ok(Err(rejection))
            }
        }
    }

    fn event(
        &self,
        model: &Model,
        command: &CommandRecord,
        state: Option<State>,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(Event, State), Rejection> {
        let event = model.events.get(&decision.event).expect("a decision names an event of its model");
        let schema =
            self.schemas.id(&event.type_name).expect("every event type is registered before deciding");
        let mut value = frame(schema);
        event
            .codec
            .encode(&decision.fields, &mut value)
            .map_err(|error| Rejection::Failed { detail: error.to_string() })?;
        let state = evolve(model, state, event, &decision.fields, now);
        // One event per command, so its id can be derived from the command's: a decision can be repeated exactly.
        let summary = EventSummary {
            id: Uuid::new_v5(&command.id, command.aggregate.as_bytes()),
            type_name: event.type_name.clone(),
            version: state.version,
            time: now.to_string(),
            data: value::object_to_json(&decision.fields),
        };
        // A record that Kafka refuses would be decided and refused again, for ever.
        let bytes = limits::check_decision(&value, &summary.data, &state.to_json())
            .map_err(|error| Rejection::Failed { detail: error.to_string() })?;
        let event = Event {
            topic: self.topics.events(&model.name),
            model: model.name.clone(),
            key: command.aggregate.to_string(),
            value,
            headers: headers(command, &summary, &self.models.app, &self.schemas.url(schema)),
            summary,
            aggregate: command.aggregate,
            state: if state.deleted { serde_json::Value::Null } else { state.public_json() },
            created: event.creates,
            bytes,
        };
        Ok((event, state))
    }

    /// The first outcome of a repeated command.
    fn remembered(
        &self,
        partition: &Partition,
        key: &str,
        fingerprint: Uuid,
    ) -> Result<Option<Answer>, SessionError> {
        let (known, answer) = match self.fresh.get(key) {
            Some((known, answer)) => (*known, answer.clone()),
            None => {
                let Some(bytes) = partition.get(key)? else { return Ok(None) };
                match serde_json::from_slice::<StoredOutcome>(&bytes) {
                    Ok(stored) => (stored.fingerprint, Answer::Known(stored.outcome)),
                    Err(error) => {
                        let detail = format!("the first outcome of this key can't be read: {error}");
                        return Ok(Some(Answer::Known(Outcome::Rejected(Rejection::Failed { detail }))));
                    }
                }
            }
        };
        if known != fingerprint {
            return Ok(Some(Answer::Known(Outcome::Rejected(Rejection::KeyReused))));
        }
        Ok(Some(answer))
    }

    fn answer(&mut self, record: &Command, answer: Answer) {
        if let Some(to) = record.reply_to {
            self.decided.answers.push((to, answer));
        }
    }

    fn bury(&mut self, record: &Command, reason: String) {
        count("", "undecodable");
        let origin = format!("{}:{}:{}", self.topics.commands(), record.partition, record.offset);
        tracing::error!(
            kafka.origin = origin,
            reason,
            "a command can't be read; it goes to the dead letters"
        );
        let detail = format!("the command could not be read: {reason}");
        self.answer(record, Answer::Known(Outcome::Rejected(Rejection::Failed { detail })));
        self.decided.dead_letters.push(DeadLetter {
            key: record.key.clone(),
            value: record.value.clone(),
            reason,
            origin,
        });
    }
}

fn read_state(model: &Model, bytes: &[u8]) -> Result<State, String> {
    let json = serde_json::from_slice(bytes).map_err(|error| error.to_string());
    json.and_then(|json| State::from_json(model, &json)).map_err(|error| {
        format!("the state can't be read by today's declaration of `{}`: {error}", model.name)
    })
}

/// What a command asks for, whatever the order of the members in its body.
fn fingerprint(command: &CommandRecord) -> Uuid {
    let mut asked = serde_json::json!([command.command, command.input, command.expected_version]);
    asked.sort_all_objects();
    Uuid::new_v5(&command.id, asked.to_string().as_bytes())
}

fn headers(command: &CommandRecord, event: &EventSummary, app: &str, dataschema: &str) -> OwnedHeaders {
    let subject = command.aggregate.to_string();
    let always = [
        (header::SPECVERSION, "1.0"),
        (header::ID, &event.id.to_string()),
        (header::TYPE, &event.type_name),
        (header::SOURCE, &format!("/{app}/{}", command.model)),
        (header::SUBJECT, &subject),
        (header::TIME, &event.time),
        (header::DATASCHEMA, dataschema),
        (header::CONTENT_TYPE, "application/avro"),
        (header::VERSION, &event.version.to_string()),
        (header::CORRELATION_ID, &command.correlation.to_string()),
        (header::CAUSATION_ID, &command.causation.unwrap_or(command.id).to_string()),
    ];
    let actor = command.actor.id.map(|actor| actor.to_string());
    let sometimes =
        [(header::ACTOR, actor.as_deref()), (header::TRACEPARENT, command.traceparent.as_deref())];
    let mut headers = OwnedHeaders::new_with_capacity(always.len() + sometimes.len());
    for (key, value) in always {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    for (key, value) in sometimes {
        if value.is_some() {
            headers = headers.insert(Header { key, value });
        }
    }
    headers
}

fn count(model: &str, result: &'static str) {
    ::metrics::counter!(metrics::COMMANDS_DECIDED, "model" => model.to_owned(), "result" => result)
        .increment(1);
}
