//! A client of the live socket: sends messages, waits for messages.

use std::collections::VecDeque;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Client, LIMIT};

/// An open socket, welcomed.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// Messages that nobody has waited for yet.
    waiting: VecDeque<Value>,
    pub(crate) welcome: Value,
}

impl Socket {
    /// Opens one with the client's token.
    pub(crate) async fn open(client: &Client) -> Socket {
        let token = client.token().map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> =
            token.as_deref().map(|token| ("authorization", token)).into_iter().collect();
        Socket::open_with(client, "/v1/live", &headers).await.expect("the socket opens")
    }

    /// Opens one with these headers; the error is the status of the refusal and its body.
    pub(crate) async fn open_with(
        client: &Client,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Socket, (u16, Value)> {
        let address = client.base().strip_prefix("http://").unwrap();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        let list = request.headers_mut();
        list.insert("sec-websocket-protocol", HeaderValue::from_static("writ.v1"));
        for (name, value) in headers {
            let name: tokio_tungstenite::tungstenite::http::HeaderName = name.parse().unwrap();
            list.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let connection = TcpStream::connect(address).await.unwrap().into_std().unwrap();
        // The same connection: what of a refusal has not come with its head is read from here.
        let rest = connection.try_clone().unwrap();
        let connection = TcpStream::from_std(connection).unwrap();
        match tokio_tungstenite::client_async(request, connection).await {
            Ok((stream, response)) => {
                assert_eq!(response.headers()["sec-websocket-protocol"], "writ.v1");
                let mut socket = Socket { stream, waiting: VecDeque::new(), welcome: Value::Null };
                socket.welcome = socket.next().await.expect("a welcome");
                assert_eq!(socket.welcome["type"], "welcome");
                Ok(socket)
            }
            Err(Error::Http(response)) => {
                let (head, body) = response.into_parts();
                let length = head.headers["content-length"].to_str().unwrap().parse().unwrap();
                let (mut body, mut rest) = (body.unwrap_or_default(), TcpStream::from_std(rest).unwrap());
                while body.len() < length {
                    assert_ne!(rest.read_buf(&mut body).await.unwrap(), 0, "the refusal is cut off");
                }
                Err((head.status.as_u16(), serde_json::from_slice(&body).unwrap()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.stream.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Follows a model; `more` are further members.
    pub(crate) async fn subscribe(&mut self, sub: &str, model: &str, more: &Value) {
        let mut message = json!({ "type": "subscribe", "sub": sub, "model": model });
        for (name, value) in more.as_object().unwrap() {
            message[name] = value.clone();
        }
        self.send(&message).await;
    }

    /// The same, from now on: the place to resume from.
    pub(crate) async fn subscribe_now(&mut self, sub: &str, model: &str, more: &Value) -> String {
        self.subscribe(sub, model, more).await;
        let subscribed = self.of(sub, "subscribed").await;
        subscribed["resume"].as_str().unwrap().to_owned()
    }

    /// The next message in the order in which they came, or the code that the server closed with.
    pub(crate) async fn next(&mut self) -> Result<Value, u16> {
        if let Some(message) = self.waiting.pop_front() {
            return Ok(message);
        }
        self.receive().await
    }

    async fn receive(&mut self) -> Result<Value, u16> {
        // For all of it: the server's pings are no message.
        let limit = tokio::time::Instant::now() + LIMIT;
        loop {
            let Ok(next) = tokio::time::timeout_at(limit, self.stream.next()).await else {
                panic!("no message comes; unread: {:?}", self.waiting);
            };
            match next {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    // The rest of the handshake.
                    while let Some(Ok(_)) = self.stream.next().await {}
                    return Err(code);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => panic!("{other:?}"),
                // The connection is gone without a close.
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    /// The next message that `wanted` takes; what comes before stays for others.
    pub(crate) async fn find(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(index).unwrap();
        }
        loop {
            match self.receive().await {
                Ok(message) if wanted(&message) => return message,
                Ok(message) => self.waiting.push_back(message),
                Err(code) => panic!("closed with {code} before {what}; unread: {:?}", self.waiting),
            }
        }
    }

    /// The next message of a subscription of this type.
    pub(crate) async fn of(&mut self, sub: &str, kind: &str) -> Value {
        self.find(&format!("{kind} of {sub}"), |message| message["sub"] == sub && message["type"] == kind)
            .await
    }

    /// The next message of a subscription that may be the last one before a change: whatever it is, but for `progress`.
    pub(crate) async fn next_of(&mut self, sub: &str) -> Value {
        self.find(&format!("something of {sub}"), |message| {
            message["sub"] == sub && message["type"] != "progress"
        })
        .await
    }

    /// Reads on until the server closes: the code.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.receive().await {
                return code;
            }
        }
    }

    /// Sends a command and waits for what comes of it.
    pub(crate) async fn command(&mut self, reference: &str, command: &Value) -> Value {
        let mut message = command.clone();
        message["type"] = json!("command");
        message["ref"] = json!(reference);
        self.send(&message).await;
        self.find("the answer", |message| message["ref"] == reference).await
    }

    /// Waits until all that was sent before has been read.
    pub(crate) async fn ping(&mut self) {
        self.send(&json!({ "type": "ping" })).await;
        self.find("pong", |message| message["type"] == "pong").await;
    }
}
