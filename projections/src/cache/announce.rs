//! The projector's word to the cache: what its next commit changes.

use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::entry::mark;
use super::link::Away;
use super::{ANNOUNCE_LIMIT, Cache, MARK_LIFETIME, Places};

/// What a batch changes of one model.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) model: &'a str,
    /// Of the partitions that it moves, after it.
    pub(crate) places: Places,
    /// The changed rows, each with its partition and that partition's place after the batch.
    pub(crate) rows: Vec<(Uuid, i32, i64)>,
}

/// Announces changes. Remembers when it could not, and makes up for it.
#[derive(Debug)]
pub(crate) struct Announcer {
    cache: Cache,
    /// Something may have been committed that Redis doesn't know of, so entries of today's epoch may be old.
    is_behind: AtomicBool,
}

impl Announcer {
    pub(crate) fn new(cache: Cache) -> Announcer {
        // Nobody knows what the process before could say.
        Announcer { cache, is_behind: AtomicBool::new(true) }
    }

    /// Everything that is cached may be old: partitions have come from somebody else, or a commit's outcome is unknown.
    pub(crate) fn doubt(&self) {
        self.is_behind.store(true, Ordering::Relaxed);
    }

    /// Begins a new epoch if something could not be announced. `places`: by model, of all of the projector's partitions.
    pub(crate) async fn catch_up<'a>(&self, places: impl Iterator<Item = (&'a str, Places)>) {
        if self.is_behind.load(Ordering::Relaxed) {
            self.is_behind.store(self.begin(places).await.is_err(), Ordering::Relaxed);
        }
    }

    async fn begin<'a>(&self, places: impl Iterator<Item = (&'a str, Places)>) -> Result<(), Away> {
        for (model, places) in places {
            self.move_announced(model, &places).await?;
        }
        // Last: an entry of the new epoch was read after the places were there.
        self.cache.renew().await
    }

    /// Before the commit. What Redis can't be told now makes a new epoch later; the commit doesn't wait for it.
    pub(crate) async fn announce(&self, changes: &[Change<'_>]) {
        if !matches!(self.tell(changes).await, Ok(true)) {
            self.doubt();
        }
    }

    /// `false`: Redis didn't know the places of a model, so it doesn't know all of them now.
    async fn tell(&self, changes: &[Change<'_>]) -> Result<bool, Away> {
        let mut marks = redis::pipe();
        for change in changes {
            for (id, partition, next) in &change.rows {
                let (key, mark) = (self.cache.row_key(change.model, *id), mark(*partition, *next));
                marks.set_ex(key, mark, MARK_LIFETIME.as_secs()).ignore();
            }
        }
        self.cache.shared.link.ask::<()>(&marks, ANNOUNCE_LIMIT).await?;
        let mut known = true;
        for change in changes {
            known &= self.move_announced(change.model, &change.places).await?;
        }
        Ok(known)
    }

    async fn move_announced(&self, model: &str, places: &Places) -> Result<bool, Away> {
        let mut call = self.cache.shared.announce.key(self.cache.announced_key(model));
        for (partition, next) in places.iter() {
            call.arg(partition).arg(next);
        }
        self.cache.shared.link.call(&call, ANNOUNCE_LIMIT).await
    }
}
