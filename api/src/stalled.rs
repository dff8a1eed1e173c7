//! Ends long answers that nobody takes. Over HTTP/2 a client can keep its connection alive and one of its answers waiting, and
//! with it what makes the answer: a place for a batch, a connection to PostgreSQL.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::app::Shared;

/// An answer that is shorter costs no more than its memory.
const SHORT: u64 = 64 * 1024;

/// The client took nothing of an answer for too long.
#[derive(Debug, thiserror::Error)]
#[error("the client doesn't take its answer")]
struct Stalled;

/// Watches over the body of a long answer.
pub(crate) async fn end(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    match response.body().size_hint().exact() {
        Some(length) if length <= SHORT => response,
        _ => response.map(|body| Body::new(Watched::new(body, app.options.write_timeout()))),
    }
}

/// A body that is dropped when no more of it is asked for.
#[derive(Debug)]
struct Watched {
    progress: Arc<Mutex<Progress>>,
    _ended: DropGuard,
}

#[derive(Debug)]
struct Progress {
    /// `None`: it was dropped.
    body: Option<Body>,
    /// Since when the client has had a piece and asked for no other. `None`: it waits for us.
    idle_since: Option<Instant>,
}

impl Watched {
    fn new(body: Body, limit: Duration) -> Watched {
        let progress = Arc::new(Mutex::new(Progress { body: Some(body), idle_since: Some(Instant::now()) }));
        let ended = CancellationToken::new();
        tokio::spawn(ended.child_token().run_until_cancelled_owned(watch(progress.clone(), limit)));
        Watched { progress, _ended: ended.drop_guard() }
    }
}

/// Drops the body once it is idle for `limit`.
async fn watch(progress: Arc<Mutex<Progress>>, limit: Duration) {
    loop {
        let until = progress.lock().idle_since.unwrap_or_else(Instant::now) + limit;
        tokio::time::sleep_until(until).await;
        let mut progress = progress.lock();
        if progress.idle_since.is_some_and(|since| since.elapsed() >= limit) {
            progress.body = None;
            tracing::debug!("an answer is ended, since its client doesn't take it");
            return;
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Now, not when the watch ends.
        self.progress.lock().body = None;
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut progress = self.progress.lock();
        let Some(body) = &mut progress.body else {
            return Poll::Ready(Some(Err(axum::Error::new(Stalled))));
        };
        let frame = Pin::new(body).poll_frame(cx);
        progress.idle_since = frame.is_ready().then(Instant::now);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.progress.lock().body.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.progress.lock().body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    /// Endless, and says when it is dropped.
    fn endless(pause: Duration) -> (Body, CancellationToken) {
        let dropped = CancellationToken::new();
        let guard = dropped.clone().drop_guard();
        let pieces = futures::stream::unfold(guard, move |guard| async move {
            tokio::time::sleep(pause).await;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b"piece")), guard))
        });
        (Body::from_stream(pieces), dropped)
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_is_dropped() {
        let (body, dropped) = endless(Duration::ZERO);
        let mut body = Body::new(Watched::new(body, Duration::from_secs(30)));
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(29)).await;
            assert!(body.frame().await.unwrap().is_ok(), "taken just in time");
        }
        assert!(!dropped.is_cancelled());
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert!(dropped.is_cancelled());
        assert!(body.frame().await.unwrap().is_err(), "so that nobody takes a part for the whole");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_is_not_to_blame() {
        let (body, dropped) = endless(Duration::from_secs(100));
        let mut body = Body::new(Watched::new(body, Duration::from_secs(30)));
        for _ in 0..3 {
            assert!(body.frame().await.unwrap().is_ok());
        }
        drop(body);
        assert!(dropped.is_cancelled(), "dropped with it");
    }
}
