//! The api's side of the write path: put a command into `writ.commands`, await its answer.
//!
//! Commands enter Kafka in the order of the calls of [`Commands::enqueue`], which a batch relies on. Answers come
//! from the decider: over memory when it lives in this process, else over `writ.replies` ([`crate::replies`]); both
//! end in [`Answers`].
//!
//! The queue is bounded twice. By number: a command is under way until its outcome is there, so a decider that stands
//! still fills it ([`Limits::commands`]). By bytes: a command's value is held only until Kafka has it, so a Kafka that
//! stands still fills that ([`Limits::bytes`]). One command more is refused, never queued.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use uuid::Uuid;

use crate::envelope::{CommandRecord, Outcome, ReplyTo, header};
use crate::kafka::Options;
use crate::limits::MAX_COMMAND_BYTES;
use crate::metrics;
use crate::readiness::Readiness;
use crate::topics::Topics;

/// What one process may have under way.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Commands that have no outcome yet.
    pub commands: usize,
    /// Bytes of commands that Kafka doesn't have yet.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { commands: 10_000, bytes: 64 * 1024 * 1024 }
    }
}

/// How long librdkafka tries to deliver a command before it gives up.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bounded queue is full: 503, `Retry-After`. Nothing was written.
    #[error("too many commands are under way")]
    Overloaded,
    /// Kafka isn't there: 503. Nothing was written.
    #[error("{0}")]
    Unavailable(String),
    /// Kafka didn't acknowledge the record in time: nothing tells whether it was written; repeat with the same key.
    #[error("Kafka didn't acknowledge the command: {0}")]
    Unacknowledged(KafkaError),
    /// The record is larger than Kafka's limit: 413.
    #[error("the command is too large: {size} bytes, at most {limit}")]
    TooLarge {
        /// Bytes of the record.
        size: usize,
        /// [`MAX_COMMAND_BYTES`].
        limit: usize,
    },
    /// In Kafka, but no answer within the limit: 504 with the command id.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server stops.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// Requests of this process that wait for an answer. Shared by the senders, the decider of the same process and the
/// reader of `writ.replies`.
#[derive(Debug)]
pub struct Answers {
    /// This process, in reply addresses.
    pub instance: Uuid,
    waiting: Mutex<HashMap<Uuid, oneshot::Sender<Outcome>>>,
}

impl Answers {
    /// For a process with a new instance id.
    pub fn new() -> Arc<Self> {
        Arc::new(Answers { instance: Uuid::now_v7(), waiting: Mutex::default() })
    }

    /// Hands the outcome to the request that waits for it, if one still does.
    pub fn complete(&self, request: Uuid, outcome: Outcome) {
        let waiting = self.waiting.lock().remove(&request);
        let claimed = waiting.is_some_and(|waiting| waiting.send(outcome).is_ok());
        if !claimed {
            ::metrics::counter!(metrics::ANSWERS_UNCLAIMED).increment(1);
        }
    }

    /// How long the request that waits longest has waited; zero when none does. An outcome that doesn't come shows here
    /// long before requests end in 504.
    pub fn oldest(&self) -> Duration {
        let oldest =
            self.waiting.lock().keys().filter_map(Uuid::get_timestamp).map(|taken| taken.to_unix()).min();
        let Some((seconds, nanos)) = oldest else { return Duration::ZERO };
        let taken = UNIX_EPOCH + Duration::new(seconds, nanos);
        SystemTime::now().duration_since(taken).unwrap_or_default()
    }

    fn wait(&self, request: Uuid) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(request, sender);
        receiver
    }

    fn forget(&self, request: Uuid) {
        self.waiting.lock().remove(&request);
    }
}

/// Sends commands. A cheap handle.
#[derive(Clone)]
pub struct Commands {
    inner: Arc<Inner>,
}

struct Inner {
    producer: FutureProducer,
    topic: String,
    reply_partition: i32,
    answers: Arc<Answers>,
    permits: Arc<Semaphore>,
    /// Kafka is there and the topics exist.
    ready: watch::Receiver<Readiness>,
}

