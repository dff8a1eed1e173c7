//! One open socket: a task that has it to itself. It waits for whatever comes first: a message, something of a subscription, the
//! answer of a command, the time for a ping, word that its owner's rights have changed, the end of the server.
//!
//! A client that doesn't take what is sent holds up nobody but itself: its subscriptions fill their bounded queues and end as
//! `lagged`, and when nothing at all is taken for `http.write_timeout_ms`, the stream beneath fails ([`crate::timed`]).
//!
//! What a socket does is boxed, since the task keeps room for the largest of its futures as long as it lives: only waiting isn't.

mod closing;
mod hearing;

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use uuid::Uuid;

use super::channels::joined::Joined;
use super::command::Running;
use super::feed::Item;
use super::message::{Ending, ToClient};
use super::open::Place;
use super::subscriptions::Subscriptions;
use super::{Options, jitter, rows, wanted};
use crate::app::Shared;
use crate::caller::{Caller, lasting};
use crate::clock;
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};
use closing::{Code, End};

/// Bytes that are read at once, and kept for that as long as the socket is open.
const READ_BUFFER: usize = 512;
/// Bytes that are collected before they are sent, while there is more to send.
const WRITE_BUFFER: usize = 2 * 1024;
/// Items that are sent in one go before anything else is looked at.
const BATCH: usize = 32;
/// Pings without an answer, after which a client counts as gone.
const UNANSWERED: u8 = 2;

pub(super) type Stream = WebSocketStream<TokioIo<Upgraded>>;

/// How the WebSocket layer is set: small, and strict.
pub(super) fn config(options: &Options) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(options.message_limit))
        .max_frame_size(Some(options.message_limit))
}

pub(super) struct Socket {
    app: Shared,
    stream: Stream,
    place: Place,
    caller: Caller,
    trace: Trace,
    address: IpAddr,
    connection: Uuid,
    subscriptions: Subscriptions,
    channels: Joined,
    commands: FuturesUnordered<Running>,
    /// Until the next ping or the end of the caller's proof.
    timer: Pin<Box<Sleep>>,
    ping_at: Instant,
    /// Pings since the client was last heard.
    unanswered: u8,
    /// Messages in a row that were one too many.
    refusals: u32,
}

/// What comes first.
enum Next {
    Stop,
    Signal,
    Tick,
    Heard(Option<Result<Message, Error>>),
    Item(Box<str>, Option<Item>),
    Said(Utf8Bytes),
    Answer(String, Result<crate::commands::answer::Told, Problem>),
}

impl Socket {
    pub(super) fn new(
        app: Shared,
        stream: Stream,
        place: Place,
        (caller, trace, address): (Caller, Trace, IpAddr),
    ) -> Socket {
        let connection = Uuid::new_v4();
        // Not all at once: thousands may have come back at the same moment.
        let first = jitter(connection, app.options.live.ping_interval()) + Duration::from_millis(1);
        let ping_at = Instant::now() + first;
        Socket {
            timer: Box::pin(tokio::time::sleep_until(ping_at)),
            app,
            stream,
            place,
            caller,
            trace,
            address,
            connection,
            subscriptions: Subscriptions::default(),
            channels: Joined::default(),
            commands: FuturesUnordered::new(),
            ping_at,
            unanswered: 0,
            refusals: 0,
        }
    }

    /// Until it is closed.
    pub(super) async fn run(mut self: Box<Self>) {
        let cut = self.app.live.cut.clone();
        let whole = async {
            let end = match self.serve().await {
                Ok(never) => match never {},
                Err(end) => end,
            };
            Box::pin(self.close(end)).await;
        };
        cut.run_until_cancelled(whole).await;
    }

