//! Options of every Kafka client, and the watch over whether Kafka is there.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use writ_model::Models;

use crate::readiness::{Readiness, report};
use crate::topics;

/// Limit of one metadata or admin request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit of the request that only asks whether Kafka is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between two such requests.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// The same while Kafka doesn't answer.
const RETRY: Duration = Duration::from_millis(500);

/// Where Kafka is and how topics are made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Comma-separated `host:port` list.
    pub brokers: String,
    /// First part of every topic name, consumer group and transactional id. Two applications, or two tests, on one
    /// Kafka differ in it.
    pub topic_prefix: String,
    /// Partitions of new topics. Fixed for the life of the data: keys would move to other partitions.
    pub partitions: i32,
    /// Replicas of new topics. Three in production, with `min.insync.replicas=2` at the broker.
    pub replication: i32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            brokers: "127.0.0.1:9092".into(),
            topic_prefix: "writ".into(),
            partitions: 24,
            replication: 1,
        }
    }
}

impl Options {
    /// What all clients have in common. `purpose` becomes part of the client id that the broker's logs show.
    pub fn client(&self, purpose: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", format!("{}-{purpose}", self.topic_prefix))
            .set("socket.keepalive.enable", "true")
            // A broker that comes back is found within a second, not within the default ten.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "60000")
            // As Java's clients do, so that every producer in any language maps a key to the same partition.
            .set("partitioner", "murmur2_random");
        config
    }

    /// A client for topic administration. Errors: the configuration is invalid.
    pub fn admin(&self) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
        self.client("admin").create()
    }
}

/// A connection was lost or not made. librdkafka tries again by itself; a broker closes idle connections too.
pub fn is_lost_connection(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}

/// Makes the topics as soon as Kafka is there, and then reports whether it answers, until cancelled.
///
/// # Errors
/// The topics in Kafka don't fit the configuration, or the options are invalid.
pub async fn watch(
    options: Options,
    models: &Models,
    readiness: watch::Sender<Readiness>,
    cancel: CancellationToken,
) -> Result<(), topics::Error> {
    loop {
        match topics::ensure(&options, models).await {
            Ok(()) => break,
            Err(error @ topics::Error::PartitionsChanged { .. }) => return Err(error),
            Err(error) => report(&readiness, "Kafka", Readiness::Waiting(error.to_string())),
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
    let consumer: BaseConsumer = options.client("probe").create().map_err(|error| topics::Error::Kafka {
        brokers: options.brokers.clone(),
        detail: error.to_string(),
    })?;
    let consumer = Arc::new(consumer);
    loop {
        let probe = consumer.clone();
        // Blocking in librdkafka, so not on the runtime's own threads.
        let answer = tokio::task::spawn_blocking(move || {
            // Serves the log and error callbacks of the client.
            let _ = probe.poll(Duration::ZERO);
            probe.client().fetch_metadata(Some("__consumer_offsets"), PROBE_TIMEOUT).map(drop)
        })
        .await;
        let pause = match answer {
            Ok(Ok(())) => {
                report(&readiness, "Kafka", Readiness::Ready);
                PROBE_INTERVAL
            }
            Ok(Err(error)) => {
                let reason = format!("Kafka at {} doesn't answer: {error}", options.brokers);
                report(&readiness, "Kafka", Readiness::Waiting(reason));
                RETRY
            }
            Err(panicked) => {
                tracing::error!(error = %panicked, "the Kafka probe panicked");
                PROBE_INTERVAL
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
