//! One dead letter, whole.

use std::fmt::Write as _;
use std::process::ExitCode;

use rdkafka::message::Headers as _;
use serde::Serialize;
use writ_consumers::dead_letters::DeadLetters;
use writ_producers::dead_letter::{Context, Letter, Origin};

use super::{Error, json, time};
use crate::Failure;

const HEX_LINE: usize = 16;

pub(super) fn run(letters: &DeadLetters, id: &Origin, as_json: bool) -> Result<ExitCode, Failure> {
    let all = letters.list().map_err(Error::from)?;
    let summary = all.iter().find(|letter| letter.origin == *id);
    let summary =
        summary.ok_or_else(|| Error::from(writ_consumers::dead_letters::Error::Unknown(id.clone())))?;
    let letter = letters.fetch(summary).map_err(Error::from)?;
    if as_json {
        println!("{}", json(&Json::of(&letter, summary.at, summary.state.name()))?);
    } else {
        print!("{}", described(&letter, summary.at, summary.state.name()));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Json<'a> {
    id: String,
    at: String,
    state: &'a str,
    reason: &'a str,
    #[serde(flatten)]
    context: Option<&'a Context>,
    written_at: Option<String>,
    key: Option<String>,
    headers: Vec<(&'a str, Option<String>)>,
    value: Option<String>,
}

impl<'a> Json<'a> {
    fn of(letter: &'a Letter, at: i64, state: &'a str) -> Self {
        let original = &letter.original;
        Json {
            id: letter.origin.to_string(),
            at: time(at),
            state,
            reason: &letter.reason,
            context: letter.context.as_ref(),
            written_at: original.timestamp.map(time),
            key: original.key.as_deref().map(text_or_hex),
            headers: headers(letter).collect(),
            value: original.value.as_deref().map(text_or_hex),
        }
    }
}

fn headers(letter: &Letter) -> impl Iterator<Item = (&str, Option<String>)> {
    let all = letter.original.headers.as_ref().map(|headers| headers.iter());
    all.into_iter().flatten().map(|header| (header.key, header.value.map(text_or_hex)))
}

fn described(letter: &Letter, at: i64, state: &str) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String doesn't fail.
        let _ = writeln!(text, "{name:<10}{value}");
    };
    line("id", &letter.origin.to_string());
    line("state", state);
    line("time", &time(at));
    line("reason", &letter.reason);
    if let Some(Context { during, causes, author }) = &letter.context {
        line("during", during);
        for cause in causes {
            line("cause", cause);
        }
        line("by", &format!("{} on {}, writ {}", author.group, author.node, author.version));
    }
    let original = &letter.original;
    line("written", &original.timestamp.map_or("unknown".into(), time));
    line("key", &original.key.as_deref().map_or("(null)".into(), text_or_hex));
    for (name, value) in headers(letter) {
        line("header", &format!("{name} = {}", value.as_deref().unwrap_or("(null)")));
    }
    match &original.value {
        None => line("value", "(null)"),
        Some(value) => {
            line("value", &format!("{} bytes", value.len()));
            text.push_str(&block(value));
        }
    }
    text
}

/// JSON with its structure, other text as it is, anything else as a hex dump.
fn block(value: &[u8]) -> String {
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(value) {
        return format!("{json:#}\n");
    }
    match std::str::from_utf8(value) {
        Ok(text) if is_readable(text) => format!("{text}\n"),
        _ => value.chunks(HEX_LINE).enumerate().map(|(nth, bytes)| hex_line(nth * HEX_LINE, bytes)).collect(),
    }
}

fn hex_line(offset: usize, bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text: String =
        bytes.iter().map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' }).collect();
    let (hex, width) = (hex.join(" "), 3 * HEX_LINE);
    format!("{offset:08x}  {hex:width$} {text}\n")
}

/// Text that can't disturb a terminal.
fn is_readable(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t'))
}

/// As it is, or `0x…`.
pub(super) fn text_or_hex(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_readable(text) => text.to_owned(),
        _ => bytes.iter().fold("0x".to_owned(), |hex, byte| hex + &format!("{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_what_they_are() {
        assert_eq!(block(br#"{"a":1}"#), "{\n  \"a\": 1\n}\n");
        assert_eq!(block(b"{ no json"), "{ no json\n");
        assert_eq!(
            block(&[0, 0, 0, 0, 7, b'A', b'd', b'a', 0xff]),
            "00000000  00 00 00 00 07 41 64 61 ff                       .....Ada.\n"
        );
        assert_eq!(
            (text_or_hex(b"account/7").as_str(), text_or_hex(b"\x1b[2J").as_str()),
            ("account/7", "0x1b5b324a")
        );
    }
}
