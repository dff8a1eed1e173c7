//! One channel in one process: its members here, and a copy of the list of all members, which follows Redis.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;
use uuid::Uuid;

use super::seat::{Said, Seat};
use super::text::{self, Text};

/// What a member says of itself, as JSON.
pub(super) type Entry = Arc<RawValue>;

#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: String,
    /// Whether it has a list.
    pub(super) has_presence: bool,
    inner: Mutex<Inner>,
    /// Something that one may wait for has changed.
    moved: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Those who are in it, or about to be.
    users: usize,
    /// Redis sends what is said.
    subscribed: bool,
    /// The copy is there, and follows.
    listed: bool,
    list: IndexMap<Uuid, Entry>,
    /// The members of this process that are in the list, or should be.
    own: HashMap<Uuid, Own>,
    /// Those that were.
    gone: Vec<Uuid>,
    seats: Vec<Arc<Seat>>,
    /// What Redis has of this process is to be compared.
    due: bool,
}

#[derive(Debug)]
struct Own {
    entry: Entry,
    /// Redis may have another one, or none.
    dirty: bool,
    /// The list is full.
    refused: bool,
}

/// What Redis is asked of a room: see `presence.lua`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Ask {
    pub(super) say: String,
    pub(super) set: Vec<(Uuid, String)>,
    pub(super) del: Vec<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) own: Option<Vec<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seen: Option<(usize, u64, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) list: Option<String>,
    pub(super) room: String,
    #[serde(skip)]
    pub(super) sent: Vec<(Uuid, Entry)>,
}

impl Ask {
    /// For the list of a room, which is returned.
    pub(super) fn for_list(say: String, room: String) -> Ask {
        Ask { say, room, list: Some("here".to_owned()), ..Ask::default() }
    }

    /// Roughly, in bytes.
    pub(super) fn size(&self) -> usize {
        let ids = self.set.len() + self.del.len() + self.own.as_ref().map_or(0, Vec::len);
        200 + 40 * ids + self.set.iter().map(|(_, entry)| entry.len()).sum::<usize>()
    }
}

/// What a change of the list has.
#[derive(Deserialize)]
struct Change {
    joined: Vec<Box<RawValue>>,
    left: Vec<Uuid>,
}

#[derive(Deserialize)]
struct Named {
    member: Uuid,
}

/// How far a member is in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    Yes,
    NotYet,
    /// The list is full.
    Refused,
}

impl Room {
    pub(super) fn new(name: String, has_presence: bool) -> Room {
        Room { name, has_presence, inner: Mutex::default(), moved: watch::Sender::default() }
    }

    /// One more who needs it.
    pub(super) fn enter(&self) {
        self.inner.lock().users += 1;
    }

    /// One less, whose member is in the list no more.
    pub(super) fn leave(&self, member: Uuid) {
        let mut inner = self.inner.lock();
        inner.users -= 1;
        inner.seats.retain(|seat| seat.member != member);
        if inner.own.remove(&member).is_some() {
            inner.gone.push(member);
        }
    }

