//! Events that can't be applied go to `writ.dead-letters`, where the operator finds them.

use std::error::Error as StdError;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use writ_producers::dead_letter::{Author, Letter};
use writ_producers::kafka::Options;
use writ_producers::limits::MAX_RECORD_BYTES;
use writ_producers::topics::Topics;

use super::batch::Record;
use crate::metrics;

/// How long librdkafka tries to deliver a letter.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an event is given up on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause {
    Undecodable,
    Refused,
    Waits,
}

impl Cause {
    fn label(self) -> &'static str {
        match self {
            Cause::Undecodable => "undecodable",
            Cause::Refused => "refused",
            Cause::Waits => "waits",
        }
    }

    fn during(self) -> &'static str {
        match self {
            Cause::Undecodable => "decoding an event for the read models",
            Cause::Refused => "writing the row of an event to PostgreSQL",
            Cause::Waits => "folding an event onto its row",
        }
    }
}

/// Writes dead letters.
pub(crate) struct Letters {
    producer: FutureProducer,
    topic: String,
    author: Author,
}

impl Letters {
    pub(crate) fn new(options: &Options, topics: &Topics) -> Result<Letters, KafkaError> {
        let producer = options
            .client("projector-letters")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string())
            .create()?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let node = format!("{}/{}", host.trim(), std::process::id());
        Ok(Letters {
            producer,
            topic: topics.dead_letters(),
            author: Author::new(topics.projector_group(), node),
        })
    }

    /// The letter of a record; nothing is written yet.
    pub(crate) fn compose(
        &self,
        record: &Record,
        cause: Cause,
        error: &(dyn StdError + 'static),
    ) -> Composed {
        let letter =
            Letter::new(record.origin(), record.original.clone(), &self.author, cause.during(), error);
        Composed { letter, cause }
    }

    /// Returns once Kafka has all of them.
    ///
    /// # Errors
    /// Some may be there: they are the same letters when they are written again.
    pub(crate) async fn send(&self, letters: Vec<Composed>) -> Result<(), KafkaError> {
        let mut deliveries = Vec::with_capacity(letters.len());
        for Composed { letter, cause } in letters {
            ::metrics::counter!(metrics::DEAD_LETTERS, "reason" => cause.label()).increment(1);
            tracing::error!(
                kafka.origin = %letter.origin,
                reason = letter.reason,
                "an event can't be applied; it goes to the dead letters, and its row stays as it is"
            );
            let record = letter.encode();
            let mut to_send = FutureRecord::to(&self.topic).key(record.key.as_str()).headers(record.headers);
            to_send.payload = record.value.as_deref();
            deliveries.push(self.producer.send_result::<str, [u8]>(to_send).map_err(|(error, _)| error)?);
        }
        for delivery in deliveries {
            match delivery.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(error),
                Err(_) => return Err(KafkaError::Canceled),
            }
        }
        Ok(())
    }
}

/// A letter that is ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Composed {
    letter: Letter,
    cause: Cause,
}
