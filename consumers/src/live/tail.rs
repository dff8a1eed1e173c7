//! The end of every event topic, read by one thread for the whole process, outside of any consumer group: each process
//! needs every event.
//!
//! Where it goes on stands in the hubs: what they have passed is not read again, and nothing is jumped over. So after a failure
//! it begins at the feeds' own offsets, never at the ends again. A feed that doesn't keep up, as its projector is behind, has its
//! partitions paused: the others go on.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, OwnedMessage};
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use writ_producers::kafka::{Options, REQUEST_TIMEOUT, is_lost_connection};
use writ_producers::readiness::{Readiness, report};

use super::hub;

/// How often the thread looks whether it must end.
const TICK: Duration = Duration::from_millis(100);
/// The same while a feed has no room.
const SHORT_TICK: Duration = Duration::from_millis(5);
/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(500);
/// Between two looks at whether a topic has got more partitions.
const LOOK: Duration = Duration::from_secs(60);

/// What the thread reads, and for whom.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) kafka: Options,
    /// By topic.
    pub(super) lanes: HashMap<String, Lane>,
    pub(super) readiness: watch::Sender<Readiness>,
    /// Whether every hub has begun.
    pub(super) begun: watch::Sender<bool>,
    pub(super) cancel: CancellationToken,
}

/// The way of one topic's records to their feed.
#[derive(Debug)]
pub(super) struct Lane {
    hub: hub::Shared,
    records: mpsc::Sender<OwnedMessage>,
    /// Records for which there was no room. Its partitions are paused while there are some, so these are few.
    held: VecDeque<OwnedMessage>,
}

impl Lane {
    pub(super) fn new(hub: hub::Shared, records: mpsc::Sender<OwnedMessage>) -> Lane {
        Lane { hub, records, held: VecDeque::new() }
    }
}

impl Tail {
    /// Reads until cancelled. Blocking.
    pub(super) fn run(mut self) {
        while !self.cancel.is_cancelled() {
            if let Err(error) = self.read() {
                let reason = format!("event topics can't be read: {error}");
                report(&self.readiness, "the live feed", Readiness::Waiting(reason));
                std::thread::sleep(RETRY);
            }
        }
    }

