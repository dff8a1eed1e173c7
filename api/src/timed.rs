//! A connection with limits in time: for the first bytes to come, and for bytes to be taken by the other side.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Bytes in and out.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// A stream that fails with [`io::ErrorKind::TimedOut`] when a limit is over.
#[derive(Debug)]
pub(crate) struct Timed<S> {
    inner: S,
    /// The limit for the first bytes and how many are still to come. `None`: they are there.
    first: Option<(Pin<Box<Sleep>>, usize)>,
    write_limit: Duration,
    /// When the other side must have taken something. `None`: nothing waits to be sent.
    write_deadline: Option<Pin<Box<Sleep>>>,
}

impl<S: Stream> Timed<S> {
    /// `first` bytes must come within `read_limit` from now; something must be taken within `write_limit` each time that
    /// nothing more can be sent.
    pub(crate) fn new(inner: S, first: usize, read_limit: Duration, write_limit: Duration) -> Timed<S> {
        Timed {
            inner,
            first: Some((Box::pin(tokio::time::sleep(read_limit)), first)),
            write_limit,
            write_deadline: None,
        }
    }

    /// What comes of an attempt to send.
    fn sent<T>(&mut self, attempt: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            self.write_deadline = None;
            return attempt;
        }
        let limit = self.write_limit;
        let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client doesn't take its answer")))
    }
}

impl<S: Stream> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let attempt = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let Some((deadline, missing)) = &mut self.first else { return attempt };
        if attempt.is_ready() {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                self.first = None;
            }
            return attempt;
        }
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client says nothing")))
    }
}

impl<S: Stream> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.sent(attempt, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.sent(attempt, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.inner).poll_flush(cx);
        self.sent(attempt, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.sent(attempt, cx)
    }
}
