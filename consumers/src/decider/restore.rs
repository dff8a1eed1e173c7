//! Taking over partitions: the store is brought up to the end of `writ.state`, as point 3 of the argument in
//! [`crate::decider`] demands.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use writ_producers::kafka::{self, REQUEST_TIMEOUT};
use writ_producers::readiness::Readiness;
use writ_producers::topics::Topics;

use super::abandoned;
use super::batch::StoredOutcome;
use super::session::SessionError;
use super::store::{Change, Partition, Store};
use crate::group::Membership;
use crate::metrics;
use crate::state_key::NEXT;

/// Records per write to the store.
const CHUNK: usize = 1_000;
/// How often progress is shown.
const TELL: Duration = Duration::from_millis(250);
/// How often progress is logged.
const LOG: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(100);
const PENDING_PAUSE: Duration = Duration::from_millis(20);

/// What a take-over has brought.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) partitions: HashMap<i32, Partition>,
    /// By partition, the first command that is not decided yet.
    pub(super) next: BTreeMap<i32, i64>,
    pub(super) records: u64,
}

/// Brings `partitions` of the store up to the end of `writ.state`.
pub(super) fn restore(
    options: &kafka::Options,
    topics: &Topics,
    member: &BaseConsumer<Membership>,
    store: &Store,
    partitions: &[i32],
    readiness: &watch::Sender<Readiness>,
    cancel: &CancellationToken,
) -> Result<Restored, SessionError> {
    let mut restored = Restored { partitions: HashMap::new(), next: BTreeMap::new(), records: 0 };
    if partitions.is_empty() {
        return Ok(restored);
    }
    abandoned::end(options, topics, partitions, cancel)?;
    await_stable_offsets(topics, member, partitions)?;

    let topic = topics.state();
    let uncommitted: BaseConsumer = reader(options, "read_uncommitted")?;
    let committed: BaseConsumer = reader(options, "read_committed")?;
    let state_ends = ends(&uncommitted, &topic, partitions)?;
    await_decided(&committed, &topic, &state_ends, cancel)?;
    let mut assignment = TopicPartitionList::new();
    let mut behind = HashMap::new();
    for (number, end) in state_ends {
        let partition = store.partition(number)?;
        let mut checkpoint = partition.checkpoint()?;
        if checkpoint > end {
            tracing::warn!(
                kafka.topic = topic,
                kafka.partition = number,
                store.checkpoint = checkpoint,
                kafka.end = end,
                "the state store is ahead of its topic, which was made anew; it is emptied and read again"
            );
            partition.clear()?;
            checkpoint = 0;
        }
        if checkpoint < end {
            assignment.add_partition_offset(&topic, number, Offset::Offset(checkpoint))?;
            behind.insert(number, Span { next: checkpoint, end });
        }
        restored.partitions.insert(number, partition);
    }
    if !behind.is_empty() {
        committed.assign(&assignment)?;
        let total = behind.values().map(|span| span.left()).sum();
        let mut progress = Progress::start(readiness, partitions.len(), total);
        restored.records =
            read_to_the_end(&committed, &topic, &restored.partitions, behind, &mut progress, cancel)?;
    }
    for (number, end) in ends(&uncommitted, &topics.commands(), partitions)? {
        let next = next_undecided(&restored.partitions[&number])?;
        if next > end {
            tracing::warn!(
                kafka.topic = topics.commands(),
                kafka.partition = number,
                decider.next = next,
                kafka.end = end,
                "the topic of the commands was made anew; it is decided from its beginning"
            );
        }
        restored.next.insert(number, if next > end { 0 } else { next });
    }
    Ok(restored)
}

/// As the last transaction on this partition has left it.
fn next_undecided(partition: &Partition) -> Result<i64, SessionError> {
    let written = partition.get(NEXT)?;
    Ok(written.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok()).unwrap_or(0))
}

pub(super) fn reader(options: &kafka::Options, isolation: &str) -> Result<BaseConsumer, KafkaError> {
    options
        .client("restore")
        .set("group.id", "none") // Required by the client, never used: partitions are assigned by hand.
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("isolation.level", isolation)
        // The end of a partition is reported by an empty fetch; it needs no long wait.
        .set("fetch.wait.max.ms", "10")
        // Memory while restoring: what is queued, and one answer of each broker.
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.max.bytes", "8388608")
        // When that is full, fetching pauses; by default for a second, in which the queue runs empty.
        .set("fetch.queue.backoff.ms", "5")
        .create()
}

/// Kafka answers when no transaction is open that would move these offsets (KIP-447, `require_stable`).
fn await_stable_offsets(
    topics: &Topics,
    member: &BaseConsumer<Membership>,
    partitions: &[i32],
) -> Result<(), SessionError> {
    let mut asked = TopicPartitionList::new();
    for &partition in partitions {
        asked.add_partition(&topics.commands(), partition);
    }
    member.committed_offsets(asked, 3 * REQUEST_TIMEOUT)?;
    Ok(())
}

