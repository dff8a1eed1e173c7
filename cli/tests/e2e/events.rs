//! What other teams see: the records in Kafka, their headers, and their schemas in the registry.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::world::{brokers, registry_url};
use crate::harness::{self, Slot, kafka, models, python, unique};

static SERVER: Slot = harness::slot();

#[tokio::test]
async fn an_event_has_the_headers_of_cloudevents() {
    let app = harness::shared(&SERVER).await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("traceparent", traceparent)];
    let opened = app
        .post_with("/v1/purse/open", &json!({ "number": unique("a"), "owner": "Ada" }), &headers)
        .await
        .expect(201);
    let path = format!("/v1/purse/{}/deposit", opened.id());
    let deposited = app.post(&path, &json!({ "amount": 5 })).await.expect(200);

    let events = kafka::events_of(&app.world().topic("purse"), opened.id()).await;
    assert_eq!(events.len(), 2);
    for (event, (answer, type_name)) in
        events.iter().zip([(&opened, "test.purse.Opened"), (&deposited, "test.purse.Deposited")])
    {
        let told = &answer.body["events"][0];
        assert_eq!(event.key, answer.id());
        assert_eq!(event.header("ce_specversion"), "1.0");
        assert_eq!(event.header("ce_id"), told["id"]);
        assert_eq!(event.header("ce_type"), type_name);
        assert_eq!(event.header("ce_type"), told["type"]);
        assert_eq!(event.header("ce_source"), "/test/purse");
        assert_eq!(event.header("ce_subject"), answer.id());
        assert_eq!(event.header("ce_time"), told["time"]);
        assert_eq!(event.header("ce_version"), answer.version().to_string());
        assert_eq!(event.header("content-type"), "application/avro");
        assert!(event.header("ce_correlationid").parse::<uuid::Uuid>().is_ok());
        assert!(event.header("ce_causationid").parse::<uuid::Uuid>().is_ok());
        let dataschema = event.header("ce_dataschema");
        assert!(dataschema.ends_with(&format!("/schemas/ids/{}", event.schema_id())), "{dataschema}");
        assert_eq!(answer.position(), format!("purse:{}:{}", event.partition, event.offset));
    }
    let trace = events[0].header("traceparent");
    assert_eq!(trace[..35], traceparent[..35], "the trace goes on");
}

#[tokio::test]
async fn an_event_is_avro_in_confluent_framing_by_the_registered_schema() {
    let app = harness::shared(&SERVER).await;
    let order = app.place_order().await;
    let topic = app.world().topic("order");
    let events = kafka::events_of(&topic, order.id()).await;
    let fields = events[0].fields().await;
    assert_eq!(kafka::text(&fields["status"]), Some("placed"));
    assert_eq!(kafka::text(&fields["number"]), order.body["state"]["number"].as_str());

    let by_id = kafka::schema(events[0].schema_id()).await;
    let by_id: Value = serde_json::from_str(by_id["schema"].as_str().unwrap()).unwrap();
    let name = [by_id["namespace"].as_str().unwrap_or_default(), by_id["name"].as_str().unwrap()].join(".");
    assert_eq!(name.trim_start_matches('.'), "test.order.Placed");
}

#[tokio::test]
async fn every_event_of_every_model_has_a_subject_of_its_own() {
    let app = harness::shared(&SERVER).await;
    for (model, events) in [
        ("purse", &["Opened", "Deposited", "Withdrawn", "Closed"][..]),
        ("note", &["Created", "Updated", "Deleted"]),
        ("order", &["Placed", "Paid", "Shipped", "Cancelled"]),
    ] {
        for event in events {
            let subject = format!("{}-{}.{model}.{event}", app.world().topic(model), models::APP);
            let registered = kafka::registry(&format!("/subjects/{subject}/versions/latest")).await;
            assert_eq!(registered["subject"], *subject);
            let config = kafka::registry(&format!("/config/{subject}")).await;
            assert_eq!(config["compatibilityLevel"], "FULL_TRANSITIVE", "{subject}");
        }
    }
}

#[tokio::test]
async fn a_stock_consumer_reads_what_the_commands_answered() {
    let python = python::environment("stock_consumer");
    let app = harness::shared(&SERVER).await;
    let order = app.place_order().await;
    let path = format!("/v1/order/{}", order.id());
    let paid = app.post(&format!("{path}/pay"), &json!({ "reference": "bank 7" })).await.expect(200);
    let shipped = app.post(&format!("{path}/ship"), &json!({})).await.expect(200);

    let topic = app.world().topic("order");
    let script = python::source("stock_consumer", "consume.py");
    let output = tokio::task::spawn_blocking(move || {
        python::run(Command::new(python).arg(script).args([brokers(), registry_url(), topic]))
    })
    .await
    .unwrap();
    let records: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|record: &Value| record["key"] == order.id())
        .collect();
    assert_eq!(records.len(), 3, "{records:?}");
    for (record, answer) in records.iter().zip([&order, &paid, &shipped]) {
        let told = &answer.body["events"][0];
        assert_eq!(record["headers"]["ce_id"], told["id"]);
        assert_eq!(record["headers"]["ce_type"], told["type"]);
        assert_eq!(record["headers"]["ce_version"], answer.version().to_string());
        for (name, value) in told["data"].as_object().unwrap() {
            assert_eq!(&record["value"][name], value, "{name} of {record}");
        }
    }
}