impl std::fmt::Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commands").field("topic", &self.inner.topic).finish_non_exhaustive()
    }
}

impl Commands {
    /// A sender of this process, with the default [`Limits`]. It connects by itself; until `ready` says so, commands
    /// are refused at once.
    ///
    /// # Errors
    /// The Kafka options are invalid.
    pub fn new(
        options: &Options,
        answers: Arc<Answers>,
        reply_partition: i32,
        ready: watch::Receiver<Readiness>,
    ) -> Result<Self, KafkaError> {
        Self::with_limits(options, answers, reply_partition, ready, Limits::default())
    }

    /// A sender with limits of its own, else as [`Commands::new`].
    ///
    /// # Errors
    /// The Kafka options are invalid.
    pub fn with_limits(
        options: &Options,
        answers: Arc<Answers>,
        reply_partition: i32,
        ready: watch::Receiver<Readiness>,
        limits: Limits,
    ) -> Result<Self, KafkaError> {
        let producer: FutureProducer = options
            .client("commands")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // An idle system sends at once; under load records gather by themselves while requests are in flight.
            .set("linger.ms", "0")
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string())
            // More than are under way: a command whose request gave up can still be in the queue.
            .set(
                "queue.buffering.max.messages",
                limits.commands.saturating_mul(2).clamp(2, 1_000_000).to_string(),
            )
            .set("queue.buffering.max.kbytes", limits.bytes.div_ceil(1024).clamp(1, 2_097_151).to_string())
            .create()?;
        let topic = Topics::new(&options.topic_prefix).commands();
        let permits = Arc::new(Semaphore::new(limits.commands.min(Semaphore::MAX_PERMITS)));
        Ok(Commands { inner: Arc::new(Inner { producer, topic, reply_partition, answers, permits, ready }) })
    }

    /// How long the command that waits longest for its outcome has waited, see [`Answers::oldest`].
    pub fn oldest(&self) -> Duration {
        self.inner.answers.oldest()
    }

    /// Puts the command into the producer's queue, in the order of the calls, without waiting.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::Unavailable`], [`Error::TooLarge`]: nothing was written.
    pub fn enqueue(&self, command: &CommandRecord) -> Result<Accepted, Error> {
        let inner = &self.inner;
        if let Readiness::Waiting(reason) = &*inner.ready.borrow() {
            return Err(Error::Unavailable(reason.clone()));
        }
        let permit = inner.permits.clone().try_acquire_owned().map_err(|_| {
            ::metrics::counter!(metrics::COMMANDS_SHED).increment(1);
            Error::Overloaded
        })?;
        let value = serde_json::to_vec(command).expect("a command record has string keys only");
        if value.len() > MAX_COMMAND_BYTES {
            return Err(Error::TooLarge { size: value.len(), limit: MAX_COMMAND_BYTES });
        }
        let request = Uuid::now_v7();
        let reply_to =
            ReplyTo { instance: inner.answers.instance, partition: inner.reply_partition, request };
        let mut headers = OwnedHeaders::new_with_capacity(2)
            .insert(Header { key: header::REPLY_TO, value: Some(&reply_to.to_string()) });
        if let Some(traceparent) = &command.traceparent {
            headers = headers.insert(Header { key: header::TRACEPARENT, value: Some(traceparent) });
        }
        let key = command.key();
        let record = FutureRecord::to(&inner.topic).key(&key).payload(&value).headers(headers);
        // Waits before the send: the answer may be faster than the acknowledgement.
        let waiting =
            Waiting { request, answers: inner.answers.clone(), outcome: inner.answers.wait(request) };
        match inner.producer.send_result(record) {
            Ok(delivery) => {
                ::metrics::gauge!(metrics::COMMANDS_IN_FLIGHT).increment(1.0);
                Ok(Accepted { delivery: Some(delivery), waiting, _permit: InFlight(permit) })
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                ::metrics::counter!(metrics::COMMANDS_SHED).increment(1);
                Err(Error::Overloaded)
            }
            Err((error, _)) => Err(Error::Unavailable(format!("Kafka refuses the command: {error}"))),
        }
    }
}

