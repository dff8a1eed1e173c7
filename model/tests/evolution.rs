//! Events of earlier versions of a model, kept as the bytes that were written then, and yesterday's readers of today's.
//!
//! `tests/recorded/vN.yaml` is a version of the model, `vN.json` what it wrote: each event with its writer's schema and
//! its datum, and the stored state at the end. They were recorded by
//! `cargo test -p writ-model --test evolution record -- --ignored`, which writes what is missing and touches nothing that
//! is there: what was once written is what this release has to read. The release before `renamed_from` wrote the same bytes
//! for versions 1 and 2. Version 4 is today.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use writ_model::compatibility::{Registered, Version, compare};
use writ_model::diagnostic::Source;
use writ_model::value::{object_from_json, object_to_json};
use writ_model::{Model, Models, Object, State, Timestamp, evolve};

const EARLIER: [u32; 3] = [1, 2, 3];
const TODAY: u32 = 4;

/// What a version of the model wrote.
#[derive(Serialize, Deserialize)]
struct Recorded {
    events: Vec<RecordedEvent>,
    /// As `writ.state` had it after the last event.
    state: Json,
}

#[derive(Serialize, Deserialize)]
struct RecordedEvent {
    event: String,
    schema: Json,
    /// Hexadecimal.
    datum: String,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(name)
}

