//! The events that a build reads: by hand from its own places, without a consumer group, up to a goal per partition.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;
use writ_producers::kafka::{Options, is_lost_connection};

use crate::projector::batch::{Place, Record};

/// Limit of one request about metadata.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait of one poll: how fast a cancellation is noticed.
const POLL: Duration = Duration::from_millis(100);
/// Bytes of keys and values after which a batch is full: a bound for memory, whatever the size of the events.
const MAX_BYTES: usize = 16 << 20;

/// The next offset of each partition.
pub(super) type Places = BTreeMap<Place, i64>;

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("Kafka doesn't answer: {0}")]
    Away(String),
    #[error("the topic {0} doesn't exist yet")]
    NoTopic(String),
    #[error(
        "Kafka doesn't have all events of {topic} (partition {partition} has {low} to {high}, wanted are {from} to {to}): \
         the topic was deleted or cut. What it lost can't be built anew; the table that is live has it"
    )]
    Cut { topic: String, partition: i32, low: i64, high: i64, from: i64, to: i64 },
}

/// A consumer of a build's topics.
pub(super) struct Source {
    consumer: BaseConsumer,
    /// What was read beyond a goal, in order. Its partitions are paused.
    ahead: BTreeMap<Place, VecDeque<Record>>,
    /// A connection was lost, in librdkafka's words, and no record came since.
    complaint: Option<String>,
}

impl Source {
    /// Reads nothing yet.
    pub(super) fn new(options: &Options) -> Result<Source, KafkaError> {
        let consumer = options
            .client("builder")
            .set("group.id", "none") // Required by the client, never used: partitions are assigned by hand.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            // An offset that Kafka doesn't have means that events are lost: never guess another.
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", "32768")
            .create()?;
        Ok(Source { consumer, ahead: BTreeMap::new(), complaint: None })
    }

    /// Begins to read from these places on. Once: librdkafka 2.12 has been seen to abort the process when an assignment
    /// follows another of the same partitions closely, so whoever goes back makes a new one.
    pub(super) fn begin(&self, places: &Places) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (place, next) in places {
            list.add_partition_offset(&place.topic, place.partition, Offset::Offset(*next))?;
        }
        self.consumer.assign(&list)
    }

    /// All partitions of `topics`.
    pub(super) fn partitions(&self, topics: &[String]) -> Result<Vec<Place>, Error> {
        let mut places = Vec::new();
        for topic in topics {
            let metadata = self.consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT)?;
            let found =
                metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
            let partitions = found.map_or(&[][..], |found| found.partitions());
            if partitions.is_empty() {
                return Err(Error::NoTopic(topic.clone()));
            }
            let place = |id: i32| Place { topic: topic.as_str().into(), partition: id };
            places.extend(partitions.iter().map(|partition| place(partition.id())));
        }
        Ok(places)
    }

    /// Whether Kafka has everything from `places` to `goals`.
    pub(super) fn check(&self, places: &Places, goals: &Places) -> Result<(), Error> {
        for (place, goal) in goals {
            let Place { topic, partition } = place;
            let (low, high) = self.consumer.fetch_watermarks(topic, *partition, METADATA_TIMEOUT)?;
            let from = places.get(place).copied().unwrap_or_default();
            if from < *goal && (low > from || high < *goal) {
                let (topic, partition) = (topic.to_string(), *partition);
                return Err(Error::Cut { topic, partition, low, high, from, to: *goal });
            }
        }
        Ok(())
    }

    /// Up to `most` events between `places` and `goals`, in the order of their partitions, and how far each partition
    /// is read with them. Waits at most until `deadline`, and as soon as there is something only for what is there.
    pub(super) fn collect(
        &mut self,
        places: &Places,
        goals: &Places,
        most: usize,
        deadline: Instant,
    ) -> Result<(Vec<Record>, Places), Error> {
        let mut reached = Places::new();
        let mut records = Vec::new();
        let mut bytes = 0;
        self.take_ahead(goals, &mut records, &mut reached)?;
        let mut wait = POLL;
        let is_open = |reached: &Places| {
            goals.iter().any(|(place, goal)| {
                reached.get(place).or_else(|| places.get(place)).is_none_or(|next| next < goal)
            })
        };
        while records.len() < most && bytes < MAX_BYTES && is_open(&reached) {
            match self.consumer.poll(wait) {
                None if !records.is_empty() || !reached.is_empty() || Instant::now() >= deadline => break,
                None => {}
                Some(Ok(message)) => {
                    self.complaint = None;
                    let record = Record::of(&message);
                    let (place, next) = (record.place.clone(), record.offset + 1);
                    let goal = goals.get(&place).copied().unwrap_or_default();
                    if record.offset < goal {
                        bytes += record.original.size();
                        records.push(record);
                        reached.insert(place, next);
                    } else {
                        // All before it is read: aborted events and markers have offsets too.
                        reached.insert(place.clone(), goal);
                        self.pause(&place)?;
                        self.ahead.entry(place).or_default().push_back(record);
                    }
                    wait = Duration::ZERO;
                }
                Some(Err(error)) if is_lost_connection(&error) => self.complaint = Some(error.to_string()),
                Some(Err(error)) => return Err(error.into()),
            }
        }
        match self.complaint.take() {
            Some(complaint) if records.is_empty() && reached.is_empty() => Err(Error::Away(complaint)),
            _ => Ok((records, reached)),
        }
    }

    /// What was read before and is within the goals now.
    fn take_ahead(
        &mut self,
        goals: &Places,
        records: &mut Vec<Record>,
        reached: &mut Places,
    ) -> Result<(), KafkaError> {
        let mut resumed = TopicPartitionList::new();
        for (place, ahead) in &mut self.ahead {
            let goal = goals.get(place).copied().unwrap_or_default();
            while ahead.front().is_some_and(|record| record.offset < goal) {
                let record = ahead.pop_front().expect("invariant: there is a first one");
                reached.insert(place.clone(), record.offset + 1);
                records.push(record);
            }
            if ahead.is_empty() {
                resumed.add_partition(&place.topic, place.partition);
            } else if let Some(next) = reached.get_mut(place) {
                *next = goal;
            }
        }
        self.ahead.retain(|_, ahead| !ahead.is_empty());
        if resumed.count() > 0 {
            self.consumer.resume(&resumed)?;
        }
        Ok(())
    }

    fn pause(&self, place: &Place) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&place.topic, place.partition);
        self.consumer.pause(&list)
    }
}
