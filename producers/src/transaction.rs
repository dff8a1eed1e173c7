//! The output of the roles that write for what they read, the decider and the reactions: records and consumer offsets in one
//! Kafka transaction (KIP-98, KIP-447).
//!
//! Kafka's transaction protocol is only as sound as its client. Without the second part of KIP-890, which librdkafka
//! lacks, a late request of an aborted transaction can end up in the next one of the same producer epoch. So:
//!
//! - every delivery is drained and checked before the offsets are sent: when [`Transaction::commit`] begins, no
//!   produce request is in flight that could arrive late;
//! - after any error or timeout the producer is thrown away. A new one with the same transactional id bumps the epoch
//!   in `init_transactions`, which fences whatever the old one still has under way;
//! - every wait has a limit, also `send_offsets_to_transaction`, which can hang otherwise (librdkafka #5511).
//!
//! Everything here blocks; it belongs on the role's own thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Message, TopicPartitionList};

use crate::kafka::Options;
use crate::limits::MAX_RECORD_BYTES;

/// A transaction that its producer abandoned is aborted by the broker after this: it bounds how long readers wait
/// behind a killed decider.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit of each blocking step of ours.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks at the queue while draining. `poll` with a duration would wait all of it, even when the
/// deliveries came at once.
const DRAIN_PAUSE: Duration = Duration::from_micros(50);

/// A step failed. The producer must not be used again; whether the transaction was committed is told by the
/// committed offsets of the group, read by a new producer's owner.
#[derive(Debug, thiserror::Error)]
#[error("Kafka transaction: {step} failed: {source}")]
pub struct Error {
    /// What was under way.
    pub step: &'static str,
    /// What Kafka or the client said.
    #[source]
    pub source: KafkaError,
}

/// A record to write.
#[derive(Debug)]
pub struct Record<'a> {
    /// Topic.
    pub topic: &'a str,
    /// `None`: murmur2 of the key.
    pub partition: Option<i32>,
    /// Key.
    pub key: &'a [u8],
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: Option<OwnedHeaders>,
}

/// Where a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// The number of a record within its transaction, in the order of [`Transaction::write`].
pub type Slot = usize;

/// Kafka answers a commit when it is decided, and writes the markers to the partitions after that. A producer that
/// begins its next transaction before they are written is sent away, and librdkafka comes back after 20 ms. Two
/// producers in turn don't meet this wait.
const IN_TURN: usize = 2;

/// The producers of a role that commits without a pause. They are one writer all the same: a transaction begins only when the one
/// before is decided, and the group's coordinator keeps the offsets that were written last, whichever marker comes first.
#[derive(Debug)]
pub struct Alternating {
    producers: Vec<TransactionalProducer>,
    turn: usize,
}

impl Alternating {
    /// Takes over the transactional ids `<writer>-0` and `<writer>-1`, see [`TransactionalProducer::new`].
    ///
    /// # Errors
    /// Kafka doesn't answer in time or refuses.
    pub fn new(options: &Options, writer: &str) -> Result<Self, Error> {
        let producers = (0..IN_TURN)
            .map(|number| TransactionalProducer::new(options, &format!("{writer}-{number}")))
            .collect::<Result<_, _>>()?;
        Ok(Alternating { producers, turn: 0 })
    }

    /// The one whose turn it is.
    pub fn whose_turn(&mut self) -> &mut TransactionalProducer {
        self.turn = (self.turn + 1) % IN_TURN;
        &mut self.producers[self.turn]
    }
}

/// A producer of transactions.
pub struct TransactionalProducer {
    id: String,
    producer: BaseProducer<Deliveries>,
    deliveries: Reports,
}

impl std::fmt::Debug for TransactionalProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionalProducer").finish_non_exhaustive()
    }
}

/// Receives the delivery report of every record.
struct Deliveries(Reports);

/// By slot; `None` until the report is in.
type Reports = Arc<Mutex<Vec<Option<Result<Written, KafkaError>>>>>;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Slot>;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: Self::DeliveryOpaque) {
        let written = match result {
            Ok(message) => Ok(Written { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => Err(error.clone()),
        };
        // A slot that is gone belongs to an aborted transaction.
        if let Some(place) = self.0.lock().get_mut(*slot) {
            *place = Some(written);
        }
    }
}

impl TransactionalProducer {
    /// Connects and takes over `transactional_id`: whoever used it before is fenced, and its open transaction ended.
    ///
    /// # Errors
    /// Kafka doesn't answer in time or refuses.
    pub fn new(options: &Options, transactional_id: &str) -> Result<Self, Error> {
        let deliveries = Reports::default();
        let producer: BaseProducer<Deliveries> = options
            .client("transactions")
            .set("transactional.id", transactional_id)
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string())
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "200000")
            .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
            .create_with_context(Deliveries(deliveries.clone()))
            .map_err(|source| Error { step: "creating the producer", source })?;
        producer
            .init_transactions(STEP_TIMEOUT)
            .map_err(|source| Error { step: "init_transactions", source })?;
        Ok(TransactionalProducer { id: transactional_id.to_owned(), producer, deliveries })
    }

    /// The transactional id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Begins a transaction. One at a time: it borrows the producer.
    ///
    /// # Errors
    /// The producer is in an error state.
    pub fn begin(&mut self) -> Result<Transaction<'_>, Error> {
        self.deliveries.lock().clear();
        self.producer.begin_transaction().map_err(|source| Error { step: "begin_transaction", source })?;
        Ok(Transaction { producer: self })
    }
}

