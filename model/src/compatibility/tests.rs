use std::fmt::Write as _;

use apache_avro::schema_compatibility::SchemaCompatibility;
use indexmap::IndexMap;
use proptest::prelude::*;

use super::*;
use crate::avro::EventCodec;
use crate::declaration::Field;
use crate::diagnostic::Source;
use crate::testing::{any_fields, any_type, declared_object, object_of, value_of};

const BEFORE: &str = "\
model: order
fields:
  number: { type: text, key: true }
  status: { type: enum, values: [placed, paid, lost] }
  note: { type: text, optional: true }
  rank: { type: integer, default: 1 }
  total: { type: decimal, precision: 12, scale: 2 }
  customer: { type: ref, to: order, optional: true }
  lines: { type: list, of: { product: text, quantity: { type: integer, min: 1 } } }
commands:
  place: { creates: true, input: [number, note, rank, total, customer, lines], set: { status: \"'placed'\" }, emits: placed }
  pay: { input: { reference: text }, from: placed, to: paid, emits: paid }
  mark: { input: [note], emits: marked }
";

fn source(text: &str) -> Source {
    Source { name: "order.yaml".into(), text: text.to_owned() }
}

fn models(text: &str) -> Models {
    Models::check("shop", &[source(text)]).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// What the registry has after each of the files was served.
fn registered(files: &[&str]) -> Vec<Registered> {
    let mut all: IndexMap<String, Registered> = IndexMap::new();
    for models in files.iter().map(|text| models(text)) {
        for event in models.models.values().flat_map(|model| model.events.values()) {
            let known = all.entry(event.type_name.clone()).or_insert_with(|| Registered {
                subject: format!("writ.order-{}", event.type_name),
                type_name: event.type_name.clone(),
                versions: Vec::new(),
            });
            let schema = event.codec.schema_json.clone();
            if known.versions.iter().all(|version| version.schema != schema) {
                let number = known.versions.len() as u32 + 1;
                known.versions.push(Version { number, schema });
            }
        }
    }
    all.into_values().collect()
}

/// The findings as `writ check` lists them, then what is fine.
fn compared(before: &[&str], after: &str) -> String {
    let comparison = compare(&models(after), &registered(before));
    let mut text = String::new();
    for finding in &comparison.findings {
        let source = source(after);
        writeln!(text, "{}", finding.diagnostic(std::slice::from_ref(&source)).one_line(&source)).unwrap();
    }
    for change in &comparison.changes {
        writeln!(text, "fine: {change}").unwrap();
    }
    text
}

/// `BEFORE` with each text in place of another.
fn with(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(BEFORE.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old}");
        text.replace(old, new)
    })
}

#[test]
fn what_was_registered_is_fine() {
    assert_eq!(compared(&[BEFORE], BEFORE), "");
    let added = with(&[("  lines:", "  gift: { type: boolean, default: false }\n  lines:")]);
    assert_eq!(compared(&[BEFORE, &added], BEFORE), "", "files may go back to what was there");
    insta::assert_snapshot!(compared(&[], BEFORE));
}

#[test]
fn additions_are_fine() {
    let after = with(&[
        ("lost]", "lost, returned]"),
        (
            "  lines:",
            "  gift: { type: boolean, default: false }\n  price: { type: decimal, precision: 5, scale: 2, default: 1.5 }\n  hint: { type: text, optional: true }\n  lines:",
        ),
        ("quantity: {", "weight: { type: integer, optional: true }, quantity: {"),
        ("  mark:", "  ship: { from: paid, emits: shipped }\n  mark:"),
    ]);
    insta::assert_snapshot!(compared(&[BEFORE], &after));
}

#[test]
fn a_rename_is_fine_and_stays_so() {
    let once = with(&[
        ("  note:", "  remark:"),
        ("text, optional: true }", "text, optional: true, renamed_from: note }"),
        ("[number, note,", "[number, remark,"),
        ("[note]", "[remark]"),
        ("quantity: { type: integer,", "count: { renamed_from: quantity, type: integer,"),
        ("reference: text", "receipt: { type: text, renamed_from: reference }"),
    ]);
    insta::assert_snapshot!("a_rename", compared(&[BEFORE], &once));
    let twice = once
        .replace("remark:", "comment:")
        .replace("renamed_from: note", "renamed_from: [note, remark]")
        .replace("remark,", "comment,")
        .replace("[remark]", "[comment]")
        .replace("comment]", "remark]")
        .replace("input: [remark]", "input: [comment]");
    insta::assert_snapshot!("a_second_rename", compared(&[BEFORE, &once], &twice));
}

#[test]
fn what_breaks_readers_is_refused_with_the_way_out() {
    let changes: &[(&str, &[(&str, &str)])] = &[
        (
            "an optional field is removed",
            &[
                ("  note: { type: text, optional: true }\n", ""),
                ("number, note,", "number,"),
                ("[note]", "[rank]"),
            ],
        ),
        (
            "a required field is removed",
            &[("  total: { type: decimal, precision: 12, scale: 2 }\n", ""), ("total, ", "")],
        ),
        ("a field gets another name", &[("note", "remark")]),
        ("a part is removed", &[("product: text, ", "")]),
        (
            "a required field is added",
            &[("  lines:", "  weight: integer\n  lines:"), ("customer, lines]", "customer, lines, weight]")],
        ),
        ("a required part is added", &[("product: text", "product: text, unit: text")]),
        ("a required input is added", &[("{ reference: text }", "{ reference: text, at: timestamp }")]),
        ("an input is removed", &[("input: { reference: text }, ", "")]),
        (
            "a field has another type",
            &[("rank: { type: integer, default: 1 }", "rank: { type: text, default: a }")],
        ),
        ("a text becomes an enum", &[("note: { type: text,", "note: { type: enum, values: [a],")]),
        ("a decimal has more digits", &[("precision: 12", "precision: 14")]),
        ("a decimal has another scale", &[("scale: 2", "scale: 4")]),
        (
            "a list has other items",
            &[("of: { product: text, quantity: { type: integer, min: 1 } }", "of: text")],
        ),
        ("an optional field is made required", &[("note: { type: text, optional: true }", "note: text")]),
        ("a required field is made optional", &[("scale: 2 }", "scale: 2, optional: true }")]),
        ("a value is removed", &[(", lost]", "]")]),
        ("a command is removed", &[("  mark: { input: [note], emits: marked }\n", "")]),
        ("a command records less", &[("mark: { input: [note]", "mark: { input: [rank]")]),
    ];
    let mut text = String::new();
    for (what, changes) in changes {
        writeln!(text, "# {what}\n{}", compared(&[BEFORE], &with(changes))).unwrap();
    }
    insta::assert_snapshot!(text);
}

/// What the hints advise, applied.
#[test]
fn the_ways_out_are_ways_out() {
    let place = "input: [number, note, rank, total, customer, lines]";
    let ways: &[&[(&str, &str)]] = &[
        // A field leaves the state: the creating event goes on recording it, and so does the other.
        &[
            ("  note: { type: text, optional: true }\n", ""),
            (
                place,
                "input: { number: , rank: , total: , customer: , lines: , note: { type: text, optional: true } }",
            ),
            ("input: [note]", "input: { note: { type: text, optional: true } }"),
        ],
        // A command takes less.
        &[("mark: { input: [note]", "mark: { set: { note: state.note }")],
        // A field is asked for.
        &[("mark: {", "mark: { require: [{ that: input.note != null, else: Say something. }],")],
        // A command isn't offered any more.
        &[("mark: {", "mark: { require: [{ that: \"false\", else: It is no longer offered. }],")],
        // A new event beside the old one.
        &[(
            "  mark:",
            "  pay_by_card: { input: { card: text }, from: placed, to: paid, emits: paid_by_card }\n  mark:",
        )],
        // A new field in place of one with another type.
        &[("  lines:", "  grade: { type: text, default: b }\n  lines:")],
        // A default in place of an optional field.
        &[("  lines:", "  weight: { type: integer, default: 0 }\n  lines:")],
    ];
    for way in ways {
        let found = compared(&[BEFORE], &with(way));
        assert!(found.lines().all(|line| line.starts_with("fine: ")), "{way:?}\n{found}");
    }
}

#[test]
fn every_version_counts() {
    let added = with(&[("  lines:", "  gift: { type: integer, default: 1 }\n  lines:")]);
    let other_default = added.replace("integer, default: 1 }\n  lines", "integer, default: 2 }\n  lines");
    let no_default = added
        .replace("gift: { type: integer, default: 1 }", "gift: integer")
        .replace("[number,", "[number, gift,");
    let always_there = with(&[("integer, default: 1", "integer, default: 2")]);
    let mut text = String::new();
    for (what, after) in [
        ("another default", other_default),
        ("no default", no_default),
        ("a default that no old event needs", always_there),
    ] {
        writeln!(text, "# {what}\n{}", compared(&[BEFORE, &added], &after)).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_model_that_is_no_longer_declared_is_said() {
    let other = "model: page\nfields: { title: text }\ncrud: [create]\n";
    insta::assert_snapshot!(compared(&[BEFORE], other));
}

#[test]
fn schemas_of_others_are_findings() {
    let registered = |schema: &str| {
        let registered = Registered {
            subject: "writ.order-shop.order.Paid".into(),
            type_name: "shop.order.Paid".into(),
            versions: vec![Version { number: 3, schema: schema.to_owned() }],
        };
        let comparison = compare(&models(BEFORE), &[registered]);
        comparison.findings.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!([
        registered("no JSON"),
        registered("\"string\""),
        registered(r#"{"type":"record","name":"Paid","fields":[{"name":"status","type":["string","null"]},{"name":"reference","type":"string"}]}"#),
    ].join("\n"));
}

/// What people do to a declaration.
#[derive(Debug, Clone)]
enum Edit {
    Remove,
    Retype(crate::Type),
    Optional(bool),
    Rename,
    Add(Field),
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, Edit)>> {
    let edit = prop_oneof![
        1 => Just(Edit::Remove),
        1 => any_type().prop_map(Edit::Retype),
        1 => any::<bool>().prop_map(Edit::Optional),
        4 => Just(Edit::Rename),
        4 => added().prop_map(Edit::Add),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), edit), 1..4)
}

fn added() -> impl Strategy<Value = Field> {
    (any_type(), any::<bool>()).prop_flat_map(|(ty, optional)| {
        value_of(&ty).prop_map(move |value| Field {
            optional,
            default: (!optional).then_some(value),
            ..Field::plain("added", ty.clone())
        })
    })
}

fn edited(
    fields: &IndexMap<String, Field>,
    edits: Vec<(prop::sample::Index, Edit)>,
) -> IndexMap<String, Field> {
    let mut list: Vec<Field> = fields.values().cloned().collect();
    for (nth, (at, edit)) in edits.into_iter().enumerate() {
        let index = if list.is_empty() { 0 } else { at.index(list.len()) };
        match (edit, list.get_mut(index)) {
            (Edit::Add(field), _) => list.insert(index, Field { name: format!("added_{nth}"), ..field }),
            (Edit::Remove, Some(_)) => drop(list.remove(index)),
            (Edit::Retype(ty), Some(field)) => {
                field.default = None;
                field.ty = ty;
            }
            (Edit::Optional(optional), Some(field)) => field.optional = optional,
            (Edit::Rename, Some(field)) => {
                field.renamed_from.push(std::mem::replace(&mut field.name, format!("renamed_{nth}")));
            }
            (_, None) => {}
        }
    }
    list.into_iter().map(|field| (field.name.clone(), field)).collect()
}

fn differences(old: &EventCodec, new: &EventCodec) -> Vec<(differences::Path, differences::Difference)> {
    let (old, new): (Json, Json) =
        (serde_json::from_str(&old.schema_json).unwrap(), serde_json::from_str(&new.schema_json).unwrap());
    let mut differences = Differences::default();
    differences.compare(1, true, &Record::read(&old).unwrap(), &Record::read(&new).unwrap());
    differences.finish().0.into_keys().collect()
}

proptest! {
    /// What passes is read in both directions, by Avro's rules and by our own reader; the event means the same.
    #[test]
    fn what_passes_can_be_read(
        ((old_fields, object), edits) in (declared_object(), edits()), seed in any::<[u8; 32]>(),
    ) {
        let new_fields = edited(&old_fields, edits);
        let old = EventCodec::new("shop.order.Placed", &old_fields).unwrap();
        let Ok(new) = EventCodec::new("shop.order.Placed", &new_fields) else { return Ok(()) };
        if !differences(&old, &new).is_empty() {
            return Ok(());
        }
        let compatible = SchemaCompatibility::mutual_read(&old.schema, &new.schema);
        prop_assert!(compatible.is_ok(), "{compatible:?}");
        let mut datum = Vec::new();
        old.encode(&object, &mut datum).unwrap();
        let read = new.decode(&old.schema, &datum).map_err(|error| TestCaseError::fail(error.to_string()))?;
        for (name, value) in &object {
            let now = new_fields.values().find(|field| field.names().any(|known| known == name));
            prop_assert_eq!(read.get(&now.unwrap().name), Some(value));
        }
        let mut runner = proptest::test_runner::TestRunner::new_with_rng(
            ProptestConfig::default(),
            proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &seed),
        );
        let tomorrows = object_of(&new_fields).new_tree(&mut runner).unwrap().current();
        let mut datum = Vec::new();
        new.encode(&tomorrows, &mut datum).unwrap();
        prop_assert!(old.decode(&new.schema, &datum).is_ok());
    }

    /// What Avro refuses is never passed, whatever the two declarations are.
    #[test]
    fn what_avro_refuses_is_found(old in any_fields(), new in any_fields()) {
        let old = EventCodec::new("shop.order.Placed", &old).unwrap();
        let new = EventCodec::new("shop.order.Placed", &new).unwrap();
        if SchemaCompatibility::mutual_read(&old.schema, &new.schema).is_err() {
            prop_assert!(!differences(&old, &new).is_empty());
        }
    }

    #[test]
    fn a_declaration_is_compatible_with_itself(fields in any_fields()) {
        let codec = EventCodec::new("shop.order.Placed", &fields).unwrap();
        prop_assert_eq!(differences(&codec, &codec), vec![]);
    }
}
