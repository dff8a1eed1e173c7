//! Serves one connection: encrypts it if the server has a certificate, then speaks the HTTP that the client asked for. Without
//! TLS that is HTTP/1.1: proxies speak it, and browsers have nothing else there.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::client_address::Peer;
use crate::tls::{self, Tls};

/// A client that sends its request's head more slowly than this is cut.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a connection ended early.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What all connections have in common.
#[derive(Debug, Clone)]
pub(crate) struct Protocol {
    /// `None`: connections are not encrypted.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) router: Router,
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
        let service = TowerToHyperService::new(self.router.clone().map_request(from(peer)));
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
        if let Some(ended) = self.cancel.run_until_cancelled(connection.as_mut()).await {
            return Ok(ended?);
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }

    async fn http_2(&self, stream: impl Stream, peer: Peer) -> Result<(), Failure> {
        let service = TowerToHyperService::new(self.router.clone().map_request(from(peer)));
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        if let Some(ended) = self.cancel.run_until_cancelled(connection.as_mut()).await {
            return Ok(ended?);
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }
}

/// Bytes in and out.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Has every request of a connection say where it comes from.
fn from(peer: Peer) -> impl Fn(Request<Incoming>) -> Request<Incoming> + Clone {
    move |mut request| {
        request.extensions_mut().insert(peer);
        request
    }
}
