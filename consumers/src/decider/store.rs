//! The decider's local copy of `writ.state`: an LSM store, so memory stays bounded whatever the number of aggregates.
//!
//! One keyspace per partition holds its records and its checkpoint: the offset in `writ.state` up to which it is
//! complete. The store is a cache: losing it costs time, nothing else. It remembers which Kafka it belongs to and
//! empties itself when it meets another.
//!
//! # Behind, never wrong
//!
//! A store that is behind is brought up from the topic. One that has a later checkpoint and lacks an earlier record
//! would decide on an old state, so that must not happen:
//!
//! - *Writes are atomic.* Records and checkpoint are one batch with one checksum in the journal, and go to the memtable
//!   under the journal's lock; a memtable becomes a file as a whole, after the journal was synced. So each partition
//!   is at every moment a prefix of its writes, also in what a kill or a power cut leaves: the journal's torn end is
//!   cut off, and writes are not synced one by one, so a power cut can cost the last ones. The topic has them.
//! - *Reads are checked.* Every block that comes from the disk carries a checksum over header and data, which is
//!   verified each time; so does every batch of the journal when it is read at start. The list of files is part of
//!   the store, so a file that is missing is an error.
//! - *A damaged journal in the middle is found here* ([`journal`]). The LSM library cuts a journal at the first entry
//!   that it can't parse. For the newest journal this leaves a prefix; for an older one it would leave a hole.
//! - *What is found damaged is emptied and read anew*, at the start or later ([`Store::open`], [`discard`]), and counted.
//!
//! # Memory
//!
//! | part | bound |
//! |---|---|
//! | cache of blocks, indexes and filters | [`CACHE_BYTES`] |
//! | records that are not in files yet | about twice [`MEMTABLE_BYTES`] for each partition |
//!
//! Nothing of it grows with the aggregates, but for pinned filters and indexes of the youngest files.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fjall::config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use uuid::Uuid;

use crate::{metrics, node};

mod journal;

/// Blocks, indexes and filters of the files that are read.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Records of one partition that wait to become a file.
const MEMTABLE_BYTES: u64 = 2 * 1024 * 1024;
/// Journals on disk. They are read at the start, so this bounds its duration too.
const JOURNAL_BYTES: u64 = 128 * 1024 * 1024;
/// One thread turns memtables into files and merges files.
const WORKERS: usize = 1;
/// Open files: each partition has a few dozen.
const OPEN_FILES: usize = 512;
/// Memtables of one partition that wait to become files before writers are held up.
const SEALED_MEMTABLES: usize = 2;
const BACKPRESSURE_PAUSE: Duration = Duration::from_millis(2);
/// Part of the identity: a store of another layout is emptied.
const FORMAT: u32 = 2;

/// A failed operation of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it open.
    #[error("another process uses it; give each `writ serve` a data folder of its own")]
    InUse,
    /// The LSM store failed.
    #[error("the LSM store failed: {0}")]
    Lsm(#[from] fjall::Error),
    /// The folder can't be made or emptied.
    #[error("the folder can't be used")]
    Folder(#[from] std::io::Error),
    /// Its files are damaged.
    #[error("the files are damaged: {0}")]
    Damaged(String),
}

impl Error {
    /// Whether the store must be emptied: its files are wrong. Else the surroundings are (a full disk, too many open
    /// files), and opening it again is enough once they are right.
    pub fn is_damage(&self) -> bool {
        fn is_surroundings(error: &std::io::Error) -> bool {
            use std::io::ErrorKind;
            matches!(
                error.kind(),
                ErrorKind::StorageFull
                    | ErrorKind::QuotaExceeded
                    | ErrorKind::ReadOnlyFilesystem
                    | ErrorKind::PermissionDenied
                    | ErrorKind::OutOfMemory
            ) || error.raw_os_error().is_some_and(|code| code == EMFILE || code == ENFILE)
        }
        /// `errno` has no names in the standard library.
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        match self {
            Error::InUse | Error::Folder(_) => false,
            Error::Damaged(_) => true,
            Error::Lsm(fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error))) => {
                !is_surroundings(error)
            }
            // Also `Poisoned`: the library's worker failed, and would fail again on what it finds.
            Error::Lsm(_) => true,
        }
    }
}

