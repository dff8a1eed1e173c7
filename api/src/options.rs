//! The `http` section of the configuration.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::client_address::ForwardedBy;
use crate::{cors, live, rate_limit, tls};

/// Where the HTTP interface listens and what it allows. Every limit answers with a problem document when it is reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `host:port`. Port 0 takes a free one. In open mode a loopback address.
    pub listen: String,
    /// Whoever reaches the port may do everything, without signing in. For development and benchmarks; other machines can't
    /// reach it then.
    pub open: bool,
    /// Encrypts all connections.
    pub tls: tls::Options,
    /// Names, beside the loopback ones, by which clients may call the server (`Host`, without port). Needed when a proxy in front
    /// passes on the name that it was called by.
    pub hosts: Vec<String>,
    /// Which pages of other origins may use the server.
    pub cors: cors::Options,
    /// Networks (`10.0.0.0/8`, `192.0.2.1/32`) whose proxies are believed when they name the client that they were called by.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which these proxies name it; the other one is not read.
    pub forwarded_by: ForwardedBy,
    /// How often one client may ask.
    pub limits: rate_limit::Options,
    /// What sockets, event streams and long polls may take.
    pub live: live::Options,
    /// The largest body of one command, and of one line of a batch, in bytes.
    pub body_limit: usize,
    /// How long a body, or the next line of a batch, may take to arrive, milliseconds.
    pub body_timeout_ms: u64,
    /// Most open connections; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Most open connections of one address (IPv6: one /64); more are closed at once. Not counted: trusted proxies, and loopback
    /// addresses unless `limits.loopback`.
    pub max_connections_per_address: usize,
    /// Largest head of a request, and largest list of headers over HTTP/2, in bytes; a larger one is refused with 431.
    pub head_limit: usize,
    /// Most headers of a request over HTTP/1.1; more are refused with 431.
    pub max_headers: usize,
    /// Longest path and query of a request, in bytes; a longer one is refused with 414.
    pub uri_limit: usize,
    /// How long the head of a request may take to arrive, and how long an HTTP/1.1 connection may be idle, milliseconds.
    pub head_timeout_ms: u64,
    /// How long a client may take nothing of an answer, milliseconds; then it is cut.
    pub write_timeout_ms: u64,
    /// Most requests of one HTTP/2 connection at once.
    pub max_streams: u32,
    /// Time between two pings of an HTTP/2 connection, milliseconds. A client that doesn't answer one for as long is cut.
    pub ping_interval_ms: u64,
    /// Most requests that are worked on at once; more are refused with 503. Commands take at most three quarters, so that
    /// queries go on while commands wait for a decider.
    pub max_requests: usize,
    /// Most commands, of requests and batches, that have no outcome yet; more are refused with 503, and batches wait.
    pub max_in_flight: usize,
    /// Bytes of all bodies and lines that are read and checked at once; more are refused with 503, and batches wait. Also the
    /// bytes of commands that Kafka doesn't have yet.
    pub max_body_bytes: usize,
    /// Most batches (`POST /v1/commands`) at once; more are refused with 503.
    pub max_batches: usize,
    /// Most commands of one batch that are under way at once.
    pub batch_window: usize,
    /// How long a command waits for its answer, milliseconds; then 504.
    pub command_timeout_ms: u64,
    /// The last resort against a request that hangs, milliseconds; then 504. Batches are not bound by it.
    pub request_timeout_ms: u64,
    /// How long a command waits for an aggregate that it refers to and that the read model doesn't have yet, milliseconds.
    pub reference_wait_ms: u64,
    /// How long requests may go on when the server stops, milliseconds.
    pub shutdown_timeout_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: "127.0.0.1:8080".into(),
            open: false,
            tls: tls::Options::default(),
            hosts: Vec::new(),
            cors: cors::Options::default(),
            trusted_proxies: Vec::new(),
            forwarded_by: ForwardedBy::default(),
            limits: rate_limit::Options::default(),
            live: live::Options::default(),
            body_limit: 1024 * 1024,
            body_timeout_ms: 30_000,
            max_connections: 4_096,
            max_connections_per_address: 256,
            head_limit: 32 * 1024,
            max_headers: 100,
            uri_limit: 8 * 1024,
            head_timeout_ms: 30_000,
            write_timeout_ms: 30_000,
            max_streams: 128,
            ping_interval_ms: 20_000,
            max_requests: 1_024,
            max_in_flight: 10_000,
            max_body_bytes: 64 * 1024 * 1024,
            max_batches: 16,
            batch_window: 256,
            command_timeout_ms: 10_000,
            request_timeout_ms: 60_000,
            reference_wait_ms: 1_000,
            shutdown_timeout_ms: 10_000,
        }
    }
}

impl Options {
    /// The limits of the commands' way into Kafka.
    pub fn command_limits(&self) -> writ_producers::commands::Limits {
        writ_producers::commands::Limits { commands: self.max_in_flight, bytes: self.max_body_bytes }
    }

    pub(crate) fn head_timeout(&self) -> Duration {
        Duration::from_millis(self.head_timeout_ms)
    }

    pub(crate) fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }

    pub(crate) fn ping_interval(&self) -> Duration {
        Duration::from_millis(self.ping_interval_ms)
    }

    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    pub(crate) fn command_timeout(&self) -> Duration {
        Duration::from_millis(self.command_timeout_ms)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(crate) fn reference_wait(&self) -> Duration {
        Duration::from_millis(self.reference_wait_ms)
    }

    pub(crate) fn shutdown_timeout(&self) -> Duration {
        Duration::from_millis(self.shutdown_timeout_ms)
    }
}
