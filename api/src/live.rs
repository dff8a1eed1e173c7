//! Live updates: `GET /v1/live`, a WebSocket with the protocol `writ.v1`, and the same feed at `GET /v1/live/{model}` as
//! Server-Sent Events and as long poll (docs/live.md).
//!
//! A handshake proves who opens a socket ([`handshake`], [`tickets`]) and takes a place among the open ones ([`open`]). Then one
//! task has the socket to itself ([`socket`]): it reads messages ([`message`]), sends what the feed has for its subscriptions
//! ([`subscriptions`]) and what is said in its channels ([`channels`]), and runs commands ([`command`]). What the directory hears of sessions, accounts, keys and roles reaches
//! the sockets that it concerns through [`open`], and they ask again who they are for.
//!
//! An open socket holds no place among the requests and the connections, and no buffer that isn't in use: ten thousand idle ones
//! are a matter of megabytes. It ends with the server: told when to come back, within the time that requests have.

pub(crate) mod asyncapi;
pub(crate) mod channels;
mod command;
mod events;
pub(crate) mod follow;
pub(crate) mod handshake;
mod message;
pub(crate) mod open;
mod options;
mod poll;
mod rows;
mod socket;
mod subscriptions;
pub(crate) mod tickets;
mod wanted;

use std::time::Duration;

use metrics::Counter;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use writ_consumers::live as feed;

pub use options::Options;

use crate::metrics::LIVE_MESSAGES_TOTAL;
use crate::rate_limit::RateLimiter;
use crate::redis_link::RedisLink;
use channels::Channels;
use open::Open;

/// What all that is open has in common.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) open: Open,
    pub(crate) channels: Channels,
    /// Keeps the tickets.
    redis: RedisLink,
    tracker: TaskTracker,
    /// The time to stop is over.
    cut: CancellationToken,
    /// Messages to clients.
    sent: Counter,
    /// Messages of clients.
    received: Counter,
}

impl Sockets {
    pub(crate) fn new(options: &crate::Options, limiter: &RateLimiter) -> Sockets {
        let client = limiter.link().client().clone();
        let channels = Channels::new(client, limiter.prefix(), options.live.max_members);
        Sockets {
            channels: channels.expect("invariant: the address is one, since rate limits use it"),
            open: Open::new(options),
            redis: limiter.another_link(options.live.redis_timeout(), tickets::heard),
            tracker: TaskTracker::new(),
            cut: CancellationToken::new(),
            sent: metrics::counter!(LIVE_MESSAGES_TOTAL, "direction" => "out"),
            received: metrics::counter!(LIVE_MESSAGES_TOTAL, "direction" => "in"),
        }
    }

    /// Waits for the sockets to end, which know that the server stops; at the deadline they are cut. Call it when nobody can open
    /// one any more.
    pub(crate) async fn close(&self, deadline: Instant) {
        self.tracker.close();
        if tokio::time::timeout_at(deadline, self.tracker.wait()).await.is_err() {
            tracing::warn!(
                sockets.open = self.tracker.len(),
                "sockets were still open when the time to stop was over"
            );
        }
        self.cut.cancel();
        self.tracker.wait().await;
    }
}

/// A time between zero and `most` that is another one for every connection.
fn jitter(connection: uuid::Uuid, most: Duration) -> Duration {
    // Of a random UUID these bits are random.
    let share = f64::from(connection.as_fields().0) / f64::from(u32::MAX);
    most.mul_f64(share)
}
