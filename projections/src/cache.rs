//! The cache: rows and hot lists in Redis, between [`query`](crate::query) and PostgreSQL.
//!
//! ```text
//! reader:     ask Redis ─► usable? answer ─► else PostgreSQL (row and places in one snapshot) ─► keep in Redis
//! projector:  … write rows ─► announce the changes in Redis ─► commit
//! ```
//!
//! # Why no answer is older than its reader may see
//!
//! An *entry* carries the places, by partition, of the rows' projection in the very snapshot in which it was read: it has
//! every event below these places. From this follows all else.
//!
//! **Read your writes.** A reader with a `Writ-Position` takes an entry only if the entry's place in that partition is
//! beyond the position. It never has to trust that somebody has removed an old one.
//!
//! **Invalidation by events.** Before the projector commits a batch it *announces* it: each changed row's entry is
//! replaced by a mark with the place after the batch, and the model's list of announced places moves on. A mark gives way
//! only to an entry whose places have reached it (a compare-and-set in Redis), and a list is used only if its places have
//! reached every announced one. A reader whose snapshot is from before the commit doesn't have those places, so what it
//! found is not kept, or not used, however late it arrives. Announced before the commit, the change is known even if the
//! projector dies between the two; announced and never committed, the row is just not cached until its partition has
//! moved past the mark.
//!
//! **What Redis forgets.** An evicted row takes its mark along, so an old snapshot could be kept after it: a reader keeps
//! nothing that took it longer than [`FRESH`]. Evicted announced places make the model's lists unusable until they are
//! announced again. Every entry carries the *epoch*, a random text in Redis: when Redis has lost everything, or a
//! projector gets partitions or could not announce something, there is a new epoch, and no entry of an earlier one is
//! used.
//!
//! What remains: a projector that can't reach Redis while readers can. Those of them without a `Writ-Position` may see an
//! entry for up to [`LIFETIME`] that is older than the row; those with one may not.
//!
//! **Without Redis** everything is read from PostgreSQL. A failed call switches the cache off for a second, so that a
//! Redis that hangs costs one query its time limit, not every one.

mod announce;
mod entry;
mod link;

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache as Seen;
use redis::{Cmd, Script};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_model::Position;
use writ_producers::readiness::Readiness;

use crate::metrics;
use crate::tables::fnv1a;

pub(crate) use announce::{Announcer, Change};
use entry::Entry;
pub(crate) use entry::Places;
use link::{Away, Link};

/// How long an entry is kept.
const LIFETIME: Duration = Duration::from_secs(60);
/// A mark outlives every entry from before it: the longest transaction and the longest fill are part of it.
const MARK_LIFETIME: Duration = Duration::from_secs(180);
/// What took longer to read is not kept.
const FRESH: Duration = Duration::from_secs(1);
/// Longest wait for an answer of Redis: PostgreSQL has the row in less.
const READ_LIMIT: Duration = Duration::from_millis(50);
/// Longest wait of somebody who has news for it.
const ANNOUNCE_LIMIT: Duration = Duration::from_millis(500);
/// Between two requests of a list that make it a hot one.
const HOT: Duration = Duration::from_secs(10);
/// How many lists are remembered as asked for once.
const SEEN: usize = 4096;
/// Bytes of the largest entry, and of the longest request of a list.
const MAX_BODY: usize = 256 * 1024;
const MAX_REQUEST: usize = 1024;

/// Where Redis is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Connection URL.
    pub url: String,
    /// Whether rows and lists are cached there.
    pub cache: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { url: "redis://127.0.0.1:6379".into(), cache: true }
    }
}

/// `redis.url` can't be used.
#[derive(Debug, thiserror::Error)]
#[error("redis.url is no connection URL such as redis://host:6379: {0}")]
pub struct InvalidUrl(String);

/// A cheap handle on what Redis keeps.
#[derive(Debug, Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    link: Link,
    /// Begins every key: servers of one application and one schema share what follows.
    prefix: String,
    /// Lists by the hash of their request, and when they were last asked for.
    seen: Seen<u64, Instant>,
    keep: Script,
    announce: Script,
}

/// What is cached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What<'a> {
    /// The row of an aggregate.
    Row(Uuid),
    /// A page; the text is the whole request.
    List(&'a str),
}

impl What<'_> {
    fn kind(&self) -> &'static str {
        match self {
            What::Row(_) => "row",
            What::List(_) => "list",
        }
    }
}

/// What Redis had.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// An answer that this reader may see.
    Hit(Box<RawValue>),
    /// None; what is read from PostgreSQL instead may be kept.
    Miss(Ticket),
    /// None, and nothing is to be kept.
    Off,
}

/// The right to keep what PostgreSQL answers.
#[derive(Debug)]
pub(crate) struct Ticket {
    key: String,
    epoch: String,
    layout: u64,
    begun: Instant,
}

impl Cache {
    /// A handle on the cache of the servers with this topic prefix and schema. Connects on first use; must be called
    /// within a tokio runtime. `None`: the cache is switched off.
    ///
    /// # Errors
    /// The URL is none of Redis.
    pub fn new(options: &Options, topic_prefix: &str, schema: &str) -> Result<Option<Cache>, InvalidUrl> {
        if !options.cache {
            return Ok(None);
        }
        let link = Link::new(&options.url).map_err(|error| InvalidUrl(error.to_string()))?;
        let shared = Shared {
            link,
            prefix: format!("{topic_prefix}:{schema}"),
            seen: Seen::new(SEEN),
            keep: Script::new(include_str!("cache/keep.lua")),
            announce: Script::new(include_str!("cache/announce.lua")),
        };
        Ok(Some(Cache { shared: Arc::new(shared) }))
    }

