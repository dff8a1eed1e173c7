//! One batch, decided in memory: every command in order, each seeing what the ones before it did. Writes nothing.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use writ_model::decide::Request;
use writ_model::{Model, Models, Rejection, State, decide};
use writ_producers::dead_letter::{Author, Letter, Origin, Original};
use writ_producers::envelope::{CommandRecord, Outcome, ReplyTo, header};
use writ_producers::limits::{MAX_OUTCOME_BYTES, MAX_TRANSACTION_BYTES, json_bytes};
use writ_producers::registry::SchemaIds;
use writ_producers::topics::Topics;

use super::event::Event;
use super::reservation::{Queue, Step};
use super::session::SessionError;
use super::store::Partition;
use super::unusable;
use crate::metrics;

/// A record of `writ.commands` as it was read.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) reply_to: Option<ReplyTo>,
    pub(super) original: Original,
}

/// Where a decider sits: what its dead letters say of it, and what tells whether a record stands in the right place.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) author: Author,
    /// Of `writ.commands`.
    pub(super) partitions: i32,
}

/// What a batch will write and answer.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) events: Vec<Event>,
    /// The last state of each changed aggregate with its partition and model, by key.
    pub(super) states: IndexMap<String, (i32, Arc<Model>, State)>,
    /// Other records of `writ.state`, by key: partition and last value.
    pub(super) records: IndexMap<String, (i32, Option<Vec<u8>>)>,
    /// Steps of reservations for `writ.commands`, with their keys.
    pub(super) steps: Vec<(String, Step)>,
    /// Commands that follow on refusals.
    pub(super) commands: Vec<CommandRecord>,
    pub(super) outcomes: Vec<Remembered>,
    pub(super) answers: Vec<(ReplyTo, Answer)>,
    pub(super) dead_letters: Vec<Letter>,
    /// How large the transaction becomes, about.
    pub(super) bytes: usize,
    /// The latest time of a command: what outcomes expire by.
    pub(super) now: i64,
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

/// A command whose turn it is, or will be, and where its answer goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Turn {
    pub(super) command: CommandRecord,
    pub(super) reply_to: Option<ReplyTo>,
}

/// A batch while it is decided.
pub(super) struct Deciding<'a> {
    pub(super) models: &'a Models,
    schemas: &'a SchemaIds,
    topics: &'a Topics,
    owned: &'a HashMap<i32, Partition>,
    pub(super) desk: &'a Desk,
    /// Aggregates that this batch has touched; `None`: it doesn't exist.
    overlay: HashMap<String, Option<State>>,
    /// Of aggregates that this batch has touched: the command that waits for a reservation, and those behind it.
    pub(super) queues: HashMap<String, Queue>,
    /// Outcomes of this batch by key: fingerprint and answer.
    fresh: HashMap<String, (Uuid, Answer)>,
    pub(super) decided: Decided,
}

impl<'a> Deciding<'a> {
    pub(super) fn new(
        models: &'a Models,
        schemas: &'a SchemaIds,
        topics: &'a Topics,
        owned: &'a HashMap<i32, Partition>,
        desk: &'a Desk,
    ) -> Self {
        Deciding {
            models,
            schemas,
            topics,
            owned,
            desk,
            overlay: HashMap::new(),
            queues: HashMap::new(),
            fresh: HashMap::new(),
            decided: Decided { now: i64::MIN, ..Decided::default() },
        }
    }

    /// No further command should be added to this transaction.
    pub(super) fn is_full(&self) -> bool {
        self.decided.bytes >= MAX_TRANSACTION_BYTES
    }

    pub(super) fn finish(self) -> Decided {
        self.decided
    }

    /// Decides one record. Errors: the store can't be read; the whole batch is then dropped.
    pub(super) fn decide(&mut self, record: &Command) -> Result<(), SessionError> {
        if record.original.header(header::STEP).is_some() {
            return self.step(record);
        }
        let command = match unusable::read(record, self.models, self.desk.partitions) {
            Ok(command) => command,
            Err(error) => {
                self.bury(record, error);
                return Ok(());
            }
        };
        self.decided.now = self.decided.now.max(command.at);
        let turn = Turn { command, reply_to: record.reply_to };
        if self.is_blocked(record.partition, &turn.command)? {
            return self.wait(record, turn);
        }
        self.take(record.partition, turn)
    }

