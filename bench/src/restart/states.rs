//! The aggregates: their states in `writ.state`, and the topics that they stand in.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rdkafka::admin::AdminOptions;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use writ_model::Models;
use writ_model::diagnostic::Source;
use writ_producers::topics::{self, Topics};
use writ_producers::{envelope, kafka};

use super::{MODEL, workspace};

/// When the aggregates were made, milliseconds since 1970. Any moment in the past.
const MADE_AT: i64 = 1_750_000_000_000;
const FLUSH_LIMIT: Duration = Duration::from_secs(60);

/// Where they are.
pub(super) struct States {
    /// Kafka, and the prefix of the topics.
    pub(super) kafka: kafka::Options,
    models: Models,
    topics: Topics,
}

impl States {
    /// Reads the sample shop's models; writes nothing yet.
    pub(super) fn new(brokers: &str, prefix: &str, partitions: i32) -> Result<States> {
        let folder = workspace().join("models");
        let mut sources = Vec::new();
        for name in ["category", "customer", "order", "product"] {
            let path = folder.join(format!("{name}.yaml"));
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("{} can't be read", path.display()))?;
            sources.push(Source { name: format!("{name}.yaml"), text });
        }
        let models = Models::check("shop", &sources)
            .map_err(|_| anyhow!("the models in {} have faults", folder.display()))?;
        let kafka = kafka::Options {
            brokers: brokers.into(),
            topic_prefix: prefix.into(),
            partitions,
            ..kafka::Options::default()
        };
        Ok(States { topics: Topics::new(prefix), kafka, models })
    }

    /// All topics of the application.
    pub(super) async fn create_topics(&self) -> Result<()> {
        Ok(topics::ensure(&self.kafka, &self.models).await?)
    }

    /// Deletes them.
    pub(super) async fn delete(&self) -> Result<()> {
        let topics = &self.topics;
        let mut names = vec![topics.commands(), topics.state(), topics.replies(), topics.dead_letters()];
        names.extend(self.models.models.keys().map(|model| topics.events(model)));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.kafka.admin()?.delete_topics(&names, &AdminOptions::new()).await?;
        Ok(())
    }

    /// The natural key of an aggregate.
    pub(super) fn code(&self, number: u64) -> String {
        format!("B{number:08}")
    }

    /// Writes the states of `count` aggregates. Returns their bytes.
    pub(super) fn fill(&self, count: u64) -> Result<u64> {
        let model = self.models.get(MODEL).context("the shop has customers")?;
        let producer: BaseProducer = self
            .kafka
            .client("bench")
            .set("compression.type", "lz4")
            .set("linger.ms", "20")
            .set("queue.buffering.max.messages", "500000")
            .set("queue.buffering.max.kbytes", "262144")
            .create()?;
        let topic = self.topics.state();
        let mut bytes = 0;
        for number in 0..count {
            let code = self.code(number);
            let id = model.parse_id(&code).context("the code is a key of a customer")?;
            let key = envelope::aggregate_key(MODEL, id);
            let value = state(number, &code).to_string();
            bytes += value.len() as u64;
            let mut record = BaseRecord::to(&topic).key(&key).payload(&value);
            while let Err((error, unsent)) = producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                producer.poll(Duration::from_millis(5));
                record = unsent;
            }
            if number % 1_000 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(FLUSH_LIMIT)?;
        Ok(bytes)
    }
}

/// As the decider keeps it.
fn state(number: u64, code: &str) -> serde_json::Value {
    json!({
        "version": 1,
        "deleted": false,
        "created_at": MADE_AT,
        "updated_at": MADE_AT,
        "fields": {
            "code": code,
            "company": format!("Company number {number}"),
            "contact_name": format!("Contact {number}"),
            "contact_title": "Sales Representative",
            "street": format!("Main Street {}", number % 500),
            "city": format!("City {}", number % 1_000),
            "region": null,
            "postal_code": format!("{:05}", number % 100_000),
            "country": "Germany",
            "phone": format!("030-{number:08}"),
            "fax": null,
        },
    })
}