const META: &str = "meta";
const IDENTITY: &str = "identity";
/// Within the data folder: the LSM store, which may be emptied. The node id beside it stays.
const STATE: &str = "state";

/// First bytes of the keys within a partition.
mod tag {
    pub(super) const RECORD: u8 = b'r';
    pub(super) const EXPIRY: u8 = b'x';
    pub(super) const CHECKPOINT: &[u8] = b"checkpoint";
}

/// The store of one process.
pub(super) struct Store {
    database: Database,
    node: Uuid,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A record of `writ.state`: an aggregate's state or a command's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Key of the record.
    pub(super) key: String,
    /// `None`: it is gone.
    pub(super) value: Option<Vec<u8>>,
    /// When its value may go: time of the command, milliseconds. `None`: never.
    pub(super) since: Option<i64>,
}

impl Store {
    /// Opens the store in `folder`, or makes it. One that belongs to another Kafka (`identity`) or can't be read is
    /// emptied.
    ///
    /// # Errors
    /// [`Error::InUse`]; the disk fails.
    pub(super) fn open(folder: &Path, identity: &str) -> Result<Store, Error> {
        let state = folder.join(STATE);
        std::fs::create_dir_all(&state)?;
        let database = match Self::open_database(&state, identity) {
            Ok(Some(database)) => database,
            Err(Error::InUse) => return Err(Error::InUse),
            unusable => {
                let reason = match unusable {
                    Err(error) => error.to_string(),
                    Ok(_) => "it belongs to another Kafka".to_owned(),
                };
                discard(folder, &reason)?;
                std::fs::create_dir_all(&state)?;
                // A new store takes the identity that it is asked for.
                Self::open_database(&state, identity)?.ok_or(Error::InUse)?
            }
        };
        // After the store's lock is held, so that two processes never make one each.
        Ok(Store { database, node: node::id(folder)? })
    }

    /// `None`: it belongs to another Kafka.
    fn open_database(folder: &Path, identity: &str) -> Result<Option<Database>, Error> {
        // Some damage makes the library panic instead of saying so.
        std::panic::catch_unwind(AssertUnwindSafe(|| {
            Self::open_checked(folder, &format!("{FORMAT} {identity}"))
        }))
        .unwrap_or_else(|panic| Err(Error::Damaged(panic_message(&*panic))))
    }

    fn open_checked(folder: &Path, identity: &str) -> Result<Option<Database>, Error> {
        let journals = journal::Sealed::find(folder)?;
        let database = Database::builder(folder)
            .worker_threads(WORKERS)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .max_cached_files(Some(OPEN_FILES))
            .open()
            .map_err(|error| match error {
                fjall::Error::Locked => Error::InUse,
                other => Error::Lsm(other),
            })?;
        journals.check()?;
        let meta = database.keyspace(META, keyspace_options)?;
        match meta.get(IDENTITY)? {
            Some(found) if *found != *identity.as_bytes() => return Ok(None),
            Some(_) => {}
            None => {
                meta.insert(IDENTITY, identity)?;
                database.persist(PersistMode::SyncAll)?;
            }
        }
        Ok(Some(database))
    }

    /// The id of the process that holds the store. It outlives the store's contents.
    pub(super) fn node(&self) -> Uuid {
        self.node
    }

    /// The part of one partition.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn partition(&self, number: i32) -> Result<Partition, Error> {
        let keyspace = self.database.keyspace(&format!("partition-{number}"), keyspace_options)?;
        let earliest = Arc::new(AtomicI64::new(i64::MIN));
        Ok(Partition { database: self.database.clone(), keyspace, earliest })
    }
}

/// The records of one partition.
#[derive(Clone)]
pub(super) struct Partition {
    database: Database,
    keyspace: Keyspace,
    /// Nothing expires before this: the oldest `since`, or an earlier time. Saves a search in every batch.
    earliest: Arc<AtomicI64>,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition").finish_non_exhaustive()
    }
}

