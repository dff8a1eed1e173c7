//! Writes events of orders as the decider does: decided by the model, framed and keyed alike, in one transaction with the new
//! states left out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;
use uuid::Uuid;
use writ_model::{Model, State, Timestamp};
use writ_producers::envelope::frame;
use writ_producers::registry::SchemaIds;
use writ_producers::transaction::{Record, TransactionalProducer};

use crate::dataset::{Dataset, headers};
use crate::orders::{Made, happen};

/// A transaction.
#[derive(Debug)]
pub(super) struct Committed {
    /// When its producer was told.
    pub(super) at: Instant,
    /// Aggregates and versions.
    pub(super) events: Vec<(Uuid, u64)>,
}

/// Places orders, then pays and ships them.
pub(super) struct Writer {
    inner: Option<Inner>,
}

struct Inner {
    producer: TransactionalProducer,
    order: Arc<Model>,
    topic: String,
    schemas: SchemaIds,
    /// Orders to which something can still happen, the oldest first.
    open: VecDeque<(Uuid, State)>,
    placed: usize,
}

impl Writer {
    /// Takes the topic over.
    pub(super) async fn open(dataset: &Dataset) -> Result<Writer> {
        let schemas = dataset.registry.register(&dataset.models, &dataset.topics).await?;
        let order = dataset.models.get("order").context("the shop has orders")?.clone();
        let (kafka, id) = (dataset.setup.kafka.clone(), format!("{}.bench", dataset.schema));
        let producer = tokio::task::spawn_blocking(move || TransactionalProducer::new(&kafka, &id)).await??;
        let (topic, open) = (dataset.topics.events("order"), VecDeque::new());
        Ok(Writer { inner: Some(Inner { producer, order, topic, schemas, open, placed: 0 }) })
    }

    /// Leaves the orders of earlier customers as they are.
    pub(super) fn forget(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.open.clear();
        }
    }

    /// Writes so many events of these customers' orders in one transaction.
    pub(super) async fn write(&mut self, customers: &[Uuid], count: usize) -> Result<Committed> {
        let mut inner = self.inner.take().context("an earlier transaction has failed")?;
        let customers = customers.to_vec();
        let (inner, committed) = tokio::task::spawn_blocking(move || {
            let committed = inner.write(&customers, count);
            (inner, committed)
        })
        .await?;
        self.inner = Some(inner);
        committed
    }
}

impl Inner {
    fn write(&mut self, customers: &[Uuid], count: usize) -> Result<Committed> {
        let made: Vec<Made> = (0..count).map(|_| self.next(customers)).collect::<Result<_>>()?;
        let mut transaction = self.producer.begin()?;
        for made in &made {
            let event = &made.model.events[&made.event];
            let schema = self.schemas.id(&event.type_name).context("every event type is registered")?;
            let mut value = frame(schema);
            event.codec.encode(&made.fields, &mut value)?;
            transaction.write(Record {
                topic: &self.topic,
                partition: None,
                key: made.aggregate.to_string().as_bytes(),
                value: Some(&value),
                headers: Some(headers(made, &event.type_name, &self.schemas.url(schema))),
            })?;
        }
        transaction.commit_records()?;
        let at = Instant::now();
        Ok(Committed { at, events: made.iter().map(|made| (made.aggregate, made.state.version)).collect() })
    }

    /// Of three events, one places an order, one pays and one ships an earlier one.
    fn next(&mut self, customers: &[Uuid]) -> Result<Made> {
        let now = Timestamp::from(std::time::SystemTime::now());
        let command = Uuid::new_v4();
        let waits = if self.open.len() > customers.len() { self.open.pop_front() } else { None };
        let made = match waits {
            Some((id, state)) => {
                let (name, input) = match state.version {
                    1 => ("pay", json!({ "reference": "P-1" })),
                    _ => ("ship", json!({ "shipped_on": "2026-01-31" })),
                };
                happen(&self.order, id, Some(state), (name, command), &input, command, now)?
            }
            None => {
                self.placed += 1;
                let number = format!("B{command:x}")[..20].to_owned();
                let id = self.order.id_of_key(&number).context("an order's key is its number")?;
                let line = json!({ "product": Uuid::nil(), "unit_price": "21.00", "quantity": 3, "discount": "0.1" });
                let input = json!({
                    "number": number, "customer": customers[self.placed % customers.len()],
                    "ordered_on": "2026-01-31", "lines": [line],
                });
                happen(&self.order, id, None, ("place", command), &input, command, now)?
            }
        };
        if made.state.version < 3 {
            self.open.push_back((made.aggregate, made.state.clone()));
        }
        Ok(made)
    }
}
