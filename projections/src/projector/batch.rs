//! From a record of Kafka to a typed event.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;
use writ_model::{Event, Model, Models, Object, Timestamp};
use writ_producers::envelope::unframe;
use writ_producers::registry::{self, Registry};
use writ_producers::topics::Topics;

/// A partition of an event topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
}

/// An event as Kafka has it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) place: Place,
    pub(super) offset: i64,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) type_name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) time: Option<String>,
}

/// An event as the fold takes it.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) place: Place,
    pub(super) offset: i64,
    pub(super) aggregate: Uuid,
    pub(super) version: u64,
    pub(super) at: Timestamp,
    /// The model, and within it the event, by name.
    pub(super) model: Arc<Model>,
    pub(super) event: String,
    pub(super) fields: Object,
}

/// Why a record is no event that can be applied now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The registry is away: the same record may work later.
    #[error(transparent)]
    Registry(registry::Error),
    /// It will not work until the record's schema or the models change.
    #[error("{0}")]
    Undecodable(String),
}

/// Decodes records.
#[derive(Debug)]
pub(super) struct Decoder {
    registry: Registry,
    /// By topic.
    models: HashMap<String, Arc<Model>>,
}

impl Decoder {
    pub(super) fn new(registry: Registry, models: &Models, topics: &Topics) -> Decoder {
        let models =
            models.models.values().map(|model| (topics.events(&model.name), model.clone())).collect();
        Decoder { registry, models }
    }

    pub(super) async fn decode(&self, record: &Record) -> Result<Decoded, Error> {
        let undecodable = |detail: String| Error::Undecodable(detail);
        let missing =
            |what: &str| undecodable(format!("the header {what} is missing or no value of its kind"));
        let model = self
            .models
            .get(&*record.place.topic)
            .ok_or_else(|| undecodable("no model has this topic".into()))?;
        let type_name = record.type_name.as_deref().ok_or_else(|| missing("ce_type"))?;
        let event = find(model, type_name).ok_or_else(|| {
            undecodable(format!("the model {} declares no event of type {type_name}", model.name))
        })?;
        let version = record.version.as_deref().and_then(|text| text.parse().ok());
        let time = record.time.as_deref().and_then(|text| text.parse().ok());
        let key = std::str::from_utf8(&record.key).ok().and_then(|text| text.parse().ok());
        let (schema, datum) = unframe(&record.value).ok_or_else(|| {
            undecodable("the value doesn't begin as an Avro datum of a registry does".into())
        })?;
        let schema = match self.registry.schema(schema).await {
            Ok(schema) => schema,
            Err(error @ registry::Error::Unavailable { .. }) => return Err(Error::Registry(error)),
            Err(error) => return Err(undecodable(error.to_string())),
        };
        Ok(Decoded {
            place: record.place.clone(),
            offset: record.offset,
            aggregate: key.ok_or_else(|| undecodable("the key is no UUID".into()))?,
            version: version.ok_or_else(|| missing("ce_version"))?,
            at: time.ok_or_else(|| missing("ce_time"))?,
            fields: event.codec.decode(&schema, datum).map_err(|error| undecodable(error.to_string()))?,
            event: event.name.clone(),
            model: model.clone(),
        })
    }
}

fn find<'a>(model: &'a Model, type_name: &str) -> Option<&'a Event> {
    model.events.values().find(|event| event.type_name == type_name)
}
