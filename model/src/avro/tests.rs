use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::declaration::Type;
use crate::testing::{any_fields, decimal, declared_object, field, fields, integer, optional, text};
use crate::value::{Decimal, Value};

fn codec(list: impl IntoIterator<Item = Field>) -> EventCodec {
    EventCodec::new("shop.order.Placed", &fields(list)).unwrap()
}

fn encoded(codec: &EventCodec, object: &Object) -> Vec<u8> {
    let mut out = Vec::new();
    codec.encode(object, &mut out).unwrap();
    out
}

#[test]
fn the_schema_of_an_event() {
    let line = fields([
        field("product", Type::Ref { to: "product".into(), key: None }),
        Field { doc: Some("At the time of the order.".into()), ..field("unit_price", decimal(12, 2)) },
    ]);
    let codec = codec([
        field("number", text()),
        Field {
            default: Some(Value::Text("placed".into())),
            ..field("status", Type::Enum(vec!["placed".into(), "paid".into()]))
        },
        field(
            "order_lines",
            Type::List {
                of: Box::new(field("item", Type::Object(line))),
                min_length: None,
                max_length: None,
            },
        ),
        Field {
            default: Some(Value::Decimal("-1.28".parse().unwrap())),
            ..field("discount", decimal(12, 2))
        },
        optional("ships_within", Type::Duration),
        optional("shipped_at", Type::Timestamp),
        optional("due", Type::Date),
        optional("extra", Type::Json),
        field("gift", Type::Boolean),
        field("trace", Type::Uuid),
        field("count", integer()),
    ]);
    let schema: serde_json::Value = serde_json::from_str(&codec.schema_json).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema).unwrap());
}

#[test]
fn a_renamed_field_keeps_its_first_name() {
    let part = Field { renamed_from: vec!["w".into()], ..field("width", integer()) };
    let renamed = Field {
        renamed_from: vec!["box".into(), "crate".into()],
        default: Some(Value::Object(Object::from_iter([("width".to_owned(), Value::Integer(1))]))),
        ..field("parcel", Type::Object(fields([part])))
    };
    let codec = codec([renamed]);
    assert_eq!(
        codec.schema_json,
        r#"{"type":"record","namespace":"shop.order","name":"Placed","fields":[{"name":"box","aliases":["parcel"],"type":{"type":"record","name":"PlacedBox","fields":[{"name":"w","aliases":["width"],"type":"long"}]},"default":{"w":1}}]}"#
    );
    let clash = [field("box", text()), Field { renamed_from: vec!["box".into()], ..field("parcel", text()) }];
    let error = EventCodec::new("shop.order.Placed", &fields(clash)).unwrap_err();
    assert!(error.to_string().contains("two fields would both be `box`"), "{error}");
}

#[test]
fn objects_that_share_a_record_name_are_refused() {
    let inner = || Type::Object(fields([field("x", integer())]));
    let error =
        EventCodec::new("a.b.C", &fields([field("a_b", inner()), field("a__b", inner())])).unwrap_err();
    assert!(error.to_string().contains("`CAB`"), "{error}");
    assert!(EventCodec::new("a.b.C", &fields([field("empty", Type::Object(fields([])))])).is_err());
}

#[test]
fn a_changed_declaration_reads_what_an_older_one_wrote() {
    let old = codec([field("name", text()), field("removed", decimal(5, 1)), field("price", decimal(5, 1))]);
    let mut object = Object::new();
    object.insert("name".into(), Value::Text("x".into()));
    object.insert("removed".into(), Value::Decimal(Decimal::from(1)));
    object.insert("price".into(), Value::Decimal("1.5".parse().unwrap()));
    let datum = encoded(&old, &object);

    let new = codec([
        field("price", decimal(8, 2)),
        optional("added", integer()),
        Field { default: Some(Value::Boolean(true)), ..field("active", Type::Boolean) },
        optional("name", text()),
    ]);
    let read = new.decode(&old.schema, &datum).unwrap();
    assert_eq!(
        crate::value::object_to_json(&read),
        json!({ "price": "1.50", "added": null, "active": true, "name": "x" })
    );
    let strict = codec([field("name", text()), field("needed", integer())]);
    assert!(strict.decode(&old.schema, &datum).unwrap_err().to_string().contains("needed"));
    let retyped = codec([field("name", integer())]);
    assert!(retyped.decode(&old.schema, &datum).unwrap_err().to_string().contains("another type"));
}

#[test]
fn an_error_leaves_the_buffer_as_it_was() {
    let codec = codec([field("name", text()), field("count", integer())]);
    let mut out = vec![7];
    let object = Object::from_iter([("name".to_owned(), Value::Text("x".into()))]);
    assert_eq!(
        codec.encode(&object, &mut out).unwrap_err().to_string(),
        "shop.order.Placed: count: has no value, but is not optional"
    );
    assert_eq!(out, [7]);
    let object = Object::from_iter([
        ("name".to_owned(), Value::Text("x".into())),
        ("count".to_owned(), Value::Text("x".into())),
    ]);
    assert!(codec.encode(&object, &mut out).is_err());
}

#[test]
fn a_count_or_length_that_lies_allocates_nothing() {
    let list = codec([field(
        "list",
        Type::List { of: Box::new(field("item", integer())), min_length: None, max_length: None },
    )]);
    let mut huge = Vec::new();
    for byte in [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01] {
        huge.push(byte);
    }
    assert!(list.decode(&list.schema, &huge).unwrap_err().to_string().contains("more items than bytes"));
    let name = codec([field("name", text())]);
    assert!(name.decode(&name.schema, &huge).unwrap_err().to_string().contains("ends too early"));
}

