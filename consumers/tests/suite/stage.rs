//! What every test needs: topics of its own, deciders, and a look at what stands in Kafka.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_consumers::decider::{self, Decider};
use writ_model::Models;
use writ_model::decide::Actor;
use writ_model::diagnostic::Source;
use writ_producers::commands::{Answers, Commands};
use writ_producers::envelope::{CommandRecord, Committed, Outcome, header};
use writ_producers::readiness::Readiness;
use writ_producers::registry::{self, Registry};
use writ_producers::topics::{self, Topics};
use writ_producers::{kafka, replies};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const ACCOUNT: &str = "
model: account
fields:
  owner: { type: text }
  balance: { type: integer, min: 0 }
commands:
  open: { creates: true, input: [owner], set: { balance: '0' }, emits: opened }
  deposit:
    input: { amount: { type: integer, min: 1 } }
    set: { balance: state.balance + input.amount }
    emits: deposited
  withdraw:
    input: { amount: { type: integer, min: 1 } }
    require:
      - { that: input.amount <= state.balance, else: The balance is too low. }
    set: { balance: state.balance - input.amount }
    emits: withdrawn
";

/// Topics of one test; they go with the stack.
pub(crate) struct Stage {
    pub(crate) kafka: kafka::Options,
    pub(crate) registry: registry::Options,
    pub(crate) models: Arc<Models>,
    pub(crate) topics: Topics,
}

impl Stage {
    pub(crate) async fn new(partitions: i32) -> Stage {
        Self::with(partitions, &[ACCOUNT]).await
    }

    pub(crate) async fn with(partitions: i32, models: &[&str]) -> Stage {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo dev test`"))
        };
        let kafka = kafka::Options {
            brokers: variable("WRIT_KAFKA_BROKERS"),
            topic_prefix: format!("t{}", Uuid::now_v7().simple()),
            partitions,
            replication: 1,
        };
        let registry = registry::Options { url: variable("WRIT_REGISTRY_URL") };
        let models = check(models);
        topics::ensure(&kafka, &models).await.unwrap();
        let topics = Topics::new(&kafka.topic_prefix);
        Stage { kafka, registry, models, topics }
    }

    /// The same topics with other declarations of the same models.
    pub(crate) fn redeclared(&self, models: &[&str]) -> Stage {
        let Stage { kafka, registry, topics, .. } = self;
        Stage {
            kafka: kafka.clone(),
            registry: registry.clone(),
            models: check(models),
            topics: topics.clone(),
        }
    }

    pub(crate) async fn decider(&self, folder: &Path) -> Running {
        let schemas =
            Registry::new(&self.registry).unwrap().register(&self.models, &self.topics).await.unwrap();
        let answers = Answers::new();
        let (readiness, mut ready) = watch::channel(Readiness::Waiting("new".into()));
        let decider = Decider {
            kafka: self.kafka.clone(),
            options: decider::Options::default(),
            models: self.models.clone(),
            schemas,
            folder: folder.to_owned(),
            answers: answers.clone(),
            readiness,
        };
        let cancel = CancellationToken::new();
        let task = tokio::spawn(decider.run(cancel.clone()));
        tokio::time::timeout(LIMIT, ready.wait_for(|state| *state == Readiness::Ready))
            .await
            .expect("the decider becomes ready")
            .unwrap();
        Running { commands: self.sender(answers), cancel, task }
    }

    pub(crate) fn sender(&self, answers: Arc<Answers>) -> Commands {
        let (_, ready) = watch::channel(Readiness::Ready);
        let partition = replies::partition_of(answers.instance);
        Commands::new(&self.kafka, answers, partition, ready).unwrap()
    }

    /// Committed records of a topic, from its beginning to its end, in the order of each partition.
    pub(crate) fn read(&self, topic: &str) -> Vec<Found> {
        let consumer: BaseConsumer = self
            .kafka
            .client("test")
            .set("group.id", "none")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut assignment = TopicPartitionList::new();
        for partition in 0..self.kafka.partitions {
            assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&assignment).unwrap();
        let (mut records, mut left) = (Vec::new(), self.kafka.partitions);
        while left > 0 {
            match consumer.poll(LIMIT).expect("the end of the topic is reached") {
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => left -= 1,
                Err(error) => panic!("{topic}: {error}"),
                Ok(record) => {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    let headers = record.headers().map(|headers| headers.iter().collect::<Vec<_>>());
                    let headers = headers.unwrap_or_default().into_iter();
                    records.push(Found {
                        key: text(record.key().unwrap_or_default()),
                        value: record.payload().map(<[u8]>::to_vec),
                        headers: headers
                            .map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default())))
                            .collect(),
                    });
                }
            }
        }
        records
    }

    /// Versions of an account's events, in the order of the topic.
    pub(crate) fn versions(&self, aggregate: Uuid) -> Vec<String> {
        self.versions_of("account", aggregate)
    }

    pub(crate) fn versions_of(&self, model: &str, aggregate: Uuid) -> Vec<String> {
        let events = self.read(&self.topics.events(model));
        let of_this = events.iter().filter(|event| event.key == aggregate.to_string());
        of_this.map(|event| event.headers[header::VERSION].clone()).collect()
    }
}

fn check(models: &[&str]) -> Arc<Models> {
    let source = |text: &&str| Source { name: "model.yaml".into(), text: (*text).to_owned() };
    let sources: Vec<_> = models.iter().map(source).collect();
    Arc::new(Models::check("bank", &sources).expect("the models are right"))
}

/// A committed record.
pub(crate) struct Found {
    pub(crate) key: String,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: BTreeMap<String, String>,
}

pub(crate) struct Running {
    pub(crate) commands: Commands,
    pub(crate) cancel: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), decider::Error>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("the decider stops").unwrap().unwrap();
    }

    pub(crate) async fn send(&self, command: &CommandRecord) -> Outcome {
        self.commands.enqueue(command).unwrap().outcome(LIMIT).await.unwrap()
    }

    pub(crate) async fn commit(&self, command: &CommandRecord) -> Committed {
        match self.send(command).await {
            Outcome::Committed(committed) => committed,
            Outcome::Rejected(rejection) => panic!("{command:?} was rejected: {rejection:?}"),
        }
    }
}

pub(crate) fn command(aggregate: Uuid, name: &str, input: Value) -> CommandRecord {
    command_of("account", aggregate, name, input)
}

pub(crate) fn command_of(model: &str, aggregate: Uuid, name: &str, input: Value) -> CommandRecord {
    CommandRecord {
        id: Uuid::now_v7(),
        model: model.into(),
        aggregate,
        command: name.into(),
        input,
        actor: Actor::unrestricted(),
        expected_version: None,
        at: 1_700_000_000_000,
        idempotent: false,
        correlation: Uuid::now_v7(),
        causation: None,
        traceparent: None,
        reacting: None,
    }
}

pub(crate) fn open(aggregate: Uuid) -> CommandRecord {
    command(aggregate, "open", json!({ "owner": "Ada" }))
}
