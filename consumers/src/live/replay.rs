//! What was missed and the ring doesn't have: read again from Kafka, by a reader of its own.
//!
//! The records come by a short queue, and whoever wants them pulls from it: no faster than its client takes them. The state before
//! an event is folded from the event log, once for each aggregate.

use std::sync::Arc;

use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;
use writ_model::Model;
use writ_producers::kafka::{Options, REQUEST_TIMEOUT};
use writ_producers::thread;

use super::change::Change;
use super::event::{Decoder, Happened, decode, key};
use super::states::{States, recent};
use super::{Error, Shared, metrics};
use crate::scan;

/// Records that are read ahead.
const AHEAD: usize = 64;
/// States that are kept.
const RECENT_MIB: u64 = 4;

/// A stretch of an event topic, as it is read.
pub(super) struct Replay {
    records: mpsc::Receiver<OwnedMessage>,
    reading: AbortOnDropHandle<Result<Result<(), Stopped>, thread::Error>>,
    decoder: Decoder,
    states: States,
    /// The only aggregate that is wanted.
    only: Option<Uuid>,
    cancel: CancellationToken,
}

/// How it goes on.
pub(super) enum Next {
    Batch(Batch),
    /// All of the stretch was there.
    End,
    /// Nobody wants more, or the feed ends.
    Interrupted,
}

/// Some of the records, those of one partition in their order.
pub(super) struct Batch {
    /// What they did.
    pub(super) changes: Vec<Change>,
    /// Where all of them stand.
    pub(super) passed: Vec<(i32, i64)>,
}

impl Replay {
    /// From `at` up to `until`, by partition. Its thread ends with it.
    pub(super) fn start(
        shared: &Shared,
        (model, number): (&Arc<Model>, usize),
        only: Option<Uuid>,
        at: &[i64],
        until: &[i64],
    ) -> Replay {
        ::metrics::counter!(metrics::REPLAYS, "model" => model.name.clone()).increment(1);
        let (sender, records) = mpsc::channel(AHEAD);
        let ranges: Vec<(i32, i64, i64)> = (0..)
            .zip(at.iter().zip(until))
            .filter(|(_, (from, until))| from < until)
            .map(|(partition, (from, until))| (partition, *from, *until))
            .collect();
        let (kafka, topic) = (shared.kafka.clone(), shared.topics.events(&model.name));
        let read = move || read(&kafka, &topic, &ranges, &sender);
        let history = shared.history.clone();
        Replay {
            records,
            reading: AbortOnDropHandle::new(tokio::spawn(thread::run("live-replay", read))),
            decoder: Decoder { model: model.clone(), registry: shared.registry.clone() },
            states: States { model: model.clone(), number, history, recent: Arc::new(recent(RECENT_MIB)) },
            only,
            cancel: shared.cancel.clone(),
        }
    }

    /// What comes next, as long as `goes_on`.
    pub(super) async fn next(&mut self, goes_on: impl Fn() -> bool) -> Result<Next, Error> {
        let mut records = Vec::new();
        if self.records.recv_many(&mut records, AHEAD).await == 0 {
            return match (&mut self.reading).await {
                Ok(Ok(Ok(()))) => Ok(Next::End),
                Ok(Ok(Err(Stopped::Gone))) => Ok(Next::Interrupted),
                Ok(Ok(Err(Stopped::Scan(error)))) => Err(Error::Unavailable(error.to_string())),
                Ok(Err(error)) => Err(Error::Failed(error.to_string())),
                Err(error) => Err(Error::Failed(error.to_string())),
            };
        }
        let mut events: Vec<Happened> = Vec::new();
        let mut passed: Vec<(i32, i64)> = Vec::with_capacity(records.len());
        for record in records {
            passed.push((record.partition(), record.offset()));
            if self.only.is_none_or(|id| key(&record) == Some(id)) {
                events.extend(decode(&self.decoder, &record, &self.cancel).await);
            }
        }
        let goes_on = || goes_on() && !self.cancel.is_cancelled();
        // What wasn't decoded because of the end is not passed over.
        match self.states.before(&events, &goes_on).await {
            Some(known) if goes_on() => {
                let changes = self.states.changes(known, events).flatten().collect();
                Ok(Next::Batch(Batch { changes, passed }))
            }
            _ => Ok(Next::Interrupted),
        }
    }
}

enum Stopped {
    Scan(scan::Error),
    /// Nobody reads on.
    Gone,
}

impl From<scan::Error> for Stopped {
    fn from(error: scan::Error) -> Self {
        Stopped::Scan(error)
    }
}

fn read(
    kafka: &Options,
    topic: &str,
    ranges: &[(i32, i64, i64)],
    records: &mpsc::Sender<OwnedMessage>,
) -> Result<(), Stopped> {
    let end = |partition| ranges.iter().find(|(of, ..)| *of == partition).map_or(0, |(.., until)| *until);
    let from = ranges.iter().map(|(partition, from, _)| (*partition, *from));
    scan::Reader::new(kafka)?.read(topic, from, |record| {
        let until = end(record.partition());
        // Behind the end of one partition others may still be read.
        if record.offset() < until {
            records.blocking_send(record.detach()).map_err(|_| Stopped::Gone)?;
        }
        Ok(if record.offset() + 1 < until { scan::Next::Go } else { scan::Next::Stop })
    })
}

/// Of each partition the first offset that is there, and the one behind the last that is committed.
pub(super) async fn bounds(
    kafka: &Options,
    topic: String,
    partitions: usize,
) -> Result<Vec<(i64, i64)>, Error> {
    let kafka = kafka.clone();
    let asked = tokio::task::spawn_blocking(move || {
        use rdkafka::consumer::Consumer as _;
        let reader = scan::Reader::new(&kafka).map_err(|error| error.to_string())?;
        let ask = |partition| {
            let found = reader.client().fetch_watermarks(&topic, partition, REQUEST_TIMEOUT);
            found.map_err(|error| error.to_string())
        };
        (0..).take(partitions).map(ask).collect::<Result<Vec<_>, String>>()
    });
    match asked.await {
        Ok(found) => found.map_err(Error::Unavailable),
        Err(panicked) => Err(Error::Failed(panicked.to_string())),
    }
}