fn models(version: u32) -> Models {
    let name = format!("v{version}.yaml");
    let text = std::fs::read_to_string(path(&name)).unwrap();
    Models::check("shop", &[Source { name, text }]).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn recorded(version: u32) -> Recorded {
    serde_json::from_str(&std::fs::read_to_string(path(&format!("v{version}.json"))).unwrap()).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The events of an order's life, by the declaration of each version. `apache_avro` refuses to resolve a decimal that
/// has fewer bytes than its precision may need, so the amounts are large enough to need them.
fn life(version: u32) -> Vec<(&'static str, Json)> {
    let placed = match version {
        1 => json!({ "number": "A1", "status": "placed", "qty": 2, "total": "-401.50", "note": "ring twice",
            "lines": [{ "product": "tea", "unit_price": "12.50" }, { "product": "Töpfe", "unit_price": "-99.99" }] }),
        2 => {
            json!({ "number": "A2", "status": "placed", "qty": 3, "total": "9999.99", "currency": "CHF", "note": null,
            "lines": [{ "product": "tea", "unit_price": "12.50", "unit": "kg" }, { "product": "pot", "unit_price": "1.28", "unit": null }],
            "shipped_at": null })
        }
        3 => {
            json!({ "number": "A3", "status": "placed", "quantity": 4, "total": "400.00", "discount": "2.00", "currency": "EUR",
            "lines": [{ "item": "tea", "unit_price": "12.50", "unit": null }], "note": "", "shipped_at": null })
        }
        _ => {
            json!({ "number": "A4", "status": "placed", "amount": 5, "total": "400.00", "discount": "3.00", "currency": "EUR",
            "items": [{ "item": "tea", "unit_price": "12.50", "unit": "kg", "gift": true }], "tags": ["new", "red"],
            "address": { "city": "Oslo", "floor": 3 }, "due": "2026-02-28", "note": "new", "shipped_at": null })
        }
    };
    let receipt = if version < 3 { "reference" } else { "receipt" };
    let mut life = vec![("placed", placed), ("paid", json!({ "status": "paid", receipt: "R-7" }))];
    if version > 1 {
        life.push(("shipped", json!({ "status": "shipped", "shipped_at": "2026-03-01T12:00:00.250Z" })));
    }
    if version > 3 {
        life.push(("returned", json!({ "status": "returned" })));
    }
    life
}

/// What the version of the model writes.
fn write(version: u32) -> Recorded {
    let models = models(version);
    let model = models.get("order").unwrap();
    let (mut events, mut state) = (Vec::new(), None);
    for (nth, (name, fields)) in life(version).into_iter().enumerate() {
        let event = &model.events[name];
        let fields = object_from_json(&event.fields, &fields, false).unwrap();
        let mut datum = Vec::new();
        event.codec.encode(&fields, &mut datum).unwrap();
        events.push(RecordedEvent {
            event: name.to_owned(),
            schema: serde_json::from_str(&event.codec.schema_json).unwrap(),
            datum: datum.iter().map(|byte| format!("{byte:02x}")).collect(),
        });
        state = Some(evolve(model, state, event, &fields, Timestamp(1_000 + nth as i64)));
    }
    Recorded { events, state: state.unwrap().to_json(model) }
}

/// Never replaces a file: delete it by hand if you know why.
#[test]
#[ignore = "writes into the source tree"]
fn record() {
    for version in EARLIER {
        let path = path(&format!("v{version}.json"));
        if !path.exists() {
            let text = serde_json::to_string_pretty(&write(version)).unwrap();
            std::fs::write(path, text + "\n").unwrap();
        }
    }
}

fn decoded(model: &Model, event: &RecordedEvent) -> Object {
    let writer = Schema::parse_str(&event.schema.to_string()).unwrap();
    model.events[&event.event].codec.decode(&writer, &bytes(&event.datum)).unwrap()
}

#[test]
fn events_of_earlier_versions_are_read_by_todays_model() {
    let models = models(TODAY);
    let model = models.get("order").unwrap();
    let mut read = Vec::new();
    for version in EARLIER {
        for event in &recorded(version).events {
            let fields = object_to_json(&decoded(model, event));
            read.push(format!(
                "v{version} {} {}",
                event.event,
                serde_json::to_string_pretty(&fields).unwrap()
            ));
        }
    }
    insta::assert_snapshot!(read.join("\n"));
}

#[test]
fn a_stored_state_and_its_replayed_events_are_the_same_today() {
    let models = models(TODAY);
    let model = models.get("order").unwrap();
    for version in EARLIER {
        let recorded = recorded(version);
        let mut replayed = None;
        for (nth, event) in recorded.events.iter().enumerate() {
            let at = Timestamp(1_000 + nth as i64);
            replayed = Some(evolve(model, replayed, &model.events[&event.event], &decoded(model, event), at));
        }
        assert_eq!(State::from_json(model, &recorded.state).ok(), replayed, "version {version}");
    }
}

#[test]
fn a_state_that_is_stored_today_is_read_by_earlier_versions() {
    let today = write(TODAY).state;
    let read =
        |version| State::from_json(models(version).get("order").unwrap(), &today).unwrap().public_json();
    let fields: Vec<Json> = EARLIER.into_iter().map(read).collect();
    assert_eq!(fields[0]["qty"], 5);
    assert_eq!(fields[0]["lines"], json!([{ "product": "tea", "unit_price": "12.50" }]));
    assert_eq!(fields[1]["lines"], json!([{ "product": "tea", "unit_price": "12.50", "unit": "kg" }]));
    assert_eq!(fields[2]["quantity"], 5);
    assert_eq!(fields[2]["discount"], "3.00");
}

/// Any team's reader: the library's own schema resolution, with the schema of an earlier version.
#[test]
fn todays_events_are_read_by_readers_of_earlier_versions() {
    let mut read = Vec::new();
    for version in EARLIER {
        for yesterday in recorded(version).events {
            let today = write(TODAY).events.into_iter().find(|event| event.event == yesterday.event).unwrap();
            let writer = Schema::parse_str(&today.schema.to_string()).unwrap();
            let reader = Schema::parse_str(&yesterday.schema.to_string()).unwrap();
            let resolving = GenericDatumReader::builder(&writer).reader_schema(&reader).build().unwrap();
            let datum = bytes(&today.datum);
            let mut rest = datum.as_slice();
            let value = resolving.read_value(&mut rest).unwrap();
            assert!(rest.is_empty());
            let json = Json::try_from(value).unwrap();
            read.push(format!("v{version} {} {json}", yesterday.event));
        }
    }
    insta::assert_snapshot!(read.join("\n"));
}

#[test]
fn todays_model_is_compatible_with_all_that_was_registered() {
    let mut registered: Vec<Registered> = Vec::new();
    for version in EARLIER {
        // What this release derives from the old files is what was registered then.
        let written = write(version).events;
        for (event, now) in recorded(version).events.into_iter().zip(written) {
            assert_eq!(now.schema, event.schema, "version {version}: {}", event.event);
            let type_name = models(version).get("order").unwrap().events[&event.event].type_name.clone();
            let version = Version { number: version, schema: event.schema.to_string() };
            match registered.iter_mut().find(|known| known.type_name == type_name) {
                Some(known) => known.versions.push(version),
                None => {
                    let subject = format!("writ.order-{type_name}");
                    registered.push(Registered { subject, type_name, versions: vec![version] });
                }
            }
        }
    }
    let comparison = compare(&models(TODAY), &registered);
    assert_eq!(comparison.findings, []);
    let changes: Vec<String> = comparison.changes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(changes.join("\n"));
}