    /// Takes a command in hand behind which nothing waits: answers it if it is a repeat, else decides it.
    pub(super) fn take(&mut self, partition: i32, turn: Turn) -> Result<(), SessionError> {
        if turn.command.idempotent
            && let Some(answer) = self.remembered(partition, &turn.command)?
        {
            count(&turn.command.model, "repeated");
            self.answer(turn.reply_to, answer);
            return Ok(());
        }
        self.decide_new(partition, turn, Vec::new())
    }

    /// Decides a command that holds the reservations `granted`.
    pub(super) fn decide_new(
        &mut self,
        partition: i32,
        turn: Turn,
        granted: Vec<String>,
    ) -> Result<(), SessionError> {
        let command = &turn.command;
        let decided = match self.models.models.get(&command.model) {
            Some(model) => {
                let before = self.state(partition, model, &command.key())?;
                before.and_then(|before| Ok((model, before.clone(), self.evolve(model, before, command)?)))
            }
            None => {
                let detail = format!("this server has no model `{}`", command.model);
                Err(Rejection::Failed { detail })
            }
        };
        let (model, before, (event, state)) = match decided {
            Ok(decided) => decided,
            Err(rejection) => {
                self.release(&command.key(), granted);
                self.settle(partition, turn, Err(rejection));
                return Ok(());
            }
        };
        let (mut holds, wants) = (keys(model, before.as_ref()), keys(model, Some(&state)));
        holds.extend(granted.iter().cloned());
        if let Some(missing) = wants.iter().find(|key| !holds.contains(key)) {
            return self.claim(partition, turn, granted, missing.clone());
        }
        let key = command.key();
        self.release(&key, holds.into_iter().filter(|key| !wants.contains(key)));
        self.overlay.insert(key.clone(), Some(state.clone()));
        self.decided.states.insert(key, (partition, model.clone(), state));
        self.decided.bytes += event.bytes;
        self.decided.events.push(event);
        self.settle(partition, turn, Ok(self.decided.events.len() - 1));
        Ok(())
    }

    fn evolve(
        &self,
        model: &Model,
        state: Option<State>,
        command: &CommandRecord,
    ) -> Result<(Event, State), Rejection> {
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
        let decision = decide(model, state.as_ref(), &request)?;
        Event::of((self.topics, self.schemas), model, command, state, &decision, now)
    }

    /// The state that the next command of the aggregate finds. The inner error: today's declaration can't read it.
    pub(super) fn state(
        &mut self,
        partition: i32,
        model: &Model,
        key: &str,
    ) -> Result<Result<Option<State>, Rejection>, SessionError> {
        if let Some(state) = self.overlay.get(key) {
            return Ok(Ok(state.clone()));
        }
        let state = match self.partition(partition).get(key)? {
            None => None,
            Some(bytes) => match read_state(model, &bytes) {
                Ok(state) => Some(state),
                Err(detail) => return Ok(Err(Rejection::Failed { detail })),
            },
        };
        self.overlay.insert(key.to_owned(), state.clone());
        Ok(Ok(state))
    }

    /// The end of a command: its event, or why there is none.
    pub(super) fn settle(&mut self, partition: i32, turn: Turn, result: Result<usize, Rejection>) {
        let Turn { command, reply_to } = turn;
        let (label, answer) = match result {
            Ok(event) => ("committed", Answer::Event(event)),
            Err(rejection) => {
                let rejection = fit(rejection);
                self.decided.bytes += json_bytes(&rejection);
                self.react(&command, &rejection);
                ("rejected", Answer::Known(Outcome::Rejected(rejection)))
            }
        };
        count(&command.model, label);
        if command.idempotent {
            let (key, fingerprint) = (outcome_key(&command), fingerprint(&command));
            self.fresh.insert(key.clone(), (fingerprint, answer.clone()));
            self.decided.outcomes.push(Remembered {
                partition,
                key,
                fingerprint,
                at: command.at,
                answer: answer.clone(),
            });
        }
        self.answer(reply_to, answer);
    }

