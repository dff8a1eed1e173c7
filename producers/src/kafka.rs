//! Options of every Kafka client.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use serde::{Deserialize, Serialize};

/// Limit of one metadata or admin request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Where Kafka is and how topics are made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Comma-separated `host:port` list.
    pub brokers: String,
    /// First part of every topic name, consumer group and transactional id. Two applications, or two tests, on one
    /// Kafka differ in it.
    pub topic_prefix: String,
    /// Partitions of new topics. With another number keys belong to other partitions, so for commands and state only
    /// `writ repartition` changes it.
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