/// The ends of partitions, by one request. A reader of committed records gets the last stable offsets, that is: where
/// the first open transaction begins.
pub(super) fn ends(
    reader: &BaseConsumer,
    topic: &str,
    partitions: &[i32],
) -> Result<BTreeMap<i32, i64>, SessionError> {
    let mut asked = TopicPartitionList::new();
    for &partition in partitions {
        asked.add_partition_offset(topic, partition, Offset::End)?;
    }
    let answer = reader.offsets_for_times(asked, REQUEST_TIMEOUT)?;
    answer
        .elements()
        .into_iter()
        .map(|element| {
            element.error()?;
            match element.offset() {
                Offset::Offset(end) => Ok((element.partition(), end)),
                other => Err(SessionError::Restore(format!(
                    "Kafka names no end of {topic}:{} but {other:?}",
                    element.partition()
                ))),
            }
        })
        .collect()
}

/// Waits until every transaction with records below `ends` is committed or aborted.
fn await_decided(
    committed: &BaseConsumer,
    topic: &str,
    wanted: &BTreeMap<i32, i64>,
    cancel: &CancellationToken,
) -> Result<(), SessionError> {
    let partitions: Vec<i32> = wanted.keys().copied().collect();
    let deadline = Instant::now() + 3 * REQUEST_TIMEOUT;
    loop {
        let stable = ends(committed, topic, &partitions)?;
        let open =
            wanted.iter().find(|(partition, end)| stable.get(partition).is_none_or(|stable| stable < end));
        let Some((partition, end)) = open else { return Ok(()) };
        if cancel.is_cancelled() {
            return Err(SessionError::Restore("shut down meanwhile".into()));
        }
        if Instant::now() > deadline {
            let stable = stable.get(partition);
            return Err(SessionError::Restore(format!(
                "a transaction on {topic}:{partition} is open below offset {end}, the last stable offset is {stable:?}"
            )));
        }
        std::thread::sleep(PENDING_PAUSE);
    }
}

fn read_to_the_end(
    consumer: &BaseConsumer,
    topic: &str,
    partitions: &HashMap<i32, Partition>,
    mut behind: HashMap<i32, Span>,
    progress: &mut Progress<'_>,
    cancel: &CancellationToken,
) -> Result<u64, SessionError> {
    let mut pending: HashMap<i32, (Vec<Change>, i64)> = HashMap::new();
    let mut records = 0;
    while !behind.is_empty() {
        if cancel.is_cancelled() {
            return Err(SessionError::Restore("shut down meanwhile".into()));
        }
        match consumer.poll(TICK) {
            None => {}
            Some(Ok(record)) => {
                let number = record.partition();
                let (Some(partition), Some(span)) = (partitions.get(&number), behind.get_mut(&number)) else {
                    continue;
                };
                let (changes, next) = pending.entry(number).or_default();
                *next = record.offset() + 1;
                progress.read(span.advance(*next));
                changes.extend(change_of(&record));
                records += 1;
                if changes.len() >= CHUNK {
                    apply(partition, changes, *next)?;
                }
            }
            Some(Err(KafkaError::PartitionEOF(number))) => {
                if let (Some(partition), Some((mut changes, next))) =
                    (partitions.get(&number), pending.remove(&number))
                {
                    apply(partition, &mut changes, next)?;
                }
                if let Some(mut span) = behind.remove(&number) {
                    progress.read(span.advance(span.end));
                }
            }
            Some(Err(error)) => return Err(error.into()),
        }
        progress.tell(topic);
    }
    ::metrics::counter!(metrics::RECORDS_RESTORED).increment(records);
    Ok(records)
}

/// The offsets of a partition that are still to be read.
#[derive(Debug, Clone, Copy)]
struct Span {
    next: i64,
    end: i64,
}

impl Span {
    fn left(self) -> u64 {
        u64::try_from(self.end - self.next).unwrap_or(0)
    }

    /// Moves to `next`, at most to the end. By how much.
    fn advance(&mut self, next: i64) -> u64 {
        let before = self.left();
        self.next = self.next.max(next).min(self.end);
        before - self.left()
    }
}

/// How far a take-over is, for the log, the metrics and the readiness.
struct Progress<'a> {
    readiness: &'a watch::Sender<Readiness>,
    partitions: usize,
    total: u64,
    left: u64,
    started: Instant,
    told: Instant,
    logged: Instant,
}