impl Partition {
    /// The value of a record.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn get(&self, key: &str) -> Result<Option<fjall::Slice>, Error> {
        Ok(self.keyspace.get(record_key(key))?)
    }

    /// The records whose keys begin with `prefix`, in the order of their keys.
    pub(super) fn scan(
        &self,
        prefix: &str,
    ) -> impl Iterator<Item = Result<(String, fjall::Slice), Error>> + use<> {
        self.keyspace.prefix(record_key(prefix)).filter_map(|entry| match entry.into_inner() {
            // Every key was written from a text.
            Ok((key, value)) => Some(Ok((String::from_utf8(key[1..].to_vec()).ok()?, value))),
            Err(error) => Some(Err(error.into())),
        })
    }

    /// The offset in `writ.state` up to which this is complete; 0 for a new one.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn checkpoint(&self) -> Result<i64, Error> {
        let bytes = self.keyspace.get(tag::CHECKPOINT)?;
        Ok(bytes.and_then(|bytes| <[u8; 8]>::try_from(&*bytes).ok()).map_or(0, i64::from_be_bytes))
    }

    /// Applies records and moves the checkpoint, atomically.
    ///
    /// # Errors
    /// The disk fails; nothing is applied.
    pub(super) fn apply(&self, changes: &[Change], checkpoint: i64) -> Result<(), Error> {
        self.await_room()?;
        let mut batch = OwnedWriteBatch::with_capacity(self.database.clone(), 2 * changes.len() + 1);
        for change in changes {
            match &change.value {
                Some(value) => batch.insert(&self.keyspace, record_key(&change.key), value.as_slice()),
                None => batch.remove(&self.keyspace, record_key(&change.key)),
            }
            if let Some(since) = change.since {
                self.earliest.fetch_min(since, Ordering::Relaxed);
                match change.value {
                    Some(_) => batch.insert(&self.keyspace, expiry_key(since, &change.key), b"".as_slice()),
                    None => batch.remove(&self.keyspace, expiry_key(since, &change.key)),
                }
            }
        }
        batch.insert(&self.keyspace, tag::CHECKPOINT, checkpoint.to_be_bytes());
        Ok(batch.commit()?)
    }

    /// Records whose `since` is before `before`, oldest first, as the changes that remove them.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn expired(&self, before: i64, limit: usize) -> Result<Vec<Change>, Error> {
        if before <= self.earliest.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let mut expired = Vec::new();
        let mut earliest = i64::MAX;
        for entry in self.keyspace.range(expiry_key(i64::MIN, "")..expiry_key(i64::MAX, "")) {
            let key = entry.key()?;
            let Some((since, key)) = parse_expiry_key(&key) else { continue };
            if since >= before || expired.len() == limit {
                earliest = since;
                break;
            }
            expired.push(Change { key, value: None, since: Some(since) });
        }
        // What is returned stays until it is applied, so until then it is still the earliest.
        let earliest = expired.first().and_then(|first| first.since).unwrap_or(earliest);
        self.earliest.store(earliest, Ordering::Relaxed);
        Ok(expired)
    }

    /// Waits while the worker is behind: what is written is held in memory until it is in a file. The library would
    /// wait by itself, but also for a worker that has failed, without end.
    fn await_room(&self) -> Result<(), Error> {
        while self.keyspace.sealed_memtable_count() >= SEALED_MEMTABLES {
            // Fails when the worker has failed.
            self.database.persist(PersistMode::Buffer)?;
            std::thread::sleep(BACKPRESSURE_PAUSE);
        }
        Ok(())
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn clear(&self) -> Result<(), Error> {
        self.earliest.store(i64::MIN, Ordering::Relaxed);
        Ok(self.keyspace.clear()?)
    }
}

/// Empties the store in `folder`, which nobody has open any more; it is read from the topic again. The node id stays.
///
/// # Errors
/// The disk fails.
pub(super) fn discard(folder: &Path, reason: &str) -> Result<(), Error> {
    let state = folder.join(STATE);
    ::metrics::counter!(metrics::STORES_DISCARDED).increment(1);
    tracing::warn!(store.path = %state.display(), reason, "the state store is emptied and read anew");
    match std::fs::remove_dir_all(&state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn keyspace_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        // A new command's key is not there yet: filters spare the search. 10 bits per key: one search in a hundred for nothing.
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0))))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the LSM store panicked".into())
}

