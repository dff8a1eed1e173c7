//! What a provider publishes, kept for a while: its metadata and its keys.
//!
//! It is fetched by the first who needs it, while the others wait for that one call, and again after an hour. Whoever misses
//! something in it may have it fetched before that; since anybody can name a key that there isn't, that counts only once in
//! a while. When the provider doesn't answer, what is known stays in use for a day: keys are seldom taken back, and
//! providers are away more often.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::http::chain;

/// Until it is fetched again.
const FRESH: Duration = Duration::from_secs(60 * 60);
/// Until it isn't used any more, if it can't be fetched.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// After a failed call, until the next one.
const REST: Duration = Duration::from_secs(2);
/// Between two calls because something is missing.
const DEMAND: Duration = Duration::from_secs(30);

/// Nothing is known and nobody answers; the log has the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it can't be asked")]
pub(crate) struct Away;

#[derive(Debug)]
pub(crate) struct Refreshed<T> {
    known: RwLock<Option<(Arc<T>, Instant)>>,
    /// The last call has failed: nobody waits for the next one but who makes it.
    fails: AtomicBool,
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    failed: Option<Instant>,
    demanded: Option<Instant>,
}

impl<T> Default for Refreshed<T> {
    fn default() -> Self {
        Refreshed { known: RwLock::new(None), fails: AtomicBool::new(false), calls: Mutex::default() }
    }
}

impl<T> Refreshed<T> {
    /// What is known, fetched if it must be. `what` is for the log.
    pub(crate) async fn get<E, F>(&self, what: &str, fetch: impl FnOnce() -> F) -> Result<Arc<T>, Away>
    where
        E: std::error::Error,
        F: Future<Output = Result<T, E>>,
    {
        if let Some(fresh) = self.younger_than(FRESH) {
            return Ok(fresh);
        }
        // While one renews what is old, the others go on with it.
        let mut calls = match (self.calls.try_lock(), self.younger_than(STALE)) {
            (Ok(calls), _) => calls,
            (Err(_), Some(stale)) => return Ok(stale),
            (Err(_), None) if self.fails.load(Ordering::Relaxed) => return Err(Away),
            (Err(_), None) => self.calls.lock().await,
        };
        if let Some(fresh) = self.younger_than(FRESH) {
            return Ok(fresh);
        }
        let rests = calls.failed.is_some_and(|at| at.elapsed() < REST);
        if !rests && let Some(fetched) = self.fetch(&mut calls, what, fetch).await {
            return Ok(fetched);
        }
        self.younger_than(STALE).ok_or(Away)
    }

    /// What has replaced `seen`, in which something is missing. `None`: nothing, or it was asked for a moment ago.
    pub(crate) async fn newer<E, F>(
        &self,
        seen: &Arc<T>,
        what: &str,
        fetch: impl FnOnce() -> F,
    ) -> Option<Arc<T>>
    where
        E: std::error::Error,
        F: Future<Output = Result<T, E>>,
    {
        let mut calls = self.calls.lock().await;
        if let Some((known, _)) = &*self.known.read()
            && !Arc::ptr_eq(known, seen)
        {
            return Some(known.clone());
        }
        if calls.demanded.is_some_and(|at| at.elapsed() < DEMAND) {
            return None;
        }
        calls.demanded = Some(Instant::now());
        self.fetch(&mut calls, what, fetch).await
    }

    fn younger_than(&self, age: Duration) -> Option<Arc<T>> {
        let known = self.known.read();
        known.as_ref().filter(|(_, at)| at.elapsed() < age).map(|(known, _)| known.clone())
    }

    async fn fetch<E, F>(&self, calls: &mut Calls, what: &str, fetch: impl FnOnce() -> F) -> Option<Arc<T>>
    where
        E: std::error::Error,
        F: Future<Output = Result<T, E>>,
    {
        match fetch().await {
            Ok(fetched) => {
                let fetched = Arc::new(fetched);
                *self.known.write() = Some((fetched.clone(), Instant::now()));
                calls.failed = None;
                self.fails.store(false, Ordering::Relaxed);
                Some(fetched)
            }
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    server.address = what,
                    "an identity provider can't be asked"
                );
                calls.failed = Some(Instant::now());
                self.fails.store(true, Ordering::Relaxed);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("down")]
    struct Down;

    #[derive(Default)]
    struct Provider {
        calls: AtomicU32,
        down: bool,
    }

    impl Provider {
        async fn call(&self) -> Result<u32, Down> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let nth = self.calls.fetch_add(1, Ordering::Relaxed);
            if self.down { Err(Down) } else { Ok(nth) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_fetched_once_an_hour_however_many_need_it() {
        let (kept, provider) = (Refreshed::default(), Provider::default());
        let asked = (0..10).map(|_| kept.get("p", || provider.call()));
        for got in futures::future::join_all(asked).await {
            assert_eq!(got.as_deref(), Ok(&0));
        }
        tokio::time::advance(FRESH).await;
        assert_eq!(kept.get("p", || provider.call()).await.as_deref(), Ok(&1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_looked_for_once_in_a_while() {
        let (kept, provider) = (Refreshed::default(), Provider::default());
        let first = kept.get("p", || provider.call()).await.unwrap();
        let second = kept.newer(&first, "p", || provider.call()).await.unwrap();
        assert_eq!(*second, 1);
        assert_eq!(kept.newer(&second, "p", || provider.call()).await, None, "too soon");
        assert_eq!(kept.newer(&first, "p", || provider.call()).await.as_deref(), Some(&1), "without a call");
        tokio::time::advance(DEMAND).await;
        assert_eq!(kept.newer(&second, "p", || provider.call()).await.as_deref(), Some(&2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_serves_for_a_day_without_the_provider() {
        let (kept, up) = (Refreshed::default(), Provider::default());
        let down = Provider { down: true, ..Provider::default() };
        assert_eq!(kept.get("p", || down.call()).await, Err(Away));
        assert_eq!(kept.get("p", || up.call()).await, Err(Away), "it rests");
        tokio::time::advance(REST).await;
        let both = tokio::join!(kept.get("p", || down.call()), kept.get("p", || up.call()));
        assert_eq!(both, (Err(Away), Err(Away)), "nobody waits for who tries again");
        tokio::time::advance(REST).await;
        assert_eq!(kept.get("p", || up.call()).await.as_deref(), Ok(&0));
        tokio::time::advance(STALE - Duration::from_secs(1)).await;
        assert_eq!(kept.get("p", || down.call()).await.as_deref(), Ok(&0));
        tokio::time::advance(REST).await;
        assert_eq!(kept.get("p", || down.call()).await, Err(Away));
    }
}
