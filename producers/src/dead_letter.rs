//! A dead letter: a record that its reader can't use, kept whole in `writ.dead-letters` with the reason, so that its
//! partition goes on and nothing is lost.
//!
//! The record of a letter has as its key the letter's id, which is the place of the original ([`Origin`]); as its value
//! the original's value; as its headers the original's, as they were, and after them ours, which begin with the last
//! [`header::ORIGIN`]. What became of a letter is a [`Mark`], a record with the same key. So everything about one
//! letter stands in one partition, in order: the first letter wins, the last mark counts, and a letter that is written
//! twice, after a crash, is one letter.

use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;

use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use serde::{Deserialize, Serialize};

use crate::envelope::header;
use crate::limits::MAX_RECORD_BYTES;

/// An original that is larger stays where it is: its letter has neither key, value nor headers, only its place. The
/// rest up to [`MAX_RECORD_BYTES`] is room for our own headers.
pub const MAX_ORIGINAL_BYTES: usize = MAX_RECORD_BYTES - 512 * 1024;
/// Characters of the reason and of each cause. They may quote what they complain about.
const MAX_REASON: usize = 1000;

/// Where a record stands, as `topic:partition:offset`. The id of its dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.topic, self.partition, self.offset)
    }
}

/// A text that names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no id of a dead letter: it looks like `writ.commands:3:1204`, topic, partition and offset")]
pub struct InvalidOrigin(String);

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.rsplitn(3, ':');
            let offset = parts.next()?.parse().ok().filter(|offset| *offset >= 0)?;
            let partition = parts.next()?.parse().ok().filter(|partition| *partition >= 0)?;
            let topic = parts.next().filter(|topic| !topic.is_empty())?.to_owned();
            Some(Origin { topic, partition, offset })
        };
        parse().ok_or_else(|| InvalidOrigin(text.to_owned()))
    }
}

/// A record but for its place.
#[derive(Debug, Clone, Default)]
pub struct Original {
    /// Key; `None` is Kafka's null.
    pub key: Option<Vec<u8>>,
    /// Value; `None` is Kafka's null.
    pub value: Option<Vec<u8>>,
    /// Headers; the same name may come several times.
    pub headers: Option<OwnedHeaders>,
    /// When it was written, milliseconds.
    pub timestamp: Option<i64>,
}

impl Original {
    /// A copy of what was read.
    pub fn of(record: &rdkafka::message::BorrowedMessage<'_>) -> Original {
        Original {
            key: record.key().map(<[u8]>::to_vec),
            value: record.payload().map(<[u8]>::to_vec),
            headers: record.headers().map(|headers| headers.detach()),
            timestamp: record.timestamp().to_millis(),
        }
    }

    /// The value of the last header of that name, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.as_ref().and_then(|headers| text_of(headers, name))
    }

    /// Bytes of key, value and headers.
    pub fn size(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.as_ref().map_or(0, |headers| {
            headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum()
        });
        length(&self.key) + length(&self.value) + headers
    }
}

/// Who gives up on records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// Consumer group.
    pub group: String,
    /// The process: the node id of its data folder, or its client id.
    pub node: String,
    /// Version of writ.
    pub version: String,
}

impl Author {
    /// This version of writ, as `node` in `group`.
    pub fn new(group: String, node: String) -> Author {
        Author { group, node, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// What was going on. The time is that of the letter's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// What was being done with the record.
    pub during: String,
    /// The errors behind the reason, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
    /// By whom.
    #[serde(flatten)]
    pub author: Author,
}

/// A record that was given up on, and why.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Where the original stands, as long as its topic keeps it.
    pub origin: Origin,
    /// The original. Empty when it is too large, see [`Letter::left_out`].
    pub original: Original,
    /// One line: what was wrong, and what was behind it.
    pub reason: String,
    /// `None`: of a letter that another program wrote.
    pub context: Option<Context>,
    /// Bytes of an original that is larger than [`MAX_ORIGINAL_BYTES`].
    pub left_out: Option<usize>,
}

/// The record of a letter or a mark, but for the topic.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: OwnedHeaders,
}