/// An open transaction. Dropped without [`Transaction::commit`] it stays open until the producer is dropped, which the
/// owner does after any error: a new producer's `init_transactions` aborts it.
#[derive(Debug)]
pub struct Transaction<'a> {
    producer: &'a mut TransactionalProducer,
}

impl Transaction<'_> {
    /// Puts a record into the producer's queue.
    ///
    /// # Errors
    /// The queue is full or the record too large: the transaction can't be committed.
    pub fn write(&mut self, record: Record<'_>) -> Result<Slot, Error> {
        let slot = {
            let mut deliveries = self.producer.deliveries.lock();
            deliveries.push(None);
            deliveries.len() - 1
        };
        let mut to_send = BaseRecord::with_opaque_to(record.topic, Box::new(slot)).key(record.key);
        to_send.payload = record.value;
        to_send.partition = record.partition;
        to_send.headers = record.headers;
        match self.producer.producer.send(to_send) {
            Ok(()) => Ok(slot),
            Err((source, _)) => Err(Error { step: "writing a record", source }),
        }
    }

    /// Waits until every record so far is written, and checks each.
    ///
    /// # Errors
    /// A record was not written, or not in time: the transaction must not be committed.
    pub fn drain(&mut self) -> Result<(), Error> {
        const STEP: &str = "delivering the records";
        let TransactionalProducer { producer, deliveries, .. } = &*self.producer;
        let deadline = Instant::now() + STEP_TIMEOUT;
        loop {
            producer.poll(Duration::ZERO);
            if producer.in_flight_count() == 0 {
                break;
            }
            if Instant::now() > deadline {
                let source = KafkaError::Flush(rdkafka::types::RDKafkaErrorCode::OperationTimedOut);
                return Err(Error { step: STEP, source });
            }
            std::thread::sleep(DRAIN_PAUSE);
        }
        for delivery in deliveries.lock().iter() {
            match delivery {
                Some(Ok(_)) => {}
                Some(Err(source)) => return Err(Error { step: STEP, source: source.clone() }),
                // The queue is empty, yet no report came: treat the record as lost.
                None => {
                    let source = KafkaError::Flush(rdkafka::types::RDKafkaErrorCode::MessageTimedOut);
                    return Err(Error { step: STEP, source });
                }
            }
        }
        Ok(())
    }

    /// Where a record stands. `None` before [`Transaction::drain`] has succeeded for it.
    pub fn written(&self, slot: Slot) -> Option<Written> {
        self.producer.deliveries.lock().get(slot)?.as_ref()?.as_ref().ok().copied()
    }

    /// Drains, adds the consumer's offsets with its group metadata (so that a zombie of an older generation is
    /// fenced), and commits. Says where every record was written, by slot.
    ///
    /// # Errors
    /// The outcome is open: read it from the group's committed offsets.
    pub fn commit(
        mut self,
        offsets: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
    ) -> Result<Vec<Written>, Error> {
        self.drain()?;
        self.producer
            .producer
            .send_offsets_to_transaction(offsets, group, STEP_TIMEOUT)
            .map_err(|source| Error { step: "send_offsets_to_transaction", source })?;
        self.end()
    }

    /// The same without offsets: for records that answer to no consumed ones.
    ///
    /// # Errors
    /// The outcome is open: read it from the topics.
    pub fn commit_records(mut self) -> Result<Vec<Written>, Error> {
        self.drain()?;
        self.end()
    }

    fn end(self) -> Result<Vec<Written>, Error> {
        let TransactionalProducer { producer, deliveries, .. } = &*self.producer;
        producer
            .commit_transaction(STEP_TIMEOUT)
            .map_err(|source| Error { step: "commit_transaction", source })?;
        // `drain` has seen a success in every slot.
        Ok(deliveries.lock().iter().flatten().filter_map(|report| report.as_ref().ok().copied()).collect())
    }
}