/// A command that is on its way. Dropping it forgets the answer, not the command.
pub struct Accepted {
    delivery: Option<DeliveryFuture>,
    waiting: Waiting,
    _permit: InFlight,
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accepted").field("request", &self.waiting.request).finish_non_exhaustive()
    }
}

struct Waiting {
    request: Uuid,
    answers: Arc<Answers>,
    outcome: oneshot::Receiver<Outcome>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.answers.forget(self.request);
    }
}

struct InFlight(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Drop for InFlight {
    fn drop(&mut self) {
        ::metrics::gauge!(metrics::COMMANDS_IN_FLIGHT).decrement(1.0);
    }
}

impl Accepted {
    /// Waits until Kafka has the record, replicated as configured.
    ///
    /// # Errors
    /// [`Error::Unacknowledged`]: it may or may not be there. [`Error::ShuttingDown`].
    pub async fn acknowledged(&mut self) -> Result<(), Error> {
        let Some(delivery) = self.delivery.take() else { return Ok(()) };
        match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(Error::Unacknowledged(error)),
            Err(_) => Err(Error::ShuttingDown),
        }
    }

    /// Waits for the answer, at most `limit`. Acknowledges first, so a command that Kafka didn't take fails early.
    ///
    /// # Errors
    /// [`Error::Timeout`]: the command is in Kafka and will be decided. Those of [`Accepted::acknowledged`].
    pub async fn outcome(mut self, limit: Duration) -> Result<Outcome, Error> {
        let deadline = tokio::time::Instant::now() + limit;
        self.acknowledged().await?;
        match tokio::time::timeout_at(deadline, &mut self.waiting.outcome).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) => Err(Error::ShuttingDown),
            Err(_) => Err(Error::Timeout(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use writ_model::Rejection;

    use super::*;

    #[tokio::test]
    async fn an_answer_reaches_the_request_that_waits_and_no_other() {
        let answers = Answers::new();
        let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
        let (waiting_first, mut waiting_second) = (answers.wait(first), answers.wait(second));
        answers.complete(first, Outcome::Rejected(Rejection::NotFound));
        assert_eq!(waiting_first.await, Ok(Outcome::Rejected(Rejection::NotFound)));
        assert!(waiting_second.try_recv().is_err());
    }

    #[test]
    fn the_oldest_request_tells_how_long_it_waits() {
        let answers = Answers::new();
        assert_eq!(answers.oldest(), Duration::ZERO);
        let taken = uuid::Timestamp::from_unix(uuid::NoContext, 1_000, 0);
        let _old = answers.wait(Uuid::new_v7(taken));
        let _new = answers.wait(Uuid::now_v7());
        let since_the_epoch = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (before, oldest, after) = (since_the_epoch(), answers.oldest(), since_the_epoch());
        let taken = Duration::from_secs(1_000);
        assert!(before - taken <= oldest && oldest <= after - taken, "{oldest:?}");
    }

    #[test]
    fn nothing_is_kept_for_a_request_that_gave_up() {
        let answers = Answers::new();
        let request = Uuid::now_v7();
        drop(Waiting { request, outcome: answers.wait(request), answers: answers.clone() });
        assert!(answers.waiting.lock().is_empty());
    }

    #[test]
    fn without_kafka_a_command_is_refused_at_once() {
        let (_ready, ready) = watch::channel(Readiness::Waiting("Kafka isn't there".into()));
        let commands = Commands::new(&Options::default(), Answers::new(), 0, ready).unwrap();
        let command = CommandRecord {
            id: Uuid::nil(),
            model: "order".into(),
            aggregate: Uuid::nil(),
            command: "place".into(),
            input: serde_json::json!({}),
            actor: writ_model::decide::Actor::unrestricted(),
            expected_version: None,
            at: 0,
            idempotent: false,
            correlation: Uuid::nil(),
            causation: None,
            traceparent: None,
            reacting: None,
        };
        assert!(
            matches!(commands.enqueue(&command), Err(Error::Unavailable(reason)) if reason.contains("Kafka"))
        );
    }
}
