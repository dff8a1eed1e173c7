//! Ctrl-C, SIGTERM and SIGHUP: the first asks for an orderly end, the second for an end at once.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the user has asked for so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    /// Cancelled by the first signal.
    pub(crate) stop: CancellationToken,
    /// Cancelled by the second signal: don't wait for servers that take their time.
    pub(crate) force: CancellationToken,
}

impl Interrupt {
    /// Listens to the signals from now on.
    pub(crate) fn listen() -> Result<Self> {
        let interrupt = Self::default();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signals = signal(kind).context("cannot listen to signals")?;
            let interrupt = interrupt.clone();
            // Runs until the process ends.
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if interrupt.stop.is_cancelled() {
                        interrupt.force.cancel();
                    }
                    interrupt.stop.cancel();
                }
            });
        }
        Ok(interrupt)
    }
}
