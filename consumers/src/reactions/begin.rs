//! Where the partitions that were just assigned are read from.
//!
//! Three things are asked, and the furthest place counts:
//!
//! - *Kafka's offsets of the group.* They are asked for first, and Kafka answers only when no transaction is open that would move
//!   them (KIP-447). So whatever an earlier owner can still commit is committed by then.
//! - *`writ.reactions`*, which says the same and is never forgotten. It is written in the transaction that moves the offsets.
//! - If neither knows the partition, nobody has ever read it. It begins with the first event since the role's start; and because a
//!   session may fail before its first batch, that place is committed at once, before anything is read.

use std::collections::{BTreeMap, HashMap};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use writ_model::Timestamp;
use writ_producers::kafka::{Options, REQUEST_TIMEOUT};
use writ_producers::topics::Topics;

use super::session::SessionError;
use crate::group::Membership;
use crate::scan::{Next, Reader};

/// By topic and partition, the first event that has had no reaction yet.
pub(super) type Places = BTreeMap<(String, i32), i64>;

/// Where each partition goes on.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) next: Places,
    /// Those that nobody has read yet; their places are to be committed.
    pub(super) new: Places,
}

/// The key of a place in `writ.reactions`.
pub(super) fn key(topic: &str, partition: i32) -> String {
    format!("{topic}/{partition}")
}

/// Asks for the places of `assigned`.
///
/// # Errors
/// Kafka doesn't answer, or a place can't be read.
pub(super) fn begin(
    options: &Options,
    topics: &Topics,
    member: &BaseConsumer<Membership>,
    assigned: &[(String, i32)],
    since: Timestamp,
) -> Result<Begin, SessionError> {
    let mut asked = TopicPartitionList::new();
    for (topic, partition) in assigned {
        asked.add_partition(topic, *partition);
    }
    let committed = member.committed_offsets(asked, 3 * REQUEST_TIMEOUT)?;
    let mut next = Places::new();
    for element in committed.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            next.insert((element.topic().to_owned(), element.partition()), offset);
        }
    }
    let kept = kept(options, topics)?;
    for (topic, partition) in assigned {
        if let Some(&offset) = kept.get(&key(topic, *partition)) {
            let known = next.entry((topic.clone(), *partition)).or_insert(offset);
            *known = offset.max(*known);
        }
    }
    let unknown: Vec<&(String, i32)> = assigned.iter().filter(|place| !next.contains_key(place)).collect();
    let new = if unknown.is_empty() { Places::new() } else { first_since(member, &unknown, since)? };
    next.extend(new.clone());
    Ok(Begin { next, new })
}

/// What `writ.reactions` says, by key.
fn kept(options: &Options, topics: &Topics) -> Result<HashMap<String, i64>, SessionError> {
    let (reader, topic) = (Reader::new(options)?, topics.reactions());
    let partitions = reader.partitions(&topic)?;
    let mut kept = HashMap::new();
    reader.read(&topic, (0..partitions).map(|partition| (partition, 0)), |record| {
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let (key, value) = (text(record.key()), text(record.payload()));
        match value.parse::<i64>() {
            Ok(offset) => drop(kept.insert(key, offset)),
            Err(_) => return Err(SessionError::Place { key, value }),
        }
        Ok(Next::Go)
    })?;
    Ok(kept)
}

/// The first event since then in each partition, or where the next one will be.
fn first_since(
    member: &BaseConsumer<Membership>,
    places: &[&(String, i32)],
    since: Timestamp,
) -> Result<Places, SessionError> {
    let ask = |offset: Offset| -> Result<_, SessionError> {
        let mut asked = TopicPartitionList::new();
        for (topic, partition) in places {
            asked.add_partition_offset(topic, *partition, offset)?;
        }
        let found = member.offsets_for_times(asked, REQUEST_TIMEOUT)?;
        let mut offsets = HashMap::new();
        for element in found.elements() {
            element.error()?;
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            offsets.insert((element.topic().to_owned(), element.partition()), offset);
        }
        Ok(offsets)
    };
    // The ends first: an event that comes between the two questions is found by its time.
    let ends = ask(Offset::End)?;
    let since = ask(Offset::Offset(since.0))?;
    let mut first = Places::new();
    for (place, end) in ends {
        let offset = since.get(&place).copied().flatten().or(end);
        let offset = offset.ok_or_else(|| SessionError::NoEnd(key(&place.0, place.1)))?;
        first.insert(place, offset);
    }
    Ok(first)
}
