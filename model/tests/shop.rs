//! The sample application's models, from the files to the folded state.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_model::decide::{Actor, Request};
use writ_model::diagnostic::Source;
use writ_model::{
    Decimal, Decision, Model, Models, Rejection, State, Timestamp, Value, decide, evolve, json_schema,
};

fn shop() -> Models {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let mut sources: Vec<Source> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| Source {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            text: std::fs::read_to_string(&path).unwrap(),
        })
        .collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Models::check("shop", &sources).unwrap()
}

/// One aggregate, by way of the bytes in Kafka and the JSON in the state topic.
struct Aggregate<'a> {
    model: &'a Model,
    id: Uuid,
    state: Option<State>,
}

impl Aggregate<'_> {
    fn send(&mut self, command: &str, input: Json) -> Result<Decision, Rejection> {
        let now = Timestamp(1_767_225_600_000);
        let actor = &Actor::unrestricted();
        let request = Request { id: self.id, command, input: &input, expected_version: None, now, actor };
        let decision = decide(self.model, self.state.as_ref(), &request)?;
        let event = &self.model.events[&decision.event];
        let mut datum = Vec::new();
        event.codec.encode(&decision.fields, &mut datum).unwrap();
        let recorded = event.codec.decode(&event.codec.schema, &datum).unwrap();
        assert_eq!(recorded, decision.fields);
        let state = evolve(self.model, self.state.take(), event, &recorded, now);
        assert_eq!(State::from_json(self.model, &state.to_json(self.model)), Ok(state.clone()));
        self.state = Some(state);
        Ok(decision)
    }

    fn public(&self) -> Json {
        self.state.as_ref().unwrap().public_json()
    }
}

#[test]
fn an_order_is_placed_paid_and_shipped() {
    let shop = shop();
    let model = shop.get("order").unwrap();
    let mut order = Aggregate { model, id: model.parse_id("10248").unwrap(), state: None };
    let body = json!({
        "number": "10248",
        "customer": "ALFKI",
        "ordered_on": "1996-07-04",
        "lines": [
            { "product": "11", "unit_price": "14.00", "quantity": 12, "discount": "0.15" },
            { "product": "42", "unit_price": "9.81", "quantity": 3 },
        ],
    });
    order.send("place", body.clone()).unwrap();
    // 14 × 12 × 0.85 + 9.81 × 3
    assert_eq!(order.public()["total"], "172.2300");
    assert_eq!(order.public()["status"], "placed");
    assert_eq!(order.public()["lines"][1]["discount"], "0.00");
    let customer = shop.get("customer").unwrap().id_of_key("ALFKI").unwrap();
    assert_eq!(order.public()["customer"], customer.to_string());
    assert_eq!(order.send("place", body), Err(Rejection::AlreadyExists { version: Some(1) }));

    assert!(matches!(order.send("ship", json!({})), Err(Rejection::WrongState { .. })));
    let paid = order.send("pay", json!({ "reference": "B-77" })).unwrap();
    assert_eq!(paid.fields["reference"].to_json(), "B-77");
    assert_eq!(order.public().get("reference"), None);

    assert!(matches!(order.send("ship", json!({})), Err(Rejection::GuardFailed { .. })));
    order.send("ship", json!({ "shipped_on": "1996-07-16" })).unwrap();
    assert_eq!(order.public()["status"], "shipped");
    assert!(matches!(order.send("cancel", json!({})), Err(Rejection::WrongState { .. })));

    order.send("note", json!({ "note": "fragile" })).unwrap();
    order.send("note", json!({})).unwrap();
    assert_eq!(order.public()["note"], "fragile");
    order.send("note", json!({ "note": null })).unwrap();
    assert_eq!(order.public()["note"], Json::Null);
    assert_eq!(order.state.unwrap().version, 6);
}

