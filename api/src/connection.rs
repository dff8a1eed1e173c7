//! Serves one connection: encrypts it if the server has a certificate, then speaks the HTTP that the client asked for. Without
//! TLS that is HTTP/1.1: proxies speak it, and browsers have nothing else there.
//!
//! What a client may keep waiting, and for how long, is limited here: its handshake, its first bytes, the head of each request,
//! its answers ([`Timed`]), streams that it opens and resets.

use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::client_address::Peer;
use crate::options::Options;
use crate::timed::{Stream, Timed};
use crate::tls::{self, Tls};

/// Length of what every HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// Most streams of a client that it has reset and that are still to be looked at; more end the connection (CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 20;
/// Most streams of a connection that the server has to reset for the client's faults; more end the connection.
const MAX_FAULTY_STREAMS: usize = 1_024;
/// Bytes of an answer that are kept for one stream until the client takes them.
const MAX_SEND_BUFFER: usize = 256 * 1024;

/// Why a connection ended early.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What all connections have in common.
#[derive(Debug, Clone)]
pub(crate) struct Protocol {
    /// `None`: connections are not encrypted.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) router: Router,
    pub(crate) options: Arc<Options>,
    /// The server stops.
    pub(crate) cancel: CancellationToken,
}

impl Protocol {
    /// Serves until the client ends the connection or the server stops; then requests that are under way are finished.
    pub(crate) async fn serve(&self, stream: TcpStream, peer: Peer) -> Result<(), Failure> {
        // Answers are small; waiting for more to send costs up to 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error = %error, "TCP_NODELAY can't be set");
        }
        let Some(tls) = &self.tls else { return self.http_1(stream, peer).await };
        let Some(stream) = self.cancel.run_until_cancelled(tls.accept(stream)).await else { return Ok(()) };
        let stream = stream?;
        match tls::speaks_http_2(&stream) {
            true => self.http_2(stream, peer).await,
            false => self.http_1(stream, peer).await,
        }
    }

    async fn http_1(&self, stream: impl Stream, peer: Peer) -> Result<(), Failure> {
        let options = &self.options;
        let stream = Timed::new(stream, 1, options.head_timeout(), options.write_timeout());
        let service = TowerToHyperService::new(self.router.clone().map_request(from(peer)));
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new());
        // Also between two requests: a connection may be idle for as long as a head may take.
        builder.header_read_timeout(options.head_timeout());
        builder.max_headers(options.max_headers).max_header_size(options.head_limit);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
        if let Some(ended) = self.cancel.run_until_cancelled(connection.as_mut()).await {
            return Ok(ended?);
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }

    async fn http_2(&self, stream: impl Stream, peer: Peer) -> Result<(), Failure> {
        let options = &self.options;
        let stream = Timed::new(stream, PREFACE, options.head_timeout(), options.write_timeout());
        let service = TowerToHyperService::new(self.router.clone().map_request(from(peer)));
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        builder.keep_alive_interval(options.ping_interval()).keep_alive_timeout(options.ping_interval());
        builder.max_concurrent_streams(options.max_streams);
        builder.max_header_list_size(u32::try_from(options.head_limit).unwrap_or(u32::MAX));
        builder.max_pending_accept_reset_streams(MAX_RESET_STREAMS);
        builder.max_local_error_reset_streams(MAX_FAULTY_STREAMS);
        builder.max_send_buf_size(MAX_SEND_BUFFER);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        if let Some(ended) = self.cancel.run_until_cancelled(connection.as_mut()).await {
            return Ok(ended?);
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }
}

/// Has every request of a connection say where it comes from.
fn from(peer: Peer) -> impl Fn(Request<Incoming>) -> Request<Incoming> + Clone {
    move |mut request| {
        request.extensions_mut().insert(peer);
        request
    }
}