/// Another program may have registered such a schema; a list of ours has items of a byte at least.
#[test]
fn items_without_bytes_are_as_many_as_bytes_at_most() {
    let codec = codec([optional("gone", integer())]);
    let writer =
        r#"{"type":"record","name":"R","fields":[{"name":"list","type":{"type":"array","items":"null"}}]}"#;
    let writer = apache_avro::Schema::parse_str(writer).unwrap();
    // Blocks of 32 items each.
    let datum = [vec![0x40; 64], vec![0]].concat();
    assert!(codec.decode(&writer, &datum).unwrap_err().to_string().contains("more items than bytes"));
    let datum = [vec![0x40], vec![0; 40]].concat();
    assert!(codec.decode(&writer, &datum).unwrap_err().to_string().contains("bytes are left"));
}

/// A value that doesn't fit today's declaration is kept, so its text has to be one that a stored state can hold.
#[test]
fn a_decimal_is_as_long_as_its_text_can_be_read_again() {
    let total = field("total", decimal(6, 2));
    let codec = codec([total.clone()]);
    let writer = |scale: u64| {
        let ty = json!({ "type": "bytes", "logicalType": "decimal", "precision": 1_000_000_000_000u64, "scale": scale });
        let record = json!({ "type": "record", "name": "R", "fields": [{ "name": "total", "type": ty }] });
        apache_avro::Schema::parse_str(&record.to_string()).unwrap()
    };
    let datum = |bytes: u8| [vec![bytes * 2, 1], vec![0; usize::from(bytes) - 1]].concat();
    let read = codec.decode(&writer(38), &datum(32)).unwrap();
    let stored = crate::value::stored_to_json(&fields([total.clone()]), &read);
    assert_eq!(crate::value::stored_from_json(&fields([total]), &stored), Ok(read));
    for (scale, bytes) in [(38, 33), (39, 1), (1_000_000_000_000, 1)] {
        let error = codec.decode(&writer(scale), &datum(bytes)).unwrap_err();
        assert!(error.to_string().contains("is a decimal of"), "{error}");
    }
}

#[test]
fn a_datum_is_read_whole() {
    let codec = codec([field("name", text())]);
    let datum = encoded(&codec, &Object::from_iter([("name".to_owned(), Value::Text("x".into()))]));
    let longer = [datum.as_slice(), &[0]].concat();
    assert!(codec.decode(&codec.schema, &longer).unwrap_err().to_string().contains("1 bytes are left"));
}

proptest! {
    #[test]
    fn decoding_gives_back_what_was_encoded((fields, object) in declared_object()) {
        let codec = EventCodec::new("shop.order.Placed", &fields).unwrap();
        let datum = encoded(&codec, &object);
        let decoded = codec.decode(&codec.schema, &datum).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(crate::value::object_to_json(&decoded), crate::value::object_to_json(&object));
        prop_assert_eq!(decoded, object);
    }

    /// The crate reads our bytes by our schema, and writes the same bytes again.
    #[test]
    fn the_datum_is_avro((fields, object) in declared_object()) {
        let codec = EventCodec::new("shop.order.Placed", &fields).unwrap();
        let datum = encoded(&codec, &object);
        let mut rest = datum.as_slice();
        let read = GenericDatumReader::builder(&codec.schema).build().unwrap().read_value(&mut rest).unwrap();
        prop_assert!(rest.is_empty());
        let written = GenericDatumWriter::builder(&codec.schema).build().unwrap().write_value_to_vec(read).unwrap();
        prop_assert_eq!(written, datum);
    }

    #[test]
    fn a_shortened_datum_is_refused((fields, object) in declared_object(), cut in any::<prop::sample::Index>()) {
        let codec = EventCodec::new("shop.order.Placed", &fields).unwrap();
        let datum = encoded(&codec, &object);
        let short = &datum[..cut.index(datum.len())];
        prop_assert!(codec.decode(&codec.schema, short).is_err());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(fields in any_fields(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let codec = EventCodec::new("shop.order.Placed", &fields).unwrap();
        if let Ok(object) = codec.decode(&codec.schema, &bytes) {
            prop_assert_eq!(object.len(), fields.len());
        }
    }

    /// Any declaration may have become any other: the event is read, or refused with a reason.
    #[test]
    fn any_two_declarations_are_resolved_or_refused((old, object) in declared_object(), new in any_fields()) {
        let old = EventCodec::new("shop.order.Placed", &old).unwrap();
        let new = EventCodec::new("shop.order.Placed", &new).unwrap();
        if let Ok(read) = new.decode(&old.schema, &encoded(&old, &object)) {
            prop_assert!(read.keys().eq(new.fields.keys()));
            let json = crate::value::object_to_json(&read);
            prop_assert_eq!(crate::value::stored_from_json(&new.fields, &json), Ok(read));
        }
    }

    #[test]
    fn a_damaged_datum_is_decoded_or_refused(
        (fields, object) in declared_object(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let codec = EventCodec::new("shop.order.Placed", &fields).unwrap();
        let mut datum = encoded(&codec, &object);
        let at = at.index(datum.len());
        datum[at] = byte;
        let _ = codec.decode(&codec.schema, &datum);
    }
}
