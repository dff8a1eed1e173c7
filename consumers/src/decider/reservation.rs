//! Uniqueness across aggregates: a value is reserved before the event that takes it is committed.
//!
//! The values of a constraint have an owner of their own: the decider of the partition to which the reservation's key
//! (`@unique/<model>/<constraint>/<hash>`) belongs, which keeps the holder under that key in `writ.state`. A command
//! that takes a value goes like this, each step being one transaction of one decider:
//!
//! 1. The aggregate's decider finds that the command would take a value. Instead of the event it commits the command
//!    as *pending* (`@pending/<model>/<id>`) and a [`Step::Claim`], keyed by the reservation.
//! 2. The value's decider grants it to the first that asks, and commits the holder and a [`Step::Answer`], keyed by the
//!    aggregate.
//! 3. The aggregate's decider decides the pending command again. It claims the next value, or commits the event with a
//!    [`Step::Release`] of what the aggregate had before; or, refused, it rejects the command and releases what
//!    was granted on the way.
//!
//! # Why no two aggregates have the same value
//!
//! A value's holder changes only in its partition, whose commands one decider handles in order ([`super`]). An event that
//! takes a value is committed only after the grant to its aggregate was committed. The holder is
//! replaced only after a release by that aggregate, and an aggregate releases a value in the very transaction
//! whose event gives it up, or when no event took it.
//!
//! A release can't overtake or be overtaken: claims and releases of one aggregate for one value are written by
//! transactions that follow each other (its commands have one decider, which has at most one transaction open), to one
//! partition. So a later claim stands behind an earlier release.
//!
//! For the same reason a value is free for whoever asks after the answer to the command that gave it up: the release was
//! committed before that answer, so it stands before the new claim.
//!
//! # Why nothing is lost or stays behind
//!
//! Every step is a record of `writ.commands`, consumed in the transaction that writes its consequence. A crash between
//! two steps leaves the next one in the topic. Later commands to an aggregate with a pending one wait behind it
//! (`@waiting/<model>/<id>/<offset>`), so its state is the same when it is decided again, and the order of its commands is
//! the order in the topic.
//!
//! Values are claimed one after the other in the order of their keys. Of commands that want the same values, the one that
//! gets the first gets all, so one of them succeeds. A value that is claimed counts as taken, even if its command is
//! rejected in the end because of another value: refusing at once keeps every command's wait bounded, and rules
//! deadlocks out.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use writ_model::Rejection;
use writ_producers::envelope::CommandRecord;

use super::batch::{Command, Deciding, Turn, keys};
use super::session::SessionError;
use super::unusable;
use crate::metrics;
use crate::state_key::{PENDING, WAITING};

/// What deciders tell each other through `writ.commands`. The key of the record says about which value, or to which aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Step {
    /// To the value's owner: the aggregate wants it.
    Claim {
        /// `model/id`.
        aggregate: String,
        /// The command that waits for the answer. `None`: the aggregate has the value already, see [`super::constraints`].
        command: Option<Uuid>,
    },
    /// To the value's owner: the aggregate doesn't have it any more.
    Release {
        /// `model/id`.
        aggregate: String,
    },
    /// To the aggregate.
    Answer {
        /// The key of the reservation.
        reservation: String,
        /// The command that claimed it.
        command: Uuid,
        /// Nobody else holds it.
        granted: bool,
    },
    /// To the aggregate, from itself: decide what waits, which was too much for one transaction.
    GoOn,
}

/// Value of a reservation in `writ.state`.
#[derive(Debug, Serialize, Deserialize)]
struct Reservation {
    /// `model/id`.
    holder: String,
}

/// A command that waits for a reservation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    turn: Turn,
    /// What it got so far, beside what the aggregate has.
    granted: Vec<String>,
    /// What it waits for.
    claimed: String,
}

/// The commands of one aggregate that can't be decided yet. Behind no pending one they wait for [`Step::GoOn`]; then
/// the record of the pending one says null.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pending: Option<Pending>,
    /// With their offsets, which are their order.
    waiting: VecDeque<(i64, Turn)>,
}

