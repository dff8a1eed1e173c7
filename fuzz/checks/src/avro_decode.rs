//! Avro: bytes that claim to be events, schemas that claim to be those of events.

use std::sync::LazyLock;

use apache_avro::Schema;
use writ_model::compatibility::{Registered, Version, compare};
use writ_model::{Event, Model, Models, State, Timestamp, evolve};

use crate::models::{MODELS, VERSIONS};

/// The schemas of our own events: first those of the four versions. An input names one by its place.
static WRITERS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
    let models = VERSIONS.iter().chain([&*MODELS]).flat_map(|models| models.models.values());
    models.flat_map(|model| model.events.values()).map(|event| event.codec.schema.clone()).collect()
});

/// Either a schema as JSON, a line end and a datum; or one byte below 0x20 and a datum: that of one of our own schemas.
pub fn avro_decode(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    if *first < 0x20 {
        if let Some(schema) = WRITERS.get(usize::from(*first)) {
            read(schema, rest);
        }
        return;
    }
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (text, datum) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let Ok(text) = std::str::from_utf8(text) else { return };
    compare_with(text);
    if let Ok(schema) = Schema::parse_str(text) {
        read(&schema, datum);
    }
}

/// Reads the datum as an event of every declared type.
fn read(writer: &Schema, datum: &[u8]) {
    let models: [&Models; 2] = [&VERSIONS[3], &MODELS];
    for model in models.iter().flat_map(|models| models.models.values()) {
        for event in model.events.values() {
            read_as(model, event, writer, datum);
        }
    }
}

fn read_as(model: &Model, event: &Event, writer: &Schema, datum: &[u8]) {
    let Ok(fields) = event.codec.decode(writer, datum) else { return };
    assert_eq!(fields.len(), event.fields.len(), "an event has every declared field");
    if event.creates {
        let state = evolve(model, None, event, &fields, Timestamp(0));
        let json = serde_json::from_str(&state.to_json(model).to_string()).expect("a stored state is JSON");
        assert_eq!(State::from_json(model, &json).as_ref(), Ok(&state));
    }
    // What was written by an older declaration may not fit today's; what fits is read as it was.
    let mut again = Vec::new();
    if event.codec.encode(&fields, &mut again).is_ok() {
        let read = event.codec.decode(&event.codec.schema, &again).expect("what was encoded can be decoded");
        assert_eq!(read, fields);
    }
}

/// Holds today's declaration against a registry that has this schema, before and after ours.
fn compare_with(schema: &str) {
    let today = &VERSIONS[3];
    let event = &today.models["order"].events["placed"];
    let (type_name, ours) = (&event.type_name, event.codec.schema_json.as_str());
    for versions in [vec![schema], vec![schema, ours], vec![ours, schema]] {
        let versions =
            (1..).zip(versions).map(|(number, schema)| Version { number, schema: schema.to_owned() });
        let registered = Registered {
            subject: format!("writ.order-{type_name}"),
            type_name: type_name.clone(),
            versions: versions.collect(),
        };
        for finding in compare(today, &[registered]).findings {
            assert!(!finding.message.is_empty() && !finding.hint.is_empty(), "{finding:?}");
            finding.diagnostic(&[]);
        }
    }
}
