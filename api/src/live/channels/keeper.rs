//! The task that keeps the rooms of this process and Redis together, over one connection that hears and one that tells.
//!
//! It has a connection as long as there are rooms. Everything that changes what Redis has is done by this one task, one call after
//! the other, so that what is told later is done later. When the connection is gone, or a call fails, all that is known of Redis is
//! forgotten, and told and asked anew over the next one.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::StreamExt as _;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::link::{Away, bounded};
use super::names::{From, Names};
use super::room::Ask;
use super::{RoomHandle, Shared, State};
use crate::metrics::{LIVE_CHANNEL_MESSAGES_TOTAL, LIVE_CHANNEL_MISSED_TOTAL};

/// Between two times that the lease is made longer and what Redis has is compared: a third of the lease.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two attempts to reach Redis.
const REST: Duration = Duration::from_secs(1);
/// Rooms that are subscribed to at once.
const SUBSCRIBED: usize = 500;
/// Rooms that Redis is asked of in one call, and bytes of what it is told of them: Redis does nothing else meanwhile.
const ASKED: usize = 50;
const ASKED_BYTES: usize = 256 * 1024;

/// Why a connection is given up.
enum End {
    Away(Away),
    /// Redis has closed it.
    Closed,
    /// Nobody is in any room.
    Idle,
    /// The server stops, and Redis was told that everybody has left.
    Stopped,
}

impl std::convert::From<Away> for End {
    fn from(away: Away) -> Self {
        End::Away(away)
    }
}

impl Shared {
    /// Runs until `cancel`, and then until Redis knows that nobody is there any more, or can't be told.
    pub(super) async fn keep(&self, cancel: CancellationToken) {
        loop {
            let is_needed = async {
                while self.rooms.lock().is_empty() {
                    self.wake.notified().await;
                }
            };
            if cancel.run_until_cancelled(is_needed).await.is_none() {
                return;
            }
            let end = match self.link.listen().await {
                Ok(listening) => {
                    self.connections.fetch_add(1, Relaxed);
                    let (sink, stream) = listening.split();
                    self.session(sink, stream, &cancel).await
                }
                Err(away) => End::Away(away),
            };
            for room in self.rooms.lock().values() {
                room.forget();
            }
            let why = match end {
                End::Idle => continue,
                End::Stopped => return,
                End::Away(away) => away.to_string(),
                End::Closed => "the connection was closed".to_owned(),
            };
            self.is_away(&why);
            if cancel.is_cancelled() {
                return;
            }
            cancel.run_until_cancelled(tokio::time::sleep(REST)).await;
            self.rooms.lock().retain(|_, room| !room.is_over());
            if self.rooms.lock().is_empty() {
                self.state.send_replace(State::Idle);
            }
        }
    }

    async fn session(
        &self,
        mut sink: PubSubSink,
        mut stream: PubSubStream,
        cancel: &CancellationToken,
    ) -> End {
        let hearing = self.hear(&mut stream);
        let telling = async {
            match self.tell(&mut sink, cancel).await {
                Ok(end) | Err(end) => end,
            }
        };
        tokio::select! {
            end = hearing => end,
            end = telling => end,
        }
    }

    /// Passes on what arrives, in its order.
    async fn hear(&self, stream: &mut PubSubStream) -> End {
        while let Some(message) = stream.next().await {
            let Ok(text) = std::str::from_utf8(message.get_payload_bytes()) else { continue };
            let heard = match self.names.from(message.get_channel_name()) {
                Some(From::Room(room)) => self.heard(room, text),
                Some(From::Own) => match Names::list(text) {
                    Some((room, list)) => self.room(room).map_or(Ok(()), |room| room.replace(list)),
                    None => Ok(()),
                },
                None => Ok(()),
            };
            if let Err(error) = heard {
                tracing::warn!(%error, "a message of a channel can't be read");
            }
        }
        End::Closed
    }

