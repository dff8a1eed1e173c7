//! From a record of an event topic to what it says, as the projector reads it too. For every reader that needs the whole event: the
//! live feed and the reactions.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::message::OwnedMessage;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_model::{Event, Model, Object, Timestamp};
use writ_producers::envelope::{header, unframe};
use writ_producers::registry::{self, Registry};

use crate::header::text;

/// Pause while the registry is away.
const RETRY: Duration = Duration::from_millis(500);

/// An event as it was recorded.
#[derive(Debug)]
pub(crate) struct Happened {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// When Kafka got it, milliseconds.
    pub(crate) written: Option<i64>,
    pub(crate) aggregate: Uuid,
    pub(crate) version: u64,
    pub(crate) at: Timestamp,
    /// Which of the model's events it is.
    pub(crate) index: usize,
    pub(crate) id: Uuid,
    pub(crate) actor: Option<String>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) causation_id: Option<String>,
    /// The recorded fields.
    pub(crate) fields: Object,
}

impl Happened {
    /// Its declaration.
    pub(crate) fn event<'m>(&self, model: &'m Model) -> &'m Event {
        &model.events[self.index]
    }
}

/// Reads the events of one model.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    pub(crate) model: Arc<Model>,
    pub(crate) registry: Registry,
}

impl Decoder {
    /// Waits for the registry, as long as that takes.
    pub(crate) async fn decode(
        &self,
        record: &OwnedMessage,
        cancel: &CancellationToken,
    ) -> Result<Happened, NoEvent> {
        loop {
            match self.try_decode(record).await {
                Ok(happened) => return Ok(happened),
                Err(Failed::Undecodable(reason)) => return Err(NoEvent::Undecodable(reason)),
                Err(Failed::Unavailable(error)) => {
                    tracing::warn!(%error, model = self.model.name, "events can't be read without the schema registry");
                }
            }
            let pause = tokio::time::sleep(RETRY);
            cancel.run_until_cancelled(pause).await.ok_or(NoEvent::Cancelled)?;
        }
    }

    async fn try_decode(&self, record: &OwnedMessage) -> Result<Happened, Failed> {
        let undecodable = |reason: &'static str| Failed::Undecodable(reason.to_owned());
        let type_name = text(record, header::TYPE).ok_or_else(|| undecodable("it has no type"))?;
        let (index, event) = (self.model.events.values().enumerate())
            .find(|(_, event)| event.type_name == type_name)
            .ok_or_else(|| undecodable("no event of this type is declared"))?;
        let aggregate = key(record).ok_or_else(|| undecodable("its key is no UUID"))?;
        let number = |name| text(record, name).and_then(|text| text.parse().ok());
        let version: u64 = number(header::VERSION).ok_or_else(|| undecodable("it has no version"))?;
        let at = text(record, header::TIME).and_then(|text| text.parse().ok());
        let id = text(record, header::ID).and_then(|text| text.parse().ok());
        let (Some(at), Some(id)) = (at, id) else { return Err(undecodable("it has no time or no id")) };
        let (schema, datum) = record
            .payload()
            .and_then(unframe)
            .ok_or_else(|| undecodable("its value doesn't begin as an Avro datum of a registry does"))?;
        let schema = self.registry.schema(schema).await.map_err(|error| match error {
            error @ registry::Error::Unavailable { .. } => Failed::Unavailable(error),
            error => Failed::Undecodable(error.to_string()),
        })?;
        let decoded = event.codec.decode(&schema, datum);
        let fields = decoded.map_err(|error| Failed::Undecodable(error.to_string()))?;
        let owned = |name| text(record, name).map(str::to_owned);
        Ok(Happened {
            partition: record.partition(),
            offset: record.offset(),
            written: record.timestamp().to_millis(),
            aggregate,
            version,
            at,
            index,
            id,
            actor: owned(header::ACTOR),
            correlation_id: owned(header::CORRELATION_ID),
            causation_id: owned(header::CAUSATION_ID),
            fields,
        })
    }
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoEvent {
    #[error("the record is no event that can be read: {0}")]
    Undecodable(String),
    #[error("the reader stops")]
    Cancelled,
}

enum Failed {
    /// The registry is away: the same record may work later.
    Unavailable(registry::Error),
    Undecodable(String),
}

/// The aggregate of a record. `None`: it is no event.
pub(crate) fn key(record: &impl Message) -> Option<Uuid> {
    std::str::from_utf8(record.key()?).ok()?.parse().ok()
}
