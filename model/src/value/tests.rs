use serde_json::{Value as Json, json};

use super::*;
use crate::testing::{decimal, field, fields, integer, optional, pattern, text};

/// `pointer code` of every fault.
fn faults(fields: &IndexMap<String, Field>, json: &Json) -> Vec<String> {
    match object_from_json(fields, json, false) {
        Ok(object) => panic!("no fault in {object:?}"),
        Err(errors) => errors.iter().map(|error| format!("{} {}", error.pointer, error.code)).collect(),
    }
}

fn read(ty: &Type, json: &Json) -> Result<Value, String> {
    let mut errors = Vec::new();
    Value::from_json(ty, json, "", &mut errors).ok_or_else(|| errors.remove(0).detail)
}

/// The JSON form of what was read.
fn canonical(ty: &Type, json: Json) -> Result<Json, String> {
    read(ty, &json).map(|value| value.to_json())
}

#[test]
fn every_fault_of_a_body_is_reported_with_its_pointer() {
    let line = fields([
        field("product", Type::Uuid),
        field("quantity", Type::Integer { min: Some(1), max: None }),
        field("a/b~c", Type::Boolean),
    ]);
    let declared = fields([
        field("number", text()),
        field(
            "lines",
            Type::List {
                of: Box::new(field("item", Type::Object(line))),
                min_length: None,
                max_length: Some(1),
            },
        ),
        optional("note", text()),
    ]);
    let body = json!({
        "number": null,
        "lines": [
            { "product": "x", "quantity": 0, "a/b~c": 1 },
            { "product": "0192f0c1-6d2e-7cc3-98c4-dc0c0c07398f", "a/b~c": true },
        ],
        "notes": "",
    });
    assert_eq!(
        faults(&declared, &body),
        [
            "/number required",
            "/lines/0/product invalid_format",
            "/lines/0/quantity out_of_range",
            "/lines/0/a~1b~0c wrong_type",
            "/lines/1/quantity required",
            "/notes unknown_field",
        ]
    );
    assert_eq!(faults(&declared, &json!([])), [" wrong_type"]);
}

#[test]
fn unknown_fields_come_with_a_hint() {
    let declared = fields([field("quantity", integer())]);
    let detail = |body: Json| object_from_json(&declared, &body, false).unwrap_err().remove(0).detail;
    assert_eq!(
        detail(json!({ "quantity": 1, "Quantitty": 2 })),
        "there is no field `Quantitty`; did you mean `quantity`?"
    );
    assert_eq!(
        detail(json!({ "quantity": 1, "colour": 2 })),
        "there is no field `colour`; there is `quantity`"
    );
    assert!(detail(json!({ "quantity": 1, "x".repeat(100_000): 2 })).len() < 300);
}

#[test]
fn the_number_of_reported_faults_is_bounded() {
    let declared = fields([field(
        "list",
        Type::List { of: Box::new(field("item", integer())), min_length: None, max_length: None },
    )]);
    let errors = object_from_json(&declared, &json!({ "list": vec!["x"; 5000] }), false).unwrap_err();
    assert_eq!(errors.len(), MAX_ERRORS + 1);
    assert_eq!(errors[MAX_ERRORS].code, "too_many_errors");
}

#[test]
fn absent_fields_are_defaults_or_null_unless_partial() {
    let declared = fields([
        optional("note", text()),
        Field { default: Some(Value::Integer(1)), ..field("count", integer()) },
    ]);
    let whole = object_from_json(&declared, &json!({}), false).unwrap();
    assert_eq!(object_to_json(&whole), json!({ "note": null, "count": 1 }));
    assert_eq!(object_from_json(&declared, &json!({}), true).unwrap(), Object::new());
    let cleared = object_from_json(&declared, &json!({ "note": null }), true).unwrap();
    assert_eq!(object_to_json(&cleared), json!({ "note": null }));
    assert_eq!(object_from_json(&declared, &json!({ "count": null }), true).unwrap_err()[0].code, "required");
}

