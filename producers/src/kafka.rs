//! Options of every Kafka client.

use serde::{Deserialize, Serialize};

/// Where Kafka is and how topics are made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Comma-separated `host:port` list.
    pub brokers: String,
    /// First part of every topic name and of every consumer group and transactional id.
    pub topic_prefix: String,
    /// Partitions of new topics. Can't be changed later without `writ repartition`.
    pub partitions: i32,
    /// Replicas of new topics.
    pub replication: i32,
}

impl Default for Options {
    fn default() -> Self {
        Options { brokers: "127.0.0.1:9092".into(), topic_prefix: "writ".into(), partitions: 24, replication: 1 }
    }
}
