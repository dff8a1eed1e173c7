//! Names of the metrics of reactions, declared once.

/// Commands that reactions sent, by `model` and `reaction`.
pub const FIRED: &str = "writ_reactions_fired_total";
/// Events to which a reaction couldn't be worked out, by `model` and `reaction` (empty: the event couldn't be read). They are in
/// the dead letters.
pub const FAILED: &str = "writ_reactions_failed_total";
/// Commands of reactions that were refused, by `model` and `reaction`.
pub const REJECTED: &str = "writ_reactions_rejected_total";
/// Events that were read, by `model`.
pub const EVENTS: &str = "writ_reactions_events_total";
/// Events that didn't follow on their aggregate's last one. An alarm: see `writ_consumers::reactions`.
pub const PASSED_OVER: &str = "writ_reactions_passed_over_total";
/// Seconds from an event's record to the commit of what follows from it.
pub const DELAY_SECONDS: &str = "writ_reactions_delay_duration_seconds";
/// Gauge: partitions of event topics that this process owns.
pub const PARTITIONS: &str = "writ_reactions_partitions";
/// Transactions that failed; the role then starts over from the committed offsets.
pub const SESSIONS_FAILED: &str = "writ_reactions_sessions_failed_total";

/// Says what they are, to the recorder that is installed.
pub fn describe() {
    use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(FIRED, "Commands that reactions sent.");
    describe_counter!(
        FAILED,
        "Events to which a reaction couldn't be worked out; they are in the dead letters."
    );
    describe_counter!(REJECTED, "Commands of reactions that were refused.");
    describe_counter!(EVENTS, "Events that were read for reactions.");
    describe_counter!(PASSED_OVER, "Events that didn't follow on their aggregate's last one. An alarm.");
    describe_histogram!(
        DELAY_SECONDS,
        Unit::Seconds,
        "Time from an event's writing in Kafka to the commit of what follows."
    );
    describe_gauge!(PARTITIONS, "Partitions of event topics that this process reacts to.");
    describe_counter!(SESSIONS_FAILED, "Transactions of reactions that failed.");
}
