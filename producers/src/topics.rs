//! Topic names, declared once, and their creation with the settings that the guarantees rest on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use writ_model::Models;

use crate::kafka::{Options, REQUEST_TIMEOUT};
use crate::limits::MAX_RECORD_BYTES;

/// Partitions of `writ.replies`: api instances that share one read each other's answers and drop them.
pub(crate) const REPLY_PARTITIONS: i32 = 8;
/// The key of a topic's largest record.
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
const FOR_EVER: &str = "-1";
const METADATA_PAUSE: Duration = Duration::from_millis(20);
const TEN_MINUTES: &str = "600000";
const SEVEN_DAYS: &str = "604800000";
const THIRTY_DAYS: &str = "2592000000";

/// The names of all topics under one prefix.
#[derive(Debug, Clone)]
pub struct Topics {
    prefix: String,
}

impl Topics {
    /// Names under `prefix` (`writ`).
    pub fn new(prefix: &str) -> Self {
        Topics { prefix: prefix.to_owned() }
    }

    /// `writ.<model>`: the events of a model, kept for ever.
    pub fn events(&self, model: &str) -> String {
        format!("{}.{model}", self.prefix)
    }

    /// `writ.commands`: one record per command, keyed `model/id`.
    pub fn commands(&self) -> String {
        format!("{}.commands", self.prefix)
    }

    /// `writ.replies`: answers to api instances in other processes than the decider.
    pub fn replies(&self) -> String {
        format!("{}.replies", self.prefix)
    }

    /// `writ.state`: states and outcomes, compacted; partition `n` belongs to partition `n` of the commands.
    pub fn state(&self) -> String {
        format!("{}.state", self.prefix)
    }

    /// `writ.dead-letters`: what could not be used, with its reason, see [`crate::dead_letter`].
    pub fn dead_letters(&self) -> String {
        format!("{}.dead-letters", self.prefix)
    }

    /// `writ.reactions`: how far the reactions have come, compacted: one record for each partition of an event topic.
    pub fn reactions(&self) -> String {
        format!("{}.reactions", self.prefix)
    }

    /// The transactional id of `writ dead-letters`: the last to begin fences the one before.
    pub fn dead_letters_writer(&self) -> String {
        format!("{}.dead-letters", self.prefix)
    }

    /// The transactional id of `writ repartition`.
    pub fn repartition_writer(&self) -> String {
        format!("{}.repartition", self.prefix)
    }

    /// The consumer group of the projectors.
    pub fn projector_group(&self) -> String {
        format!("{}.projector", self.prefix)
    }

    /// The consumer group of the reactions.
    pub fn reactions_group(&self) -> String {
        format!("{}.reactions", self.prefix)
    }

    /// The consumer group of the deciders.
    pub fn decider_group(&self) -> String {
        format!("{}.decider", self.prefix)
    }
}

/// Why the topics are not as they must be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka doesn't answer or refuses: try again.
    #[error("topics can't be created at {brokers}: {detail}")]
    Kafka {
        /// The brokers asked.
        brokers: String,
        /// What Kafka said.
        detail: String,
    },
    /// A topic exists with another partition count: its keys would change owner.
    #[error(
        "topic {topic} has {found} partitions, the configuration says {configured}; set kafka.partitions = {found}, \
         since keys would move to other partitions. To have more, stop all servers and run \
         `writ repartition --partitions N`, which moves them"
    )]
    PartitionsChanged {
        /// The topic.
        topic: String,
        /// As it is in Kafka.
        found: i32,
        /// As configured.
        configured: i32,
    },
    /// `writ repartition` has begun and not ended.
    #[error(
        "topic {state} has {state_partitions} partitions and topic {commands} has {commands_partitions}: \
         `writ repartition` was interrupted. Run `writ repartition --partitions {state_partitions}` again, it goes on \
         where it stopped; then set kafka.partitions = {state_partitions}"
    )]
    RepartitionUnfinished {
        /// `writ.state`.
        state: String,
        /// Its partitions.
        state_partitions: i32,
        /// `writ.commands`.
        commands: String,
        /// Its partitions.
        commands_partitions: i32,
    },
}

/// Creates the topics that are missing and checks the ones that exist. Idempotent; safe from many processes at once.
///
/// # Errors
/// [`Error::Kafka`] may pass with time, the others need the operator.
pub async fn ensure(options: &Options, models: &Models) -> Result<(), Error> {
    let failed = |detail: String| Error::Kafka { brokers: options.brokers.clone(), detail };
    let topics = Topics::new(&options.topic_prefix);
    let admin = options.admin().map_err(|error| failed(error.to_string()))?;

    let names =
        [topics.commands(), topics.state(), topics.replies(), topics.dead_letters(), topics.reactions()];
    let [commands, state, replies, dead_letters, reactions] = &names;
    let events: Vec<String> = models.models.keys().map(|model| topics.events(model)).collect();
    let new =
        |name, partitions| NewTopic::new(name, partitions, TopicReplication::Fixed(options.replication));
    let largest = MAX_RECORD_BYTES.to_string();
    let largest = largest.as_str();
    let mut wanted = vec![
        new(commands, options.partitions).set("retention.ms", SEVEN_DAYS),
        new(state, options.partitions).set("cleanup.policy", "compact").set(MAX_MESSAGE_BYTES, largest),
        new(replies, REPLY_PARTITIONS).set("retention.ms", TEN_MINUTES).set(MAX_MESSAGE_BYTES, largest),
        new(dead_letters, options.partitions)
            .set("retention.ms", THIRTY_DAYS)
            .set(MAX_MESSAGE_BYTES, largest),
        // Few keys, all of which a reader wants.
        new(reactions, 1).set("cleanup.policy", "compact"),
    ];
    wanted.extend(events.iter().map(|topic| {
        new(topic, options.partitions)
            .set("retention.ms", FOR_EVER)
            .set("retention.bytes", FOR_EVER)
            .set("cleanup.policy", "delete")
            .set(MAX_MESSAGE_BYTES, largest)
    }));

    let limits =
        AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    let results = admin.create_topics(&wanted, &limits).await.map_err(|error| failed(error.to_string()))?;
    let mut found = Vec::new();
    for result in results {
        match result {
            Ok(topic) => tracing::info!(kafka.topic = topic, "created topic"),
            Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) if topic == *commands => {}
            Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => found.push(topic),
            Err((topic, code)) => return Err(failed(format!("{topic}: {code}"))),
        }
    }
    allow_large_records(&admin, &limits, &found).await.map_err(failed)?;
    let partitions = await_leaders(options.clone(), names.iter().chain(&events).cloned().collect()).await?;
    if partitions[state] > partitions[commands] {
        return Err(Error::RepartitionUnfinished {
            state: state.clone(),
            state_partitions: partitions[state],
            commands: commands.clone(),
            commands_partitions: partitions[commands],
        });
    }
    // The decider relies on one and the same count for commands and state (see `Topics::state`). Event topics keep
    // the count that they were made with: nothing is to move in them.
    for topic in [commands, state] {
        let found = partitions[topic];
        if found != options.partitions {
            return Err(Error::PartitionsChanged {
                topic: topic.clone(),
                found,
                configured: options.partitions,
            });
        }
    }
    Ok(())
}