    fn heard(&self, room: &str, text: &str) -> Result<(), serde_json::Error> {
        let Some(room) = self.room(room) else { return Ok(()) };
        if let Some(change) = text.strip_prefix('p') {
            return room.change(change);
        }
        let (heard, lost) = room.broadcast(text);
        metrics::counter!(LIVE_CHANNEL_MESSAGES_TOTAL, "direction" => "out").increment(heard);
        if lost > 0 {
            metrics::counter!(LIVE_CHANNEL_MISSED_TOTAL).increment(lost);
        }
        Ok(())
    }

    /// Tells Redis what there is to tell, now and whenever there is more.
    async fn tell(&self, sink: &mut PubSubSink, cancel: &CancellationToken) -> Result<End, End> {
        bounded(sink.subscribe(self.names.own())).await?;
        self.look_at_all();
        let mut ticks = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let todo = std::mem::take(&mut *self.todo.lock());
            let todo: Vec<_> = todo.iter().filter_map(|name| self.room(name)).collect();
            for rooms in todo.chunks(SUBSCRIBED) {
                self.subscribe(sink, rooms).await?;
            }
            self.ask(&todo).await?;
            for rooms in todo.chunks(SUBSCRIBED) {
                self.end(sink, rooms).await?;
            }
            self.is_up();
            if self.rooms.lock().is_empty() {
                return Ok(if cancel.is_cancelled() { End::Stopped } else { End::Idle });
            }
            if !self.todo.lock().is_empty() {
                continue;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                _ = ticks.tick() => {
                    // What hears has to be there too.
                    bounded(sink.ping::<redis::Value>()).await?;
                    self.rooms.lock().values().for_each(|room| room.is_due());
                    self.look_at_all();
                }
            }
        }
    }

    /// Subscribes to those that aren't.
    async fn subscribe(&self, sink: &mut PubSubSink, rooms: &[RoomHandle]) -> Result<(), Away> {
        let new: Vec<_> = rooms.iter().filter(|room| room.wants_subscription()).collect();
        if new.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = new.iter().map(|room| self.names.say(&room.name)).collect();
        bounded(sink.subscribe(&names)).await?;
        new.iter().for_each(|room| room.is_subscribed());
        Ok(())
    }

    async fn ask(&self, rooms: &[RoomHandle]) -> Result<(), Away> {
        let (own, connection) = (self.names.own(), self.connections.load(Relaxed));
        let mut rooms = rooms.iter().peekable();
        while rooms.peek().is_some() {
            let (mut asked, mut bytes): (Vec<(&RoomHandle, Ask)>, _) = (Vec::new(), 0);
            while asked.len() < ASKED
                && bytes < ASKED_BYTES
                && let Some(room) = rooms.next()
            {
                if let Some(ask) = room.ask(self.names.say(&room.name), &own) {
                    bytes += ask.size();
                    asked.push((room, ask));
                }
            }
            let (handles, asks): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
            if asks.is_empty() {
                continue;
            }
            let answers = self.link.presence(&self.names, (self.most, connection), &asks).await?;
            for ((room, ask), (missing, refused, _)) in handles.iter().zip(&asks).zip(answers) {
                if room.answered(ask, &missing, &refused) {
                    self.todo.lock().insert(room.name.clone());
                }
            }
        }
        Ok(())
    }

    /// Forgets the rooms that nobody is in.
    async fn end(&self, sink: &mut PubSubSink, rooms: &[RoomHandle]) -> Result<(), Away> {
        let mut over = HashSet::new();
        {
            // Under the lock, so that nobody enters one that is forgotten.
            let mut all = self.rooms.lock();
            for room in rooms.iter().filter(|room| room.is_over()) {
                if all.remove(&room.name).is_some() {
                    over.insert(self.names.say(&room.name));
                }
            }
        }
        if over.is_empty() {
            return Ok(());
        }
        let over: Vec<_> = over.into_iter().collect();
        bounded(sink.unsubscribe(&over)).await
    }

    fn look_at_all(&self) {
        let all: Vec<_> = self.rooms.lock().keys().cloned().collect();
        self.todo.lock().extend(all);
    }

    fn room(&self, name: &str) -> Option<RoomHandle> {
        self.rooms.lock().get(name).cloned()
    }
}