    /// Asks for an answer of `model`, whose rows now have the columns that `layout` stands for, that has all of
    /// `positions`.
    pub(crate) async fn look(
        &self,
        model: &str,
        what: What<'_>,
        layout: u64,
        positions: &[Position],
    ) -> Lookup {
        let lookup = self.find(model, what, layout, positions).await;
        let outcome = match &lookup {
            Ok(Lookup::Hit(_)) => "hit",
            Ok(Lookup::Miss(_)) => "miss",
            Ok(Lookup::Off) => "skipped",
            Err(_) => "failed",
        };
        ::metrics::counter!(metrics::CACHE_READS, "kind" => what.kind(), "outcome" => outcome).increment(1);
        lookup.unwrap_or(Lookup::Off)
    }

    async fn find(
        &self,
        model: &str,
        what: What<'_>,
        layout: u64,
        positions: &[Position],
    ) -> Result<Lookup, Away> {
        let begun = Instant::now();
        // Positions of other models are for PostgreSQL's places to answer.
        if positions.iter().any(|position| position.model != model) {
            return Ok(Lookup::Off);
        }
        let key = match what {
            What::Row(id) => self.row_key(model, id),
            What::List(request) if request.len() > MAX_REQUEST => return Ok(Lookup::Off),
            What::List(request) => self.key(&["list", model, request]),
        };
        let mut ask = redis::pipe();
        ask.add_command(Cmd::get(self.epoch_key())).add_command(Cmd::get(&key));
        let (epoch, entry, announced): (Option<String>, Option<Vec<u8>>, Option<Places>) = match what {
            What::Row(_) => {
                let (epoch, entry) = self.shared.link.ask(&ask, READ_LIMIT).await?;
                (epoch, entry, None)
            }
            What::List(_) => {
                ask.add_command(Cmd::hgetall(self.announced_key(model)));
                let (epoch, entry, announced) = self.shared.link.ask(&ask, READ_LIMIT).await?;
                (epoch, entry, Some(announced))
            }
        };
        let Some(epoch) = epoch else {
            // Redis is new, or has dropped it. Any text does that no entry has.
            let begin = Cmd::set(self.epoch_key(), new_epoch()).arg("NX").to_owned();
            let _: Option<String> = self.shared.link.ask_one(&begin, READ_LIMIT).await?;
            return Ok(Lookup::Off);
        };
        let entry = entry.and_then(|bytes| Entry::read(&bytes)).filter(|entry| {
            entry.epoch == epoch
                && entry.layout == layout
                && announced.is_none_or(|announced| entry.places.has_reached(&announced))
                && positions.iter().all(|position| entry.places.has(position))
        });
        match entry.and_then(|entry| entry.body) {
            Some(body) => Ok(Lookup::Hit(body)),
            None if self.is_worth_keeping(what, &key) => {
                Ok(Lookup::Miss(Ticket { key, epoch, layout, begun }))
            }
            None => Ok(Lookup::Off),
        }
    }

    /// Keeps an answer of PostgreSQL with the places of its snapshot.
    pub(crate) async fn keep(&self, ticket: Ticket, places: &Places, body: &RawValue) {
        if ticket.begun.elapsed() > FRESH || places.is_empty() || body.get().len() > MAX_BODY {
            return;
        }
        let Ticket { key, epoch, layout, .. } = ticket;
        let entry = Entry { epoch, layout, places: places.clone(), body: Some(body.to_owned()) };
        let mut call = self.shared.keep.key(key);
        call.arg(entry.write()).arg(LIFETIME.as_secs());
        // What can't be kept is read again; the link shows that Redis is away.
        let _ = self.shared.link.call::<bool>(&call, READ_LIMIT).await;
    }

    /// Begins a new epoch, after a commit that wasn't announced: nothing that is cached now is used again. Whoever reads
    /// before the commit has a ticket of the epoch before, so what it finds isn't used either.
    pub(crate) async fn renew(&self) -> Result<(), Away> {
        let epoch = Cmd::set(self.epoch_key(), new_epoch());
        self.shared.link.ask_one(&epoch, ANNOUNCE_LIMIT).await
    }

    /// Keeps `readiness` (the part `redis`) up to date until `cancel`. Without Redis the server works, so it is never
    /// waited for.
    pub async fn watch(&self, cancel: CancellationToken, readiness: watch::Sender<Readiness>) {
        self.shared.link.watch(cancel, readiness).await;
    }

    /// A row may be asked for again; a list only is when it just was.
    fn is_worth_keeping(&self, what: What<'_>, key: &str) -> bool {
        match what {
            What::Row(_) => true,
            What::List(_) => {
                let hash = fnv1a(key.as_bytes());
                let before = self.shared.seen.get(&hash);
                self.shared.seen.insert(hash, Instant::now());
                before.is_some_and(|before| before.elapsed() < HOT)
            }
        }
    }

    fn epoch_key(&self) -> String {
        self.key(&["epoch"])
    }

    fn row_key(&self, model: &str, id: Uuid) -> String {
        self.key(&["row", model, &id.simple().to_string()])
    }

    fn announced_key(&self, model: &str) -> String {
        self.key(&["announced", model])
    }

    fn key(&self, parts: &[&str]) -> String {
        format!("{}:{}", self.shared.prefix, parts.join(":"))
    }
}

fn new_epoch() -> String {
    Uuid::new_v4().simple().to_string()
}
