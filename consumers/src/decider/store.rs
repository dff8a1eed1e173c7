//! The decider's local copy of `writ.state`: an LSM store, so memory stays bounded whatever the number of aggregates.
//!
//! One keyspace per partition holds its records and its checkpoint: the offset in `writ.state` up to which it is
//! complete. Both change in one atomic write, so whatever a crash leaves is a true, if older, picture, and the topic
//! has the rest. The store is a cache: losing it costs time, nothing else. It remembers which Kafka it belongs to
//! and empties itself when it meets another.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use uuid::Uuid;

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
}

const META: &str = "meta";
const IDENTITY: &str = "identity";
/// Within the data folder: the LSM store, which may be emptied, and the file of the node id, which stays.
const STATE: &str = "state";
const NODE: &str = "node";

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
                tracing::warn!(store.path = %state.display(), reason, "the state store is emptied and read anew");
                std::fs::remove_dir_all(&state)?;
                // A new store takes the identity that it is asked for.
                Self::open_database(&state, identity)?.ok_or(Error::InUse)?
            }
        };
        // After the store's lock is held, so that two processes never make one each.
        Ok(Store { database, node: node_id(&folder.join(NODE))? })
    }

    /// `None`: it belongs to another Kafka.
    fn open_database(folder: &Path, identity: &str) -> Result<Option<Database>, Error> {
        let database = Database::builder(folder).worker_threads(1).open().map_err(|error| match error {
            fjall::Error::Locked => Error::InUse,
            other => Error::Lsm(other),
        })?;
        let meta = database.keyspace(META, KeyspaceCreateOptions::default)?;
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
        let keyspace =
            self.database.keyspace(&format!("partition-{number}"), KeyspaceCreateOptions::default)?;
        Ok(Partition { database: self.database.clone(), keyspace })
    }
}

/// The records of one partition.
#[derive(Clone)]
pub(super) struct Partition {
    database: Database,
    keyspace: Keyspace,
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
        let mut batch = OwnedWriteBatch::with_capacity(self.database.clone(), 2 * changes.len() + 1);
        for change in changes {
            match &change.value {
                Some(value) => batch.insert(&self.keyspace, record_key(&change.key), value.as_slice()),
                None => batch.remove(&self.keyspace, record_key(&change.key)),
            }
            if let Some(since) = change.since {
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
        let range = expiry_key(i64::MIN, "")..expiry_key(before, "");
        let mut expired = Vec::new();
        for entry in self.keyspace.range(range).take(limit) {
            let key = entry.key()?;
            let Some((since, key)) = parse_expiry_key(&key) else { continue };
            expired.push(Change { key, value: None, since: Some(since) });
        }
        Ok(expired)
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn clear(&self) -> Result<(), Error> {
        Ok(self.keyspace.clear()?)
    }
}

/// The id in `file`, or a new one that is kept there.
fn node_id(file: &Path) -> Result<Uuid, Error> {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            if let Ok(node) = text.trim().parse() {
                return Ok(node);
            }
            tracing::warn!(path = %file.display(), "the file holds no node id; a new one is made");
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let node = Uuid::now_v7();
    std::fs::write(file, node.to_string())?;
    Ok(node)
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
        let node = std::fs::read_to_string(folder.path().join(NODE)).unwrap();
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
