//! The ceiling of the HTTP side: an axum handler that reads the body and does nothing, measured by the same generator
//! with the same requests.

use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running empty server.
#[derive(Debug)]
pub(crate) struct EmptyServer {
    /// Its `host:port`.
    pub(crate) address: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl EmptyServer {
    /// Starts it on a free port.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port on loopback")?;
        let address = listener.local_addr()?.to_string();
        let (stop, stopped) = oneshot::channel();
        let router = Router::new().fallback(|_: Bytes| async { StatusCode::CREATED });
        let serve = axum::serve(listener, router).with_graceful_shutdown(async {
            // A sender that is gone also means stop.
            let _ = stopped.await;
        });
        let task = tokio::spawn(serve.into_future());
        Ok(EmptyServer { address, stop, task })
    }

    /// Stops it.
    pub(crate) async fn stop(self) -> Result<()> {
        drop(self.stop);
        self.task.await.context("the empty server's task failed")?.context("the empty server failed")
    }
}
