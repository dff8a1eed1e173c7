//! Everything that is open at the moment, and whose it is, so that what becomes void reaches those it concerns and nobody else.
//!
//! No change is missed: who opens one proves who they are first and takes a place then, with a signal in it. So they ask again
//! once they can be found here, and a change that came in between is seen by that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_identity::directory::Change;

use crate::caller::{Caller, Via};
use crate::metrics::LIVE_OPEN;
use crate::per_address::{self, PerAddress};
use crate::problem::{Kind, Problem};

/// A cheap handle; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Open(Arc<All>);

#[derive(Debug)]
struct All {
    table: Mutex<Table>,
    addresses: PerAddress,
    most: usize,
    most_per_account: usize,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    entries: HashMap<u64, Entry>,
    by_session: HashMap<Uuid, Vec<u64>>,
    by_account: HashMap<Uuid, Vec<u64>>,
    by_key: HashMap<Uuid, Vec<u64>>,
}

#[derive(Debug)]
struct Entry {
    signal: Arc<Notify>,
    owner: Owner,
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    account: Option<Uuid>,
    session: Option<Uuid>,
    key: Option<Uuid>,
}

impl From<&Caller> for Owner {
    fn from(caller: &Caller) -> Owner {
        let (session, key) = match caller.via {
            Via::Session { session, .. } => (Some(session), None),
            Via::ApiKey { key } => (None, Some(key)),
            Via::Nobody | Via::Trusted => (None, None),
        };
        Owner { account: caller.actor.id, session, key }
    }
}

/// What a place is taken for, as a label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Socket,
    Events,
    Poll,
}

impl Transport {
    const fn label(self) -> &'static str {
        match self {
            Transport::Socket => "websocket",
            Transport::Events => "sse",
            Transport::Poll => "poll",
        }
    }
}

/// The place of an open one, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    signal: Arc<Notify>,
    all: Arc<All>,
    transport: Transport,
    _address: Option<per_address::Place>,
}

impl Open {
    pub(crate) fn new(options: &crate::Options) -> Open {
        let live = &options.live;
        Open(Arc::new(All {
            table: Mutex::default(),
            addresses: PerAddress::new(options, live.max_open_per_address),
            most: live.max_open,
            most_per_account: live.max_open_per_account,
        }))
    }

    /// A place for the caller, or 429.
    pub(crate) fn take(
        &self,
        caller: &Caller,
        address: IpAddr,
        transport: Transport,
    ) -> Result<Place, Problem> {
        let many = |whose: &str| {
            let detail = format!("{whose} as many live connections open as it may; close one first.");
            Problem { retry_after: Some(1), ..Kind::RateLimited.because(detail) }
        };
        let address = self.0.addresses.take(address).ok_or_else(|| many("The address has"))?;
        let owner = Owner::from(caller);
        let mut table = self.0.table.lock();
        if table.entries.len() >= self.0.most {
            return Err(many("The server has"));
        }
        let own = owner.account.and_then(|account| table.by_account.get(&account)).map_or(0, Vec::len);
        if own >= self.0.most_per_account {
            return Err(many("The account has"));
        }
        let signal = Arc::new(Notify::new());
        // See the module: the first thing that its holder does is to ask again.
        signal.notify_one();
        let number = table.next;
        table.next += 1;
        table.index(number, &owner);
        table.entries.insert(number, Entry { signal: signal.clone(), owner });
        drop(table);
        metrics::gauge!(LIVE_OPEN, "transport" => transport.label()).increment(1.0);
        Ok(Place { number, signal, all: self.0.clone(), transport, _address: address })
    }

