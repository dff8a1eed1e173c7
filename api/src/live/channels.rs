//! Channels: who is at the same thing at this moment, and what they say to each other (docs/channels.md). Nothing of it goes to
//! Kafka or to a table; Redis carries it between the processes and has the lists of members.
//!
//! A socket joins ([`joined`]), if the rules let it ([`admission`]), and has a seat in a room ([`room`], [`seat`]) of its process. One task
//! keeps the rooms and Redis together ([`keeper`]). A broadcast is published in Redis and comes back to every process with a seat in
//! that room, also to the one that it comes from: so all hear it in the same order.
//!
//! # Why the lists converge
//!
//! The list of a room is a hash in Redis with a field `<process>:<member>` for each member. Wanted is: when nobody comes or goes any
//! more, and Redis can be reached, every copy of the list has exactly the members that are there, 20 seconds later at the latest.
//!
//! **One writer.** Only process *p* puts fields of *p* into a hash, and it has the truth of them: the set *own(p)* of its open
//! sockets' members. It takes them out, too; others do so only when *p* has no lease.
//!
//! **Own truth is restored.** Every 5 seconds *p* compares: in one step (`presence.lua`) its lease is renewed, fields of *p* that aren't in
//! *own(p)* are taken out, and those of *own(p)* that are missing are named, and put in by the next call. So whatever has
//! happened in between (a call that was lost, or was done twice; a Redis that has forgotten all; a lease that has run out
//! while *p* was stopped, whose members others have taken out): behind a comparison that succeeds, and the call behind it, the hash has
//! *own(p)* of *p*. It stays so, since nobody takes out a field of a process with a lease, and every call that puts fields in renews the lease
//! in the same step before. A room that *p* has left is compared no more: there the last call has taken the last field out. A call that was given
//! up before and is done late can't bring one back, since each carries the number of *p*'s connection, and Redis refuses those of an earlier one
//! than the latest that it has seen; over one connection no call is sent before the one before has its answer.
//!
//! **Ghosts end.** A process that is gone renews nothing; its lease runs out after 14 seconds. Whoever has a seat in the room finds the
//! fields of it at the next comparison, 5 seconds later at the latest, and takes them out. If nobody has a seat, nobody sees the list:
//! who joins compares before they see it, and a hash that nobody looks after is gone after a minute.
//!
//! **Copies are folds.** A change of a hash and its publication are one step, so what is published is in the order of the
//! changes. A process gets the whole list over the same connection, published to it alone in one step with the reading: its place
//! among the changes is exact. Changes before it are in it, changes behind it are applied to it. Redis keeps the order of what one
//! connection hears, so the copy is the hash of a moment ago, as long as the connection lasts; over a new one the list is asked for anew. What
//! Redis loses of a hash is published by nobody: a comparison says how many members the copy has, and a sum of their ids, and gets the list anew if the
//! hash has others.
//! A member gets the copy and is put among those who hear of changes under one lock; one who loses a change gets the copy again
//! ([`seat`]).
//!
//! **Clocks.** Leases run in Redis' time only. A process that was stopped for longer finds its members missing when it goes on, and puts them
//! back, with the `since` that they had; its sockets hear that they left and joined again.

mod admission;
pub(crate) mod joined;
mod keeper;
mod link;
mod names;
mod room;
pub(crate) mod routes;
mod seat;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use redis::Client;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics::{LIVE_CHANNEL_MEMBERS, LIVE_CHANNELS_AWAY};
use link::{LIMIT, Link};
use names::Names;
use room::{Entry, Listed, Room};
use seat::Seat;

/// A cheap handle on all channels of this process.
#[derive(Debug, Clone)]
pub(crate) struct Channels(Arc<Shared>);

type RoomHandle = Arc<Room>;

#[derive(Debug)]
struct Shared {
    names: Names,
    link: Link,
    /// Most members in one list.
    most: usize,
    /// How many connections there have been.
    connections: AtomicU64,
    rooms: Mutex<HashMap<String, RoomHandle>>,
    /// Rooms of which Redis has to be told something.
    todo: Mutex<HashSet<String>>,
    wake: Notify,
    state: watch::Sender<State>,
}

/// Whether Redis can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nobody has asked.
    #[default]
    Idle,
    Up,
    Away,
}

/// Redis doesn't answer.
#[derive(Debug, thiserror::Error)]
#[error("Redis doesn't answer")]
struct Unavailable;

/// Why somebody isn't in the list.
#[derive(Debug, thiserror::Error)]
enum NotListed {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("the list is full")]
    Full,
}

impl Channels {
    /// Connects when somebody joins. `prefix`: what keys in Redis begin with. Must be called within a tokio runtime.
    pub(crate) fn new(client: Client, prefix: &str, most: usize) -> Result<Channels, redis::RedisError> {
        Ok(Channels(Arc::new(Shared {
            names: Names::new(prefix),
            link: Link::new(client)?,
            most,
            connections: AtomicU64::new(0),
            rooms: Mutex::default(),
            todo: Mutex::default(),
            wake: Notify::new(),
            state: watch::Sender::default(),
        })))
    }

