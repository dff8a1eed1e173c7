//! How large records may be: declared once, so that whatever passes one station fits through all that follow.
//!
//! A record that Kafka refuses can't be written by trying again. In the decider's transaction it would stop its
//! partition for ever: the command is read again, decided again and refused again. So the sizes form a chain:
//!
//! 1. a command has at most [`MAX_COMMAND_BYTES`], checked by the api before Kafka sees it;
//! 2. what a decision writes has at most [`MAX_STATE_BYTES`] and [`MAX_EVENT_BYTES`], checked by the decider, which
//!    rejects the command otherwise ([`check_decision`]): a state can grow by many small commands;
//! 3. the largest record that can follow from these is the outcome of a command, with state and event in it. It fits
//!    into [`MAX_RECORD_BYTES`], which the topics and the producers allow.
//!
//! Clients check sizes before compression, brokers after it, so it makes no difference whether records compress well.

use std::io;

use serde::Serialize;

/// Largest record of `writ.commands`: within Kafka's default of 1 MiB for a batch, less what headers and framing take.
pub const MAX_COMMAND_BYTES: usize = 900_000;
/// Largest state of an aggregate, as JSON.
pub const MAX_STATE_BYTES: usize = 2_000_000;
/// Largest event: its fields, as Avro and as JSON.
pub const MAX_EVENT_BYTES: usize = 2_000_000;
/// Largest outcome: state and event, with what names them.
pub const MAX_OUTCOME_BYTES: usize = MAX_STATE_BYTES + MAX_EVENT_BYTES + 16 * 1024;
/// `max.message.bytes` of every topic that the decider writes, and `message.max.bytes` of its producers: an outcome,
/// with headers and framing.
pub const MAX_RECORD_BYTES: usize = 5 * 1024 * 1024;

/// Commands of one batch, in bytes of their values: what the decider reads before it decides.
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// What one transaction may hold before no further command is added to it. The last command may exceed it by the
/// records of one decision.
pub const MAX_TRANSACTION_BYTES: usize = 32 * 1024 * 1024;

/// A decision whose records would be too large. The message is meant for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// The aggregate would become too large.
    #[error("the state would have {size} bytes, at most {MAX_STATE_BYTES} are kept for one aggregate")]
    State {
        /// Bytes.
        size: usize,
    },
    /// The event would be too large.
    #[error("the event would have {size} bytes, at most {MAX_EVENT_BYTES} fit into one")]
    Event {
        /// Bytes.
        size: usize,
    },
}

/// Whether the records of a decision can be written; their sizes together, in bytes. `event`: the framed Avro value,
/// `data`: its fields for the answer, `state`: the aggregate after it.
///
/// # Errors
/// [`TooLarge`]: the command must be rejected.
pub fn check_decision(
    event: &[u8],
    data: &impl Serialize,
    state: &impl Serialize,
) -> Result<usize, TooLarge> {
    let (data, state) = (json_bytes(data), json_bytes(state));
    let event_bytes = data.max(event.len());
    if event_bytes > MAX_EVENT_BYTES {
        return Err(TooLarge::Event { size: event_bytes });
    }
    if state > MAX_STATE_BYTES {
        return Err(TooLarge::State { size: state });
    }
    // The outcome repeats event and state, for a client that repeats its command.
    Ok(event.len() + state + data + state)
}

/// The size of a value as JSON, without making the text.
pub fn json_bytes(value: &impl Serialize) -> usize {
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value)
        .expect("a counter takes every byte, and JSON has string keys only");
    counter.0
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_size_is_that_of_the_text() {
        let value = json!({ "text": "äöü \"quoted\"\n", "list": [1, 2.5, null], "deep": { "a": {} } });
        assert_eq!(json_bytes(&value), value.to_string().len());
    }

    #[test]
    fn what_fits_is_counted_and_what_does_not_is_named() {
        let text = |bytes: usize| json!("x".repeat(bytes - 2));
        let fits = check_decision(&[0; 10], &text(MAX_EVENT_BYTES), &text(MAX_STATE_BYTES));
        assert_eq!(fits, Ok(10 + MAX_EVENT_BYTES + 2 * MAX_STATE_BYTES));
        assert_eq!(
            check_decision(&[0; 10], &json!({}), &text(MAX_STATE_BYTES + 1)),
            Err(TooLarge::State { size: MAX_STATE_BYTES + 1 })
        );
        let event = Err(TooLarge::Event { size: MAX_EVENT_BYTES + 1 });
        assert_eq!(check_decision(&[0; 10], &text(MAX_EVENT_BYTES + 1), &json!({})), event);
        assert_eq!(check_decision(&vec![0; MAX_EVENT_BYTES + 1], &json!({}), &json!({})), event);
    }

    #[test]
    fn each_station_fits_through_the_next() {
        // The framing of a batch and the headers of an event are far below this.
        const FRAMING: usize = 64 * 1024;
        const { assert!(MAX_COMMAND_BYTES + FRAMING < 1024 * 1024) };
        const { assert!(MAX_OUTCOME_BYTES + FRAMING < MAX_RECORD_BYTES) };
        const { assert!(MAX_EVENT_BYTES + FRAMING < MAX_RECORD_BYTES) };
    }
}
