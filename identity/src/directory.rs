//! What every api instance knows of accounts, sessions and roles without asking anyone, so that a grant that is taken away
//! is gone everywhere within moments: the roles, and what was ended or changed in the last minutes.
//!
//! It is kept from the events of the built-in models, in the order of each aggregate. An access token says what held when
//! it was issued, and lives for [`LIFETIME`](crate::access_token::LIFETIME). So whatever a token might wrongly claim has
//! changed since then, and nothing older has to be remembered: [`MEMORY`] is longer than any token lives.
//!
//! It is an addition to what a token proves, never a replacement: what it doesn't know, it doesn't refuse. So nobody may ask
//! before it has been read up to the present ([`Directory::is_ready`]).

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{broadcast, watch};
use uuid::Uuid;
use writ_model::access::{Permission, Permissions};
use writ_model::{Event, Models, Object, State, Timestamp, evolve, value};

use crate::access_token::{Claims, Grant};
use crate::models::{ACCOUNT, API_KEY, ROLE, SESSION, SYSTEM};

/// How far back events matter: the life of an access token with its leeway, and a wide margin for the time between an event's
/// decision and its record, and for clocks.
pub const MEMORY: Duration = Duration::from_secs(30 * 60);

/// The events of an account that change nothing that a token says of it. All others make its tokens void, also those that a
/// later version adds.
const HARMLESS: [&str; 7] =
    ["created", "renamed", "enabled", "signed_in", "proof_sent", "email_verified", "totp_offered"];
/// Entries above which the old ones are looked for.
const MANY: usize = 10_000;
/// Changes that a listener may be behind. One that is further behind is told so, and asks again about everybody.
const BEHIND: usize = 4_096;

/// A cheap handle; all clones are one.
#[derive(Debug, Clone)]
pub struct Directory {
    models: Arc<Models>,
    known: Arc<RwLock<Known>>,
    ready: Arc<watch::Sender<bool>>,
    changes: broadcast::Sender<Change>,
}

/// What an event has changed for those who have proven before who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The session has ended.
    Session(Uuid),
    /// Tokens of the account that were issued before are void.
    Account(Uuid),
    /// The API key isn't what was read of it: revoked, or with other scopes.
    Key(Uuid),
    /// A role allows something else, or is gone, or is new.
    Roles,
}

#[derive(Debug, Default)]
struct Known {
    /// Folded: what there is of each role.
    roles: HashMap<Uuid, State>,
    /// Sessions that have ended, with when.
    ended: HashMap<Uuid, Timestamp>,
    /// Accounts whose tokens are void if they were issued for an earlier version than this, with when.
    changed: HashMap<Uuid, (u64, Timestamp)>,
    /// How often each API key has changed, with when.
    keys: HashMap<Uuid, (u64, Timestamp)>,
}

/// An event of a built-in model.
#[derive(Debug)]
pub struct Happened<'a> {
    /// The model's name.
    pub model: &'a str,
    /// Whose event it is.
    pub aggregate: Uuid,
    /// Its number among the events of its aggregate.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// Which event with which fields. `None`: it can't be decoded, which counts as the worst that it may be.
    pub decoded: Option<(&'a Event, &'a Object)>,
}

/// Why a good token isn't good any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    /// Signed out, or ended in another way.
    #[error("the session has ended")]
    Ended,
    /// Its roles, its credentials or whether it may sign in.
    #[error("the account was changed since")]
    Changed,
}

impl Directory {
    /// One that knows nothing yet. `models`: with the built-in ones.
    pub fn new(models: Arc<Models>) -> Directory {
        let (changes, _) = broadcast::channel(BEHIND);
        Directory { models, known: Arc::default(), ready: Arc::new(watch::Sender::new(false)), changes }
    }

    /// Takes an event in. Repeats do no harm.
    pub fn apply(&self, happened: &Happened<'_>) {
        let change = self.take_in(happened);
        // After it is known, so that whoever is told and asks hears of it. Nobody may be listening.
        if let Some(change) = change {
            let _ = self.changes.send(change);
        }
    }

