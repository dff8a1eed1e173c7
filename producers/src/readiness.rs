//! Whether a part works, as `/readyz` shows it. Each part owns the sender; the api holds the receivers.

use tokio::sync::watch;

/// The state of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Not there yet, or lost; the text says why and what is awaited.
    Waiting(String),
    /// Works, but something of it needs an operator; the text says what. Requests are served.
    Degraded(String),
    /// Works.
    Ready,
}

/// A named part, as the api sees it.
#[derive(Debug, Clone)]
pub struct Part {
    /// `kafka`, `registry`, `postgres`, `decider`, `projector`.
    pub name: &'static str,
    /// Its present state.
    pub state: watch::Receiver<Readiness>,
}

impl Part {
    /// A new part that waits for `reason`, with the sender for its owner.
    pub fn new(name: &'static str, reason: &str) -> (watch::Sender<Readiness>, Part) {
        let (sender, state) = watch::channel(Readiness::Waiting(reason.to_owned()));
        (sender, Part { name, state })
    }

    /// Works now.
    pub fn is_ready(&self) -> bool {
        !matches!(*self.state.borrow(), Readiness::Waiting(_))
    }
}

/// Publishes the state of a part. Whether it has changed.
pub fn set(readiness: &watch::Sender<Readiness>, now: Readiness) -> bool {
    readiness.send_if_modified(|before| {
        let changed = *before != now;
        *before = now;
        changed
    })
}

/// Publishes the state of `part` and logs it when it has changed.
pub fn report(readiness: &watch::Sender<Readiness>, part: &str, now: Readiness) {
    if set(readiness, now.clone()) {
        match now {
            Readiness::Ready => tracing::info!("{part} is ready"),
            Readiness::Degraded(reason) => tracing::warn!(reason, "{part} is ready, but needs an operator"),
            Readiness::Waiting(reason) => tracing::warn!(reason, "{part} is not ready"),
        }
    }
}
