//! What keeps a repartition from its end.

use writ_producers::{topics, transaction};

use super::live::Digest;
use crate::scan;

/// Why nothing was done, or not all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A topic can't be read.
    #[error("the topics can't be read")]
    Read(#[from] scan::Error),
    /// Records can't be moved.
    #[error("the records can't be moved; run it again, it goes on where it stopped")]
    Write(#[from] transaction::Error),
    /// A topic can't get its partitions.
    #[error("the partitions can't be added; run it again, it goes on where it stopped")]
    Grow(#[from] topics::Error),
    /// The deciders' group can't be looked at.
    #[error("Kafka doesn't say who is in the group {group}")]
    Group {
        /// The consumer group.
        group: String,
        /// What Kafka said.
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// The tool can't wait for Kafka.
    #[error("the system gives no means to wait for Kafka")]
    Runtime(#[source] std::io::Error),
    /// Somebody decides.
    #[error(
        "the group {group} has {members} members: stop every server first. One that was killed is forgotten after 6 s"
    )]
    Online {
        /// The consumer group.
        group: String,
        /// How many.
        members: usize,
    },
    /// Commands wait.
    #[error(
        "{topic}:{partition} has {count} commands that are not decided: start the servers as they were, wait until they \
         have caught up, and stop them"
    )]
    Undecided {
        /// The topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// How many.
        count: u64,
    },
    /// Nothing to do.
    #[error("{topic} has {0} partitions already; set kafka.partitions = {0}", found, topic = topic)]
    Same {
        /// The topic.
        topic: String,
        /// Its partitions.
        found: i32,
    },
    /// Kafka can't take partitions away.
    #[error("{topic} has {found} partitions, and {wanted} are fewer: a topic can only get more")]
    Fewer {
        /// The topic.
        topic: String,
        /// Its partitions.
        found: i32,
        /// As asked for.
        wanted: i32,
    },
    /// An earlier run wanted another number.
    #[error(
        "an earlier run with --partitions {begun} was interrupted: run it with that number, to its end, first"
    )]
    Unfinished {
        /// What it was asked for.
        begun: i32,
    },
    /// A record of another version, or no record of Writ's.
    #[error("{topic}:{partition} has a record with the key `{key}`, which this version of writ doesn't know")]
    UnknownKey {
        /// The topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The key.
        key: String,
    },
    /// A record that no decider would find.
    #[error(
        "the record `{key}` stands in {topic}:{partition}, where its key doesn't belong; nothing was changed, since \
         nobody can tell whether it is valid"
    )]
    Misplaced {
        /// The topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The key.
        key: String,
    },
    /// The proof failed.
    #[error(
        "the state is not what it was: {} records with digest {before} before, {} with {after} after. {topic} was left \
         as it was; somebody else has written meanwhile",
        before.records, after.records
    )]
    Changed {
        /// `writ.commands`.
        topic: String,
        /// Before the first move.
        before: Digest,
        /// After the last one.
        after: Digest,
    },
}
