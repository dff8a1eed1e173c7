use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::declaration::Models;
use crate::diagnostic::Source;
use crate::value::Timestamp;

/// A model with a field of each type that can be unique, and this `unique:`.
fn model(unique: &str) -> std::sync::Arc<Model> {
    let text = format!(
        "model: member\nfields:\n  a: {{ type: text, optional: true }}\n  b: {{ type: text, optional: true }}\n  \
         price: {{ type: decimal, precision: 12, scale: 2, optional: true }}\n  \
         at: {{ type: timestamp, optional: true }}\n  lasts: {{ type: duration, optional: true }}\n  \
         amount: {{ type: integer, optional: true, renamed_from: count }}\n  owner: {{ type: uuid, optional: true }}\n\
         unique: {unique}\n"
    );
    let source = Source { name: "member.yaml".into(), text };
    let models = Models::check("shop", &[source]).expect("the model is right");
    models.models["member"].clone()
}

/// The only key of an aggregate with these values.
fn key(model: &Model, fields: &Json) -> Option<String> {
    let fields = crate::value::object_from_json(&model.fields, fields, false).expect("values that fit");
    model.uniques[0].key(&model.name, &fields)
}

fn same(unique: &str, left: &Json, right: &Json) -> bool {
    let model = model(unique);
    let [left, right] = [left, right].map(|fields| key(&model, fields).expect("no value is null"));
    left == right
}

