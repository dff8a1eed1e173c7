//! Reading partitions from an offset to their ends, outside of any consumer group: for tools that look at a topic once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use writ_producers::kafka::{Options, REQUEST_TIMEOUT, is_lost_connection};

const TICK: Duration = Duration::from_millis(100);
/// Kafka is given up on when it sends nothing for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The topic can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka doesn't answer, or refuses.
    #[error("Kafka can't be read: {topic}")]
    Kafka {
        /// The topic.
        topic: String,
        /// What Kafka or its client said.
        #[source]
        source: KafkaError,
    },
    /// It isn't there.
    #[error("there is no topic {0}; check kafka.topic_prefix, and whether a server has ever run")]
    NoTopic(String),
    /// Nothing comes any more.
    #[error("Kafka sends nothing of {topic}:{partition} for {} s", PATIENCE.as_secs())]
    Silent {
        /// The topic.
        topic: String,
        /// The first partition whose end was not reached.
        partition: i32,
    },
}

/// Reads committed records only.
pub(crate) struct Reader {
    consumer: BaseConsumer,
}

impl Reader {
    pub(crate) fn new(options: &Options) -> Result<Reader, Error> {
        let created = options
            .client("tool")
            .set("group.id", "none") // Required by the client, never used: partitions are assigned by hand.
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "10")
            .set("queued.max.messages.kbytes", "16384")
            .create();
        let topic = String::new();
        created.map(|consumer| Reader { consumer }).map_err(|source| Error::Kafka { topic, source })
    }

    /// For what has nothing to do with records.
    pub(crate) fn client(&self) -> &BaseConsumer {
        &self.consumer
    }

    /// The offset behind the last record of a partition.
    pub(crate) fn end(&self, topic: &str, partition: i32) -> Result<i64, Error> {
        let failed = |source| Error::Kafka { topic: topic.to_owned(), source };
        self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map(|(_, end)| end).map_err(failed)
    }

    /// How many partitions the topic has.
    pub(crate) fn partitions(&self, topic: &str) -> Result<i32, Error> {
        let failed = |source| Error::Kafka { topic: topic.to_owned(), source };
        let metadata = self.consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(failed)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
        match found.map_or(0, |found| found.partitions().len()) {
            0 => Err(Error::NoTopic(topic.to_owned())),
            count => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
        }
    }

    /// Hands every committed record of `partitions`, from their offsets to their ends, to `each`. Those of one
    /// partition come in order.
    pub(crate) fn read<E: From<Error>>(
        &self,
        topic: &str,
        partitions: impl IntoIterator<Item = (i32, i64)>,
        mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<Next, E>,
    ) -> Result<(), E> {
        let failed = |source| Error::Kafka { topic: topic.to_owned(), source };
        let mut left: BTreeSet<i32> = BTreeSet::new();
        let mut assignment = TopicPartitionList::new();
        for (partition, from) in partitions {
            let offset = Offset::Offset(from);
            assignment.add_partition_offset(topic, partition, offset).map_err(failed)?;
            left.insert(partition);
        }
        self.consumer.assign(&assignment).map_err(failed)?;
        let mut heard = Instant::now();
        while let Some(&partition) = left.first() {
            match self.consumer.poll(TICK) {
                None if heard.elapsed() > PATIENCE => {
                    return Err(Error::Silent { topic: topic.to_owned(), partition }.into());
                }
                None => {}
                Some(Ok(record)) => {
                    heard = Instant::now();
                    if let Next::Stop = each(&record)? {
                        left.remove(&record.partition());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    left.remove(&partition);
                }
                Some(Err(error)) if is_lost_connection(&error) => {}
                Some(Err(error)) => return Err(failed(error).into()),
            }
        }
        self.consumer.unassign().map_err(failed)?;
        Ok(())
    }
}

/// Whether the rest of a record's partition is wanted.
pub(crate) enum Next {
    /// Yes.
    Go,
    /// No: what is wanted of it was found.
    Stop,
}
