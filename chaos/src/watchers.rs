//! Those who watch: clients of the live feed, each with a filter of its own, whose connections end at random. They begin before
//! anything is written, so what each should have seen is known from the events alone.

mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use watch::Watch;

/// A connection that isn't there after so long is given up.
const CONNECT: Duration = Duration::from_secs(5);
/// Nothing has come for so long, no ping either: a server that is paused, or a cable that hangs.
const SILENCE: Duration = Duration::from_secs(75);
/// How long they may take to begin.
const BEGIN: Duration = Duration::from_secs(60);
/// Streams of random numbers, behind those of the clients who write.
const STREAM: u64 = 1 << 32;

type Socket = WebSocketStream<TcpStream>;

/// What one of them has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Kind, aggregate, and place of the event, in their order.
    pub(crate) changes: Vec<(String, Uuid, String)>,
    /// The rows that it has by now.
    pub(crate) copy: HashMap<Uuid, Json>,
    /// What no client expects.
    pub(crate) surprises: Vec<String>,
    /// Connections that it has had.
    pub(crate) connections: u64,
    /// Times that it was told that it was too slow.
    pub(crate) lagged: u64,
    /// Where it goes on. Empty: it hasn't begun.
    pub(crate) resume: String,
}

/// One who watches.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    pub(crate) watch: Watch,
    seen: Arc<Mutex<Seen>>,
}

impl Watcher {
    /// What it has seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Watchers {
    all: Vec<Watcher>,
    tasks: JoinSet<()>,
    /// Connections end by themselves only.
    calm: CancellationToken,
    stop: CancellationToken,
}

impl Watchers {
    /// Lets `count` of them begin, and waits until each follows.
    pub(crate) async fn start(apis: &[String], count: usize, seed: u64) -> Result<Watchers> {
        let (calm, stop) = (CancellationToken::new(), CancellationToken::new());
        let (mut all, mut tasks) = (Vec::new(), JoinSet::new());
        for nth in 0..count {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(STREAM + nth as u64);
            let watcher = Watcher { watch: Watch::choose(&mut rng), seen: Arc::default() };
            all.push(watcher.clone());
            let (apis, calm, stop) = (apis.to_vec(), calm.clone(), stop.clone());
            tasks.spawn(async move {
                let follow = Follow { watcher, apis, rng, calm };
                stop.run_until_cancelled(follow.run()).await;
            });
        }
        let deadline = Instant::now() + BEGIN;
        while all.iter().any(|watcher| watcher.seen.lock().resume.is_empty()) {
            if Instant::now() > deadline {
                let surprises = all.iter().flat_map(|watcher| watcher.seen().surprises).take(3);
                bail!(
                    "not everybody watches after {} s: {:?}",
                    BEGIN.as_secs(),
                    surprises.collect::<Vec<_>>()
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Watchers { all, tasks, calm, stop })
    }

    /// From now on connections stay.
    pub(crate) fn calm_down(&self) {
        self.calm.cancel();
    }

    pub(crate) fn all(&self) -> &[Watcher] {
        &self.all
    }

    /// Ends all of them.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a watcher panicked")?;
        }
        Ok(())
    }
}

struct Follow {
    watcher: Watcher,
    apis: Vec<String>,
    rng: ChaCha8Rng,
    calm: CancellationToken,
}