fn record_key(key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 1);
    bytes.push(tag::RECORD);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

fn expiry_key(since: i64, key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 9);
    bytes.push(tag::EXPIRY);
    bytes.extend_from_slice(&order_preserving(since));
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

fn parse_expiry_key(bytes: &[u8]) -> Option<(i64, String)> {
    let (tag, rest) = bytes.split_first()?;
    let (since, key) = rest.split_first_chunk::<8>()?;
    if *tag != tag::EXPIRY {
        return None;
    }
    let since = u64::from_be_bytes(*since) ^ (1 << 63);
    Some((since.cast_signed(), String::from_utf8(key.to_vec()).ok()?))
}

/// Big-endian with the sign bit flipped: the order of the bytes is the order of the numbers.
fn order_preserving(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, value: Option<&str>, since: Option<i64>) -> Change {
        Change { key: key.into(), value: value.map(|value| value.as_bytes().to_vec()), since }
    }

    #[test]
    fn records_and_checkpoint_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let node = {
            let store = Store::open(folder.path(), "kafka-1").unwrap();
            let partition = store.partition(3).unwrap();
            assert_eq!(partition.checkpoint().unwrap(), 0);
            partition.apply(&[change("order/1", Some("placed"), None)], 17).unwrap();
            store.node()
        };
        let store = Store::open(folder.path(), "kafka-1").unwrap();
        let partition = store.partition(3).unwrap();
        assert_eq!(store.node(), node);
        assert_eq!(partition.checkpoint().unwrap(), 17);
        assert_eq!(partition.get("order/1").unwrap().as_deref(), Some(b"placed".as_slice()));
        assert_eq!(store.partition(4).unwrap().get("order/1").unwrap(), None);
    }

    #[test]
    fn a_store_of_another_kafka_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "kafka-1").unwrap();
        store.partition(0).unwrap().apply(&[change("order/1", Some("placed"), None)], 17).unwrap();
        drop(store);
        let node = std::fs::read_to_string(folder.path().join(node::NODE)).unwrap();
        let store = Store::open(folder.path(), "kafka-2").unwrap();
        assert_eq!(store.node().to_string(), node, "the node keeps its id");
        assert_eq!(store.partition(0).unwrap().get("order/1").unwrap(), None);
        assert_eq!(store.partition(0).unwrap().checkpoint().unwrap(), 0);
    }

    #[test]
    fn a_store_that_cannot_be_read_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path(), "kafka-1").unwrap());
        for entry in std::fs::read_dir(folder.path().join(STATE)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && path.file_name().is_some_and(|name| name != "lock") {
                std::fs::write(path, b"garbage").unwrap();
            }
        }
        let store = Store::open(folder.path(), "kafka-1").unwrap();
        assert_eq!(store.partition(0).unwrap().checkpoint().unwrap(), 0);
    }

    #[test]
    fn two_processes_cannot_share_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Store::open(folder.path(), "kafka-1").unwrap();
        assert!(matches!(Store::open(folder.path(), "kafka-1"), Err(Error::InUse)));
    }

    #[test]
    fn outcomes_expire_oldest_first_and_only_when_due() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "kafka-1").unwrap();
        let partition = store.partition(0).unwrap();
        let outcomes = [(30, "c"), (-5, "a"), (10, "b")];
        let changes: Vec<_> =
            outcomes.iter().map(|(since, key)| change(key, Some("x"), Some(*since))).collect();
        partition.apply(&changes, 1).unwrap();
        let due = partition.expired(30, 10).unwrap();
        assert_eq!(due, [change("a", None, Some(-5)), change("b", None, Some(10))]);
        partition.apply(&due, 2).unwrap();
        assert_eq!(partition.get("a").unwrap(), None);
        assert!(partition.expired(30, 10).unwrap().is_empty());
        assert!(partition.get("c").unwrap().is_some());
    }
}
