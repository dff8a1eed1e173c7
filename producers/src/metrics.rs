//! Names of this crate's metrics, declared once.

/// Commands sent to Kafka and not yet answered.
pub const COMMANDS_IN_FLIGHT: &str = "writ_commands_in_flight";
/// Commands refused because too many were under way.
pub const COMMANDS_SHED: &str = "writ_commands_shed_total";
/// Answers for which nobody waited any more.
pub const ANSWERS_UNCLAIMED: &str = "writ_answers_unclaimed_total";
/// Seconds for which the oldest command without an outcome has waited: above a second, no decider keeps up.
pub const COMMANDS_OLDEST_SECONDS: &str = "writ_commands_oldest_seconds";