    async fn serve(&mut self) -> Result<Infallible, End> {
        let welcome = ToClient::Welcome {
            connection: self.connection,
            account: self.caller.actor.id,
            expires_at: self.expires_at(),
            ping_seconds: self.app.options.live.ping_interval().as_secs(),
        };
        Box::pin(self.tell(&welcome)).await?;
        self.wind();
        loop {
            let next = tokio::select! {
                () = self.app.cancel.cancelled() => Next::Stop,
                () = self.place.signalled() => Next::Signal,
                () = self.timer.as_mut() => Next::Tick,
                heard = self.stream.next() => Next::Heard(heard),
                (name, item) = self.subscriptions.next() => Next::Item(name, item),
                said = self.channels.next(&self.app, &self.caller) => Next::Said(said),
                Some((reference, answer)) = self.commands.next() => Next::Answer(reference, answer),
            };
            match next {
                Next::Stop => return Err(Box::pin(self.stop()).await?),
                Next::Signal => Box::pin(self.ask_again()).await?,
                Next::Tick => Box::pin(self.tick()).await?,
                Next::Heard(Some(Ok(message))) => Box::pin(self.hear(message)).await?,
                Next::Heard(Some(Err(error))) => return Err(End::of_error(&error)),
                Next::Heard(None) => return Err(End::Gone),
                Next::Item(name, item) => Box::pin(self.deliver(name, item)).await?,
                Next::Said(text) => Box::pin(self.pass_on(text)).await?,
                Next::Answer(reference, answer) => Box::pin(self.answer(&reference, &answer)).await?,
            }
        }
    }

    /// When the caller's proof runs out.
    fn expires_at(&self) -> Option<String> {
        self.caller.lasting.until.map(|until| until.to_string())
    }

    /// Sets the timer.
    fn wind(&mut self) {
        let left = |until: writ_model::Timestamp| {
            let left = until.0.saturating_sub(clock::now().0).max(0).unsigned_abs();
            Instant::now() + Duration::from_millis(left)
        };
        let until = self.caller.lasting.until.map(left);
        self.timer.as_mut().reset(until.map_or(self.ping_at, |until| until.min(self.ping_at)));
    }

    async fn tick(&mut self) -> Result<(), End> {
        if self.caller.lasting.until.is_some_and(|until| until <= clock::now()) {
            return Err(End::Close(Code::SIGNED_OUT, "what proved who this is has expired"));
        }
        if Instant::now() >= self.ping_at {
            if self.unanswered >= UNANSWERED {
                return Err(End::Close(Code::IDLE, "no answer to pings"));
            }
            self.unanswered += 1;
            self.ping_at = Instant::now() + self.app.options.live.ping_interval();
            self.write(Some(Message::Ping(Default::default()))).await?;
            self.write(None).await?;
        }
        self.wind();
        Ok(())
    }

    /// The server stops: when to come back, and the end.
    async fn stop(&mut self) -> Result<End, End> {
        let after = jitter(self.connection, self.app.options.live.reconnect_spread());
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.tell(&ToClient::Reconnect { after_ms }).await?;
        // As with requests: what is under way is finished, nothing new begins.
        while let Some((reference, answer)) = self.commands.next().await {
            self.answer(&reference, &answer).await?;
        }
        Ok(End::Close(Code::RESTART, "the server stops"))
    }

    /// Who the caller is now.
    async fn ask_again(&mut self) -> Result<(), End> {
        match lasting::again(&self.app, &self.caller).await {
            Ok(caller) => self.becomes(caller).await,
            Err(problem) if problem.kind == Kind::Unauthenticated => {
                Err(End::Close(Code::SIGNED_OUT, "not signed in any more"))
            }
            // Whether it is can't be said; the client asks elsewhere.
            Err(problem) => {
                tracing::debug!(detail = problem.detail, "a socket's caller can't be looked up");
                Err(End::Close(Code::LATER, "who this is can't be said at the moment"))
            }
        }
    }

    /// The caller, with what they may do from now on.
    async fn becomes(&mut self, caller: Caller) -> Result<(), End> {
        let before = std::mem::replace(&mut self.caller, caller).actor;
        self.wind();
        let after = &self.caller.actor;
        if before == *after {
            return Ok(());
        }
        let narrowed = self.subscriptions.narrow(&self.app.api.models, &before, after, clock::now());
        for name in &narrowed.ended {
            self.tell(&ToClient::Ended { sub: name, reason: Ending::Permissions, resume: None }).await?;
        }
        self.channels.ask_again();
        match narrowed.nothing_is_left && self.channels.len() == 0 {
            true => Err(End::Close(Code::FORBIDDEN, "nothing of what was followed may be read any more")),
            false => Ok(()),
        }
    }

