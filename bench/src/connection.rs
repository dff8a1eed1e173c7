//! One HTTP/1.1 connection, kept alive. hyper's client without a pool: a pool would cost the generator time that the
//! server needs, and hide how many connections there are.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Limit of connecting and of one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// `Writ-Position` of a command's answer.
    pub(crate) position: Option<String>,
    /// The whole body.
    pub(crate) body: Bytes,
}

/// What to ask.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// GET or POST.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    /// One header beside the usual ones.
    pub(crate) header: Option<(&'static str, String)>,
    /// JSON, or nothing.
    pub(crate) body: Bytes,
}

impl Ask {
    /// A command.
    pub(crate) fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Ask { method: Method::POST, path: path.into(), header: None, body: body.into() }
    }

    /// A query.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Ask { method: Method::GET, path: path.into(), header: None, body: Bytes::new() }
    }

    /// With a header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    address: String,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects to `address` (`host:port`).
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            let driver = tokio::spawn(async move {
                // The request that was under way reports the error.
                let _ = connection.await;
            });
            anyhow::Ok(Connection { address: address.to_owned(), sender, driver })
        };
        timeout(TIMEOUT, connect).await.context("no connection in time")?.with_context(|| {
            format!(
                "{address} doesn't answer; start the system with `cargo dev up`, or name another with --url"
            )
        })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// No answer: whether a command was taken is not known. The connection must not be used again.
    pub(crate) async fn send(&mut self, ask: Ask) -> Result<Answer> {
        let mut request = Request::builder()
            .method(ask.method)
            .uri(ask.path)
            .header("host", &self.address)
            .header("content-type", "application/json");
        if let Some(authorization) = AUTHORIZATION.get() {
            request = request.header("authorization", authorization);
        }
        if let Some((name, value)) = ask.header {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(ask.body))?;
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let position = response.headers().get("writ-position");
            let position = position.and_then(|value| Some(value.to_str().ok()?.to_owned()));
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok(Answer { status, position, body })
        };
        timeout(TIMEOUT, exchange).await.context("no answer in time")?
    }

    /// Sends a request whose answer must be a success, and reads its JSON.
    pub(crate) async fn expect(&mut self, ask: Ask) -> Result<serde_json::Value> {
        let path = ask.path.clone();
        let answer = self.send(ask).await.with_context(|| path.clone())?;
        if !answer.status.is_success() {
            bail!("{path} answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("{path}: the answer is no JSON"))
    }

    /// Closes the connection and waits for its task.
    pub(crate) async fn close(self) {
        self.driver.abort();
        // Nothing is under way on it, or what was has failed and said so.
        let _ = self.driver.await;
    }
}

/// What every request of this process says of itself.
static AUTHORIZATION: OnceLock<String> = OnceLock::new();

/// Has all requests carry `BENCH_TOKEN`, an API key or access token, if there is one: for the stack that runs already. Servers
/// that a benchmark starts are open, and know no such key.
pub(crate) fn sign_in() {
    if let Ok(token) = std::env::var("BENCH_TOKEN") {
        AUTHORIZATION.get_or_init(|| format!("Bearer {token}"));
    }
}