    /// The first outcome of a repeated command.
    fn remembered(&self, partition: i32, command: &CommandRecord) -> Result<Option<Answer>, SessionError> {
        let key = outcome_key(command);
        let (known, answer) = match self.fresh.get(&key) {
            Some((known, answer)) => (*known, answer.clone()),
            None => {
                let Some(bytes) = self.partition(partition).get(&key)? else { return Ok(None) };
                match serde_json::from_slice::<StoredOutcome>(&bytes) {
                    Ok(stored) => (stored.fingerprint, Answer::Known(stored.outcome)),
                    Err(error) => {
                        let detail = format!("the first outcome of this key can't be read: {error}");
                        return Ok(Some(Answer::Known(Outcome::Rejected(Rejection::Failed { detail }))));
                    }
                }
            }
        };
        if known != fingerprint(command) {
            return Ok(Some(Answer::Known(Outcome::Rejected(Rejection::KeyReused))));
        }
        Ok(Some(answer))
    }

    pub(super) fn partition(&self, number: i32) -> &'a Partition {
        self.owned.get(&number).expect("only commands of owned partitions are kept")
    }

    fn answer(&mut self, to: Option<ReplyTo>, answer: Answer) {
        self.decided.answers.extend(to.map(|to| (to, answer)));
    }

    pub(super) fn bury(&mut self, record: &Command, error: impl Into<Box<dyn Error + Send + Sync>>) {
        let error = error.into();
        count("", "undecodable");
        let (partition, offset) = (record.partition, record.offset);
        let origin = Origin { topic: self.topics.commands(), partition, offset };
        let letter = Letter::new(
            origin,
            record.original.clone(),
            &self.desk.author,
            "deciding a record of the commands",
            error.as_ref(),
        );
        tracing::error!(
            kafka.origin = %letter.origin,
            reason = letter.reason,
            "a record is no command; it goes to the dead letters"
        );
        let detail = format!("the command could not be read: {}", letter.reason);
        self.answer(record.reply_to, Answer::Known(Outcome::Rejected(Rejection::Failed { detail })));
        self.decided.dead_letters.push(letter);
    }
}

/// The keys of `writ.state` under which the values of an aggregate are reserved, in the order in which they are claimed.
pub(super) fn keys(model: &Model, state: Option<&State>) -> Vec<String> {
    model.unique_keys(state).into_iter().map(|(_, key)| key).collect()
}

fn read_state(model: &Model, bytes: &[u8]) -> Result<State, String> {
    let json = serde_json::from_slice(bytes).map_err(|error| error.to_string());
    json.and_then(|json| State::from_json(model, &json)).map_err(|error| {
        format!("the state can't be read by today's declaration of `{}`: {error}", model.name)
    })
}

/// Many faults in a large input make an answer that is larger than Kafka takes.
fn fit(rejection: Rejection) -> Rejection {
    if json_bytes(&rejection) <= MAX_OUTCOME_BYTES {
        return rejection;
    }
    Rejection::Failed {
        detail: "the command was rejected for more reasons than an answer can hold".to_owned(),
    }
}

fn outcome_key(command: &CommandRecord) -> String {
    format!("{}#{}", command.key(), command.id)
}

/// What a command asks for, whatever the order of the members in its body.
fn fingerprint(command: &CommandRecord) -> Uuid {
    let mut asked = serde_json::json!([command.command, command.input, command.expected_version]);
    asked.sort_all_objects();
    Uuid::new_v5(&command.id, asked.to_string().as_bytes())
}

fn count(model: &str, result: &'static str) {
    ::metrics::counter!(metrics::COMMANDS_DECIDED, "model" => model.to_owned(), "result" => result)
        .increment(1);
}
