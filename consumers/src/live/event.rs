//! The events of a feed: one that can't be read is passed over, since no row shows it either.

use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;
use tokio_util::sync::CancellationToken;

use super::metrics;
pub(super) use crate::event::{Decoder, Happened, NoEvent, key};

/// `None`: it can't be read, which is logged and counted, or it was cancelled.
pub(super) async fn decode(
    decoder: &Decoder,
    record: &OwnedMessage,
    cancel: &CancellationToken,
) -> Option<Happened> {
    match decoder.decode(record, cancel).await {
        Ok(happened) => Some(happened),
        Err(NoEvent::Cancelled) => None,
        Err(NoEvent::Undecodable(reason)) => {
            let model = decoder.model.name.clone();
            ::metrics::counter!(metrics::PASSED_OVER, "model" => model, "reason" => "undecodable")
                .increment(1);
            tracing::error!(
                kafka.topic = record.topic(),
                kafka.partition = record.partition(),
                kafka.offset = record.offset(),
                reason,
                "an event can't be decoded; no subscription gets it"
            );
            None
        }
    }
}
