//! The events in Kafka, read as any consumer reads them: committed transactions only, Avro by the schema of the registry.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use apache_avro::Schema;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value as Json;
use uuid::Uuid;
use writ_model::value::stored_to_json;
use writ_model::{Models, Object, Timestamp, Value};

/// How long the topics may take until all that was acknowledged shows: a transaction that a killed decider left open
/// hides what comes after it until Kafka ends it.
const PATIENCE: Duration = Duration::from_secs(90);
const REQUEST: Duration = Duration::from_secs(10);

/// An event, or what stands in its place.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) model: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) aggregate: Uuid,
    pub(crate) id: Uuid,
    /// As the model declares it.
    pub(crate) name: String,
    pub(crate) version: u64,
    /// `chaos.purse.Deposited`.
    pub(crate) type_name: String,
    pub(crate) actor: Option<String>,
    pub(crate) correlation: Option<String>,
    /// The id of the command.
    pub(crate) causation: Uuid,
    pub(crate) time: Timestamp,
    pub(crate) fields: Object,
    /// The same as JSON, under the names on the wire.
    pub(crate) data: Json,
}

impl Event {
    /// What the client sent to recognise its event.
    pub(crate) fn tag(&self) -> &str {
        match self.fields.get("tag") {
            Some(Value::Text(tag)) => tag,
            _ => "",
        }
    }

    /// An integer of the event.
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        match self.fields.get(name) {
            Some(Value::Integer(value)) => Some(*value),
            _ => None,
        }
    }

    /// `purse[3]@17`.
    pub(crate) fn place(&self) -> String {
        format!("{}[{}]@{}", self.model, self.partition, self.offset)
    }
}

/// What the topics hold.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Of each topic's partitions, in the order of their offsets.
    pub(crate) events: Vec<Event>,
    /// Records of `writ.dead-letters`.
    pub(crate) dead_letters: Vec<String>,
    /// Records of event topics that are none.
    pub(crate) unreadable: Vec<String>,
}

/// Reads all topics from their beginning until everything in `expected` (ids of events by model) was seen. Blocks.
///
/// # Errors
/// Kafka or the registry doesn't answer.
pub(crate) fn read(
    kafka: u16,
    registry: u16,
    models: &Models,
    expected: &HashMap<String, HashSet<Uuid>>,
) -> Result<Log> {
    let deadline = Instant::now() + PATIENCE;
    let mut reader = Reader { models, schemas: Schemas::new(registry)?, log: Log::default() };
    for model in models.models.values() {
        let expected = expected.get(&model.name).cloned().unwrap_or_default();
        reader.read(kafka, &format!("writ.{}", model.name), expected, deadline)?;
    }
    reader.read(kafka, DEAD_LETTERS, HashSet::new(), deadline)?;
    // Between partitions there is no order; within one, Kafka's.
    reader
        .log
        .events
        .sort_by(|a, b| (&a.model, a.partition, a.offset).cmp(&(&b.model, b.partition, b.offset)));
    Ok(reader.log)
}

const DEAD_LETTERS: &str = "writ.dead-letters";

struct Reader<'a> {
    models: &'a Models,
    schemas: Schemas,
    log: Log,
}

