//! The headers of a record, as everyone here reads them: the first of a name counts.

use rdkafka::Message;
use rdkafka::message::Headers as _;

/// The text of a header. `None`: there is none, or it is no UTF-8.
pub(crate) fn text<'r>(record: &'r impl Message, name: &str) -> Option<&'r str> {
    let header = record.headers()?.iter().find(|header| header.key == name)?;
    std::str::from_utf8(header.value?).ok()
}
