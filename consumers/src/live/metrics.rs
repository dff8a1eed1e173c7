//! Names of the live feed's metrics, declared once.

/// Gauge: subscriptions that are served, by `model`.
pub const SUBSCRIPTIONS: &str = "writ_live_subscriptions";
/// Gauge: views that these share, by `model`.
pub const VIEWS: &str = "writ_live_views";
/// Events that were matched against the views, by `model`.
pub const CHANGES: &str = "writ_live_changes_total";
/// Events that nobody gets, by `model` and `reason`: `undecodable`; `unknown` (the state before it can't be known); `repeated`
/// (a version that was there already).
pub const PASSED_OVER: &str = "writ_live_passed_over_total";
/// Frames put into queues of subscriptions, by `model`.
pub const DELIVERIES: &str = "writ_live_deliveries_total";
/// Subscriptions that ended because their queue was full, or because they took nothing of a replay, by `model`.
pub const LAGGED: &str = "writ_live_lagged_total";
/// Stretches of event topics that were read again for a subscription, by `model`.
pub const REPLAYS: &str = "writ_live_replays_total";
/// Snapshots that were read for subscriptions, by `model`.
pub const SNAPSHOTS: &str = "writ_live_snapshots_total";
/// States that were not in memory and had to be read from PostgreSQL, by `model`.
pub const STATES_READ: &str = "writ_live_states_read_total";
/// Seconds from an event's time of writing in Kafka to its delivery to the queues.
pub const DELAY_SECONDS: &str = "writ_live_delay_duration_seconds";
/// Gauge: subscriptions to rows of SQL projections, by `projection`.
pub const PROJECTION_SUBSCRIPTIONS: &str = "writ_live_projection_subscriptions";
/// Gauge: lists that are asked for these, by `projection`: equal subscriptions share one.
pub const PROJECTION_VIEWS: &str = "writ_live_projection_views";
/// Queries for these lists, by `projection`.
pub const PROJECTION_QUERIES: &str = "writ_live_projection_queries_total";

/// Says what they are, to the recorder that is installed.
pub fn describe() {
    use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!(SUBSCRIPTIONS, "Subscriptions that are served.");
    describe_gauge!(VIEWS, "Views that the subscriptions share.");
    describe_counter!(CHANGES, "Events that were matched against the views.");
    describe_counter!(PASSED_OVER, "Events that nobody gets, by reason.");
    describe_counter!(DELIVERIES, "Frames put into queues of subscriptions.");
    describe_counter!(LAGGED, "Subscriptions that ended because they were too slow.");
    describe_counter!(REPLAYS, "Stretches of event topics that were read again for a subscription.");
    describe_counter!(SNAPSHOTS, "Snapshots that were read for subscriptions.");
    describe_counter!(STATES_READ, "States that had to be read from PostgreSQL.");
    describe_gauge!(PROJECTION_SUBSCRIPTIONS, "Subscriptions to rows of SQL projections that are served.");
    describe_gauge!(PROJECTION_VIEWS, "Lists of SQL projections that these subscriptions share.");
    describe_counter!(PROJECTION_QUERIES, "Queries for the lists of SQL projections that are followed.");
    describe_histogram!(
        DELAY_SECONDS,
        Unit::Seconds,
        "Time from an event's writing in Kafka to its delivery to the queues."
    );
}
