//! What a subscription missed and the ring no longer has: read again from Kafka, by a reader of its own.
//!
//! The records come by a short queue, and the subscription pulls from it: as fast as its client takes them, no faster. Only a few
//! read at a time. Before each event its state is folded from the event log, once for each aggregate.

use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use writ_producers::kafka::{Options, REQUEST_TIMEOUT};
use writ_producers::thread;

use super::Error;
use crate::scan;

/// Records that are read ahead.
const AHEAD: usize = 64;

/// A stretch of an event topic, as it is read.
pub(super) struct Replay {
    records: mpsc::Receiver<OwnedMessage>,
    reading: AbortOnDropHandle<Result<Result<(), Stopped>, thread::Error>>,
}

impl Replay {
    /// From these offsets up to those, by partition. Its thread ends with it.
    pub(super) fn start(kafka: &Options, topic: String, from: &[i64], until: &[i64]) -> Replay {
        let (sender, records) = mpsc::channel(AHEAD);
        let ranges: Vec<(i32, i64, i64)> = (0..)
            .zip(from.iter().zip(until))
            .filter(|(_, (from, until))| from < until)
            .map(|(partition, (from, until))| (partition, *from, *until))
            .collect();
        let kafka = kafka.clone();
        let read = move || read(&kafka, &topic, &ranges, &sender);
        let reading = AbortOnDropHandle::new(tokio::spawn(thread::run("live-replay", read)));
        Replay { records, reading }
    }

    /// The next records, into `batch`; those of one partition in their order. None: the end is reached.
    pub(super) async fn next(&mut self, batch: &mut Vec<OwnedMessage>) -> Result<(), Error> {
        if self.records.recv_many(batch, AHEAD).await > 0 {
            return Ok(());
        }
        match (&mut self.reading).await {
            Ok(Ok(Ok(()) | Err(Stopped::Gone))) => Ok(()),
            Ok(Ok(Err(Stopped::Scan(error)))) => Err(Error::Unavailable(error.to_string())),
            Ok(Err(error)) => Err(Error::Failed(error.to_string())),
            Err(error) => Err(Error::Failed(error.to_string())),
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
