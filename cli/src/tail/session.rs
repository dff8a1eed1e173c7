//! One connection, from the handshake to its end.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};
use tokio_util::sync::CancellationToken;

use super::again::End;
use super::connection::{self, Io};
use super::error::Error;
use super::follow::{Done, Follow};
use super::message::FromServer;
use super::notice;
use super::token::Token;

/// Pings of the server that may stay out before the connection counts as lost.
const MISSED_PINGS: u32 = 3;
/// How long nothing may be heard, whatever the server says of its pings.
const SILENCE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

impl Follow {
    /// Connects, follows, and says goodbye.
    pub(super) async fn connection(
        &mut self,
        token: Option<&Token>,
        stop: &CancellationToken,
    ) -> Result<Done, End> {
        let Some(io) = stop.run_until_cancelled(self.connector.connect()).await else {
            return Ok(Done::Stopped);
        };
        let mut io = io?;
        let request = self.connector.request(token)?;
        let opening = tokio_tungstenite::client_async(request, &mut io);
        let opening = stop.run_until_cancelled(tokio::time::timeout(connection::TIMEOUT, opening));
        let error = match opening.await {
            None => return Ok(Done::Stopped),
            Some(Err(_)) => return Err(End::Broken("no answer to the handshake in time".to_owned())),
            Some(Ok(Ok((mut socket, _)))) => {
                let ended = stop.run_until_cancelled(self.listen(&mut socket)).await;
                // The server sees that we go; it need not wait for a ping that isn't answered.
                let _ = tokio::time::timeout(GOODBYE, socket.close(None)).await;
                return ended.unwrap_or(Ok(Done::Stopped));
            }
            Some(Ok(Err(error))) => error,
        };
        Err(match error {
            WebSocketError::Http(response) => connection::refusal(&mut io, *response).await,
            WebSocketError::Io(error) => End::Broken(error.to_string()),
            error => End::Foreign(error.to_string()),
        })
    }

    async fn listen(&mut self, socket: &mut WebSocketStream<&mut Io>) -> Result<Done, End> {
        let subscribe = Message::text(self.wanted.subscribe(&self.place.from));
        socket.send(subscribe).await.map_err(broken)?;
        // Which of both it is, is the server's to say.
        let mut no_model = None;
        let mut silence = SILENCE.0;
        let mut follows = false;
        loop {
            let Ok(heard) = tokio::time::timeout(silence, socket.next()).await else {
                return Err(End::Broken(format!("nothing was heard for {silence:?}")));
            };
            let text = match heard {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(frame))) => {
                    // 1005: without a code (RFC 6455, section 7.4.1).
                    let (code, reason) = frame
                        .map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                    return Err(End::Closed { code, reason });
                }
                // The WebSocket layer answers pings.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(_)) => return Err(End::Foreign("it sends what is no text".to_owned())),
                Some(Err(error)) => return Err(broken(error)),
                None => return Err(End::Broken("it has ended".to_owned())),
            };
            let message: FromServer = serde_json::from_str(&text)
                .map_err(|error| End::Foreign(format!("a message can't be read: {error}")))?;
            if let FromServer::Welcome { ping_seconds } = message {
                silence = Duration::from_secs(ping_seconds)
                    .saturating_mul(MISSED_PINGS)
                    .clamp(SILENCE.0, SILENCE.1);
            }
            if let FromServer::Error { problem } = &message {
                match problem.slug() {
                    "unknown-model" if !self.wanted.is_projection => {
                        self.wanted.is_projection = true;
                        no_model = Some(problem.clone());
                        let subscribe = Message::text(self.wanted.subscribe(&self.place.from));
                        socket.send(subscribe).await.map_err(broken)?;
                        continue;
                    }
                    "unknown-projection" => {
                        self.wanted.is_projection = false;
                        return Err(End::Problem(no_model.unwrap_or_else(|| problem.clone())));
                    }
                    _ => {}
                }
            }
            if message.is_progress() && !follows {
                follows = true;
                self.follows();
            }
            if let Some(done) = self.heard(&message, &text).await? {
                return Ok(done);
            }
        }
    }

    /// Shows a message and does what it asks for. The place moves on once it is shown.
    async fn heard(&mut self, message: &FromServer, text: &str) -> Result<Option<Done>, End> {
        let is_snapshot = matches!(message, FromServer::Snapshot(_) | FromServer::Ready { .. });
        if is_snapshot && let Some(reason) = self.place.restarts.take() {
            // As the server says it when a resume is of no use.
            let reset = FromServer::Reset { reason: reason.to_owned() };
            let text = serde_json::json!({ "type": "reset", "sub": "tail", "reason": reason }).to_string();
            if self.show(&reset, &text).await?.is_some() {
                return Ok(Some(Done::Unread));
            }
        }
        if let Some(done) = self.show(message, text).await? {
            return Ok(Some(done));
        }
        match message {
            FromServer::Welcome { .. } | FromServer::Snapshot(_) | FromServer::Other => {}
            FromServer::Subscribed { resume } | FromServer::Ready { resume } => {
                self.place.reached(resume);
                if self.until_caught_up {
                    return Ok(Some(Done::CaughtUp));
                }
            }
            FromServer::Reset { reason } => {
                self.place.lost();
                notice(&format!(
                    "What happened in between can't be told any more ({}): all rows follow.",
                    super::text::clean(reason)
                ));
            }
            FromServer::Enter(change) | FromServer::Change(change) => self.place.reached(change.resume()),
            FromServer::Leave(left) => self.place.reached(left.resume()),
            FromServer::Progress { resume } => self.place.reached(resume),
            FromServer::Ended { reason, resume } => {
                if let Some(resume) = resume {
                    self.place.reached(resume);
                }
                return Err(match reason.as_str() {
                    "lagged" => End::Lagged,
                    "permissions" => End::Permissions,
                    other => End::Broken(format!("the server has ended the subscription ({other})")),
                });
            }
            FromServer::Error { problem } => return Err(End::Problem(problem.clone())),
            FromServer::Reconnect { after_ms } => {
                return Err(End::Reconnect(Duration::from_millis(*after_ms)));
            }
        }
        Ok(None)
    }

    async fn show(&mut self, message: &FromServer, text: &str) -> Result<Option<Done>, End> {
        match self.output.show(message, text).await {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Some(Done::Unread)),
            Err(source) => Err(End::Fatal(Error::Output { source })),
        }
    }

    fn follows(&mut self) {
        let said = if self.tries.is_first() { "Following" } else { "Connected again, following" };
        notice(&format!("{said} {} at {}.", self.wanted.name, self.connector.target.base));
        self.tries.follows();
    }
}

fn broken(error: WebSocketError) -> End {
    match error {
        WebSocketError::Capacity(error) => End::Foreign(error.to_string()),
        error => End::Broken(error.to_string()),
    }
}
