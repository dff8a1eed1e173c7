//! From a record of an event topic to what it says, as the projector reads it too.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::message::OwnedMessage;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_model::{Event, Model, Object, Timestamp};
use writ_producers::envelope::{header, unframe};
use writ_producers::registry::{self, Registry};

use super::metrics;
use crate::header::text;

/// Pause while the registry is away.
const RETRY: Duration = Duration::from_millis(500);

/// An event as it was recorded.
#[derive(Debug)]
pub(super) struct Happened {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// When Kafka got it, milliseconds.
    pub(super) written: Option<i64>,
    pub(super) aggregate: Uuid,
    pub(super) version: u64,
    pub(super) at: Timestamp,
    /// Which of the model's events it is.
    pub(super) index: usize,
    pub(super) id: Uuid,
    pub(super) actor: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) causation_id: Option<String>,
    /// The recorded fields.
    pub(super) fields: Object,
}

impl Happened {
    /// Its declaration.
    pub(super) fn event<'m>(&self, model: &'m Model) -> &'m Event {
        &model.events[self.index]
    }
}

/// Reads the events of one model.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    pub(super) model: Arc<Model>,
    pub(super) registry: Registry,
}

impl Decoder {
    /// `None`: it can't be read, which is logged and counted, or it was cancelled. Waits for the registry, as long as that takes.
    pub(super) async fn decode(&self, record: &OwnedMessage, cancel: &CancellationToken) -> Option<Happened> {
        loop {
            let failed = match self.try_decode(record).await {
                Ok(happened) => return Some(happened),
                Err(failed) => failed,
            };
            match failed {
                Failed::Unavailable(error) => {
                    tracing::warn!(%error, model = self.model.name, "events can't be read without the schema registry");
                }
                Failed::Undecodable(reason) => {
                    ::metrics::counter!(metrics::PASSED_OVER, "model" => self.model.name.clone(), "reason" => "undecodable")
                        .increment(1);
                    tracing::error!(
                        kafka.topic = record.topic(),
                        kafka.partition = record.partition(),
                        kafka.offset = record.offset(),
                        reason,
                        "an event can't be decoded; no subscription gets it"
                    );
                    return None;
                }
            }
            cancel.run_until_cancelled(tokio::time::sleep(RETRY)).await?;
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

enum Failed {
    /// The registry is away: the same record may work later.
    Unavailable(registry::Error),
    Undecodable(String),
}

/// The aggregate of a record. `None`: it is no event.
pub(super) fn key(record: &impl Message) -> Option<Uuid> {
    std::str::from_utf8(record.key()?).ok()?.parse().ok()
}