    /// Tells those that a change concerns, until the server stops.
    pub(crate) async fn watch(self, mut changes: Receiver<Change>, cancel: CancellationToken) {
        while let Some(heard) = cancel.run_until_cancelled(changes.recv()).await {
            match heard {
                Ok(change) => self.tell(change),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(
                        missed,
                        "changes of sessions and accounts came too fast; all sockets ask again"
                    );
                    self.0.table.lock().entries.values().for_each(|entry| entry.signal.notify_one());
                }
                // The directory lives as long as the server.
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn tell(&self, change: Change) {
        let table = self.0.table.lock();
        let found = match change {
            Change::Session(id) => table.by_session.get(&id),
            Change::Account(id) => table.by_account.get(&id),
            Change::Key(id) => table.by_key.get(&id),
            // Few people change roles, and rarely; everybody may have them.
            Change::Roles => {
                let signed_in = table.entries.values().filter(|entry| entry.owner.account.is_some());
                return signed_in.for_each(|entry| entry.signal.notify_one());
            }
        };
        for number in found.into_iter().flatten() {
            if let Some(entry) = table.entries.get(number) {
                entry.signal.notify_one();
            }
        }
    }
}

impl Table {
    fn index(&mut self, number: u64, owner: &Owner) {
        for (index, id) in self.indices(owner) {
            index.entry(id).or_default().push(number);
        }
    }

    fn forget(&mut self, number: u64, owner: &Owner) {
        for (index, id) in self.indices(owner) {
            let Some(numbers) = index.get_mut(&id) else { continue };
            numbers.retain(|known| *known != number);
            if numbers.is_empty() {
                index.remove(&id);
            }
        }
    }

    fn indices(&mut self, owner: &Owner) -> impl Iterator<Item = (&mut HashMap<Uuid, Vec<u64>>, Uuid)> {
        let all = [
            (&mut self.by_account, owner.account),
            (&mut self.by_session, owner.session),
            (&mut self.by_key, owner.key),
        ];
        all.into_iter().filter_map(|(index, id)| Some((index, id?)))
    }
}

impl Place {
    /// Waits until its owner has to ask again who they are. Cancel safe.
    pub(crate) async fn signalled(&self) {
        self.signal.notified().await;
    }

    /// Has [`Place::signalled`] return once more.
    pub(crate) fn signal(&self) {
        self.signal.notify_one();
    }

    /// It is held by another proof of the same account from now on.
    pub(crate) fn belongs_to(&self, caller: &Caller) {
        let owner = Owner::from(caller);
        let mut table = self.all.table.lock();
        let Some(entry) = table.entries.get_mut(&self.number) else { return };
        let before = std::mem::replace(&mut entry.owner, owner);
        table.forget(self.number, &before);
        table.index(self.number, &owner);
        drop(table);
        // A change of what it belongs to now may have come just before.
        self.signal.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.all.table.lock();
        if let Some(entry) = table.entries.remove(&self.number) {
            table.forget(self.number, &entry.owner);
        }
        drop(table);
        metrics::gauge!(LIVE_OPEN, "transport" => self.transport.label()).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use writ_model::decide::Actor;

    use super::*;

    fn caller(account: Uuid, via: Via) -> Caller {
        let actor = Actor { id: Some(account), ..Actor::default() };
        Caller { actor, via, lasting: Arc::default() }
    }

    fn session(session: Uuid) -> Via {
        Via::Session { session, by_cookie: false }
    }

    fn open(limits: super::super::Options) -> Open {
        Open::new(&crate::Options { live: limits, ..crate::Options::default() })
    }

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn take(open: &Open, caller: &Caller) -> Place {
        let place = open.take(caller, ADDRESS, Transport::Socket).unwrap();
        assert!(is_told(&place), "everyone asks again once");
        place
    }

    fn is_told(place: &Place) -> bool {
        place.signalled().now_or_never().is_some()
    }

    #[test]
    fn a_change_reaches_those_that_it_concerns() {
        let open = open(Default::default());
        let [account, other, one, two, key] = [0; 5].map(|_| Uuid::now_v7());
        let places = [
            take(&open, &caller(account, session(one))),
            take(&open, &caller(account, session(two))),
            take(&open, &caller(account, Via::ApiKey { key })),
            take(&open, &caller(other, Via::Trusted)),
            take(&open, &Caller::open()),
        ];
        let told = |change| {
            open.tell(change);
            places.each_ref().map(is_told)
        };
        assert_eq!(told(Change::Session(one)), [true, false, false, false, false]);
        assert_eq!(told(Change::Account(account)), [true, true, true, false, false]);
        assert_eq!(told(Change::Key(key)), [false, false, true, false, false]);
        assert_eq!(told(Change::Roles), [true, true, true, true, false]);
        assert_eq!(told(Change::Session(Uuid::now_v7())), [false; 5]);

        places[0].belongs_to(&caller(account, session(two)));
        assert!(is_told(&places[0]), "what happened just before isn't missed");
        assert_eq!(told(Change::Session(one)), [false; 5]);
        assert_eq!(told(Change::Session(two)), [true, true, false, false, false]);
        drop(places);
        let table = open.0.table.lock();
        let left = (table.entries.len(), table.by_account.len(), table.by_session.len(), table.by_key.len());
        assert_eq!(left, (0, 0, 0, 0), "nothing is left behind");
    }

    #[test]
    fn places_are_few() {
        let limits = super::super::Options {
            max_open: 4,
            max_open_per_account: 2,
            max_open_per_address: 3,
            ..Default::default()
        };
        let open = open(limits);
        let [one, two] = [0; 2].map(|_| caller(Uuid::now_v7(), Via::Trusted));
        let try_take = |caller: &Caller, address: &str| {
            open.take(caller, address.parse().unwrap(), Transport::Socket).map_err(|problem| problem.detail)
        };
        let places = [try_take(&one, "192.0.2.1").unwrap(), try_take(&one, "192.0.2.2").unwrap()];
        assert!(try_take(&one, "192.0.2.3").unwrap_err().starts_with("The account"));
        let more = [try_take(&two, "192.0.2.1").unwrap(), try_take(&Caller::open(), "192.0.2.1").unwrap()];
        assert!(try_take(&two, "192.0.2.1").unwrap_err().starts_with("The address"));
        assert!(try_take(&two, "192.0.2.9").unwrap_err().starts_with("The server"));
        drop((places, more));
        assert!(try_take(&one, "192.0.2.1").is_ok(), "refused ones keep nothing either");
    }

    #[tokio::test]
    async fn a_listener_that_is_behind_has_everyone_ask_again() {
        let open = open(Default::default());
        let place = take(&open, &caller(Uuid::now_v7(), session(Uuid::now_v7())));
        let (changes, receiver) = tokio::sync::broadcast::channel(2);
        (0..5).for_each(|_| drop(changes.send(Change::Session(Uuid::now_v7()))));
        drop(changes);
        open.watch(receiver, CancellationToken::new()).await;
        assert!(is_told(&place));
    }
}