    /// To wait for changes.
    pub(super) fn moves(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// Whether what is said is heard, and the list is there.
    pub(super) fn is_ready(&self) -> bool {
        let inner = self.inner.lock();
        inner.subscribed && (inner.listed || !self.has_presence)
    }

    /// Puts a member into the list, or another entry of it, or takes it out. What it was before.
    pub(super) fn put(&self, member: Uuid, entry: Option<Entry>) -> Option<Entry> {
        let mut inner = self.inner.lock();
        match entry {
            Some(entry) => {
                inner.gone.retain(|gone| *gone != member);
                let own = Own { entry, dirty: true, refused: false };
                inner.own.insert(member, own).map(|own| own.entry)
            }
            None => {
                let was = inner.own.remove(&member)?;
                inner.gone.push(member);
                Some(was.entry)
            }
        }
    }

    /// Whether Redis has what was put last, and the copy shows it.
    pub(super) fn listed(&self, member: Uuid) -> Listed {
        let inner = self.inner.lock();
        match inner.own.get(&member) {
            Some(own) if own.refused => Listed::Refused,
            Some(own) if own.dirty || !inner.list.contains_key(&member) => Listed::NotYet,
            Some(_) => Listed::Yes,
            None if inner.gone.contains(&member) => Listed::NotYet,
            None => Listed::Yes,
        }
    }

    /// Has the member hear what is said from now on. The list as it is at this moment: what follows comes as changes of it.
    pub(super) fn sit(&self, seat: Arc<Seat>) -> Vec<Entry> {
        let mut inner = self.inner.lock();
        inner.seats.push(seat);
        inner.list.values().cloned().collect()
    }

    /// The list for a member that has to have it anew. `None`: something has come in between that it takes first.
    pub(super) fn list_for(&self, seat: &Seat) -> Option<Vec<Entry>> {
        let inner = self.inner.lock();
        seat.takes_list().then(|| inner.list.values().cloned().collect())
    }

    /// Passes on what somebody said. How many have heard it, and how many have lost something for it.
    pub(super) fn broadcast(&self, published: &str) -> (u64, u64) {
        let Some((not_for, body)) = text::broadcast(published) else { return (0, 0) };
        let inner = self.inner.lock();
        let text = Arc::new(Text::new(body));
        let seats = inner.seats.iter().filter(|seat| seat.member != not_for);
        seats.fold((0, 0), |(heard, lost), seat| {
            (heard + 1, lost + u64::from(seat.push(&text, Said::Broadcast)))
        })
    }

    /// Follows a change of the list, and passes it on.
    pub(super) fn change(&self, body: &str) -> Result<(), serde_json::Error> {
        let change: Change = serde_json::from_str(&format!("{{{body}}}"))?;
        let mut inner = self.inner.lock();
        // What was before the list is in it.
        if !inner.listed {
            return Ok(());
        }
        for member in change.left {
            inner.list.shift_remove(&member);
        }
        for entry in change.joined {
            let Named { member } = serde_json::from_str(entry.get())?;
            inner.list.insert(member, entry.into());
        }
        let text = Arc::new(Text::new(body));
        for seat in &inner.seats {
            // What it loses of it, it gets with the list.
            seat.push(&text, Said::Presence);
        }
        drop(inner);
        self.moved.send_replace(());
        Ok(())
    }

    /// Takes over the list.
    pub(super) fn replace(&self, list: &str) -> Result<(), serde_json::Error> {
        let entries: Vec<Box<RawValue>> = serde_json::from_str(list)?;
        let named = |entry: Box<RawValue>| {
            let Named { member } = serde_json::from_str(entry.get())?;
            Ok((member, Entry::from(entry)))
        };
        let list = entries.into_iter().map(named).collect::<Result<_, serde_json::Error>>()?;
        let mut inner = self.inner.lock();
        inner.list = list;
        inner.listed = true;
        inner.seats.iter().for_each(|seat| seat.lists_anew());
        drop(inner);
        self.moved.send_replace(());
        Ok(())
    }

    // What follows is for the one that talks to Redis.

    /// Nothing is known of what Redis has.
    pub(super) fn forget(&self) {
        let mut inner = self.inner.lock();
        inner.subscribed = false;
        inner.listed = false;
        inner.own.values_mut().for_each(|own| own.dirty = true);
    }

    /// What Redis has of this process is to be compared.
    pub(super) fn is_due(&self) {
        self.inner.lock().due = true;
    }

    pub(super) fn wants_subscription(&self) -> bool {
        let inner = self.inner.lock();
        !inner.subscribed && inner.users > 0
    }

    pub(super) fn is_subscribed(&self) {
        self.inner.lock().subscribed = true;
        self.moved.send_replace(());
    }

    /// Nobody is in it, and Redis knows.
    pub(super) fn is_over(&self) -> bool {
        let inner = self.inner.lock();
        inner.users == 0 && inner.gone.is_empty() && inner.own.is_empty()
    }

    /// What Redis has to be told or asked. `None`: nothing. `own_list`: where a list for this process is published.
    pub(super) fn ask(&self, say: String, own_list: &str) -> Option<Ask> {
        if !self.has_presence {
            return None;
        }
        let mut inner = self.inner.lock();
        let due = std::mem::take(&mut inner.due);
        let wants_list = inner.subscribed && !inner.listed;
        let compares = due || wants_list;
        let is_asked = |own: &Own| (own.dirty && !own.refused) || (own.refused && compares);
        let sent: Vec<(Uuid, Entry)> = inner
            .own
            .iter()
            .filter(|(_, own)| is_asked(own))
            .map(|(member, own)| (*member, own.entry.clone()))
            .collect();
        if sent.is_empty() && inner.gone.is_empty() && !compares {
            return None;
        }
        let own = compares
            .then(|| inner.own.iter().filter(|(_, own)| !own.refused).map(|(member, _)| *member).collect());
        let seen = (compares && inner.listed).then(|| {
            // As `presence.lua` adds them up.
            let sum = inner.list.keys().map(|member| u64::from(member.as_fields().0)).sum();
            (inner.list.len(), sum, own_list.to_owned())
        });
        Some(Ask {
            say,
            seen,
            set: sent.iter().map(|(member, entry)| (*member, entry.get().to_owned())).collect(),
            del: inner.gone.clone(),
            own,
            list: wants_list.then(|| own_list.to_owned()),
            room: self.name.clone(),
            sent,
        })
    }

    /// What Redis has answered. `true`: there is more to tell.
    pub(super) fn answered(&self, ask: &Ask, missing: &[Uuid], refused: &[Uuid]) -> bool {
        let mut inner = self.inner.lock();
        inner.gone.retain(|member| !ask.del.contains(member));
        for (member, entry) in &ask.sent {
            // Another entry may have been put meanwhile.
            if let Some(own) = inner.own.get_mut(member).filter(|own| Arc::ptr_eq(&own.entry, entry)) {
                own.dirty = false;
                own.refused = refused.contains(member);
            }
        }
        let mut more = false;
        for member in missing {
            if let Some(own) = inner.own.get_mut(member) {
                own.dirty = true;
                more = true;
            }
        }
        let more = more || !inner.gone.is_empty() || inner.own.values().any(|own| own.dirty && !own.refused);
        drop(inner);
        self.moved.send_replace(());
        more
    }
}
