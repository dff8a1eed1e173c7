//! The projector's word to the cache: what its next commit changes.

use std::time::Duration;

use redis::Cmd;
use uuid::Uuid;

use super::entry::mark;
use super::link::Away;
use super::{Cache, MARK_LIFETIME, Places, new_epoch};

/// Longest wait for Redis; meanwhile a transaction is open.
const LIMIT: Duration = Duration::from_millis(500);

/// What a batch changes of one model.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) model: &'a str,
    /// Of all of the projector's partitions of the model's topic, after the batch.
    pub(crate) places: Places,
    /// The changed rows, each with its partition and that partition's place after the batch.
    pub(crate) rows: Vec<(Uuid, i32, i64)>,
}

/// Announces changes. Remembers when it could not, and makes up for it.
#[derive(Debug)]
pub(crate) struct Announcer {
    cache: Cache,
    /// Something was committed that Redis doesn't know of, so entries of today's epoch may be old.
    is_behind: bool,
}

impl Announcer {
    pub(crate) fn new(cache: Cache) -> Announcer {
        // Nobody knows what the process before could say.
        Announcer { cache, is_behind: true }
    }

    /// Everything that is cached may be old: partitions have come from somebody else, or a commit's outcome is unknown.
    pub(crate) fn doubt(&mut self) {
        self.is_behind = true;
    }

    /// Begins a new epoch if something could not be announced. `places`: by model, of all of the projector's partitions.
    pub(crate) async fn catch_up(&mut self, places: &[(&str, Places)]) {
        if self.is_behind && !places.is_empty() {
            self.is_behind = self.begin(places).await.is_err();
        }
    }

    async fn begin(&self, places: &[(&str, Places)]) -> Result<(), Away> {
        let link = &self.cache.shared.link;
        for (model, places) in places {
            self.move_announced(model, places, "begin").await?;
        }
        // Last: an entry of the new epoch was read after the places were there.
        let epoch = Cmd::set(self.cache.epoch_key(), new_epoch());
        link.ask_one(&epoch, LIMIT).await
    }

    /// Before the commit. What Redis can't be told now makes a new epoch later; the commit doesn't wait for it.
    pub(crate) async fn announce(&mut self, changes: &[Change<'_>]) {
        if !self.is_behind {
            self.is_behind = self.tell(changes).await.is_err();
        }
    }

    async fn tell(&self, changes: &[Change<'_>]) -> Result<(), Away> {
        let mut marks = redis::pipe();
        for change in changes {
            for (id, partition, next) in &change.rows {
                let (key, mark) = (self.cache.row_key(change.model, *id), mark(*partition, *next));
                marks.set_ex(key, mark, MARK_LIFETIME.as_secs()).ignore();
            }
        }
        self.cache.shared.link.ask::<()>(&marks, LIMIT).await?;
        for change in changes {
            self.move_announced(change.model, &change.places, "move").await?;
        }
        Ok(())
    }

    async fn move_announced(&self, model: &str, places: &Places, how: &str) -> Result<(), Away> {
        let mut call = self.cache.shared.announce.key(self.cache.announced_key(model));
        call.arg(how);
        for (partition, next) in places.iter() {
            call.arg(partition).arg(next);
        }
        self.cache.shared.link.call::<i64>(&call, LIMIT).await.map(drop)
    }
}