    /// Keeps it all together until `cancel`, when nobody has a seat any more.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let told = async {
            cancel.cancelled().await;
            // Redis may stand still, and leases end by themselves.
            tokio::time::sleep(2 * LIMIT).await;
        };
        tokio::select! {
            () = self.0.keep(cancel.clone()) => {}
            () = told => {}
        }
    }

    /// Takes a place in a room, once what is said there is heard.
    async fn enter(&self, channel: &Declared, which: &str) -> Result<Taken, Unavailable> {
        let name = Names::room(&channel.name, which);
        let room = {
            let mut rooms = self.0.rooms.lock();
            let new = || Arc::new(Room::new(name.clone(), channel.presence.is_some()));
            let room = rooms.entry(name.clone()).or_insert_with(new).clone();
            room.enter();
            room
        };
        metrics::gauge!(LIVE_CHANNEL_MEMBERS, "channel" => channel.name.clone()).increment(1.0);
        let taken = Taken { shared: self.0.clone(), room, channel: channel.clone(), member: Uuid::new_v4() };
        if !taken.room.is_ready() {
            self.0.look_at(&taken.room);
        }
        taken.until(Room::is_ready).await?;
        Ok(taken)
    }

    /// Publishes a broadcast.
    async fn publish(&self, channel: &str, which: &str, text: &str) -> Result<(), Unavailable> {
        let to = self.0.names.say(&Names::room(channel, which));
        self.0.link.publish(&to, text).await.map_err(|away| {
            tracing::debug!(error = %away, "a broadcast failed");
            Unavailable
        })
    }

    /// The list, by one who isn't in the channel.
    async fn members(&self, channel: &str, which: &str) -> Result<Vec<Entry>, Unavailable> {
        let room = Names::room(channel, which);
        let say = self.0.names.say(&room);
        let ask = room::Ask::for_list(say, room);
        let answers =
            self.0.link.presence(&self.0.names, (self.0.most, 0), &[ask]).await.map_err(|away| {
                tracing::debug!(error = %away, "the list of a channel can't be had");
                Unavailable
            })?;
        let list = answers.into_iter().flat_map(|(_, _, list)| list);
        Ok(list
            .filter_map(|text| Some(Entry::from(serde_json::value::RawValue::from_string(text).ok()?)))
            .collect())
    }
}

type Declared = Arc<writ_model::declaration::Channel>;

impl Shared {
    /// Has the task look at a room.
    fn look_at(&self, room: &Room) {
        self.todo.lock().insert(room.name.clone());
        self.wake.notify_one();
    }

    fn is_up(&self) {
        if self.state.send_replace(State::Up) == State::Away {
            tracing::info!("Redis answers again; channels go on");
        }
        metrics::gauge!(LIVE_CHANNELS_AWAY).set(0.0);
    }

    fn is_away(&self, why: &str) {
        if self.state.send_replace(State::Away) != State::Away {
            tracing::warn!(error = why, "Redis, which carries channels, doesn't answer");
        }
        metrics::gauge!(LIVE_CHANNELS_AWAY).set(1.0);
    }
}

/// A place in a room: its member leaves when it is dropped.
#[derive(Debug)]
struct Taken {
    shared: Arc<Shared>,
    room: RoomHandle,
    channel: Declared,
    member: Uuid,
}

impl Taken {
    /// Puts the member into the list, or another entry of it, or takes it out. An error leaves it as it was.
    async fn put(&self, entry: Option<Entry>) -> Result<(), NotListed> {
        let before = self.room.put(self.member, entry);
        self.shared.look_at(&self.room);
        let is_settled = |room: &Room| room.listed(self.member) != Listed::NotYet;
        let why = match self.until(is_settled).await {
            Ok(()) if self.room.listed(self.member) == Listed::Refused => NotListed::Full,
            Ok(()) => return Ok(()),
            Err(away) => away.into(),
        };
        self.room.put(self.member, before);
        self.shared.look_at(&self.room);
        Err(why)
    }

    /// Begins to hear what is said; the list as it is then.
    fn sit(&self, waker: Arc<AtomicWaker>) -> (Arc<Seat>, Vec<Entry>) {
        let seat = Arc::new(Seat::new(self.member, waker));
        let list = self.room.sit(seat.clone());
        (seat, list)
    }

    /// Waits until something is true of the room; not longer than Redis may take.
    async fn until(&self, holds: impl Fn(&Room) -> bool) -> Result<(), Unavailable> {
        let (mut moves, mut state) = (self.room.moves(), self.shared.state.subscribe());
        let holds = async {
            loop {
                moves.borrow_and_update();
                if holds(&self.room) {
                    return Ok(());
                }
                if *state.borrow_and_update() == State::Away {
                    return Err(Unavailable);
                }
                tokio::select! {
                    _ = moves.changed() => {}
                    _ = state.changed() => {}
                }
            }
        };
        // Two calls: to hear, and to be told.
        tokio::time::timeout(2 * LIMIT, holds).await.unwrap_or(Err(Unavailable))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        metrics::gauge!(LIVE_CHANNEL_MEMBERS, "channel" => self.channel.name.clone()).decrement(1.0);
        self.room.leave(self.member);
        self.shared.look_at(&self.room);
    }
}
