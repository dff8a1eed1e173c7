//! From the group's consumer to a batch: what was polled, decoded, and by how much it moves each projection.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::batch::{self, Decoder, Place, Record};
use super::commit::Batch;
use super::kafka::{Consumer, Polled};
use super::letters::{Cause, Letters};
use super::log::Lines;
use super::target::{Target, Work};
use super::work::{Error, FIRST_PAUSE, LONGEST_PAUSE, POLL};

/// Most records of one transaction.
const MAX_RECORDS: usize = 1000;

/// The next offset of each target that reads a partition, by the target's index.
pub(super) type Lane = BTreeMap<usize, i64>;
/// The partitions that are read.
pub(super) type Lanes = BTreeMap<Place, Lane>;

/// Where reading goes on: what one target hasn't seen is read again for it.
pub(super) fn least(lane: &Lane) -> Option<i64> {
    lane.values().min().copied()
}

/// A partition that can't go on: the registry is away.
#[derive(Debug)]
struct Blocked {
    reason: String,
    /// The offset in the way.
    offset: i64,
    pause: Duration,
    /// When it gets another try; `None`: it has been given one.
    until: Option<Instant>,
}

/// Reads and decodes.
pub(super) struct Reader {
    pub(super) consumer: Consumer,
    decoder: Decoder,
    blocked: HashMap<Place, Blocked>,
}

impl Reader {
    pub(super) fn new(consumer: Consumer, decoder: Decoder) -> Reader {
        Reader { consumer, decoder, blocked: HashMap::new() }
    }

    /// Whether a blocked partition is to be tried again.
    pub(super) fn is_due(&self) -> bool {
        let now = Instant::now();
        self.blocked.values().any(|blocked| blocked.until.is_some_and(|until| until <= now))
    }

    /// Reads on from these places, and from no others.
    pub(super) fn set(&mut self, lanes: &Lanes) -> Result<(), Error> {
        let next = lanes.iter().filter_map(|(place, lane)| Some((place.clone(), least(lane)?)));
        self.consumer.set(next)?;
        // A partition that was blocked gets another try; how long it paused is kept until it goes on.
        self.blocked.values_mut().for_each(|blocked| blocked.until = None);
        self.blocked.retain(|place, _| lanes.contains_key(place));
        Ok(())
    }

    /// What there is, up to a batch. Waits only for the first record.
    pub(super) fn collect(&mut self, lanes: &Lanes) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        let mut wait = POLL;
        while records.len() < MAX_RECORDS {
            let polled = self.consumer.poll(wait);
            if self.consumer.is_reassigned() {
                // Whoever owns them now reads them again.
                return Ok(Vec::new());
            }
            match polled {
                Polled::Nothing => break,
                Polled::Failure(reason) => return Err(Error::Consumer(reason)),
                Polled::Record(record) => {
                    let next = lanes.get(&record.place).and_then(least);
                    let is_next = next.is_some_and(|next| record.offset >= next);
                    let waits =
                        self.blocked.get(&record.place).is_some_and(|blocked| blocked.until.is_some());
                    if is_next && !waits {
                        records.push(record);
                        wait = Duration::ZERO;
                    }
                }
            }
        }
        Ok(records)
    }

    /// Without the registry an event whose schema isn't known yet blocks the rest of its partition. What is no event goes
    /// to the dead letters when the rows come to it.
    pub(super) async fn decode(
        &mut self,
        records: Vec<Record>,
        lanes: &Lanes,
        targets: &[Target],
        letters: &Letters,
    ) -> Batch {
        let mut batch = Batch::default();
        let mut stopped: HashSet<Place> = HashSet::new();
        let mut ends: BTreeMap<Place, i64> = BTreeMap::new();
        for record in records {
            if stopped.contains(&record.place) {
                continue;
            }
            let (place, offset) = (record.place.clone(), record.offset);
            match self.decoder.decode(record).await {
                Ok(event) => batch.events.entry(place.clone()).or_default().push(event),
                Err((record, batch::Error::Undecodable(error))) => {
                    if is_judged(&lanes[&place], targets, offset) {
                        batch.letters.push(letters.compose(&record, Cause::Undecodable, &error));
                        batch.holes.push(record.spot());
                    }
                }
                Err((record, batch::Error::Registry(error))) => {
                    stopped.insert(place);
                    self.block(&record, error.to_string());
                    continue;
                }
            }
            ends.insert(place, offset + 1);
        }
        for (place, end) in ends {
            for (target, next) in lanes[&place].iter().filter(|(_, next)| **next < end) {
                let reading = (targets[*target].generation().clone(), place.clone());
                batch.moves.insert(reading, (*next, end));
            }
        }
        // Here, and not in the transaction: that is waiting for PostgreSQL most of its time.
        for log in targets.iter().filter(|target| matches!(target.work(), Work::Log(_))) {
            batch.lines = Lines::of(&batch.of(log));
        }
        batch
    }

    fn block(&mut self, record: &Record, reason: String) {
        let place = &record.place;
        let before = self.blocked.get(place).map(|blocked| blocked.pause);
        let pause = before.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        let until = Some(Instant::now() + pause);
        self.blocked.insert(place.clone(), Blocked { reason, offset: record.offset, pause, until });
        self.consumer.pause(place);
    }

    /// A partition has gone on: what was in its way before `next` is no longer.
    pub(super) fn pass(&mut self, place: &Place, next: i64) {
        self.blocked.retain(|blocked, why| blocked != place || why.offset >= next);
    }

    /// Why a partition waits.
    pub(super) fn obstacle(&self) -> Option<&str> {
        self.blocked.values().map(|blocked| blocked.reason.as_str()).min()
    }
}

/// Whether the rows come to this offset for the first time.
fn is_judged(lane: &Lane, targets: &[Target], offset: i64) -> bool {
    let is_rows = |index: usize| matches!(targets[index].work(), Work::Rows(_));
    lane.iter().any(|(index, next)| is_rows(*index) && *next <= offset)
}