    /// Sends an item, and those that are there already.
    async fn deliver(&mut self, name: Box<str>, item: Option<Item>) -> Result<(), End> {
        self.put(&name, item).await?;
        for _ in 1..BATCH {
            let Some((name, item)) = self.subscriptions.next().now_or_never() else { break };
            self.put(&name, item).await?;
        }
        self.write(None).await
    }

    /// Sends what was said in a channel, and what is there already.
    async fn pass_on(&mut self, text: Utf8Bytes) -> Result<(), End> {
        self.write(Some(Message::Text(text))).await?;
        for _ in 1..BATCH {
            let Some(text) = self.channels.next(&self.app, &self.caller).now_or_never() else { break };
            self.write(Some(Message::Text(text))).await?;
        }
        self.write(None).await
    }

    async fn put(&mut self, sub: &str, item: Option<Item>) -> Result<(), End> {
        let message = match item {
            Some(Item::Change(frame)) => {
                let text = Utf8Bytes::try_from(frame.message(sub)).expect("invariant: frames are texts");
                return self.write(Some(Message::Text(text))).await;
            }
            Some(Item::Snapshot { rows }) => {
                return Box::pin(self.put_rows(sub, rows::pieces(rows))).await;
            }
            Some(Item::KeyedRows { rows }) => {
                return Box::pin(self.put_rows(sub, rows::keyed_pieces(rows))).await;
            }
            Some(Item::Started { resume }) => ToClient::Subscribed { sub, resume: resume.to_string() },
            Some(Item::Ready { resume }) => ToClient::Ready { sub, resume: resume.to_string() },
            Some(Item::Progress { resume }) => ToClient::Progress { sub, resume: resume.to_string() },
            Some(Item::Reset { reason }) => ToClient::Reset { sub, reason: reason.name() },
            Some(Item::Lagged { resume }) => {
                self.subscriptions.remove(sub);
                ToClient::Ended { sub, reason: Ending::Lagged, resume: Some(resume.to_string()) }
            }
            Some(Item::Failed(error)) => {
                self.subscriptions.remove(sub);
                let problem = wanted::failed(error);
                let why = ToClient::Error { sub: Some(sub), reference: None, problem: &problem };
                self.write(Some(Message::Text(why.text()))).await?;
                ToClient::Ended { sub, reason: Ending::Failed, resume: None }
            }
            // Its last item has said why; without one the feed is gone, which stops the server.
            None => return Ok(()),
        };
        self.write(Some(Message::Text(message.text()))).await
    }

    async fn put_rows(&mut self, sub: &str, pieces: Vec<rows::Piece>) -> Result<(), End> {
        for rows::Piece { rows, keys } in &pieces {
            let message = ToClient::Snapshot { sub, rows, keys: keys.as_deref() };
            self.write(Some(Message::Text(message.text()))).await?;
        }
        Ok(())
    }

    async fn answer(
        &mut self,
        reference: &str,
        answer: &Result<crate::commands::answer::Told, Problem>,
    ) -> Result<(), End> {
        match answer {
            Ok(told) => self.tell(&ToClient::Answer { reference, told }).await,
            Err(problem) => {
                self.tell(&ToClient::Error { sub: None, reference: Some(reference), problem }).await
            }
        }
    }

    /// Sends a message.
    async fn tell(&mut self, message: &ToClient<'_>) -> Result<(), End> {
        self.write(Some(Message::Text(message.text()))).await?;
        self.write(None).await
    }

    /// Writes a message, or sends what was written. The client may take its time; but nothing more is kept for one who isn't
    /// signed in any more.
    async fn write(&mut self, message: Option<Message>) -> Result<(), End> {
        let Socket { app, stream, place, caller, .. } = self;
        if message.is_some() {
            app.live.sent.increment(1);
        }
        let mut writing = pin!(async {
            match message {
                Some(message) => stream.feed(message).await,
                None => stream.flush().await,
            }
        });
        let mut signalled = false;
        let written = loop {
            tokio::select! {
                biased;
                written = &mut writing => break written.map_err(|_| End::Gone),
                () = place.signalled() => {
                    signalled = true;
                    let again = Box::pin(lasting::again(app, caller)).await;
                    if again.is_err_and(|problem| problem.kind == Kind::Unauthenticated) {
                        break Err(End::Gone);
                    }
                }
            }
        };
        if signalled {
            // What else follows from it comes after this message.
            place.signal();
        }
        written
    }
}
