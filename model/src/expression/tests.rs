//! Tables of expressions with their values and their faults. The names of both are those of an order.

#![allow(clippy::unwrap_used)]

mod faults;
mod properties;
mod values;

use indexmap::IndexMap;
use uuid::Uuid;

use super::{Compiled, Env, Expected, Fault, Scope};
use crate::decide::Actor;
use crate::declaration::{Field, Type};
use crate::value::{Object, Timestamp, Value};

const CUSTOMER: &str = "018f4e1c-0000-7000-8000-000000000001";
const ORDER: &str = "018f4e1c-0000-7000-8000-000000000002";

fn field(name: &str, ty: Type) -> Field {
    Field::plain(name, ty)
}

fn optional(name: &str, ty: Type) -> Field {
    Field { optional: true, ..field(name, ty) }
}

fn fields(fields: Vec<Field>) -> IndexMap<String, Field> {
    fields.into_iter().map(|field| (field.name.clone(), field)).collect()
}

fn text() -> Type {
    Type::Text { min_length: None, max_length: None, pattern: None }
}

fn integer() -> Type {
    Type::Integer { min: None, max: None }
}

fn decimal() -> Type {
    Type::Decimal { precision: 14, scale: 4, min: None, max: None }
}

fn list(of: Field) -> Type {
    Type::List { of: Box::new(of), min_length: None, max_length: None }
}

fn reference(to: &str) -> Type {
    Type::Ref { to: to.to_owned(), key: None }
}

fn status() -> Type {
    Type::Enum(["placed", "paid", "shipped", "cancelled"].map(str::to_owned).to_vec())
}

fn address() -> Type {
    Type::Object(fields(vec![field("city", text()), optional("zip", text())]))
}

fn line() -> Type {
    Type::Object(fields(vec![
        field("product", reference("product")),
        field("quantity", integer()),
        field("unit_price", decimal()),
        field("discount", decimal()),
        optional("gift", text()),
    ]))
}

/// The declared fields, used for both the input and the state.
fn order() -> IndexMap<String, Field> {
    fields(vec![
        field("number", text()),
        field("customer", reference("customer")),
        field("status", status()),
        field("lines", list(field("line", line()))),
        field("total", decimal()),
        field("quantity", integer()),
        field("paid", Type::Boolean),
        field("ordered_at", Type::Timestamp),
        field("due", Type::Date),
        field("grace", Type::Duration),
        field("tags", list(field("tag", text()))),
        field("empty", list(field("item", integer()))),
        field("holes", list(optional("item", integer()))),
        field("address", address()),
        optional("billing", address()),
        optional("note", text()),
        optional("extra", Type::Json),
        optional("owner", reference("account")),
        field("mail", Type::Email),
    ])
}

fn object<const N: usize>(parts: [(&str, Value); N]) -> Value {
    Value::Object(parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn texted(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(digits: &str) -> Value {
    Value::Decimal(digits.parse().unwrap())
}

fn id(text: &str) -> Value {
    Value::Uuid(Uuid::try_parse(text).unwrap())
}

fn order_values() -> Object {
    let line = |quantity, price: &str, discount: &str| {
        object([
            ("product", id(ORDER)),
            ("quantity", Value::Integer(quantity)),
            ("unit_price", number(price)),
            ("discount", number(discount)),
        ])
    };
    let Value::Object(values) = object([
        ("number", texted("10248")),
        ("customer", id(CUSTOMER)),
        ("status", texted("placed")),
        (
            "lines",
            Value::List(vec![line(12, "14.00", "0"), line(10, "9.80", "0.05"), line(5, "34.80", "0.15")]),
        ),
        ("total", number("440.00")),
        ("quantity", Value::Integer(27)),
        ("paid", Value::Boolean(false)),
        ("ordered_at", Value::Timestamp(Timestamp(1_767_225_600_000))),
        ("due", Value::Date(jiff::civil::date(2026, 1, 31))),
        ("grace", Value::Duration(172_800_000)),
        ("tags", Value::List(vec![texted("new"), texted("eu")])),
        ("empty", Value::List(vec![])),
        ("holes", Value::List(vec![Value::Integer(1), Value::Null])),
        ("address", object([("city", texted("Köln"))])),
        ("billing", Value::Null),
        ("extra", Value::Json(serde_json::json!({"a": [1, 2]}))),
        ("mail", texted("a@b.example")),
    ]) else {
        unreachable!("an object was built")
    };
    values
}

fn compile(source: &str, expected: Expected<'_>) -> Result<Compiled, Vec<Fault>> {
    let order = order();
    Compiled::compile(source, Env { input: Some(&order), state: Some(&order), channel: None }, expected)
}

/// Evaluates with the order as input and state, at 2026-01-02T00:00:00Z, sent by the customer with the role `customer`.
fn evaluate(source: &str, ty: Type) -> Result<Value, String> {
    evaluate_as(
        source,
        ty,
        &Actor { id: Uuid::try_parse(CUSTOMER).ok(), roles: vec!["customer".to_owned()], ..Actor::default() },
    )
}

fn evaluate_as(source: &str, ty: Type, actor: &Actor) -> Result<Value, String> {
    let field = optional("result", ty);
    let compiled = compile(source, Expected::Field(&field)).map_err(|faults| format!("{faults:?}"))?;
    let values = order_values();
    let scope = Scope {
        id: Uuid::try_parse(ORDER).unwrap(),
        input: &values,
        state: Some(&values),
        now: Timestamp(1_767_312_000_000),
        actor,
    };
    compiled.evaluate(&scope).map_err(|error| error.detail)
}
