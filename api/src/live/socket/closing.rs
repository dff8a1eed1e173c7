//! How a socket ends, by RFC 6455, sections 5.5.1, 7.1 and 7.4.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Socket, Stream};
use crate::metrics::LIVE_CLOSES_TOTAL;

/// How long the client has to close as well.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Bytes that are read of a client that still sends.
const DRAIN: usize = 1024 * 1024;

/// A status code of a close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(u16);

impl Code {
    /// Against the protocol.
    pub(super) const PROTOCOL: Code = Code(1002);
    /// A kind of message that isn't taken.
    pub(super) const UNSUPPORTED: Code = Code(1003);
    /// A text that isn't UTF-8.
    pub(super) const INVALID: Code = Code(1007);
    /// A message over the limit.
    pub(super) const TOO_BIG: Code = Code(1009);
    /// The server stops; come back.
    pub(super) const RESTART: Code = Code(1012);
    /// Not now.
    pub(super) const LATER: Code = Code(1013);
    /// Signed out, or the proof has expired.
    pub(super) const SIGNED_OUT: Code = Code(4401);
    /// What was followed may not be read any more.
    pub(super) const FORBIDDEN: Code = Code(4403);
    /// Nothing was heard.
    pub(super) const IDLE: Code = Code(4408);
    /// Too many messages.
    pub(super) const TOO_MANY: Code = Code(4429);
}

/// Why a socket ends.
#[derive(Debug)]
pub(super) enum End {
    /// The connection is gone, or takes nothing.
    Gone,
    /// The client has closed; the answer is on its way.
    Closed,
    /// We close.
    Close(Code, &'static str),
    /// The client has broken the protocol: nothing that it sends is read any more.
    Fail(Code, &'static str),
}

impl End {
    /// What follows from an error in reading.
    pub(super) fn of_error(error: &Error) -> End {
        match error {
            Error::Capacity(_) => End::Fail(Code::TOO_BIG, "the message is too large"),
            Error::Utf8(_) => End::Fail(Code::INVALID, "the text is not UTF-8"),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
            Error::Protocol(_) => End::Fail(Code::PROTOCOL, "against RFC 6455"),
            _ => End::Gone,
        }
    }

    fn label(&self) -> String {
        match self {
            End::Gone => "gone".to_owned(),
            End::Closed => "closed".to_owned(),
            End::Close(code, _) | End::Fail(code, _) => code.0.to_string(),
        }
    }
}

impl Socket {
    /// Ends the socket in the way that its end wants.
    pub(super) async fn close(&mut self, end: End) {
        metrics::counter!(LIVE_CLOSES_TOTAL, "code" => end.label()).increment(1);
        // Nobody waits for what is left.
        self.subscriptions.clear();
        self.channels.clear();
        self.commands.clear();
        let stream = &mut self.stream;
        let closing = async {
            let (said, both_close) = match end {
                End::Gone => return,
                End::Closed => (Ok(()), true),
                End::Close(code, reason) => (say(stream, code, reason).await, true),
                // What follows a fault can't be read as frames any more.
                End::Fail(code, reason) => (say(stream, code, reason).await, false),
            };
            if said.is_err() {
                return;
            }
            if both_close {
                finish(stream).await;
            }
            drain(stream).await;
        };
        if tokio::time::timeout(CLOSE_LIMIT, closing).await.is_err() {
            tracing::debug!("a client didn't close its socket in time");
        }
    }
}

async fn say(stream: &mut Stream, Code(code): Code, reason: &'static str) -> Result<(), Error> {
    stream.send(Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))).await
}

/// Reads until both have closed, which also sends what is still to be sent.
async fn finish(stream: &mut Stream) {
    while let Some(Ok(_)) = stream.next().await {}
}

/// Reads what the client still sends: a connection that is closed with unread bytes is reset, and the client would lose the close
/// frame before it has read it.
async fn drain(stream: &mut Stream) {
    let connection = stream.get_mut();
    if connection.shutdown().await.is_err() {
        return;
    }
    let mut buffer = [0; 1024];
    let mut left = DRAIN;
    while let Ok(read @ 1..) = connection.read(&mut buffer).await {
        let Some(rest) = left.checked_sub(read) else { return };
        left = rest;
    }
}