impl Follow {
    async fn run(mut self) {
        loop {
            let api = self.apis[self.rng.random_range(0..self.apis.len())].clone();
            // Most connections are short, some last.
            let life = Duration::from_secs_f64(self.rng.random_range(0.1..1.5_f64).powi(8));
            // A server that isn't there, a connection that was cut: that is what it comes back for.
            let _ = self.connection(&api, Instant::now() + life).await;
            let pause = match self.rng.random_range(0..10) {
                0 => self.rng.random_range(0.0..20.0),
                _ => self.rng.random_range(0.0..1.0),
            };
            tokio::select! {
                () = sleep(Duration::from_secs_f64(pause)) => {}
                () = self.calm.cancelled() => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    async fn connection(&mut self, api: &str, end: Instant) -> Result<()> {
        let mut socket = timeout(CONNECT, connect(api)).await??;
        self.watcher.seen.lock().connections += 1;
        self.subscribe(&mut socket).await?;
        let calm = self.calm.clone();
        loop {
            let message = tokio::select! {
                message = timeout(SILENCE, socket.next()) => message,
                () = sleep_until(end), if !calm.is_cancelled() => {
                    // Half of them without a word.
                    if self.rng.random_bool(0.5) {
                        let _ = timeout(CONNECT, socket.close(None)).await;
                    }
                    return Ok(());
                }
            };
            match message?.context("it was closed")?? {
                Message::Text(text) => {
                    let again = self.take(&text)?;
                    if again {
                        self.subscribe(&mut socket).await?;
                    }
                }
                Message::Close(_) => return Ok(()),
                _ => {}
            }
        }
    }

    async fn subscribe(&self, socket: &mut Socket) -> Result<()> {
        let resume = self.watcher.seen.lock().resume.clone();
        let from = if resume.is_empty() { "snapshot".to_owned() } else { resume };
        let mut message =
            json!({ "type": "subscribe", "sub": "w", "model": self.watcher.watch.model, "from": from });
        message["filter"] = self.watcher.watch.filter();
        socket.send(Message::text(message.to_string())).await?;
        Ok(())
    }

    /// Takes a message. Whether to subscribe again.
    fn take(&self, text: &str) -> Result<bool> {
        let message: Json = serde_json::from_str(text).map_err(|_| self.surprised(text))?;
        let mut seen = self.watcher.seen.lock();
        let resume = |message: &Json| message["resume"].as_str().map(str::to_owned);
        match message["type"].as_str().unwrap_or_default() {
            "enter" | "change" | "leave" => {
                let parts = change(&message);
                drop(seen);
                let (kind, id, position) = parts.ok_or_else(|| self.surprised(text))?;
                let mut seen = self.watcher.seen.lock();
                match kind.as_str() {
                    "leave" => drop(seen.copy.remove(&id)),
                    _ => drop(seen.copy.insert(id, message["row"].clone())),
                }
                seen.changes.push((kind, id, position));
                seen.resume = resume(&message).unwrap_or_default();
            }
            "snapshot" => {
                let rows = message["rows"].as_array().is_some_and(|rows| !rows.is_empty());
                drop(seen);
                // They begin before anything is written.
                if rows {
                    return Err(self.surprised(text));
                }
            }
            "subscribed" | "ready" | "progress" => {
                seen.resume = resume(&message).unwrap_or_default();
            }
            "ended" if message["reason"] == "lagged" => {
                seen.lagged += 1;
                seen.resume = resume(&message).unwrap_or_default();
                return Ok(true);
            }
            // The read model is away, or the server stops.
            "ended" if message["reason"] == "failed" => return Err(anyhow!("it has failed")),
            "error" if message["problem"]["status"].as_u64().is_some_and(|status| status >= 500) => {
                return Err(anyhow!("not now"));
            }
            "welcome" | "reconnect" => {}
            _ => {
                drop(seen);
                return Err(self.surprised(text));
            }
        }
        Ok(false)
    }

    fn surprised(&self, text: &str) -> anyhow::Error {
        let text: String = text.chars().take(300).collect();
        self.watcher.seen.lock().surprises.push(text.clone());
        anyhow!("{text}")
    }
}

fn change(message: &Json) -> Option<(String, Uuid, String)> {
    let text = |member: &str| message[member].as_str();
    Some((text("type")?.to_owned(), text("id")?.parse().ok()?, text("position")?.to_owned()))
}

async fn connect(api: &str) -> Result<Socket> {
    let stream = TcpStream::connect(api).await?;
    let mut request = format!("ws://{api}/v1/live").into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("writ.v1"));
    Ok(tokio_tungstenite::client_async(request, stream).await?.0)
}
