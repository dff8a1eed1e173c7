//! From a record of Kafka to a typed event.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use rdkafka::message::{BorrowedMessage, Message as _};
use uuid::Uuid;
use writ_model::{Event, Model, Models, Object, Timestamp, avro};
use writ_producers::dead_letter::{Origin, Original};
use writ_producers::envelope::{header, unframe};
use writ_producers::registry::{self, Registry};
use writ_producers::topics::Topics;

/// A partition of an event topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

/// An event as Kafka has it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) place: Place,
    pub(crate) offset: i64,
    pub(crate) original: Original,
}

impl Record {
    pub(crate) fn of(message: &BorrowedMessage<'_>) -> Record {
        Record {
            place: Place { topic: message.topic().into(), partition: message.partition() },
            offset: message.offset(),
            original: Original::of(message),
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        let (topic, partition) = (self.place.topic.to_string(), self.place.partition);
        Origin { topic, partition, offset: self.offset }
    }

    /// Where it stands.
    pub(crate) fn spot(&self) -> (Place, i64) {
        (self.place.clone(), self.offset)
    }

    /// The text of a header that a column can hold.
    fn text(&self, name: &str) -> Option<&str> {
        self.original.header(name).filter(|text| !text.contains('\0'))
    }

    /// A header's value, read as `T`.
    fn header<T: FromStr>(&self, name: &'static str) -> Result<T, Undecodable> {
        let text = self.original.header(name);
        text.and_then(|text| text.parse().ok()).ok_or(Undecodable::Header(name))
    }
}

/// An event as the fold takes it.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// What it was read from.
    pub(crate) record: Record,
    /// The event's own id.
    pub(crate) id: Uuid,
    /// Whose event it is.
    pub(crate) aggregate: Uuid,
    /// Its number among the events of its aggregate.
    pub(crate) version: u64,
    /// When it happened.
    pub(crate) at: Timestamp,
    /// The model that declares it.
    pub(crate) model: Arc<Model>,
    /// Which of the model's events it is.
    index: usize,
    /// The recorded fields.
    pub(crate) fields: Object,
}

impl Decoded {
    /// Its declaration.
    pub(crate) fn event(&self) -> &Event {
        &self.model.events[self.index]
    }

    /// Who sent the command; `None`: anonymous.
    pub(crate) fn actor(&self) -> Option<&str> {
        self.record.text(header::ACTOR)
    }

    /// The first command of the chain.
    pub(crate) fn correlation_id(&self) -> Option<&str> {
        self.record.text(header::CORRELATION_ID)
    }

    /// The command that caused it.
    pub(crate) fn causation_id(&self) -> Option<&str> {
        self.record.text(header::CAUSATION_ID)
    }
}

/// Why a record is no event that can be applied now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The registry is away: the same record may work later.
    #[error(transparent)]
    Registry(registry::Error),
    /// It will not work until the models or the registry change.
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undecodable {
    #[error("no model has this topic")]
    NoModel,
    #[error("the header {0} is missing or no value of its kind")]
    Header(&'static str),
    #[error("the model {model} declares no event of type {type_name}")]
    Type { model: String, type_name: String },
    #[error("the key is no UUID")]
    Key,
    #[error("the value doesn't begin as an Avro datum of a registry does")]
    Frame,
    #[error("the registry has no schema to read it with")]
    Schema(#[source] registry::Error),
    #[error("the value is no datum of its schema that today's model can read")]
    Datum(#[source] avro::Error),
}

/// Decodes records.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    registry: Registry,
    /// By topic.
    models: HashMap<String, Arc<Model>>,
}

impl Decoder {
    pub(crate) fn new(registry: Registry, models: &Models, topics: &Topics) -> Decoder {
        let models =
            models.models.values().map(|model| (topics.events(&model.name), model.clone())).collect();
        Decoder { registry, models }
    }

    /// Hands the record back when it is none.
    pub(crate) async fn decode(&self, record: Record) -> Result<Decoded, (Record, Error)> {
        match self.read(&record).await {
            Ok(read) => {
                let Read { id, aggregate, version, at, model, index, fields } = read;
                Ok(Decoded { record, id, aggregate, version, at, model, index, fields })
            }
            Err(error) => Err((record, error)),
        }
    }

    async fn read(&self, record: &Record) -> Result<Read, Error> {
        let model = self.models.get(&*record.place.topic).ok_or(Undecodable::NoModel)?;
        let type_name: String = record.header(header::TYPE)?;
        let (index, event) = find(model, &type_name)
            .ok_or_else(|| Undecodable::Type { model: model.name.clone(), type_name })?;
        let key = record.original.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let aggregate = key.and_then(|key| key.parse().ok()).ok_or(Undecodable::Key)?;
        let (version, at): (u64, Timestamp) = (record.header(header::VERSION)?, record.header(header::TIME)?);
        // No column holds a larger one.
        i64::try_from(version).map_err(|_| Undecodable::Header(header::VERSION))?;
        let id = record.header(header::ID)?;
        let value = record.original.value.as_deref().unwrap_or_default();
        let (schema, datum) = unframe(value).ok_or(Undecodable::Frame)?;
        let schema = match self.registry.schema(schema).await {
            Ok(schema) => schema,
            Err(error @ registry::Error::Unavailable { .. }) => return Err(Error::Registry(error)),
            Err(error) => return Err(Undecodable::Schema(error).into()),
        };
        let fields = event.codec.decode(&schema, datum).map_err(Undecodable::Datum)?;
        Ok(Read { id, aggregate, version, at, model: model.clone(), index, fields })
    }
}

/// What is in a record.
struct Read {
    id: Uuid,
    aggregate: Uuid,
    version: u64,
    at: Timestamp,
    model: Arc<Model>,
    index: usize,
    fields: Object,
}

fn find<'a>(model: &'a Model, type_name: &str) -> Option<(usize, &'a Event)> {
    model.events.values().enumerate().find(|(_, event)| event.type_name == type_name)
}
