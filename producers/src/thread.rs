//! A thread of its own for a role whose Kafka client blocks, so that the runtime's threads stay free.

use tokio::sync::oneshot;

/// There is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system gives no thread.
    #[error("the thread {name} can't be started")]
    Start {
        /// As the system's tools show it.
        name: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A fault of this program; the message is in the log.
    #[error("the thread {name} panicked")]
    Panicked {
        /// As the system's tools show it.
        name: &'static str,
    },
}

/// Runs `work` on a new thread called `name`, and returns its result once the thread has ended.
///
/// # Errors
/// The thread can't be started, or panicked.
pub async fn run<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let (sender, ended) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            // Nobody waits any more when the role's future was dropped.
            let _ = sender.send(work());
        })
        .map_err(|source| Error::Start { name, source })?;
    // A panic drops the sender. Either way the thread is at its end, so joining doesn't block.
    let result = ended.await;
    match (thread.join(), result) {
        (Ok(()), Ok(result)) => Ok(result),
        _ => Err(Error::Panicked { name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_result_comes_back_and_a_panic_is_seen() {
        assert_eq!(run("works", || 7).await.unwrap(), 7);
        let panicked = run("panics", || panic!("on purpose")).await;
        assert!(matches!(panicked, Err(Error::Panicked { name: "panics" })));
    }
}
