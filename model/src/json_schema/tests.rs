use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::{
    any_fields, any_json, decimal, declared_object, field, fields, integer, optional, pattern, text,
};
use crate::value::{Value, object_from_json, object_to_json};

fn valid(schema: &Json, instance: &Json) -> Result<(), String> {
    let validator = jsonschema::draft202012::new(schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(instance).map(|error| error.to_string()).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
}

fn request(declared: &IndexMap<String, Field>) -> Json {
    object(declared, Side::Request, |field| !field.optional && field.default.is_none())
}

fn response(declared: &IndexMap<String, Field>) -> Json {
    object(declared, Side::Response, |_| true)
}

#[test]
fn the_schemas_of_a_declaration() {
    let key =
        crate::declaration::KeyOf { app: "shop".into(), model: "customer".into(), ty: Box::new(text()) };
    let line = fields([field("quantity", Type::Integer { min: Some(1), max: None })]);
    let declared = fields([
        Field {
            doc: Some("As printed on the invoice.".into()),
            ..field(
                "number",
                Type::Text { min_length: Some(1), max_length: Some(9), pattern: Some(pattern("[A-Z]+")) },
            )
        },
        field("customer", Type::Ref { to: "customer".into(), key: Some(key) }),
        optional("status", Type::Enum(vec!["placed".into(), "paid".into()])),
        Field {
            default: Some(Value::Decimal("0.00".parse().unwrap())),
            ..field(
                "discount",
                Type::Decimal { precision: 5, scale: 2, min: Some(0.into()), max: Some(1.into()) },
            )
        },
        field(
            "lines",
            Type::List {
                of: Box::new(field("item", Type::Object(line))),
                min_length: Some(1),
                max_length: None,
            },
        ),
        optional("shipped_at", Type::Timestamp),
        optional("extra", Type::Json),
    ]);
    let both = json!({ "request": request(&declared), "response": response(&declared) });
    insta::assert_snapshot!(serde_json::to_string_pretty(&both).unwrap());
}

#[test]
fn an_input_says_what_may_be_absent() {
    let count = Field { default: Some(Value::Integer(1)), ..field("count", integer()) };
    let mut command = Command {
        name: "create".into(),
        doc: Some("Adds one.".into()),
        creates: true,
        deletes: false,
        input: fields([field("name", text()), count]),
        state_inputs: vec!["name".into(), "count".into()],
        partial: false,
        require: Vec::new(),
        from: Vec::new(),
        to: None,
        set: IndexMap::new(),
        emits: "created".into(),
    };
    let create = of_input(&command);
    assert_eq!(create["required"], json!(["name"]));
    assert_eq!(create["properties"]["count"]["default"], json!(1));
    assert_eq!(create["description"], json!("Adds one."));
    (command.creates, command.partial) = (false, true);
    let update = of_input(&command);
    assert_eq!(update.get("required"), None);
    assert_eq!(update["properties"]["count"].get("default"), None);
}

#[test]
fn a_decimal_is_text_or_a_whole_number() {
    let declared = fields([field("price", decimal(5, 2))]);
    let schema = request(&declared);
    for good in [json!("12.50"), json!("12.5"), json!("-12"), json!(12)] {
        assert_eq!(valid(&schema, &json!({ "price": good })), Ok(()));
    }
    for bad in [json!("1e2"), json!("12.505"), json!("1234"), json!(12.5), json!(null)] {
        assert!(valid(&schema, &json!({ "price": bad })).is_err(), "{bad}");
    }
    assert!(valid(&response(&declared), &json!({ "price": "12.5" })).is_err());
}

proptest! {
    #[test]
    fn what_is_answered_is_valid((declared, object) in declared_object()) {
        let answer = object_to_json(&object);
        prop_assert_eq!(valid(&response(&declared), &answer), Ok(()));
        prop_assert_eq!(valid(&request(&declared), &answer), Ok(()));
    }

    /// The schema never refuses what is taken.
    #[test]
    fn what_is_taken_is_valid(declared in any_fields(), part in any_json()) {
        let mut body = json!({});
        for name in declared.keys() {
            body[name] = part.clone();
            if object_from_json(&declared, &body, true).is_err() {
                body.as_object_mut().unwrap().remove(name);
            }
        }
        if object_from_json(&declared, &body, false).is_ok() {
            prop_assert_eq!(valid(&request(&declared), &body), Ok(()));
        }
    }
}