#[test]
fn decimals_are_exact_and_at_the_declared_scale() {
    let money = decimal(5, 2);
    for (given, kept) in [
        (json!("12.5"), "12.50"),
        (json!("12.500"), "12.50"),
        (json!(12), "12.00"),
        (json!("-0"), "0.00"),
        (json!("-999.99"), "-999.99"),
        (json!("0007"), "7.00"),
    ] {
        assert_eq!(canonical(&money, given), Ok(json!(kept)));
    }
    for refused in ["", "-", ".5", "5.", "+5", "1e2", "1e1000000000", "0x1", "NaN", "1 ", "1_0", "١"] {
        assert!(read(&money, &json!(refused)).unwrap_err().contains("no exponent"), "{refused}");
    }
    assert!(read(&money, &json!("0.001")).unwrap_err().contains("nothing is rounded"));
    assert!(read(&money, &json!("1000")).unwrap_err().contains("at most 3 digits before the point"));
    assert!(read(&money, &json!(u64::MAX)).unwrap_err().contains("at most 3 digits before the point"));
    assert!(read(&money, &json!(12.5)).unwrap_err().contains("send it as text"));
    assert!(read(&money, &json!("9".repeat(1_000_000))).unwrap_err().contains("128 characters"));
}

#[test]
fn fitting_a_decimal_costs_little_whatever_its_exponent() {
    let huge = Decimal::new(1.into(), i64::MIN);
    assert_eq!(fit_decimal(&huge, 38, 2), Err(DecimalFault::OutOfRange));
    let tiny = Decimal::new(1.into(), i64::MAX);
    assert_eq!(fit_decimal(&tiny, 38, 2), Err(DecimalFault::TooPrecise));
    let zero = Decimal::new(0.into(), i64::MIN);
    assert_eq!(fit_decimal(&zero, 38, 2).unwrap().to_plain_string(), "0.00");
    let most = Decimal::new(10i128.pow(38).into(), 0) - Decimal::from(1);
    assert_eq!(fit_decimal(&most, 38, 0), Ok(most.clone()));
    assert_eq!(fit_decimal(&(most + Decimal::from(1)), 38, 0), Err(DecimalFault::OutOfRange));
}

#[test]
fn integers_are_whole_64_bit_numbers() {
    assert_eq!(read(&integer(), &json!(i64::MIN)), Ok(Value::Integer(i64::MIN)));
    for refused in [json!(1.0), json!(1e3), json!("1"), json!(true), json!(u64::MAX), json!(1e300)] {
        assert!(read(&integer(), &refused).is_err(), "{refused}");
    }
    let bounded = Type::Integer { min: Some(1), max: Some(3) };
    assert_eq!(read(&bounded, &json!(0)), Err("must be at least 1".to_owned()));
    assert_eq!(read(&bounded, &json!(4)), Err("must be at most 3".to_owned()));
}

#[test]
fn text_is_measured_in_characters() {
    let ty = Type::Text { min_length: Some(2), max_length: Some(3), pattern: None };
    assert!(read(&ty, &json!("äöü")).is_ok());
    assert!(read(&ty, &json!("ä")).unwrap_err().contains("at least 2"));
    assert!(read(&ty, &json!("abcd")).unwrap_err().contains("at most 3"));
    assert!(read(&text(), &json!("a\0b")).unwrap_err().contains("U+0000"));
    let code = Type::Text { min_length: None, max_length: None, pattern: Some(pattern("[A-Z]+")) };
    assert!(read(&code, &json!("ABC")).is_ok());
    assert!(read(&code, &json!("ABC\n")).unwrap_err().contains("[A-Z]+"));
}

