//! What stands in the topics, read with a plain Kafka client, and in the registry, read over HTTP.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use super::LIMIT;
use super::world::{brokers, registry_url};

const REQUEST: Duration = Duration::from_secs(10);

/// A record as it stands in Kafka.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Record {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name}: {:?}", self.headers))
    }

    pub(crate) fn version(&self) -> u64 {
        self.header("ce_version").parse().unwrap()
    }

    /// The id in the Confluent framing: a zero byte, then the schema's id in four bytes.
    #[track_caller]
    pub(crate) fn schema_id(&self) -> u32 {
        assert_eq!(self.value[0], 0, "the magic byte of {self:?}");
        u32::from_be_bytes(self.value[1..5].try_into().unwrap())
    }

    /// The fields of the datum behind the framing, by the schema of the registry.
    pub(crate) async fn fields(&self) -> BTreeMap<String, Avro> {
        let schema = schema(self.schema_id()).await;
        let schema = apache_avro::Schema::parse_str(schema["schema"].as_str().unwrap()).unwrap();
        let mut datum = &self.value[5..];
        let value = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut datum).unwrap();
        assert!(datum.is_empty(), "bytes behind the datum of {self:?}");
        let Avro::Record(fields) = value else { panic!("no record: {value:?}") };
        fields.into_iter().collect()
    }
}

/// The text in an Avro value, through the union of an optional field.
pub(crate) fn text(value: &Avro) -> Option<&str> {
    match value {
        Avro::String(text) | Avro::Enum(_, text) => Some(text),
        Avro::Union(_, inner) => text(inner),
        _ => None,
    }
}

/// `GET /schemas/ids/{id}`.
pub(crate) async fn schema(id: u32) -> Value {
    registry(&format!("/schemas/ids/{id}")).await
}

/// A document of the registry.
pub(crate) async fn registry(path: &str) -> Value {
    let url = format!("{}{path}", registry_url());
    let response = reqwest::Client::new().get(&url).timeout(REQUEST).send().await.unwrap();
    assert!(response.status().is_success(), "{url}: {}", response.status());
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

/// All committed records of a topic, by partition and offset.
pub(crate) async fn read(topic: &str) -> Vec<Record> {
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || read_blocking(&topic)).await.unwrap()
}

/// The events of one aggregate, in order.
pub(crate) async fn events_of(topic: &str, id: &str) -> Vec<Record> {
    let mut records = read(topic).await;
    records.retain(|record| record.key == id);
    records
}

fn each(topic: &str, mut visit: impl FnMut(&BorrowedMessage<'_>)) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("group.id", "none")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST).unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        partitions.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    assert!(partitions.count() > 0, "there is no topic {topic}");
    consumer.assign(&partitions).unwrap();

    let mut ended = 0;
    let start = Instant::now();
    while ended < partitions.count() {
        assert!(start.elapsed() < LIMIT, "{topic} can't be read to its end");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("{topic}: {error}"),
            Some(Ok(message)) => visit(&message),
        }
    }
}

fn read_blocking(topic: &str) -> Vec<Record> {
    let mut records = Vec::new();
    each(topic, |message| {
        let headers = message.headers().into_iter().flat_map(Headers::iter).map(|header| {
            let value = header.value.unwrap_or_default().to_vec();
            (header.key.to_owned(), String::from_utf8(value).unwrap())
        });
        records.push(Record {
            partition: message.partition(),
            offset: message.offset(),
            key: String::from_utf8(message.key().unwrap_or_default().to_vec()).unwrap(),
            value: message.payload().unwrap_or_default().to_vec(),
            headers: headers.collect(),
        });
    });
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// Keys and values of all committed records, of which none is taken for text.
pub(crate) async fn read_raw(topic: &str) -> Vec<(String, Vec<u8>)> {
    let topic = topic.to_owned();
    let read = move || {
        let mut records = Vec::new();
        each(&topic, |message| {
            let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
            records.push((key, message.payload().unwrap_or_default().to_vec()));
        });
        records
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

/// How many partitions a topic has.
pub(crate) async fn partitions(topic: &str) -> i32 {
    let topic = topic.to_owned();
    let ask = move || {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
        let metadata = consumer.fetch_metadata(Some(&topic), REQUEST).unwrap();
        metadata.topics()[0].partitions().len().try_into().unwrap()
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// The offset behind the last record of every partition of every topic below `prefix`.
pub(crate) async fn ends(prefix: &str) -> BTreeMap<(String, i32), i64> {
    let below = format!("{prefix}.");
    let ask = move || {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
        let metadata = consumer.fetch_metadata(None, REQUEST).unwrap();
        let mut ends = BTreeMap::new();
        for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with(&below)) {
            for partition in topic.partitions() {
                let (_, end) = consumer.fetch_watermarks(topic.name(), partition.id(), REQUEST).unwrap();
                ends.insert((topic.name().to_owned(), partition.id()), end);
            }
        }
        assert!(!ends.is_empty(), "there is no topic below {below}");
        ends
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// Makes Kafka forget the offsets of a consumer group without members.
pub(crate) async fn forget_group(group: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let results = admin.delete_groups(&[group], &AdminOptions::new()).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

/// Deletes every topic below `prefix`.
pub(super) async fn delete_topics(prefix: &str) -> Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers()).create()?;
    let metadata = admin.inner().fetch_metadata(None, REQUEST)?;
    let below = format!("{prefix}.");
    let names: Vec<&str> =
        metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.starts_with(&below)).collect();
    for result in admin.delete_topics(&names, &AdminOptions::new()).await? {
        if let Err((_, code)) = result
            && code != RDKafkaErrorCode::UnknownTopicOrPartition
        {
            return Err(KafkaError::AdminOp(code));
        }
    }
    Ok(())
}
