//! Who follows the rows of an SQL projection.
//!
//! A row of a projection is no fold of one aggregate's events, so no event says what becomes of it: the query is asked again when
//! the projection has moved, and the difference of two answers is what subscribers get. Subscriptions that ask the same and see
//! the same share a [`View`] (`projection/view.rs`), whose task asks for all of them; one task for all views listens for moves
//! (`projection/watch.rs`). A [`Follower`] (`projection/follower.rs`) is one subscription: it has an answer, and goes on to the next one
//! by their difference (`projection/answer.rs`).
//!
//! # Why a subscriber's copy ends equal to the list
//!
//! A copy is always some answer, but for the moments in which a difference is on its way: it begins with all rows of an answer (or
//! with the word that the copy *is* the answer), and a difference applied to the first answer gives the second, whatever the two are.
//! So it is enough that when nothing moves any more, the view's last answer is the list.
//!
//! - **Rows and places are of one moment.** Both are read in one snapshot of PostgreSQL, with the table locked before
//!   (`writ_projections::query::Followed`). So an answer's mark says exactly what is in it.
//! - **Whatever commits is heard or seen.** What changes rows says so by NOTIFY in its own transaction. The watch listens before it
//!   looks, so of each transaction that commits there is a look that begins after it. That look's mark is another one than that of any
//!   answer without the transaction, or the look says that rows were rewritten behind their places. Either makes the view ask again.
//!   A view takes note of the looks that there are *before* it asks, and afterwards waits for a further one: so a look that is made
//!   while it asks isn't lost, whichever of the two was first. That holds for the first question too: a look that was made between
//!   somebody's subscribing and the first answer is either seen before the question, whose snapshot is later, or judged after it.
//! - **A NOTIFY that is lost**, with its connection, is as good as heard: a new connection listens, then looks, and its first look
//!   makes every view ask again. A connection that died without a word is found by the look that is made every ten seconds anyway.
//!   While PostgreSQL is away, views that have an answer keep it and try again until it is back.
//! - **A projection that was built anew** takes the place of the one before with another generation, which is part of the mark: just
//!   another answer. No reader sees rows of both, since the swap is one transaction.
//! - **What may be seen** is part of the view. Whose rights change is ended by the caller and subscribes anew, to another view. Where a
//!   rule names the time, the view is worked out again every 30 seconds (by a clock that ticks for all at once, so that they go on
//!   sharing), and a subscription goes over to the other view with the difference of the two answers.
//!
//! States in between may be skipped: a view asks at most every [`super::Options::projection_interval_ms`], and a subscriber that is slow goes from the
//! answer that it has to the latest one.
//!
//! **Where to go on.** A resume is the name, the identity of the view ([`super::resume`]) and a digest of the answer, of all keys and
//! rows. Who comes for the same view with the digest of the present answer has that answer; who comes with anything else gets all
//! rows. Inside a difference the copy is no answer at all, and the resume there is one that no answer has.
//!
//! **Nothing grows with a slow client.** It holds the answer that it has, and the difference that it is taking; both are shared with all
//! others who are at the same point, and two answers share the rows that are equal in both.

mod answer;
mod follower;
mod view;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use writ_model::Models;
use writ_model::declaration::Projection;
use writ_projections::query::{Followed, Queries};

pub use answer::Keyed;
pub(super) use follower::Follower;

use view::View;
use watch::Watch;

/// Queries at the same time, of all views: lists have the other connections.
const QUERIES: usize = 2;

/// What the followers of all projections share.
#[derive(Debug)]
pub(super) struct Projections {
    models: Arc<Models>,
    queries: Queries,
    interval: Duration,
    /// Most rows of an answer.
    limit: usize,
    turns: Arc<Semaphore>,
    /// Of the feed's end.
    cancel: CancellationToken,
    shared: Mutex<Shared>,
}

/// What is there while somebody follows.
#[derive(Debug, Default)]
struct Shared {
    watch: Weak<Watch>,
    /// By the views' identities. Several have the same where rules name the time.
    views: HashMap<u64, Vec<Weak<View>>>,
}

impl Projections {
    pub(super) fn new(
        models: &Arc<Models>,
        queries: &Queries,
        options: &super::Options,
        cancel: &CancellationToken,
    ) -> Projections {
        Projections {
            models: models.clone(),
            queries: queries.clone(),
            interval: Duration::from_millis(options.projection_interval_ms),
            limit: options.snapshot_rows,
            turns: Arc::new(Semaphore::new(QUERIES)),
            cancel: cancel.clone(),
            shared: Mutex::default(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Projection>> {
        self.models.projections.get(name)
    }

    /// The view of this list, with all who follow it already.
    fn join(self: &Arc<Self>, projection: &Arc<Projection>, followed: Followed) -> Arc<View> {
        // Behind the lock: a view whose last follower leaves at this moment ends with what was upgraded here, and takes the lock.
        let mut others = Vec::new();
        let mut shared = self.shared.lock();
        for view in shared.views.get(&followed.identity()).into_iter().flatten().filter_map(Weak::upgrade) {
            if view.goes_on(&followed) {
                return view;
            }
            others.push(view);
        }
        let watch = shared.watch.upgrade().unwrap_or_else(|| {
            let names = self.models.projections.keys().cloned().collect();
            let watch = Arc::new(Watch::start(self.queries.moves(), names, self.cancel.clone()));
            shared.watch = Arc::downgrade(&watch);
            watch
        });
        let identity = followed.identity();
        let view = Arc::new(View::start(self, watch, projection.clone(), followed));
        shared.views.entry(identity).or_default().push(Arc::downgrade(&view));
        view
    }

    /// A view is gone.
    fn forget(&self, identity: u64) {
        let mut shared = self.shared.lock();
        if let Some(views) = shared.views.get_mut(&identity) {
            views.retain(|view| view.strong_count() > 0);
            if views.is_empty() {
                shared.views.remove(&identity);
            }
        }
    }
}
