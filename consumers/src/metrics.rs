//! Names of this crate's metrics, declared once.

/// Commands decided, by `model` and `result` (`committed`, `rejected`, `repeated`, `undecodable`).
pub const COMMANDS_DECIDED: &str = "writ_decider_commands_total";
/// Commands that Kafka handed out again although they were decided.
pub const COMMANDS_PASSED_OVER: &str = "writ_decider_commands_passed_over_total";
/// Gauge: partitions of `writ.commands` that this process owns and has restored.
pub const PARTITIONS: &str = "writ_decider_partitions";
/// Commands of one transaction.
pub const BATCH_SIZE: &str = "writ_decider_batch_commands";
/// Seconds from the first command of a batch in hand to the end of the commit.
pub const BATCH_DURATION_SECONDS: &str = "writ_decider_batch_duration_seconds";
/// Transactions that failed; the decider then starts over from the committed offsets.
pub const SESSIONS_FAILED: &str = "writ_decider_sessions_failed_total";
/// Records of `writ.state` read while taking over partitions.
pub const RECORDS_RESTORED: &str = "writ_decider_restored_records_total";
/// Transactions of other deciders that were left open and ended on taking over their partitions.
pub const TRANSACTIONS_ENDED: &str = "writ_decider_transactions_ended_total";
/// Answers to claims of unique values, by `result` (`granted`, `refused`).
pub const RESERVATIONS: &str = "writ_decider_reservations_total";
/// Aggregates that had the same value before it was declared unique. An alarm: the log names them.
pub const UNIQUE_CONFLICTS: &str = "writ_decider_unique_conflicts_total";
/// Answers to claims for which no command waits.
pub const STRAY_ANSWERS: &str = "writ_decider_stray_answers_total";
/// Gauge: records of `writ.state` that the take-over under way has still to read; 0 when there is none. In offsets, so
/// somewhat more than records where compaction has left holes.
pub const RESTORE_RECORDS_LEFT: &str = "writ_decider_restore_records_left";
/// Gauge: records of `writ.state` that the last take-over had to read, in offsets.
pub const RESTORE_RECORDS: &str = "writ_decider_restore_records";
/// State stores that were emptied, because they were damaged or belonged to another Kafka.
pub const STORES_DISCARDED: &str = "writ_decider_stores_discarded_total";
/// Records of `writ.state` whose version was not above the one at hand. An alarm: see [`crate::decider`].
pub const STALE_STATES: &str = "writ_decider_stale_states_total";
