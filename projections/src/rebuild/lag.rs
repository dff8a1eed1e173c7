//! How many events the projections don't have yet.
//!
//! Places are offsets, and Kafka gives offsets to more than events: each transaction ends with a marker. So where a
//! partition has little beyond a place, it is read, and its events are counted; where it has much, the difference of the
//! offsets says it well enough.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use writ_producers::kafka::{Options, is_lost_connection};

use crate::projector::batch::Place;

/// Limit of one request, and of counting.
const LIMIT: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(50);
/// With more offsets than this beyond a place, they are not counted one by one.
const COUNTED: i64 = 2_000;

/// Events that each projection doesn't have yet, by name.
pub type Lags = BTreeMap<String, u64>;

/// By projection and partition: the next offset.
pub(super) type Reached = Vec<(String, Place, i64)>;

/// Asks Kafka. Blocks.
pub(super) fn lags(options: &Options, reached: &Reached) -> Result<Lags, KafkaError> {
    let consumer: BaseConsumer = options
        .client("lag")
        .set("group.id", "none") // Required by the client, never used: partitions are assigned by hand.
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "latest")
        .set("fetch.wait.max.ms", "50")
        .create()?;
    let mut least: BTreeMap<&Place, i64> = BTreeMap::new();
    for (_, place, next) in reached {
        least.entry(place).and_modify(|least| *least = (*least).min(*next)).or_insert(*next);
    }
    let mut ends: BTreeMap<&Place, i64> = BTreeMap::new();
    for place in least.keys() {
        let (_, end) = consumer.fetch_watermarks(&place.topic, place.partition, LIMIT)?;
        ends.insert(place, end);
    }
    let short: BTreeMap<&Place, i64> =
        least.into_iter().filter(|(place, next)| (1..=COUNTED).contains(&(ends[place] - next))).collect();
    let events = read(&consumer, &short, &ends)?;
    let mut lags: Lags = reached.iter().map(|(name, _, _)| (name.clone(), 0)).collect();
    for (name, place, next) in reached {
        let behind = match events.get(place) {
            Some(offsets) => offsets.iter().filter(|offset| *offset >= next).count() as u64,
            None => u64::try_from(ends[place] - next).unwrap_or(0),
        };
        *lags.entry(name.clone()).or_default() += behind;
    }
    Ok(lags)
}

/// The offsets of all events from these places to the ends.
fn read<'a>(
    consumer: &BaseConsumer,
    from: &BTreeMap<&'a Place, i64>,
    ends: &BTreeMap<&'a Place, i64>,
) -> Result<BTreeMap<&'a Place, Vec<i64>>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (place, next) in from {
        list.add_partition_offset(&place.topic, place.partition, Offset::Offset(*next))?;
    }
    let mut events: BTreeMap<&Place, Vec<i64>> = from.keys().map(|place| (*place, Vec::new())).collect();
    consumer.assign(&list)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        match consumer.poll(TICK) {
            Some(Ok(message)) => {
                let place = Place { topic: message.topic().into(), partition: message.partition() };
                if let Some(offsets) = events.get_mut(&place) {
                    offsets.push(message.offset());
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) if is_lost_connection(&error) => {}
            Some(Err(error)) => return Err(error),
        }
        // The client knows where it is also where there was no event.
        let positions = consumer.position()?;
        let is_read = |place: &Place| {
            let position = positions.find_partition(&place.topic, place.partition);
            position.and_then(|found| found.offset().to_raw()).is_some_and(|next| next >= ends[place])
        };
        if from.keys().all(|place| is_read(place)) || Instant::now() > deadline {
            return Ok(events);
        }
    }
}