impl Deciding<'_> {
    /// Whether an earlier command of its aggregate waits for a reservation.
    pub(super) fn is_blocked(
        &mut self,
        partition: i32,
        command: &CommandRecord,
    ) -> Result<bool, SessionError> {
        if self.models.get(&command.model).is_none_or(|model| model.uniques.is_empty()) {
            return Ok(false);
        }
        let queue = self.queue(partition, &command.key())?;
        Ok(queue.pending.is_some() || !queue.waiting.is_empty())
    }

    /// Puts a command behind the pending one of its aggregate.
    pub(super) fn wait(&mut self, record: &Command, turn: Turn) -> Result<(), SessionError> {
        let key = turn.command.key();
        self.put(record.partition, waiting_key(&key, record.offset), Some(json(&turn)));
        self.queue(record.partition, &key)?.waiting.push_back((record.offset, turn));
        Ok(())
    }

    /// Makes the command the pending one of its aggregate until the owner of the value has answered.
    pub(super) fn claim(
        &mut self,
        partition: i32,
        turn: Turn,
        granted: Vec<String>,
        claimed: String,
    ) -> Result<(), SessionError> {
        let (key, command) = (turn.command.key(), turn.command.id);
        let pending = Pending { turn, granted, claimed: claimed.clone() };
        self.put(partition, format!("{PENDING}{key}"), Some(json(&pending)));
        self.queue(partition, &key)?.pending = Some(pending);
        self.decided.steps.push((claimed, Step::Claim { aggregate: key, command: Some(command) }));
        Ok(())
    }

    /// Gives values back to their owners.
    pub(super) fn release(&mut self, aggregate: &str, reservations: impl IntoIterator<Item = String>) {
        for reservation in reservations {
            self.decided.steps.push((reservation, Step::Release { aggregate: aggregate.to_owned() }));
        }
    }

    /// Takes one step that another decider, or this one, has written.
    pub(super) fn step(&mut self, record: &Command) -> Result<(), SessionError> {
        let (key, step) = match unusable::read_step(record, self.desk.partitions) {
            Ok(read) => read,
            Err(error) => {
                self.bury(record, error);
                return Ok(());
            }
        };
        match step {
            Step::Claim { aggregate, command } => self.grant(record.partition, key, aggregate, command),
            Step::Release { aggregate } => {
                if self.holder(record.partition, &key)?.is_some_and(|holder| holder == aggregate) {
                    self.put(record.partition, key, None);
                }
                Ok(())
            }
            Step::Answer { reservation, command, granted } => {
                self.resume(record.partition, &key, reservation, command, granted)
            }
            Step::GoOn => {
                if self.queue(record.partition, &key)?.pending.is_none() {
                    self.put(record.partition, format!("{PENDING}{key}"), None);
                    self.go_on(record.partition, &key)?;
                }
                Ok(())
            }
        }
    }

    /// At the value's owner: the first that asks gets it.
    fn grant(
        &mut self,
        partition: i32,
        reservation: String,
        aggregate: String,
        command: Option<Uuid>,
    ) -> Result<(), SessionError> {
        let holder = self.holder(partition, &reservation)?;
        let granted = holder.as_ref().is_none_or(|holder| *holder == aggregate);
        let result = if granted { "granted" } else { "refused" };
        ::metrics::counter!(metrics::RESERVATIONS, "result" => result).increment(1);
        if granted {
            let value = json(&Reservation { holder: aggregate.clone() });
            self.put(partition, reservation.clone(), Some(value));
        }
        match command {
            Some(command) => {
                self.decided.steps.push((aggregate, Step::Answer { reservation, command, granted }));
            }
            None if granted => {}
            None => {
                ::metrics::counter!(metrics::UNIQUE_CONFLICTS).increment(1);
                tracing::error!(
                    unique.key = reservation,
                    unique.holder = holder,
                    unique.other = aggregate,
                    "two aggregates had the same value before it was declared unique; change one of them"
                );
            }
        }
        Ok(())
    }

    /// At the aggregate: the answer to the claim of its pending command.
    fn resume(
        &mut self,
        partition: i32,
        aggregate: &str,
        reservation: String,
        command: Uuid,
        granted: bool,
    ) -> Result<(), SessionError> {
        let queue = self.queue(partition, aggregate)?;
        let awaited =
            |pending: &Pending| pending.turn.command.id == command && pending.claimed == reservation;
        if !queue.pending.as_ref().is_some_and(awaited) {
            return self.stray(partition, aggregate, reservation, granted);
        }
        let Some(Pending { turn, granted: mut held, .. }) = queue.pending.take() else { return Ok(()) };
        self.put(partition, format!("{PENDING}{aggregate}"), None);
        if granted {
            held.push(reservation);
            self.decide_new(partition, turn, held)?;
        } else {
            self.release(aggregate, held);
            let rejection = self.not_unique(&turn.command.model, &reservation);
            self.settle(partition, turn, Err(rejection));
        }
        self.go_on(partition, aggregate)
    }

    /// Decides what has waited, until a command has to wait again.
    fn go_on(&mut self, partition: i32, aggregate: &str) -> Result<(), SessionError> {
        loop {
            let is_full = self.is_full();
            let queue = self.queue(partition, aggregate)?;
            if queue.pending.is_some() {
                return Ok(());
            }
            if is_full && !queue.waiting.is_empty() {
                self.put(partition, format!("{PENDING}{aggregate}"), Some(json(&None::<Pending>)));
                self.decided.steps.push((aggregate.to_owned(), Step::GoOn));
                return Ok(());
            }
            let Some((offset, turn)) = queue.waiting.pop_front() else { return Ok(()) };
            self.put(partition, waiting_key(aggregate, offset), None);
            self.take(partition, turn)?;
        }
    }

    /// An answer that nothing waits for can only come from a claim that was written twice. A value that was granted by it
    /// goes back, unless the aggregate has it or is about to.
    fn stray(
        &mut self,
        partition: i32,
        aggregate: &str,
        reservation: String,
        granted: bool,
    ) -> Result<(), SessionError> {
        ::metrics::counter!(metrics::STRAY_ANSWERS).increment(1);
        tracing::warn!(aggregate, unique.key = reservation, granted, "nothing waits for this reservation");
        if !granted {
            return Ok(());
        }
        if let Some(pending) = &self.queue(partition, aggregate)?.pending
            && (pending.claimed == reservation || pending.granted.contains(&reservation))
        {
            return Ok(());
        }
        let model = aggregate.split('/').next().and_then(|model| self.models.models.get(model));
        let has = match model {
            None => false,
            Some(model) => match self.state(partition, model, aggregate)? {
                Ok(state) => keys(model, state.as_ref()).contains(&reservation),
                // Better one value too many that counts as taken than one that two have.
                Err(_) => true,
            },
        };
        if !has {
            self.release(aggregate, [reservation]);
        }
        Ok(())
    }

    fn not_unique(&self, model: &str, reservation: &str) -> Rejection {
        let constraints = self.models.get(model).into_iter().flat_map(|model| &model.uniques);
        let refused = constraints.filter(|unique| reservation.starts_with(&unique.prefix(model)));
        Rejection::NotUnique { fields: refused.flat_map(|unique| unique.fields.clone()).collect() }
    }

    fn holder(&self, partition: i32, reservation: &str) -> Result<Option<String>, SessionError> {
        let value = match self.decided.records.get(reservation) {
            Some((_, value)) => value.clone(),
            None => self.partition(partition).get(reservation)?.map(|value| value.to_vec()),
        };
        value.map(|value| Ok(own::<Reservation>(reservation, &value)?.holder)).transpose()
    }

    /// The queue of an aggregate, as this batch has made it.
    fn queue(&mut self, partition: i32, aggregate: &str) -> Result<&mut Queue, SessionError> {
        if !self.queues.contains_key(aggregate) {
            let store = self.partition(partition);
            let mut queue = Queue::default();
            let pending = format!("{PENDING}{aggregate}");
            if let Some(value) = store.get(&pending)? {
                queue.pending = own(&pending, &value)?;
                let prefix = format!("{WAITING}{aggregate}/");
                for record in store.scan(&prefix) {
                    let (key, value) = record?;
                    let offset = key[prefix.len()..].parse().expect("invariant: see `waiting_key`");
                    queue.waiting.push_back((offset, own(&key, &value)?));
                }
            }
            self.queues.insert(aggregate.to_owned(), queue);
        }
        Ok(self.queues.get_mut(aggregate).expect("it was put there"))
    }

    fn put(&mut self, partition: i32, key: String, value: Option<Vec<u8>>) {
        self.decided.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.decided.records.insert(key, (partition, value));
    }
}

/// Padded, so that the order of the keys is the order of the offsets.
fn waiting_key(aggregate: &str, offset: i64) -> String {
    format!("{WAITING}{aggregate}/{offset:020}")
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("it has string keys only")
}

/// Reads what [`json`] wrote.
fn own<T: for<'de> Deserialize<'de>>(key: &str, value: &[u8]) -> Result<T, SessionError> {
    serde_json::from_slice(value)
        .map_err(|error| SessionError::Record { key: key.to_owned(), detail: error.to_string() })
}