#[test]
fn a_key_stays_as_it_is() {
    // A change of these frees every value that is taken.
    let found = [
        key(&model("[a]"), &json!({ "a": "Straße" })),
        key(&model("[{ fields: [a], ignore_case: true }]"), &json!({ "a": "Straße" })),
        key(
            &model("[price, at, lasts]"),
            &json!({ "price": "1.50", "at": "2026-01-31T12:00:00Z", "lasts": "PT36H" }),
        ),
        key(
            &model("[amount, owner]"),
            &json!({ "count": 7, "owner": "0192f0c1-6d2e-7cc3-98c4-dc0c0c07398f" }),
        ),
    ];
    insta::assert_snapshot!(found.map(|key| key.expect("no value is null")).join("\n"), @r"
    @unique/member/a/06d60fe83e2cea1e71b43a53d6c3dda9ec2bed836a66e220d62cafb7ce325549
    @unique/member/a~/716f3e709bafcfac060faf277e1b47e27fb91a71e0bd2cecb4eb8ab64bcd2662
    @unique/member/at+lasts+price/7b8bd59a9b0e987c820919c9b168d04f6e5d145ab59985dc3c4adb06ed0652b1
    @unique/member/count+owner/78dfdac1cde5bb3303f5f065a1e5f60ed24e5f87a5cb82babef638d4c8eb03fe
    ");
}

#[test]
fn the_order_of_the_fields_does_not_count() {
    let [one, other] = ["[a, b]", "[b, a]"].map(|unique| key(&model(unique), &json!({ "a": "1", "b": "2" })));
    assert_eq!(one, other);
    assert!(!same("[a, b]", &json!({ "a": "1", "b": "2" }), &json!({ "a": "2", "b": "1" })));
}

#[test]
fn a_renamed_field_keeps_its_keys() {
    let text = "model: member\nfields:\n  z: { type: text, renamed_from: a, unique: true }\n  b: text\nunique: [[z, b]]\n";
    let source = Source { name: "member.yaml".into(), text: text.into() };
    let renamed = Models::check("shop", &[source]).expect("the model is right").models["member"].clone();
    assert_eq!(renamed.uniques[0].fields, ["z"]);
    let values = json!({ "z": "1", "b": "2" });
    assert_eq!(key(&renamed, &values), key(&model("[a]"), &json!({ "a": "1" })));
    let values = crate::value::object_from_json(&renamed.fields, &values, false).expect("values that fit");
    assert_eq!(
        renamed.uniques[1].key("member", &values),
        key(&model("[a, b]"), &json!({ "a": "1", "b": "2" }))
    );
}

#[test]
fn with_a_null_nothing_is_held() {
    let model = model("[a, b]");
    assert_eq!(key(&model, &json!({ "a": "x" })), None);
    assert_eq!(key(&model, &json!({ "a": "x", "b": null })), None);
    assert!(key(&model, &json!({ "a": "x", "b": "" })).is_some(), "an empty text is a value");
}

#[test]
fn what_is_deleted_holds_nothing() {
    let model = model("[a]");
    let fields = crate::value::object_from_json(&model.fields, &json!({ "a": "x" }), false).expect("right");
    let state =
        State { version: 1, deleted: false, created_at: Timestamp(0), updated_at: Timestamp(0), fields };
    assert_eq!(model.unique_keys(Some(&state)).len(), 1);
    assert!(model.unique_keys(Some(&State { deleted: true, ..state })).is_empty());
    assert!(model.unique_keys(None).is_empty());
}

#[test]
fn separators_in_values_separate_nothing() {
    for (left, right) in
        [(["x", "y,z"], ["x,y", "z"]), (["\"", ""], ["", "\""]), (["a\",\"b", "c"], ["a", "b\",\"c"])]
    {
        let [left, right] = [left, right].map(|[a, b]| json!({ "a": a, "b": b }));
        assert!(!same("[a, b]", &left, &right), "{left} {right}");
    }
}

#[test]
fn letters_count_not_their_form() {
    let folded = "[{ fields: [a], ignore_case: true }]";
    for (left, right) in [
        ("Straße", "STRASSE"),
        ("É", "e\u{301}"),
        ("ΌΣΟΣ", "όσος"),
        ("ÅNGSTRÖM", "a\u{30a}ngstro\u{308}m"),
        ("\u{1c4}", "\u{1c6}"),
        // The iota below is a letter once it is folded, so the order of the marks must be settled before.
        ("\u{3b1}\u{345}\u{301}", "\u{3b1}\u{301}\u{345}"),
    ] {
        let [left, right] = [left, right].map(|text| json!({ "a": text }));
        assert!(same(folded, &left, &right), "{left} {right}");
    }
    for (left, right) in [("a", "b"), ("e", "é"), ("ﬁ", "ﬂ"), ("I", "ı"), ("a", "a "), ("1", "²")] {
        let [left, right] = [left, right].map(|text| json!({ "a": text }));
        assert!(!same(folded, &left, &right), "{left} {right}");
    }
    let [upper, composed, decomposed] = ["É", "é", "e\u{301}"].map(|text| json!({ "a": text }));
    assert!(same("[a]", &composed, &decomposed));
    assert!(!same("[a]", &upper, &composed));
}

#[test]
fn numbers_and_times_count_not_their_form() {
    assert!(same("[price]", &json!({ "price": "1.5" }), &json!({ "price": "1.50" })));
    assert!(same("[price]", &json!({ "price": "-0" }), &json!({ "price": 0 })));
    assert!(same(
        "[at, lasts]",
        &json!({ "at": "2026-01-31T12:00:00Z", "lasts": "P1D" }),
        &json!({ "at": "2026-01-31T13:00:00.000+01:00", "lasts": "PT24H" })
    ));
    let model = model("[price]");
    let stored =
        |text: &str| Object::from_iter([("price".into(), Value::Decimal(text.parse().expect("a decimal")))]);
    assert_eq!(
        model.uniques[0].key("m", &stored("100.0")),
        model.uniques[0].key("m", &stored("1E+2")),
        "a value of another scale is the same number"
    );
}

proptest! {
    #[test]
    fn different_values_have_different_keys(
        values in proptest::collection::vec(("[ab,\"\\\\\\[\\] ]{0,4}", "[ab,\"\\\\\\[\\] ]{0,4}", -30_i32..30), 1..40)
    ) {
        let model = model("[a, b, price]");
        let mut seen: HashMap<String, (String, String, i32)> = HashMap::new();
        for value in values {
            let (a, b, cents) = &value;
            let price = format!("{}{}.{:02}", if *cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100);
            let key = key(&model, &json!({ "a": a, "b": b, "price": price })).expect("no value is null");
            let known = seen.entry(key).or_insert_with(|| value.clone());
            prop_assert_eq!(&*known, &value);
        }
    }

    #[test]
    fn any_text_in_another_case_or_form_is_the_same(text in "\\PC{0,20}") {
        let folded = fold_case(&text);
        prop_assert_eq!(&fold_case(&folded), &folded, "folding twice changes nothing");
        // Only characters with one lower case: `İ` and the final sigma depend on language and place.
        let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(&text).into_owned();
        prop_assert_eq!(&fold_case(&decomposed), &folded);
        // Of the decomposed text, as D145 has it: the iota below a letter becomes one beside it, and a mark that stood
        // between the two in one form stands behind both in the other.
        let lower: String = CaseMapper::new().fold_string(&decomposed).into_owned();
        prop_assert_eq!(&fold_case(&lower), &folded);
        prop_assert_eq!(fold_case(&text.to_uppercase()), fold_case(&text.to_uppercase().to_lowercase()));
    }
}
