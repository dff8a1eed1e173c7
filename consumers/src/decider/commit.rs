//! The end of a batch: one transaction, then the store, then the answers are free to go.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::{Offset, TopicPartitionList};
use writ_model::Position;
use writ_producers::envelope::{Committed, Outcome, ReplyTo, header};
use writ_producers::topics::Topics;
use writ_producers::transaction::{Record, Slot, Transaction, TransactionalProducer};

use super::batch::{Answer, Decided, StoredOutcome};
use super::event::Event;
use super::session::SessionError;
use super::store::{Change, Partition};
use crate::state_key::NEXT;

/// Outcomes forgotten per batch and partition: many enough to keep up, few enough not to be felt.
const MAX_EXPIRED: usize = 64;

/// How far the group has come with this batch.
pub(super) struct Offsets<'a> {
    /// By partition.
    pub(super) next: &'a BTreeMap<i32, i64>,
    pub(super) group: &'a ConsumerGroupMetadata,
}

/// Commits the batch and applies it to the store. The answers may go out once this has returned.
///
/// The order is the argument: events first, so that their offsets are known when the outcomes that name them are
/// written; offsets last; the store after the commit.
pub(super) fn commit(
    producer: &mut TransactionalProducer,
    topics: &Topics,
    owned: &HashMap<i32, Partition>,
    decided: Decided,
    offsets: Offsets<'_>,
    retention: Duration,
) -> Result<Vec<(ReplyTo, Outcome)>, SessionError> {
    let writer = producer.id().to_owned();
    let named = |header: OwnedHeaders| header.insert(Header { key: header::WRITER, value: Some(&writer) });
    let mut transaction = producer.begin()?;
    let mut changes = Changes { topic: topics.state(), slots: HashMap::new() };

    // First in each partition, so that a transaction that is left open shows whose it is, see `abandoned`.
    for (&partition, next) in offsets.next {
        let value = Some(next.to_string().into_bytes());
        let change = Change { key: NEXT.into(), value, since: None };
        changes.write_with(&mut transaction, partition, change, Some(named(OwnedHeaders::new())))?;
    }

    let mut event_slots = Vec::with_capacity(decided.events.len());
    for event in &decided.events {
        event_slots.push(transaction.write(Record {
            topic: &event.topic,
            partition: None,
            key: event.key.as_bytes(),
            value: Some(&event.value),
            headers: Some(event.headers.clone()),
        })?);
    }
    for (key, (partition, model, state)) in decided.states {
        let value = serde_json::to_vec(&state.to_json(&model)).expect("a state has string keys only");
        changes.write(&mut transaction, partition, Change { key, value: Some(value), since: None })?;
    }
    for (key, (partition, value)) in decided.records {
        changes.write(&mut transaction, partition, Change { key, value, since: None })?;
    }
    for (key, step) in &decided.steps {
        let value = serde_json::to_vec(step).expect("a step has string keys only");
        let headers =
            OwnedHeaders::new_with_capacity(2).insert(Header { key: header::STEP, value: Some("1") });
        transaction.write(Record {
            topic: &topics.commands(),
            partition: None,
            key: key.as_bytes(),
            value: Some(&value),
            headers: Some(named(headers)),
        })?;
    }
    for command in &decided.commands {
        let value = serde_json::to_vec(command).expect("a command has string keys only");
        transaction.write(Record {
            topic: &topics.commands(),
            partition: None,
            key: command.key().as_bytes(),
            value: Some(&value),
            headers: Some(named(OwnedHeaders::new())),
        })?;
    }
    for letter in decided.dead_letters {
        let letter = letter.encode();
        transaction.write(Record {
            topic: &topics.dead_letters(),
            partition: None,
            key: letter.key.as_bytes(),
            value: letter.value.as_deref(),
            headers: Some(letter.headers),
        })?;
    }
    let oldest = decided.now.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
    for (&number, partition) in owned {
        for expired in partition.expired(oldest, MAX_EXPIRED)? {
            changes.write(&mut transaction, number, expired)?;
        }
    }

    if !event_slots.is_empty() {
        transaction.drain()?;
    }
    let committed: Vec<Outcome> = decided
        .events
        .into_iter()
        .zip(event_slots)
        .map(|(event, slot)| outcome_of(event, slot, &transaction))
        .collect();
    let resolve = |answer: Answer| match answer {
        Answer::Known(outcome) => outcome,
        Answer::Event(index) => committed[index].clone(),
    };
    for remembered in decided.outcomes {
        let stored = StoredOutcome {
            fingerprint: remembered.fingerprint,
            at: remembered.at,
            outcome: resolve(remembered.answer),
        };
        let value = serde_json::to_vec(&stored).expect("an outcome has string keys only");
        let change = Change { key: remembered.key, value: Some(value), since: Some(remembered.at) };
        changes.write(&mut transaction, remembered.partition, change)?;
    }
    let mut next = TopicPartitionList::new();
    for (&partition, &offset) in offsets.next {
        next.add_partition_offset(&topics.commands(), partition, Offset::Offset(offset))?;
    }
    let written = transaction.commit(&next, offsets.group)?;

    for (number, slots) in changes.slots {
        let partition = owned.get(&number).expect("changes are of owned partitions");
        let end =
            slots.iter().filter_map(|(slot, _)| written.get(*slot)).map(|written| written.offset + 1).max();
        let changes: Vec<Change> = slots.into_iter().map(|(_, change)| change).collect();
        partition.apply(&changes, end.expect("a committed transaction has written all its records"))?;
    }
    Ok(decided.answers.into_iter().map(|(to, answer)| (to, resolve(answer))).collect())
}

/// Records of `writ.state` in this transaction, by partition.
struct Changes {
    topic: String,
    slots: HashMap<i32, Vec<(Slot, Change)>>,
}

impl Changes {
    fn write(
        &mut self,
        transaction: &mut Transaction<'_>,
        partition: i32,
        change: Change,
    ) -> Result<(), SessionError> {
        self.write_with(transaction, partition, change, None)
    }

    fn write_with(
        &mut self,
        transaction: &mut Transaction<'_>,
        partition: i32,
        change: Change,
        headers: Option<OwnedHeaders>,
    ) -> Result<(), SessionError> {
        let slot = transaction.write(Record {
            topic: &self.topic,
            partition: Some(partition),
            key: change.key.as_bytes(),
            value: change.value.as_deref(),
            headers,
        })?;
        self.slots.entry(partition).or_default().push((slot, change));
        Ok(())
    }
}

fn outcome_of(event: Event, slot: Slot, transaction: &Transaction<'_>) -> Outcome {
    let written = transaction.written(slot).expect("a drained transaction has written all its records");
    Outcome::Committed(Committed {
        id: event.aggregate,
        version: event.summary.version,
        state: event.state,
        position: Position { model: event.model, partition: written.partition, offset: written.offset },
        events: vec![event.summary],
        created: event.created,
    })
}