/// Raises the largest record of topics that exist, where it is too small: a record that doesn't fit would stop its
/// partition (see [`crate::limits`]).
async fn allow_large_records(
    admin: &AdminClient<DefaultClientContext>,
    limits: &AdminOptions,
    topics: &[String],
) -> Result<(), String> {
    if topics.is_empty() {
        return Ok(());
    }
    let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let described = admin.describe_configs(&asked, limits).await.map_err(|error| error.to_string())?;
    let largest = MAX_RECORD_BYTES.to_string();
    for (topic, described) in topics.iter().zip(described) {
        let described =
            described.map_err(|code| format!("{topic}: its configuration can't be read: {code}"))?;
        let now =
            described.get(MAX_MESSAGE_BYTES).and_then(|entry| entry.value.as_deref()?.parse::<usize>().ok());
        if now.is_none_or(|now| now >= MAX_RECORD_BYTES) {
            continue;
        }
        // The request replaces everything that was set for the topic.
        let mut alter = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for entry in described.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic) {
            if let Some(value) = &entry.value {
                alter = alter.set(&entry.name, value);
            }
        }
        let alter = alter.set(MAX_MESSAGE_BYTES, &largest);
        let altered = admin.alter_configs([&alter], limits).await.map_err(|error| error.to_string())?;
        if let Some(Err((_, code))) = altered.into_iter().find(Result::is_err) {
            return Err(format!("{topic}: {MAX_MESSAGE_BYTES} can't be raised to {largest}: {code}"));
        }
        tracing::info!(
            kafka.topic = topic,
            kafka.max_message_bytes = largest,
            "the topic takes larger records now"
        );
    }
    Ok(())
}

/// Gives `topic` more partitions, and returns once each has a leader. Idempotent.
///
/// # Errors
/// Kafka doesn't answer or refuses, say because there are more partitions already.
pub async fn grow(options: &Options, topic: &str, partitions: i32) -> Result<(), Error> {
    let failed = |detail: String| Error::Kafka {
        brokers: options.brokers.clone(),
        detail: format!("{topic}: {detail}"),
    };
    let found = await_leaders(options.clone(), vec![topic.to_owned()]).await?[topic];
    if found == partitions {
        return Ok(());
    }
    let admin = options.admin().map_err(|error| failed(error.to_string()))?;
    let limits =
        AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    let count = usize::try_from(partitions).map_err(|error| failed(error.to_string()))?;
    let results = admin.create_partitions(&[NewPartitions::new(topic, count)], &limits).await;
    for result in results.map_err(|error| failed(error.to_string()))? {
        result.map_err(|(_, code)| failed(code.to_string()))?;
    }
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    loop {
        let found = await_leaders(options.clone(), vec![topic.to_owned()]).await?[topic];
        if found == partitions {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(failed(format!(
                "it has {found} partitions, though Kafka was asked for {partitions}"
            )));
        }
        tokio::time::sleep(METADATA_PAUSE).await;
    }
}

/// Partition counts by topic, once every partition has a leader: a topic that was just made has none for a moment,
/// and whoever asks for it then fails.
async fn await_leaders(options: Options, topics: Vec<String>) -> Result<HashMap<String, i32>, Error> {
    let brokers = options.brokers.clone();
    let counted = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = options.client("admin").create().map_err(|error| error.to_string())?;
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        topics.into_iter().map(|topic| await_leader(&consumer, topic, deadline)).collect()
    })
    .await
    .unwrap_or_else(|panicked| Err(panicked.to_string()));
    counted.map_err(|detail| Error::Kafka { brokers, detail })
}

fn await_leader(consumer: &BaseConsumer, topic: String, deadline: Instant) -> Result<(String, i32), String> {
    loop {
        let metadata =
            consumer.fetch_metadata(Some(&topic), REQUEST_TIMEOUT).map_err(|error| error.to_string())?;
        let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
        if !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0) {
            return Ok((topic, i32::try_from(partitions.len()).unwrap_or(i32::MAX)));
        }
        if Instant::now() > deadline {
            return Err(format!("{topic} has partitions without a leader"));
        }
        std::thread::sleep(METADATA_PAUSE);
    }
}
