//! The watch over Kafka: makes the topics as soon as it is there, and says whether it answers.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use writ_model::Models;

use crate::kafka::Options;
use crate::readiness::{Readiness, report};
use crate::topics;

/// Limit of the request that only asks whether Kafka is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between two such requests.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// The same while Kafka doesn't answer.
const RETRY: Duration = Duration::from_millis(500);

/// Makes the topics as soon as Kafka is there, and then reports whether it answers, until cancelled.
///
/// # Errors
/// The topics in Kafka don't fit the configuration, or the options are invalid.
pub async fn run(
    options: Options,
    models: &Models,
    readiness: watch::Sender<Readiness>,
    cancel: CancellationToken,
) -> Result<(), topics::Error> {
    loop {
        let Some(made) = cancel.run_until_cancelled(topics::ensure(&options, models)).await else {
            return Ok(());
        };
        match made {
            Ok(()) => break,
            Err(
                error @ (topics::Error::PartitionsChanged { .. }
                | topics::Error::RepartitionUnfinished { .. }),
            ) => {
                return Err(error);
            }
            Err(error) => report(&readiness, "Kafka", Readiness::Waiting(error.to_string())),
        }
        if cancel.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
            return Ok(());
        }
    }
    let consumer: BaseConsumer = options.client("probe").create().map_err(|error| topics::Error::Kafka {
        brokers: options.brokers.clone(),
        detail: error.to_string(),
    })?;
    let consumer = Arc::new(consumer);
    loop {
        let probe = consumer.clone();
        // Blocking in librdkafka, so not on the runtime's own threads.
        let answer = tokio::task::spawn_blocking(move || {
            // Serves the log and error callbacks of the client.
            let _ = probe.poll(Duration::ZERO);
            probe.client().fetch_metadata(Some("__consumer_offsets"), PROBE_TIMEOUT).map(drop)
        })
        .await;
        let pause = match answer {
            Ok(Ok(())) => {
                report(&readiness, "Kafka", Readiness::Ready);
                PROBE_INTERVAL
            }
            Ok(Err(error)) => {
                let reason = format!("Kafka at {} doesn't answer: {error}", options.brokers);
                report(&readiness, "Kafka", Readiness::Waiting(reason));
                RETRY
            }
            Err(panicked) => {
                tracing::error!(error = %panicked, "the Kafka probe panicked");
                PROBE_INTERVAL
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
