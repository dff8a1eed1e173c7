//! The client for calls to providers. What they answer is bounded in time and size, and no redirect is followed: otherwise a
//! provider, or whoever answers in its place, could have this server call what only it can reach.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ACCEPT, USER_AGENT};
use ::http::{HeaderValue, Request};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use rustls_platform_verifier::BuilderVerifierExt as _;
use url::Url;

/// A whole call. A browser waits for two or three of them.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);
/// Far more than any metadata, key set or token is long.
const MAX_LENGTH: usize = 512 * 1024;

/// A cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Http(legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// Why there is no answer. Says nothing of what was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No connection, or a broken one.
    #[error("the call failed")]
    Call(#[source] legacy::Error),
    /// It takes longer than [`TIMEOUT`].
    #[error("no answer within {TIMEOUT:?}")]
    Late,
    /// The answer breaks off.
    #[error("the answer can't be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Longer than [`MAX_LENGTH`].
    #[error("the answer is too long")]
    TooLong,
    /// What the metadata names isn't safe to call.
    #[error("{0} is neither https nor on a loopback address")]
    Unsafe(String),
}

impl Http {
    /// Trusts the certificates that the system trusts.
    pub(crate) fn new() -> std::io::Result<Http> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_platform_verifier())
            .map_err(std::io::Error::other)?
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT));
        // The connector above it decides.
        tcp.enforce_http(false);
        let tls = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        Ok(Http(legacy::Client::builder(TokioExecutor::new()).build(tls.wrap_connector(tcp))))
    }

    /// A document.
    pub(crate) async fn get(&self, url: &Url) -> Result<HttpResponse, Error> {
        let request = Request::get(url.as_str()).header(ACCEPT, "application/json");
        let request = request.body(Vec::new()).map_err(|_| Error::Unsafe(url.to_string()))?;
        self.send(request).await
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        // Its text stands in the metadata of the provider.
        let address = request.uri().to_string();
        if !Url::parse(&address).is_ok_and(|url| is_safe(&url)) {
            return Err(Error::Unsafe(address));
        }
        let mut request = request.map(|body| Full::new(Bytes::from(body)));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("writ"));
        tokio::time::timeout(TIMEOUT, self.receive(request)).await.unwrap_or(Err(Error::Late))
    }

    async fn receive(&self, request: Request<Full<Bytes>>) -> Result<HttpResponse, Error> {
        let (head, body) = self.0.request(request).await.map_err(Error::Call)?.into_parts();
        let body = Limited::new(body, MAX_LENGTH).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { Error::TooLong } else { Error::Body(error) }
        })?;
        Ok(HttpResponse::from_parts(head, body.to_bytes().into()))
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Error>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// Whether what is said there can't be read and changed on its way.
pub(crate) fn is_safe(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}

/// An error with its causes, in one line for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
