//! A connection to the server: TCP, TLS with the certificates that the system trusts, and the handshake (RFC 6455, section 4.1)
//! with what a refusal of it says.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL,
};
use tokio_util::either::Either;

use super::again::End;
use super::error::Error;
use super::message::{PROTOCOL, Problem};
use super::target::Target;
use super::token::Token;

/// For connecting, for the handshake, and for the rest of its refusal: each.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a refusal that are read.
const MAX_BODY: u64 = 64 * 1024;

/// The bytes beneath the socket.
pub(super) type Io = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Makes connections to one server.
pub(super) struct Connector {
    pub(super) target: Target,
    tls: Option<TlsConnector>,
}

impl Connector {
    pub(super) fn new(target: Target) -> Result<Connector, Error> {
        let tls = if target.is_tls { Some(tls().map_err(|source| Error::Tls { source })?) } else { None };
        Ok(Connector { target, tls })
    }

    /// Connects, without a word of HTTP yet.
    pub(super) async fn connect(&self) -> Result<Io, End> {
        let connecting = async {
            let host = self.target.host_name();
            let tcp = TcpStream::connect((host.as_str(), self.target.port)).await?;
            tcp.set_nodelay(true)?;
            let Some(tls) = &self.tls else { return Ok(Either::Left(tcp)) };
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            Ok(Either::Right(Box::new(tls.connect(name, tcp).await?)))
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {TIMEOUT:?}"));
        let connected = tokio::time::timeout(TIMEOUT, connecting).await.unwrap_or_else(|_| Err(late()));
        connected.map_err(End::Unreachable)
    }

    /// The opening handshake.
    pub(super) fn request(&self, token: Option<&Token>) -> Result<Request, End> {
        let request = self.target.socket.as_str().into_client_request();
        let mut request = request.map_err(|error| End::Foreign(error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        if let Some(value) = token.and_then(Token::header) {
            headers.insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

fn tls() -> Result<TlsConnector, rustls::Error> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    // The handshake is one of HTTP/1.1; a server that prefers HTTP/2 has to know.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The answer that refuses the handshake, with its problem document. The handshake has read no further than it had to.
pub(super) async fn refusal(io: &mut Io, response: Response) -> End {
    let (head, body) = response.into_parts();
    let number = |name: &HeaderName| number(&head.headers, name);
    let mut body = body.unwrap_or_default();
    let length = number(&CONTENT_LENGTH).unwrap_or_default().min(MAX_BODY);
    let missing = length.saturating_sub(body.len() as u64);
    // What doesn't come is no document, and the status has to do.
    let _ = tokio::time::timeout(TIMEOUT, io.take(missing).read_to_end(&mut body)).await;
    let status = head.status.as_u16();
    let problem = serde_json::from_slice::<Problem>(&body).ok();
    let retry_after = number(&RETRY_AFTER).map(Duration::from_secs);
    End::Refused { status, problem, retry_after }
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}
