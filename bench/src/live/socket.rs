//! A client's socket: follows one thing, and says when a change has arrived.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Of each socket, in bytes. There are many.
const BUFFER: usize = 4096;

/// A change has come.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Aggregate and version.
    pub(super) event: (Uuid, u64),
    /// When its text was there.
    pub(super) at: Instant,
}

/// Of all sockets.
#[derive(Debug)]
pub(super) struct Arrivals {
    pub(super) sender: mpsc::UnboundedSender<Arrival>,
    receiver: mpsc::UnboundedReceiver<Arrival>,
}

/// Unbounded: what waits here is measured already, and a socket that waited would be measured wrong.
pub(super) fn arrivals() -> Arrivals {
    let (sender, receiver) = mpsc::unbounded_channel();
    Arrivals { sender, receiver }
}

impl Arrivals {
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        self.receiver.recv().await
    }
}

/// An open socket.
#[derive(Debug)]
pub(super) struct Socket(JoinHandle<()>);

impl Socket {
    /// Connects, subscribes, and waits until changes follow.
    pub(super) async fn open(
        address: &str,
        subscription: &Value,
        arrivals: mpsc::UnboundedSender<Arrival>,
    ) -> Result<Socket> {
        let mut stream = timeout(TIMEOUT, connect(address)).await.context("no socket in time")??;
        stream.send(Message::text(subscription.to_string())).await?;
        loop {
            match timeout(TIMEOUT, stream.next()).await.context("no answer in time")?.transpose()? {
                Some(Message::Text(text)) if text.contains(r#""type":"subscribed""#) => break,
                Some(Message::Text(text)) if text.contains(r#""type":"error""#) => bail!("{text}"),
                Some(Message::Close(frame)) => bail!("the server has closed a socket: {frame:?}"),
                Some(_) => {}
                None => bail!("the server has ended a connection"),
            }
        }
        Ok(Socket(tokio::spawn(listen(stream, arrivals))))
    }

    /// Cuts the connection.
    pub(super) async fn close(self) {
        self.0.abort();
        // It was aborted, or the server was first.
        let _ = self.0.await;
    }
}

async fn connect(address: &str) -> Result<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut request = format!("ws://{address}/v1/live").into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("writ.v1"));
    let config = WebSocketConfig::default().read_buffer_size(BUFFER).write_buffer_size(0);
    let (stream, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    Ok(stream)
}

/// Pings are answered by the library.
async fn listen(mut stream: WebSocketStream<TcpStream>, arrivals: mpsc::UnboundedSender<Arrival>) {
    while let Some(Ok(message)) = stream.next().await {
        let at = Instant::now();
        let Message::Text(text) = message else { continue };
        if let Some(event) = changed(&text)
            && arrivals.send(Arrival { event, at }).is_err()
        {
            return;
        }
    }
}

/// Which event a message tells of, if it does.
fn changed(text: &str) -> Option<(Uuid, u64)> {
    let after = |name: &str| text.split_once(name).map(|(_, rest)| rest);
    let kind = after(r#""type":""#)?.split('"').next()?;
    if !matches!(kind, "enter" | "change") {
        return None;
    }
    let id = after(r#""id":""#)?.split('"').next()?.parse().ok()?;
    let version = after(r#""version":"#)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some((id, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_from_other_messages() {
        let id = Uuid::from_u128(7);
        let text =
            format!(r#"{{"sub":"a","type":"enter","model":"order","id":"{id}","version":12,"event":{{}}}}"#);
        assert_eq!(changed(&text), Some((id, 12)));
        assert_eq!(changed(r#"{"type":"progress","sub":"a","resume":"x"}"#), None);
    }
}