#[test]
fn a_wrong_order_is_answered_with_every_fault() {
    let shop = shop();
    let model = shop.get("order").unwrap();
    let mut order = Aggregate { model, id: model.parse_id("1").unwrap(), state: None };
    let body = json!({
        "number": "no spaces please",
        "ordered_on": "1996-02-30",
        "lines": [{ "product": "eleven", "unit_price": 14.5, "quantity": 0, "discont": "0.1" }],
    });
    let Err(Rejection::Invalid { errors }) = order.send("place", body) else { panic!("it was taken") };
    let faults: Vec<String> =
        errors.iter().map(|error| format!("{} {}", error.pointer, error.code)).collect();
    assert_eq!(
        faults,
        [
            "/number pattern_mismatch",
            "/customer required",
            "/ordered_on invalid_format",
            "/lines/0/product invalid_format",
            "/lines/0/unit_price wrong_type",
            "/lines/0/quantity out_of_range",
            "/lines/0/discont unknown_field",
        ]
    );
    assert!(errors[6].detail.contains("did you mean `discount`?"));
    let empty = json!({ "number": "1", "customer": "ALFKI", "ordered_on": "1996-07-04", "lines": [] });
    let failed = Rejection::GuardFailed { detail: "An order needs at least one line.".into() };
    assert_eq!(order.send("place", empty), Err(failed));
}

#[test]
fn a_product_is_created_updated_and_deleted() {
    let shop = shop();
    let model = shop.get("product").unwrap();
    let mut product = Aggregate { model, id: model.parse_id("11").unwrap(), state: None };
    let fields = &model.commands["create"].input;
    let mut body = json!({ "number": 11, "name": "Queso Cabrales", "category": "4", "price": "21" });
    for (name, field) in fields {
        if body.get(name).is_none() && !field.optional && field.default.is_none() {
            body[name] = json!(1);
        }
    }
    product.send("create", body).unwrap();
    assert_eq!(product.public()["price"], "21.00");
    product.send("update", json!({ "price": "22.50" })).unwrap();
    assert_eq!(product.public()["price"], "22.50");
    assert_eq!(product.public()["name"], "Queso Cabrales");
    let Err(Rejection::Invalid { errors }) = product.send("update", json!({ "name": null })) else {
        panic!("a required field was cleared")
    };
    assert_eq!((errors[0].pointer.as_str(), errors[0].code.as_str()), ("/name", "required"));
    product.send("delete", json!({})).unwrap();
    assert_eq!(product.send("update", json!({ "price": "1" })), Err(Rejection::NotFound));
}

/// The sample's lines, summed by the model's own expression: exact to the last of four decimals.
#[test]
fn the_total_of_all_sample_orders_is_exact() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/sample/order-details.csv");
    let mut orders: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for line in std::fs::read_to_string(file).unwrap().lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [order, product, unit_price, quantity, discount] = cells[..] else { panic!("{line}") };
        let quantity: i64 = quantity.parse().unwrap();
        orders.entry(order.to_owned()).or_default().push(
            json!({ "product": product, "unit_price": unit_price, "quantity": quantity, "discount": discount }),
        );
    }
    assert_eq!(orders.len(), 830);

    let shop = shop();
    let model = shop.get("order").unwrap();
    let mut sum = Decimal::from(0);
    for (number, lines) in orders {
        let mut order = Aggregate { model, id: model.parse_id(&number).unwrap(), state: None };
        let body =
            json!({ "number": number, "customer": "ALFKI", "ordered_on": "1996-07-04", "lines": lines });
        let placed = order.send("place", body).unwrap();
        let Value::Decimal(total) = &placed.fields["total"] else { panic!("{number} has no total") };
        sum += total;
    }
    assert_eq!(sum.to_plain_string(), "1265793.0395");
}

/// What other teams build on: a change here is a change of the contract.
#[test]
fn the_contract_of_placed() {
    let shop = shop();
    let placed = &shop.get("order").unwrap().events["placed"];
    let schema: Json = serde_json::from_str(&placed.codec.schema_json).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema).unwrap());
    insta::assert_snapshot!(serde_json::to_string_pretty(&json_schema::of_event(placed)).unwrap());
}
