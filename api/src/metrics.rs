//! Names of the metrics of the HTTP interface, each declared once, and `GET /metrics`.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use metrics::{describe_counter, describe_gauge, describe_histogram};
pub use metrics_exporter_prometheus::PrometheusHandle as Handle;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use writ_producers::metrics::COMMANDS_OLDEST_SECONDS;

use crate::app::Shared;

/// Counter: requests by `method`, `route` and `status`.
pub const REQUESTS_TOTAL: &str = "writ_http_requests_total";
/// Histogram: seconds from the request's head to the response's head, by `method`, `route` and `status`.
pub const REQUEST_DURATION_SECONDS: &str = "writ_http_request_duration_seconds";
/// Gauge: requests that are worked on.
pub const REQUESTS_IN_FLIGHT: &str = "writ_http_requests_in_flight";
/// Gauge: open connections.
pub const CONNECTIONS: &str = "writ_http_connections";
/// Counter: connections closed at once, since their address has as many as it may.
pub const CONNECTIONS_REFUSED_TOTAL: &str = "writ_http_connections_refused_total";
/// Counter: commands by `model`, `command` and `result` (`committed`, `accepted` or the slug of the problem).
pub const COMMANDS_TOTAL: &str = "writ_http_commands_total";
/// Counter: requests refused by `limit`, the name of a [`crate::rate_limit::Limit`].
pub const RATE_LIMIT_REFUSED_TOTAL: &str = "writ_rate_limit_refused_total";
/// Gauge: 1 while Redis is away and requests are counted in this process only.
pub const RATE_LIMIT_LOCAL: &str = "writ_rate_limit_local";
/// Counter: sign-ins by `result`: `signed_in` or the slug of the problem.
pub const SIGN_INS_TOTAL: &str = "writ_sign_ins_total";
/// Counter: attempts to sign in that must wait for the failures before them.
pub const SIGN_INS_DELAYED_TOTAL: &str = "writ_sign_ins_delayed_total";
/// Counter: attempts to sign in with a wrong name, password or code.
pub const SIGN_INS_FAILED_TOTAL: &str = "writ_sign_ins_failed_total";
/// Counter: mails by `result`: `sent`, `failed`, or `held` since the account got one just before.
pub const MAILS_TOTAL: &str = "writ_mails_total";

/// Gauge: open sockets, event streams and polls, by `transport`: `websocket`, `sse`, `poll`.
pub const LIVE_OPEN: &str = "writ_live_open";
/// Counter: messages of sockets and pieces of event streams, by `direction`: `in`, `out`.
pub const LIVE_MESSAGES_TOTAL: &str = "writ_live_messages_total";
/// Counter: sockets that have ended, by `code`: that of our close frame, `closed` by the client, or `gone`.
pub const LIVE_CLOSES_TOTAL: &str = "writ_live_closes_total";

/// Gauge: members of channels that are connected here, by `channel`.
pub const LIVE_CHANNEL_MEMBERS: &str = "writ_live_channel_members";
/// Counter: broadcasts, by `direction`: `in` of members and services, `out` to members.
pub const LIVE_CHANNEL_MESSAGES_TOTAL: &str = "writ_live_channel_messages_total";
/// Counter: broadcasts that members didn't get, since they were slow.
pub const LIVE_CHANNEL_MISSED_TOTAL: &str = "writ_live_channel_missed_total";
/// Gauge: 1 while Redis is away and channels stand still.
pub const LIVE_CHANNELS_AWAY: &str = "writ_live_channels_away";

/// Upper bounds of the buckets of every duration, in seconds: from one answer out of memory to the command timeout.
const DURATION_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Installs the process's metrics recorder. Every crate's metrics go there; names that end in `_duration_seconds` are
/// histograms with fixed buckets. Call it once, before any part starts.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".into()), DURATION_BUCKETS)?
        .install_recorder()?;
    describe_counter!(REQUESTS_TOTAL, "HTTP requests.");
    describe_histogram!(
        REQUEST_DURATION_SECONDS,
        metrics::Unit::Seconds,
        "Time from request head to response head."
    );
    describe_gauge!(REQUESTS_IN_FLIGHT, "HTTP requests that are worked on.");
    describe_gauge!(CONNECTIONS, "Open HTTP connections.");
    describe_counter!(CONNECTIONS_REFUSED_TOTAL, "Connections closed for their address has too many.");
    describe_counter!(COMMANDS_TOTAL, "Commands by result.");
    describe_counter!(RATE_LIMIT_REFUSED_TOTAL, "Requests refused by a rate limit.");
    describe_gauge!(RATE_LIMIT_LOCAL, "Whether rate limits count in this process only, for want of Redis.");
    describe_counter!(SIGN_INS_DELAYED_TOTAL, "Attempts to sign in that had to wait.");
    describe_counter!(SIGN_INS_FAILED_TOTAL, "Attempts to sign in that were refused.");
    describe_counter!(MAILS_TOTAL, "Mails by result.");
    describe_gauge!(LIVE_OPEN, "Open sockets, event streams and polls.");
    describe_counter!(LIVE_MESSAGES_TOTAL, "Messages of sockets and event streams.");
    describe_counter!(LIVE_CLOSES_TOTAL, "Sockets that have ended, by code.");
    describe_gauge!(LIVE_CHANNEL_MEMBERS, "Members of channels that are connected here.");
    describe_counter!(LIVE_CHANNEL_MESSAGES_TOTAL, "Broadcasts, by direction.");
    describe_counter!(LIVE_CHANNEL_MISSED_TOTAL, "Broadcasts that slow members didn't get.");
    describe_gauge!(LIVE_CHANNELS_AWAY, "Whether channels stand still, for want of Redis.");
    writ_consumers::live::metrics::describe();
    writ_consumers::reactions::metrics::describe();
    metrics::gauge!(RATE_LIMIT_LOCAL).set(0.0);
    Ok(handle)
}

/// Folds recorded values into the histograms, so that memory stays bounded while nobody scrapes.
pub(crate) async fn upkeep(handle: PrometheusHandle, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        handle.run_upkeep();
    }
}

pub(crate) async fn get(State(app): State<Shared>) -> Response {
    if let Some(commands) = &app.api.commands {
        metrics::gauge!(COMMANDS_OLDEST_SECONDS).set(commands.oldest().as_secs_f64());
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.api.metrics.render()).into_response()
}