impl<'a> Progress<'a> {
    fn start(readiness: &'a watch::Sender<Readiness>, partitions: usize, total: u64) -> Self {
        let now = Instant::now();
        ::metrics::gauge!(metrics::RESTORE_RECORDS).set(total as f64);
        ::metrics::gauge!(metrics::RESTORE_RECORDS_LEFT).set(total as f64);
        Progress { readiness, partitions, total, left: total, started: now, told: now, logged: now }
    }

    fn read(&mut self, records: u64) {
        self.left -= records;
    }

    fn tell(&mut self, topic: &str) {
        if self.told.elapsed() < TELL {
            return;
        }
        self.told = Instant::now();
        ::metrics::gauge!(metrics::RESTORE_RECORDS_LEFT).set(self.left as f64);
        let text = describe(self.partitions, self.total - self.left, self.total);
        self.readiness.send_replace(Readiness::Waiting(text));
        if self.logged.elapsed() > LOG {
            self.logged = Instant::now();
            tracing::info!(
                kafka.topic = topic,
                decider.partitions = self.partitions,
                decider.restore_total = self.total,
                decider.restore_left = self.left,
                decider.restore_per_second = self.rate(),
                "taking over partitions"
            );
        }
    }

    fn rate(&self) -> u64 {
        ((self.total - self.left) as f64 / self.started.elapsed().as_secs_f64().max(0.001)) as u64
    }
}

impl Drop for Progress<'_> {
    /// Also when the take-over failed: another one begins with its own count.
    fn drop(&mut self) {
        ::metrics::gauge!(metrics::RESTORE_RECORDS_LEFT).set(0.0);
    }
}

fn describe(partitions: usize, read: u64, total: u64) -> String {
    let plural = if partitions == 1 { "" } else { "s" };
    format!("taking over {partitions} partition{plural}: {} of {} records", grouped(read), grouped(total))
}

/// `1,200,000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes the changes that are news. First wins by version: a state that isn't above the one at hand is a defect
/// somewhere (two writers, a record written twice), so it is counted and left out.
fn apply(partition: &Partition, changes: &mut Vec<Change>, checkpoint: i64) -> Result<(), SessionError> {
    let mut latest: HashMap<String, Option<u64>> = HashMap::new();
    let mut news = Vec::with_capacity(changes.len());
    for change in changes.drain(..) {
        if let Some(version) = change.value.as_deref().and_then(version_of) {
            let known = match latest.get(&change.key) {
                Some(known) => *known,
                None => partition.get(&change.key)?.as_deref().and_then(version_of),
            };
            if known.is_some_and(|known| version <= known) {
                ::metrics::counter!(metrics::STALE_STATES).increment(1);
                tracing::error!(
                    kafka.key = change.key,
                    state.version = version,
                    state.known_version = known,
                    "a state in writ.state is not newer than the one before it; it is skipped"
                );
                continue;
            }
            latest.insert(change.key.clone(), Some(version));
        } else if change.value.is_none() {
            // It moved to another partition, see `crate::repartition`; it may come back with the version that it had.
            latest.insert(change.key.clone(), None);
        }
        news.push(change);
    }
    Ok(partition.apply(&news, checkpoint)?)
}

/// States have a version, outcomes have none.
fn version_of(value: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    serde_json::from_slice::<Versioned>(value).ok().map(|state| state.version)
}

fn change_of(record: &impl Message) -> Option<Change> {
    let key = String::from_utf8(record.key()?.to_vec()).ok()?;
    let value = record.payload().map(<[u8]>::to_vec);
    let since = value.as_deref().and_then(StoredOutcome::time_of);
    Some(Change { key, value, since })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_records() {
        assert_eq!(
            describe(12, 1_200_000, 5_000_000),
            "taking over 12 partitions: 1,200,000 of 5,000,000 records"
        );
        assert_eq!(describe(1, 0, 999), "taking over 1 partition: 0 of 999 records");
    }

    #[test]
    fn offsets_beyond_the_end_or_seen_before_count_nothing() {
        let mut span = Span { next: 10, end: 20 };
        assert_eq!((span.advance(15), span.advance(12), span.advance(30), span.left()), (5, 0, 5, 0));
    }
    /// It was moved away by one `writ repartition`, and back by the next.
    #[test]
    fn a_state_that_left_may_come_back_with_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "kafka-1").unwrap();
        let partition = store.partition(0).unwrap();
        let change = |value: Option<&str>| Change {
            key: "order/1".into(),
            value: value.map(|value| value.as_bytes().to_vec()),
            since: None,
        };
        let state = Some(r#"{"version":1}"#);
        apply(&partition, &mut vec![change(state), change(None), change(state)], 3).unwrap();
        assert!(partition.get("order/1").unwrap().is_some());
        let older = Some(r#"{"version":1,"of":"a second writer"}"#);
        apply(&partition, &mut vec![change(older)], 4).unwrap();
        assert_eq!(partition.get("order/1").unwrap().as_deref(), state.map(str::as_bytes));
    }
}