    /// What changes from now on. A listener that is too far behind gets [`broadcast::error::RecvError::Lagged`] and must ask
    /// again about everybody.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn take_in(&self, happened: &Happened<'_>) -> Option<Change> {
        let Happened { model, aggregate, version, at, decoded } = *happened;
        let mut known = self.known.write();
        let change = match model {
            ROLE => self.apply_role(&mut known, happened).then_some(Change::Roles),
            SESSION => {
                // Every event that ends it says by what.
                let has_ended = decoded.is_none_or(|(_, fields)| {
                    !matches!(fields.get("ended_by"), None | Some(value::Value::Null))
                });
                has_ended.then(|| {
                    known.ended.insert(aggregate, at);
                    Change::Session(aggregate)
                })
            }
            ACCOUNT if decoded.is_some_and(|(event, _)| HARMLESS.contains(&event.name.as_str())) => None,
            ACCOUNT => {
                let entry = known.changed.entry(aggregate).or_insert((version, at));
                *entry = (*entry).max((version, at));
                Some(Change::Account(aggregate))
            }
            API_KEY => {
                let entry = known.keys.entry(aggregate).or_insert((version, at));
                *entry = (*entry).max((version, at));
                Some(Change::Key(aggregate))
            }
            _ => None,
        };
        known.forget_before(Timestamp(at.0.saturating_sub(MEMORY.as_millis() as i64)));
        change
    }

    /// Whether it has changed.
    fn apply_role(&self, known: &mut Known, happened: &Happened<'_>) -> bool {
        let Some(model) = self.models.get(ROLE) else { return false };
        let Happened { aggregate, version, at, decoded, .. } = *happened;
        let Some((event, fields)) = decoded else {
            return known.roles.remove(&aggregate).is_some();
        };
        if known.roles.get(&aggregate).is_some_and(|state| version <= state.version) {
            return false;
        }
        let state = evolve(model, known.roles.remove(&aggregate), event, fields, at);
        known.roles.insert(aggregate, State { version, ..state });
        true
    }

    /// It has been read up to the present of its reader's start.
    pub fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Waits until it may be asked.
    pub async fn wait_ready(&self) {
        // The sender lives as long as this handle.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Whether it may be asked.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Whether a token that is good by itself still holds.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, claims: &Claims) -> Result<(), Void> {
        let Grant { account, session, version, .. } = &claims.grant;
        self.check_grant(*account, *session, *version)
    }

    /// The same for one that was good: of a session of the account, issued when that had this version.
    ///
    /// # Errors
    /// Why not.
    pub fn check_grant(&self, account: Uuid, session: Uuid, version: u64) -> Result<(), Void> {
        let known = self.known.read();
        if known.ended.contains_key(&session) {
            return Err(Void::Ended);
        }
        match known.changed.get(&account) {
            Some((changed, _)) if version < *changed => Err(Void::Changed),
            _ => Ok(()),
        }
    }

    /// The version below which what is known of an account is out of date.
    pub fn changed(&self, account: Uuid) -> Option<u64> {
        self.known.read().changed.get(&account).map(|(version, _)| *version)
    }

    /// How often an API key has changed lately: what was read of it before doesn't hold when this is another number.
    pub fn key_version(&self, key: Uuid) -> u64 {
        self.known.read().keys.get(&key).map_or(0, |(version, _)| *version)
    }

    /// The names of those of the roles that there are.
    pub fn names<'a>(&self, roles: impl IntoIterator<Item = &'a Uuid>) -> Vec<String> {
        let known = self.known.read();
        let names: BTreeSet<&str> =
            roles.into_iter().filter_map(|id| known.roles.get(id)).filter_map(name).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// What the roles with these names allow, and those of the names that there are.
    pub fn resolve(&self, names: &[String]) -> (Vec<String>, Permissions) {
        let model = self.models.get(ROLE);
        let known = self.known.read();
        let found = names.iter().filter(|name| *name != SYSTEM).filter_map(|own| {
            let role = known.roles.get(&model?.id_of_key(own)?)?;
            name(role).map(|_| (own.clone(), permissions(role)))
        });
        let (names, permissions): (Vec<String>, Vec<Vec<Permission>>) = found.unzip();
        (names, permissions.into_iter().flatten().collect())
    }
}

impl Known {
    fn forget_before(&mut self, then: Timestamp) {
        if self.ended.len() > MANY {
            self.ended.retain(|_, at| *at >= then);
        }
        if self.changed.len() > MANY {
            self.changed.retain(|_, (_, at)| *at >= then);
        }
        if self.keys.len() > MANY {
            self.keys.retain(|_, (_, at)| *at >= then);
        }
    }
}

fn name(role: &State) -> Option<&str> {
    match role.fields.get("name") {
        Some(value::Value::Text(name)) if !role.deleted => Some(name),
        _ => None,
    }
}

/// One that can't be read allows nothing; the model's pattern lets none in.
fn permissions(role: &State) -> Vec<Permission> {
    let Some(value::Value::List(items)) = role.fields.get("permissions") else { return Vec::new() };
    items.iter().filter_map(|item| item.to_json().as_str().and_then(|text| text.parse().ok())).collect()
}