impl Reader<'_> {
    /// Reads one topic to its end. Waits for what is missing until `deadline`.
    fn read(&mut self, kafka: u16, topic: &str, mut missing: HashSet<Uuid>, deadline: Instant) -> Result<()> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", format!("127.0.0.1:{kafka}"))
            .set("group.id", "writ-chaos")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .create()
            .context("the options of the consumer are invalid")?;
        let metadata =
            consumer.fetch_metadata(Some(topic), REQUEST).context("Kafka doesn't describe its topics")?;
        let partitions = metadata.topics().first().map_or(&[][..], |found| found.partitions());
        if partitions.is_empty() {
            bail!("there is no topic {topic}");
        }
        let mut assignment = TopicPartitionList::new();
        for partition in partitions {
            assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        let mut at_end = HashSet::new();
        loop {
            match consumer.poll(Duration::from_millis(500)) {
                Some(Ok(message)) => {
                    at_end.remove(&message.partition());
                    if let Some(id) = self.take(&message)? {
                        missing.remove(&id);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    at_end.insert(partition);
                }
                Some(Err(error)) => return Err(error).with_context(|| format!("reading {topic}")),
                None if at_end.len() == partitions.len()
                    && (missing.is_empty() || Instant::now() > deadline) =>
                {
                    return Ok(());
                }
                None => {}
            }
        }
    }

    /// Takes one record over; gives the id of the event.
    fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<Option<Uuid>> {
        let place = format!("{}[{}]@{}", message.topic(), message.partition(), message.offset());
        if message.topic() == DEAD_LETTERS {
            let reason = header(message, "writ_reason").unwrap_or_default();
            self.log.dead_letters.push(format!("{place}: {reason}"));
            return Ok(None);
        }
        let schema = match message.payload().unwrap_or_default() {
            [0, a, b, c, d, ..] => self.schemas.get(u32::from_be_bytes([*a, *b, *c, *d]))?,
            _ => None,
        };
        match schema.and_then(|schema| self.event(message, &schema)) {
            Some(event) => {
                let id = event.id;
                self.log.events.push(event);
                Ok(Some(id))
            }
            None => {
                self.log.unreadable.push(place);
                Ok(None)
            }
        }
    }

    fn event(&self, message: &BorrowedMessage<'_>, schema: &Schema) -> Option<Event> {
        let model = self.models.get(message.topic().strip_prefix("writ.")?)?;
        let type_name = header(message, "ce_type")?;
        let event = model.events.values().find(|event| event.type_name == type_name)?;
        let time: jiff::Timestamp = header(message, "ce_time")?.parse().ok()?;
        let fields = event.codec.decode(schema, message.payload()?.get(5..)?).ok()?;
        Some(Event {
            model: model.name.clone(),
            partition: message.partition(),
            offset: message.offset(),
            aggregate: Uuid::try_parse_ascii(message.key()?).ok()?,
            id: header(message, "ce_id")?.parse().ok()?,
            name: event.name.clone(),
            version: header(message, "ce_version")?.parse().ok()?,
            causation: header(message, "ce_causationid")?.parse().ok()?,
            time: Timestamp(time.as_millisecond()),
            data: stored_to_json(&event.fields, &fields),
            fields,
            type_name,
            actor: header(message, "ce_actor"),
            correlation: header(message, "ce_correlationid"),
        })
    }
}

fn header(message: &BorrowedMessage<'_>, name: &str) -> Option<String> {
    let found = message.headers()?.iter().find(|header| header.key == name)?;
    Some(String::from_utf8_lossy(found.value?).into_owned())
}

/// Schemas by their ids, asked for once each.
struct Schemas {
    registry: u16,
    http: reqwest::Client,
    runtime: tokio::runtime::Handle,
    known: HashMap<u32, Option<Arc<Schema>>>,
}

impl Schemas {
    fn new(registry: u16) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(REQUEST).build()?;
        Ok(Self { registry, http, runtime: tokio::runtime::Handle::current(), known: HashMap::new() })
    }

    /// `None`: the registry has no such schema.
    fn get(&mut self, id: u32) -> Result<Option<Arc<Schema>>> {
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let url = format!("http://127.0.0.1:{}/apis/ccompat/v7/schemas/ids/{id}", self.registry);
        let text = self.runtime.block_on(async { self.http.get(&url).send().await?.text().await });
        let text = text.with_context(|| format!("the registry doesn't answer at {url}"))?;
        let answer: Json = serde_json::from_str(&text).unwrap_or(Json::Null);
        let schema = answer["schema"].as_str().and_then(|text| Schema::parse_str(text).ok()).map(Arc::new);
        self.known.insert(id, schema.clone());
        Ok(schema)
    }
}