#[test]
fn instants_are_rfc_3339_in_milliseconds() {
    for (given, kept) in [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31t12:00:00.5z", "2026-01-31T12:00:00.500Z"),
        ("2026-01-31T12:00:00.123+05:30", "2026-01-31T06:30:00.123Z"),
        ("2026-01-01T00:00:00-23:59", "2026-01-01T23:59:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(canonical(&Type::Timestamp, json!(given)), Ok(json!(kept)), "{given}");
    }
    for refused in [
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00.1234Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T23:59:60Z",
        "2026-02-30T12:00:00Z",
        "2026-01-31T12:00:00+5:30",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00Z[UTC]",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "２026-01-31T12:00:00Z",
        "2026-01-31T12:00:00é",
    ] {
        assert!(read(&Type::Timestamp, &json!(refused)).is_err(), "{refused}");
    }
    assert_eq!(Timestamp(i64::MAX).to_string(), i64::MAX.to_string());
    assert_eq!(Timestamp(i64::MIN).to_string(), i64::MIN.to_string());
}

#[test]
fn dates_are_days_of_the_calendar() {
    assert_eq!(canonical(&Type::Date, json!("2024-02-29")), Ok(json!("2024-02-29")));
    for refused in
        ["2026-02-29", "2026-1-31", "0000-01-01", "-001-01-01", "2026-01-31Z", "20260131", "2026-13-01"]
    {
        assert!(read(&Type::Date, &json!(refused)).is_err(), "{refused}");
    }
}

#[test]
fn durations_have_an_exact_length() {
    for (given, millis, kept) in [
        ("PT24H", 86_400_000, "PT24H"),
        ("P1D", 86_400_000, "PT24H"),
        ("P1DT1H1M1.5S", 90_061_500, "PT25H1M1.5S"),
        ("PT0S", 0, "PT0S"),
        ("-PT0.001S", -1, "-PT0.001S"),
        ("PT90M", 5_400_000, "PT1H30M"),
    ] {
        assert_eq!(read(&Type::Duration, &json!(given)), Ok(Value::Duration(millis)), "{given}");
        assert_eq!(canonical(&Type::Duration, json!(given)), Ok(json!(kept)), "{given}");
    }
    for refused in [
        "",
        "P",
        "PT",
        "P1Y",
        "P1M",
        "P1W",
        "P1DT",
        "PT1S1H",
        "PT1.5H",
        "PT0.0001S",
        "PT.5S",
        "PT1",
        "1H",
        "PT-1H",
        "P99999999999999999999D",
        "P999999999999999999D",
    ] {
        assert!(read(&Type::Duration, &json!(refused)).is_err(), "{refused}");
    }
}

#[test]
fn addresses_are_checked() {
    for good in ["ada@example.org", "a.b+c@sub.example.co", "ü@example.org"] {
        assert!(read(&Type::Email, &json!(good)).is_ok(), "{good}");
    }
    for bad in [
        "",
        "ada",
        "ada@",
        "ada@localhost",
        "Ada <ada@example.org>",
        "a@b@c.org",
        "ada@[127.0.0.1]",
        "a\0@example.org",
    ] {
        assert!(read(&Type::Email, &json!(bad)).is_err(), "{bad}");
    }
    for good in ["https://example.org", "http://localhost:8080/a?b=c#d", "wss://example.org/x"] {
        assert_eq!(canonical(&Type::Url, json!(good)), Ok(json!(good)));
    }
    for bad in [
        "",
        "/path",
        "example.org",
        "javascript:alert(1)",
        "https://",
        "https://exa mple.org",
        "\thttps://example.org",
        "data:text/html,x",
        "file:///etc/passwd",
    ] {
        assert!(read(&Type::Url, &json!(bad)).is_err(), "{bad}");
    }
}

#[test]
fn enums_name_their_values() {
    let ty = Type::Enum(vec!["placed".into(), "paid".into(), "shipped".into()]);
    assert_eq!(
        read(&ty, &json!("sent")),
        Err("`sent` is none of the values: `placed`, `paid` or `shipped`".into())
    );
}

#[test]
fn references_are_ids_or_natural_keys() {
    let key =
        crate::declaration::KeyOf { app: "shop".into(), model: "customer".into(), ty: Box::new(text()) };
    let id = key.id("ALFKI").unwrap();
    let keyed = Type::Ref { to: "customer".into(), key: Some(key) };
    assert_eq!(read(&keyed, &json!("ALFKI")), Ok(Value::Uuid(id)));
    assert_eq!(read(&keyed, &json!(id.to_string())), Ok(Value::Uuid(id)));
    assert!(read(&keyed, &json!(7)).is_err(), "the key of a customer is text");
    let key =
        crate::declaration::KeyOf { app: "shop".into(), model: "product".into(), ty: Box::new(integer()) };
    let numbered = Type::Ref { to: "product".into(), key: Some(key.clone()) };
    assert_eq!(read(&numbered, &json!(7)), read(&numbered, &json!("7")));
    assert_eq!(read(&numbered, &json!(7)), Ok(Value::Uuid(key.id("7").unwrap())));
    assert!(read(&numbered, &json!(7.5)).is_err());
    let plain = Type::Ref { to: "order".into(), key: None };
    assert!(read(&plain, &json!("ALFKI")).unwrap_err().contains("expected a UUID"));
    assert!(read(&plain, &json!(id.simple().to_string())).is_err());
}

#[test]
fn json_holds_no_nul() {
    assert!(read(&Type::Json, &json!({ "a": [1, { "b": "c" }] })).is_ok());
    assert!(read(&Type::Json, &json!({ "a": [{ "b": "\0" }] })).is_err());
    assert!(read(&Type::Json, &json!({ "a": [{ "\0": 1 }] })).is_err());
}

#[test]
fn filters_take_values_that_no_row_can_have() {
    let ty = Type::Decimal { precision: 5, scale: 2, min: Some(Decimal::from(0)), max: None };
    assert_eq!(Value::from_text(&ty, "-0.001").unwrap().to_text().as_deref(), Some("-0.001"));
    assert_eq!(Value::from_text(&ty, "1.5").unwrap().to_text().as_deref(), Some("1.50"));
    assert!(Value::from_text(&integer(), "9223372036854775808").is_err());
    assert!(Value::from_text(&Type::Enum(vec!["a".into()]), "b").is_err());
    assert!(Value::from_text(&text(), "a\0").is_err());
    assert!(Value::from_text(&Type::Json, "{}").is_err());
}

#[test]
fn computed_values_meet_the_constraints_of_their_field() {
    let check = |field: &Field, value: Value| {
        let mut errors = Vec::new();
        let checked = value.conform(field, "/total", &mut errors);
        checked.ok_or_else(|| format!("{} {}", errors[0].pointer, errors[0].code))
    };
    let total = field("total", decimal(5, 2));
    let kept = check(&total, Value::Integer(7)).unwrap();
    assert_eq!(kept.to_json(), json!("7.00"));
    assert_eq!(check(&total, Value::Null), Err("/total required".into()));
    assert_eq!(check(&total, Value::Text("7".into())), Err("/total wrong_type".into()));
    assert_eq!(check(&total, Value::Decimal("0.001".parse().unwrap())), Err("/total too_precise".into()));
    let list = field("list", Type::List { of: Box::new(total), min_length: None, max_length: None });
    assert_eq!(check(&list, Value::List(vec![Value::Integer(1000)])), Err("/total/0 out_of_range".into()));
    assert_eq!(check(&optional("note", text()), Value::Null), Ok(Value::Null));
}

#[test]
fn what_was_stored_is_read_by_todays_declaration() {
    let declared = fields([
        field("name", Type::Text { min_length: None, max_length: Some(1), pattern: None }),
        optional("added", integer()),
        Field { default: Some(Value::Boolean(true)), ..field("active", Type::Boolean) },
    ]);
    let stored = stored_from_json(&declared, &json!({ "name": "longer than today", "removed": 1 })).unwrap();
    assert_eq!(
        object_to_json(&stored),
        json!({ "name": "longer than today", "added": null, "active": true })
    );
    assert_eq!(stored_from_json(&declared, &json!({})).unwrap_err()[0].pointer, "/name");
}

#[test]
fn nesting_is_counted_in_lists_and_objects() {
    let nested = |levels: usize| {
        (0..levels).fold(
            json!(1),
            |inner, level| if level % 2 == 0 { json!([0, inner]) } else { json!({ "a": inner }) },
        )
    };
    assert!(!nests_too_deeply(&nested(MAX_NESTING)));
    assert!(nests_too_deeply(&nested(MAX_NESTING + 1)));
}
