//! What stands around a command or an event: headers of HTTP and of Kafka, query strings, cursors, and the records whose
//! value is JSON.

use http::{HeaderMap, HeaderName, HeaderValue};
use rdkafka::message::{Header, OwnedHeaders};
use serde_json::Value as Json;
use uuid::Uuid;
use writ_api::untrusted;
use writ_model::decide::Actor;
use writ_model::{Position, Timestamp};
use writ_producers::dead_letter::{Entry, Origin, Original};
use writ_producers::envelope::{CommandRecord, Outcome, ReplyTo, header, unframe};
use writ_producers::partitioner::partition_of;
use writ_projections::Reader;
use writ_projections::query::ListRequest;

use crate::models::MODELS;

/// Lines of one input.
const MOST_LINES: usize = 32;
/// The command that the headers belong to.
const PATH: (&str, &str) = ("counter", "open");
const BODY: &[u8] = br#"{"number":1}"#;

/// Lines `name: value`, with any bytes in the value. A line that begins with `?` is a query string; one that begins with
/// `!` has the sort keys of a row, as JSON, for a cursor of the query before it; one that begins with `{` is a line of a
/// batch.
pub fn headers(data: &[u8]) {
    let mut http = HeaderMap::new();
    let mut kafka = OwnedHeaders::new();
    let mut query = Vec::new();
    for line in data.split(|byte| *byte == b'\n').take(MOST_LINES) {
        match line.split_first() {
            Some((b'?', text)) => query = check_query(text),
            Some((b'!', keys)) => check_cursor(&query, keys),
            Some((b'{', _)) => untrusted::line(&MODELS, line).iter().for_each(check_command),
            _ => {
                let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
                let (name, value) = (&line[..at], line[at + 1..].trim_ascii_start());
                if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
                {
                    http.append(name, value);
                }
                if let Ok(name) = std::str::from_utf8(name)
                    && !name.contains('\0')
                {
                    kafka = kafka.insert(Header { key: name, value: Some(value) });
                }
                check_value(value);
            }
        }
    }
    check_request(&http, &query);
    check_record(kafka);
}

/// A request with these headers.
fn check_request(headers: &HeaderMap, query: &[(String, String)]) {
    let path = (PATH.0.to_owned(), None, PATH.1.to_owned());
    if let Ok(record) = untrusted::command(&MODELS, path, query, headers, BODY) {
        check_command(&record);
    }
    if let Ok(positions) = untrusted::positions(headers) {
        for position in positions {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
    }
    untrusted::has_version(headers, 3);
    assert!(untrusted::request_id(headers).as_bytes().iter().all(u8::is_ascii_graphic));
    let trace = untrusted::traceparent(headers);
    assert!(trace.len() == 55 && trace.is_ascii() && trace.starts_with("00-"), "{trace}");
}

/// A command that the api accepts is one that the decider can read.
fn check_command(record: &CommandRecord) {
    let bytes = serde_json::to_vec(record).expect("a record is JSON");
    let read: CommandRecord = serde_json::from_slice(&bytes).expect("the decider reads what the api sends");
    assert_eq!((read.id, &read.input), (record.id, &record.input));
    assert_eq!(read.expected_version, record.expected_version);
    assert!((0..24).contains(&partition_of(record.key().as_bytes(), 24)));
}

/// A record of Kafka with these headers.
fn check_record(headers: OwnedHeaders) {
    if let Some(Entry::Letter(letter)) = Entry::of_parts(&headers, Some(b"value")) {
        let (origin, reason) = (letter.origin.clone(), letter.reason.clone());
        let encoded = letter.encode();
        assert_eq!(encoded.key, origin.to_string());
        match Entry::of_parts(&encoded.headers, encoded.value.as_deref()) {
            Some(Entry::Letter(read)) => assert_eq!((read.origin, read.reason), (origin, reason)),
            other => panic!("a letter is read as {other:?}"),
        }
    }
    let original = Original { headers: Some(headers), ..Original::default() };
    let at = original.header(header::TIME).and_then(|text| text.parse::<Timestamp>().ok());
    if let Some(at) = at {
        assert_eq!(at.to_string().parse(), Ok(at));
    }
    original.header(header::VERSION).and_then(|text| text.parse::<u64>().ok());
    original.header(header::ID).and_then(|text| text.parse::<Uuid>().ok());
    original.size();
}

/// One value, as everything that a value can be.
fn check_value(value: &[u8]) {
    if let Some(address) = ReplyTo::parse(value) {
        assert_eq!(ReplyTo::parse(address.to_string().as_bytes()), Some(address));
    }
    if let Some((_, datum)) = unframe(value) {
        assert_eq!(datum.len() + 5, value.len());
    }
    if let Ok(record) = serde_json::from_slice::<CommandRecord>(value) {
        let again = serde_json::to_vec(&record).expect("a record is JSON");
        let read: CommandRecord = serde_json::from_slice(&again).expect("a record can be read");
        record.time().to_string();
        assert_eq!((read.key(), read.input, read.at), (record.key(), record.input, record.at));
    }
    if let Ok(outcome) = serde_json::from_slice::<Outcome>(value) {
        let again = serde_json::to_vec(&outcome).expect("an outcome is JSON");
        assert_eq!(serde_json::from_slice::<Outcome>(&again).expect("an outcome can be read"), outcome);
    }
    let Ok(text) = std::str::from_utf8(value) else { return };
    if let Ok(origin) = text.parse::<Origin>() {
        assert_eq!(origin.to_string().parse(), Ok(origin));
    }
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string().parse(), Ok(position));
    }
    for model in MODELS.models.values() {
        model.parse_id(text);
    }
    untrusted::is_known_host(text);
}

/// A query string, asked of every model.
fn check_query(text: &[u8]) -> Vec<(String, String)> {
    let Ok(parameters) = untrusted::query(text) else { return Vec::new() };
    let nobody = Actor::default();
    let reader = Reader { actor: &nobody, now: Timestamp(0) };
    for model in MODELS.models.values() {
        if let Err(errors) = ListRequest::parse(reader.asks((&*MODELS, &**model)), &parameters) {
            assert!(errors.iter().all(|error| error.pointer.starts_with('/') && !error.detail.is_empty()));
        }
    }
    parameters
}

/// A cursor that belongs to its query, with whatever keys.
fn check_cursor(query: &[(String, String)], keys: &[u8]) {
    let Ok(keys) = std::str::from_utf8(keys) else { return };
    let nobody = Actor::default();
    let reader = Reader { actor: &nobody, now: Timestamp(0) };
    for model in MODELS.models.values() {
        let Ok(request) = ListRequest::parse(reader.asks((&*MODELS, &**model)), query) else { continue };
        let mut next = query.to_vec();
        next.push(("after".to_owned(), request.cursor(keys)));
        if ListRequest::parse(reader.asks((&*MODELS, &**model)), &next).is_ok() {
            let keys = serde_json::from_str::<Json>(keys).expect("a cursor holds JSON");
            assert!(keys.is_array(), "a cursor has sort keys: {keys}");
        }
    }
}
