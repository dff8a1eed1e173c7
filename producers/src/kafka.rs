//! Options of every Kafka client, and the watch over whether Kafka is there.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;

/// Limit of one metadata or admin request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit of the request that only asks whether Kafka is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between two such requests.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

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
    pub fn admin(&self) -> Result<AdminClient<DefaultClientContext>, rdkafka::error::KafkaError> {
        self.client("admin").create()
    }
}

/// Reports whether Kafka answers, every few seconds, until cancelled.
pub async fn watch(options: Options, readiness: watch::Sender<Readiness>, cancel: CancellationToken) {
    let consumer: BaseConsumer = match options.client("probe").create() {
        Ok(consumer) => consumer,
        Err(error) => {
            readiness.send_replace(Readiness::Waiting(format!("the Kafka options are invalid: {error}")));
            cancel.cancelled().await;
            return;
        }
    };
    let consumer = std::sync::Arc::new(consumer);
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
                readiness.send_if_modified(|now| change(now, Readiness::Ready));
                PROBE_INTERVAL
            }
            Ok(Err(error)) => {
                let reason = format!("Kafka at {} doesn't answer: {error}", options.brokers);
                readiness.send_if_modified(|now| change(now, Readiness::Waiting(reason)));
                Duration::from_millis(500)
            }
            Err(panicked) => {
                tracing::error!(error = %panicked, "the Kafka probe panicked");
                PROBE_INTERVAL
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn change(now: &mut Readiness, to: Readiness) -> bool {
    if *now == to {
        return false;
    }
    match &to {
        Readiness::Ready => tracing::info!("Kafka answers"),
        Readiness::Waiting(reason) => tracing::warn!(reason, "Kafka is missing"),
    }
    *now = to;
    true
}
