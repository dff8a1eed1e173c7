//! The feed of one model: a task that takes its records in their order, and publishes what they did.

use std::collections::HashMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::event::{Decoder, Happened, decode};
use super::hub;
use super::metrics;
use super::states::{Before, States};

/// Records that wait for the feed of one model, and most records that it takes at once: a state that is missing is read
/// together with those of the others.
pub(super) const WAITING: usize = 256;

/// The task of one model.
#[derive(Debug)]
pub(super) struct ModelFeed {
    pub(super) hub: hub::Shared,
    pub(super) decoder: Decoder,
    pub(super) states: States,
    pub(super) cancel: CancellationToken,
}

impl ModelFeed {
    /// Until there are no more records.
    pub(super) async fn run(self, mut records: mpsc::Receiver<OwnedMessage>) {
        let mut batch = Vec::with_capacity(WAITING);
        while records.recv_many(&mut batch, WAITING).await > 0 {
            self.take(&mut batch).await;
            if self.cancel.is_cancelled() {
                return;
            }
        }
    }

    async fn take(&self, batch: &mut Vec<OwnedMessage>) {
        let mut events: Vec<Happened> = Vec::with_capacity(batch.len());
        // Records may come twice, after a failure, and the first be among those that aren't published yet.
        let mut taken: HashMap<i32, i64> = HashMap::new();
        for record in batch.drain(..) {
            let last = taken.entry(record.partition()).or_insert(-1);
            if record.offset() <= *last || !self.is_wanted(&record) {
                continue;
            }
            *last = record.offset();
            match decode(&self.decoder, &record, &self.cancel).await {
                Some(event) => events.push(event),
                None if self.cancel.is_cancelled() => return,
                // What stands before it is published first: places are passed in their order.
                None => self.publish(std::mem::take(&mut events), Some(&record)).await,
            }
        }
        self.publish(events, None).await;
    }

    /// Not if it was there already, nor if nobody follows the model.
    fn is_wanted(&self, record: &OwnedMessage) -> bool {
        let mut hub = self.hub.lock();
        let (partition, offset) = (record.partition(), record.offset());
        !hub.is_past(partition, offset) && !hub.skip_if_idle([(partition, offset)], Instant::now())
    }

    /// Publishes events, and passes over the record behind them.
    async fn publish(&self, events: Vec<Happened>, behind: Option<&OwnedMessage>) {
        if let Some(known) = self.before(&events).await {
            for change in self.states.changes(known, events) {
                match change {
                    Ok(change) => {
                        let written = change.happened.written;
                        self.hub.lock().publish(change);
                        delayed(written);
                    }
                    Err((partition, offset)) => self.hub.lock().pass(partition, offset),
                }
            }
        }
        if let Some(record) = behind {
            self.hub.lock().pass(record.partition(), record.offset());
        }
    }

    /// The states before these events, waited for as long as somebody follows the model. `None`: nobody does, and the events
    /// are skipped; or the feed ends.
    async fn before(&self, events: &[Happened]) -> Option<Before> {
        loop {
            let goes_on = || !self.cancel.is_cancelled() && !self.hub.lock().is_idle(Instant::now());
            if let Some(known) = self.states.before(events, goes_on).await {
                return Some(known);
            }
            let places = events.iter().map(|event| (event.partition, event.offset));
            // Somebody may have come since: then the events are not skipped after all.
            if self.cancel.is_cancelled() || self.hub.lock().skip_if_idle(places, Instant::now()) {
                return None;
            }
        }
    }
}

/// Since Kafka got the event.
fn delayed(written: Option<i64>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if let Some(written) = written.and_then(|millis| u64::try_from(millis).ok()) {
        let delay = now.as_secs_f64() - written as f64 / 1000.0;
        ::metrics::histogram!(metrics::DELAY_SECONDS).record(delay.max(0.0));
    }
}