    /// Until cancelled, or a topic has changed.
    fn read(&mut self) -> KafkaResult<()> {
        // They are read again.
        self.lanes.values_mut().for_each(|lane| lane.held.clear());
        let consumer: BaseConsumer = self
            .kafka
            .client("live")
            .set("group.id", "none") // Required by the client, never used: partitions are assigned by hand.
            .set("enable.auto.commit", "false")
            // Never from an end: what that would leave out nobody would know.
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "50")
            .set("queued.max.messages.kbytes", "16384")
            .create()?;
        let partitions = self.begin(&consumer)?;
        self.begun.send_replace(true);
        report(&self.readiness, "the live feed", Readiness::Ready);
        let mut looked = Instant::now();
        while !self.cancel.is_cancelled() {
            let is_full = self.lanes.values().any(|lane| !lane.held.is_empty());
            match consumer.poll(if is_full { SHORT_TICK } else { TICK }) {
                None => {}
                Some(Ok(record)) => self.take(&consumer, &record)?,
                Some(Err(error)) if is_lost_connection(&error) => {}
                Some(Err(error)) => return Err(error),
            }
            if is_full {
                self.release(&consumer)?;
            }
            if looked.elapsed() > LOOK {
                looked = Instant::now();
                if self.partitions(&consumer).is_ok_and(|now| now != partitions) {
                    tracing::warn!("an event topic has other partitions than before");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Tells every hub the ends of its topic, and assigns the places from which they go on. Returns the numbers of partitions.
    fn begin(&self, consumer: &BaseConsumer) -> KafkaResult<HashMap<String, i32>> {
        let partitions = self.partitions(consumer)?;
        let mut wanted = TopicPartitionList::new();
        for (topic, count) in &partitions {
            for partition in 0..*count {
                wanted.add_partition_offset(topic, partition, Offset::End)?;
            }
        }
        // As far as transactions are decided: of one that is open nothing is read, and nothing is left out.
        let mut ends: HashMap<String, Vec<i64>> = HashMap::new();
        let found = consumer.offsets_for_times(wanted, REQUEST_TIMEOUT)?;
        for end in found.elements() {
            end.error()?;
            let Offset::Offset(offset) = end.offset() else {
                return Err(KafkaError::OffsetFetch(rdkafka::types::RDKafkaErrorCode::NoOffset));
            };
            let ends = ends.entry(end.topic().to_owned()).or_default();
            let index = usize::try_from(end.partition()).unwrap_or_default();
            ends.resize(ends.len().max(index + 1), 0);
            ends[index] = offset;
        }
        let mut assignment = TopicPartitionList::new();
        for (topic, lane) in &self.lanes {
            let mut hub = lane.hub.lock();
            let had_begun = !hub.next().is_empty();
            let goes_on = hub.begin(ends.get(topic).map_or(&[], Vec::as_slice));
            if had_begun && !goes_on {
                tracing::warn!(kafka.topic = topic, "the topic is another one; its subscriptions begin anew");
            }
            for (partition, next) in (0..).zip(hub.next()) {
                assignment.add_partition_offset(topic, partition, Offset::Offset(*next))?;
            }
        }
        consumer.assign(&assignment)?;
        Ok(partitions)
    }

    fn partitions(&self, consumer: &BaseConsumer) -> KafkaResult<HashMap<String, i32>> {
        let count = |topic: &String| {
            let metadata = consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let count =
                found.filter(|found| found.error().is_none()).map_or(0, |found| found.partitions().len());
            if count == 0 {
                let code = rdkafka::types::RDKafkaErrorCode::UnknownTopicOrPartition;
                return Err(KafkaError::MetadataFetch(code));
            }
            Ok((topic.clone(), i32::try_from(count).unwrap_or(i32::MAX)))
        };
        self.lanes.keys().map(count).collect()
    }

    fn take(&mut self, consumer: &BaseConsumer, record: &BorrowedMessage<'_>) -> KafkaResult<()> {
        let Some(lane) = self.lanes.get_mut(record.topic()) else { return Ok(()) };
        let place = (record.partition(), record.offset());
        let mut hub = lane.hub.lock();
        if hub.is_past(place.0, place.1) || hub.skip_if_idle([place], Instant::now()) {
            return Ok(());
        }
        drop(hub);
        let record = record.detach();
        if !lane.held.is_empty() {
            lane.held.push_back(record);
        } else if let Err(full) = lane.records.try_send(record) {
            let (mpsc::error::TrySendError::Full(record) | mpsc::error::TrySendError::Closed(record)) = full;
            consumer.pause(&lane.partitions(record.topic())?)?;
            lane.held.push_back(record);
        }
        Ok(())
    }

    /// Hands on what was held, as far as there is room now.
    fn release(&mut self, consumer: &BaseConsumer) -> KafkaResult<()> {
        for (topic, lane) in &mut self.lanes {
            let had = !lane.held.is_empty();
            while let Some(record) = lane.held.pop_front() {
                if let Err(full) = lane.records.try_send(record) {
                    let (mpsc::error::TrySendError::Full(record) | mpsc::error::TrySendError::Closed(record)) =
                        full;
                    lane.held.push_front(record);
                    break;
                }
            }
            if had && lane.held.is_empty() {
                consumer.resume(&lane.partitions(topic)?)?;
            }
        }
        Ok(())
    }
}

impl Lane {
    fn partitions(&self, topic: &str) -> KafkaResult<TopicPartitionList> {
        let mut partitions = TopicPartitionList::new();
        let count = i32::try_from(self.hub.lock().next().len()).unwrap_or(i32::MAX);
        (0..count).for_each(|partition| {
            partitions.add_partition(topic, partition);
        });
        Ok(partitions)
    }
}