impl Letter {
    /// The letter of a record that failed with `error` during what `during` says.
    pub fn new(
        origin: Origin,
        original: Original,
        author: &Author,
        during: &str,
        error: &(dyn StdError + 'static),
    ) -> Letter {
        let size = original.size();
        let (original, left_out) = match size > MAX_ORIGINAL_BYTES {
            true => (Original { timestamp: original.timestamp, ..Original::default() }, Some(size)),
            false => (original, None),
        };
        let reason = error.to_string();
        let (mut causes, mut next) = (Vec::new(), error.source());
        while let Some(cause) = next {
            causes.push(shortened(&cause.to_string()));
            next = cause.source();
        }
        let whole: Vec<&str> =
            std::iter::once(reason.as_str()).chain(causes.iter().map(String::as_str)).collect();
        let reason = shortened(&whole.join(": "));
        let context = Some(Context { during: during.to_owned(), causes, author: author.clone() });
        Letter { origin, original, reason, context, left_out }
    }

    /// The record to write.
    pub fn encode(self) -> Encoded {
        let origin = self.origin.to_string();
        let headers = self.original.headers.unwrap_or_else(|| OwnedHeaders::new_with_capacity(6));
        let mut headers = headers
            .insert(Header { key: header::ORIGIN, value: Some(&origin) })
            .insert(Header { key: header::REASON, value: Some(&self.reason) });
        if let Some(context) = &self.context {
            let context = serde_json::to_string(context).expect("a context has string keys only");
            headers = headers.insert(Header { key: header::CONTEXT, value: Some(&context) });
        }
        if let Some(key) = &self.original.key {
            headers = headers.insert(Header { key: header::KEY, value: Some(key) });
        }
        for (key, number) in [
            (header::TIMESTAMP, self.original.timestamp.map(|at| at.to_string())),
            (header::LEFT_OUT, self.left_out.map(|bytes| bytes.to_string())),
        ] {
            if let Some(number) = number {
                headers = headers.insert(Header { key, value: Some(&number) });
            }
        }
        Encoded { key: origin, value: self.original.value, headers }
    }
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// It was tried again.
    Replayed,
    /// Somebody decided that it can be forgotten.
    Dropped,
}

impl Mark {
    /// As in the header.
    pub fn name(self) -> &'static str {
        match self {
            Mark::Replayed => "replayed",
            Mark::Dropped => "dropped",
        }
    }

    /// The record to write.
    pub fn encode(self, origin: &Origin) -> Encoded {
        let key = origin.to_string();
        let headers = OwnedHeaders::new_with_capacity(2)
            .insert(Header { key: header::ORIGIN, value: Some(&key) })
            .insert(Header { key: header::STATE, value: Some(self.name()) });
        Encoded { key, value: None, headers }
    }
}

/// A record of `writ.dead-letters`.
#[derive(Debug)]
pub enum Entry {
    /// A letter.
    Letter(Box<Letter>),
    /// What became of one.
    Mark(Origin, Mark),
}

impl Entry {
    /// Reads what the encoders write; `None` for anything else.
    pub fn parse(record: &rdkafka::message::BorrowedMessage<'_>) -> Option<Entry> {
        Entry::of_parts(&record.headers()?.detach(), record.payload())
    }

    /// The same from the headers and the value, for the fuzz targets: only a broker makes a borrowed record.
    #[doc(hidden)]
    pub fn of_parts(headers: &OwnedHeaders, value: Option<&[u8]>) -> Option<Entry> {
        // The original may itself have been a dead letter that somebody sent on: ours are the last ones.
        let ours = (0..headers.count()).rev().find(|index| headers.get(*index).key == header::ORIGIN)?;
        let (mut theirs, mut found) = (OwnedHeaders::new(), std::collections::HashMap::new());
        for (index, header) in headers.iter().enumerate() {
            if index < ours {
                theirs = theirs.insert(header);
            } else {
                found.insert(header.key, header.value.unwrap_or_default());
            }
        }
        let text = |name| found.get(name).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let origin: Origin = text(header::ORIGIN)?.parse().ok()?;
        match text(header::STATE) {
            Some("replayed") => return Some(Entry::Mark(origin, Mark::Replayed)),
            Some("dropped") => return Some(Entry::Mark(origin, Mark::Dropped)),
            _ => {}
        }
        Some(Entry::Letter(Box::new(Letter {
            origin,
            original: Original {
                key: found.get(header::KEY).map(|key| key.to_vec()),
                value: value.map(<[u8]>::to_vec),
                headers: (theirs.count() > 0).then_some(theirs),
                timestamp: text(header::TIMESTAMP).and_then(|text| text.parse().ok()),
            },
            reason: text(header::REASON).unwrap_or_default().to_owned(),
            context: text(header::CONTEXT).and_then(|text| serde_json::from_str(text).ok()),
            left_out: text(header::LEFT_OUT).and_then(|text| text.parse().ok()),
        })))
    }
}

fn text_of<'a>(headers: &'a OwnedHeaders, name: &str) -> Option<&'a str> {
    let value = headers.iter().filter(|header| header.key == name).last()?.value?;
    std::str::from_utf8(value).ok()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { topic: "writ.commands".into(), partition: 3, offset: 17 }
    }

    #[test]
    fn an_origin_survives_its_text_and_nothing_else_is_one() {
        assert_eq!(origin().to_string().parse(), Ok(origin()));
        for garbage in ["", "a:b:c", "3:17", ":3:17", "writ.commands:-1:17", "writ.commands:3:-1"] {
            assert_eq!(garbage.parse::<Origin>(), Err(InvalidOrigin(garbage.into())));
        }
    }

    #[test]
    fn what_is_too_large_for_the_topic_is_left_where_it_is() {
        let original = Original {
            value: Some(vec![b'x'; MAX_ORIGINAL_BYTES + 1]),
            timestamp: Some(5),
            ..Original::default()
        };
        let author = Author::new("g".into(), "n".into());
        let error = InvalidOrigin("y".repeat(5000));
        let letter = Letter::new(origin(), original, &author, "testing", &error);
        assert_eq!(letter.left_out, Some(MAX_ORIGINAL_BYTES + 1));
        assert_eq!((letter.original.size(), letter.original.timestamp), (0, Some(5)));
        assert!(letter.reason.chars().count() <= MAX_REASON + 1, "{} characters", letter.reason.len());
    }
}
