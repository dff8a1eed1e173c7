//! Transactions that a killed decider has left open: they are ended by whoever takes over, at once.
//!
//! Kafka ends them by itself, but only looks every ten seconds for those that are older than their timeout. Until then
//! readers of committed records don't get past them: not the new owner, which must read `writ.state` to its end, and
//! not another decider to which a claim was written.
//!
//! The first record of a transaction in a partition of `writ.state`, and every step of a reservation, names the
//! transactional id in a header ([`header::WRITER`]). Taking that id over aborts what is open under it and fences its
//! owner. A living decider's transaction is not older than [`ABANDONED`], or it is stuck, and starting over is the best
//! that can happen to it; that of a killed one is as old as the session timeout when its partitions move.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, Timestamp};
use rdkafka::topic_partition_list::Offset;
use tokio_util::sync::CancellationToken;
use writ_producers::envelope::header;
use writ_producers::kafka::{Options, REQUEST_TIMEOUT};
use writ_producers::topics::Topics;
use writ_producers::transaction::TransactionalProducer;

use super::restore::{ends, reader};
use super::session::SessionError;
use crate::metrics;

/// Age of a transaction that nobody will end any more. By the clocks of two machines, so no finer than they agree.
const ABANDONED: Duration = Duration::from_secs(3);
/// After this the broker ends it as well.
const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until no transaction is open on these partitions whose writer is known, and ends those that are abandoned.
///
/// # Errors
/// Kafka doesn't answer.
pub(super) fn end(
    options: &Options,
    topics: &Topics,
    partitions: &[i32],
    cancel: &CancellationToken,
) -> Result<(), SessionError> {
    let uncommitted = reader(options, "read_uncommitted")?;
    let committed = reader(options, "read_committed")?;
    for topic in [topics.state(), topics.commands()] {
        let ends = ends(&uncommitted, &topic, partitions)?;
        let (started, mut taken_over) = (Instant::now(), BTreeSet::new());
        loop {
            let writers = writers(&uncommitted, &topic, &open(&committed, &topic, &ends)?)?;
            if writers.is_empty() || cancel.is_cancelled() {
                break;
            }
            if started.elapsed() > LIMIT {
                if writers.keys().any(|writer| taken_over.contains(writer)) {
                    // Kafka has lost the markers of a transaction that it believes to have ended.
                    tracing::error!(
                        kafka.topic = topic,
                        kafka.transactional_ids = ?writers.keys().collect::<Vec<_>>(),
                        "a transaction stays open though Kafka was told to end it; `docs/operations.md` says what to do"
                    );
                }
                break;
            }
            for (writer, age) in writers {
                if age > ABANDONED && taken_over.insert(writer.clone()) {
                    tracing::warn!(
                        kafka.topic = topic,
                        kafka.transactional_id = writer,
                        "a decider has left a transaction open; it is ended"
                    );
                    ::metrics::counter!(metrics::TRANSACTIONS_ENDED).increment(1);
                    drop(TransactionalProducer::new(options, &writer)?);
                }
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// By partition, where the first transaction begins that is open below the end.
fn open(
    committed: &BaseConsumer,
    topic: &str,
    ends_now: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, i64>, SessionError> {
    let partitions: Vec<i32> = ends_now.keys().copied().collect();
    let mut stable = ends(committed, topic, &partitions)?;
    stable.retain(|partition, stable| *stable < ends_now[partition]);
    Ok(stable)
}

/// The transactional ids that the records at these offsets name, with the age of the oldest.
fn writers(
    uncommitted: &BaseConsumer,
    topic: &str,
    offsets: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<String, Duration>, SessionError> {
    let mut writers = BTreeMap::new();
    if offsets.is_empty() {
        return Ok(writers);
    }
    let mut assignment = TopicPartitionList::new();
    for (&partition, &offset) in offsets {
        assignment.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    uncommitted.assign(&assignment)?;
    let (mut left, deadline) = (offsets.len(), Instant::now() + REQUEST_TIMEOUT);
    while left > 0 && Instant::now() < deadline {
        let Some(polled) = uncommitted.poll(PAUSE) else { continue };
        let Ok(record) = polled else {
            // The end of the partition: the transaction was aborted, and its records are gone meanwhile.
            left -= 1;
            continue;
        };
        if offsets.get(&record.partition()) != Some(&record.offset()) {
            continue;
        }
        left -= 1;
        let headers = record.headers().into_iter().flat_map(Headers::iter);
        let mut names = headers.filter(|header| header.key == header::WRITER);
        if let Some(Ok(writer)) =
            names.next().map(|name| String::from_utf8(name.value.unwrap_or_default().to_vec()))
        {
            let age = writers.entry(writer).or_default();
            *age = age_of(record.timestamp()).max(*age);
        }
    }
    uncommitted.unassign()?;
    Ok(writers)
}

fn age_of(timestamp: Timestamp) -> Duration {
    let written = Duration::from_millis(timestamp.to_millis().and_then(|at| at.try_into().ok()).unwrap_or(0));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(written)
}
