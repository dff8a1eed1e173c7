//! A model that changes while its events stay: what every reader bears, renames, and what is refused.

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::server::writ;
use crate::harness::{World, kafka, models, unique, world};

const FIRST: &str = "\
model: parcel
fields:
  number: { type: text, key: true, max_length: 40 }
  status: { type: enum, values: [packed, sent] }
  qty: { type: integer, min: 1 }
  price: { type: decimal, precision: 10, scale: 2 }
  items: { type: list, of: { product: text, weight: { type: integer, optional: true } } }
  note: { type: text, optional: true }
commands:
  pack: { creates: true, input: [number, qty, price, items, note], set: { status: \"'packed'\" }, emits: packed }
  send: { from: packed, to: sent, emits: sent }
  annotate: { input: [note], emits: annotated }
index: [[qty, number]]
";

const SECOND: &str = "\
model: parcel
fields:
  number: { type: text, key: true, max_length: 40 }
  status: { type: enum, values: [packed, sent, lost] }
  quantity: { type: integer, min: 1, renamed_from: qty }
  price: { type: decimal, precision: 10, scale: 2 }
  items: { type: list, of: { article: { type: text, renamed_from: product }, weight: { type: integer, optional: true } } }
  note: { type: text, optional: true }
  carrier: { type: text, optional: true }
  insured: { type: boolean, default: false }
commands:
  pack:
    creates: true
    input: [number, quantity, price, items, note, carrier, insured]
    set: { status: \"'packed'\" }
    emits: packed
  send: { from: packed, to: sent, emits: sent }
  lose: { from: sent, to: lost, emits: lost }
  annotate: { input: [note], emits: annotated }
  correct: { input: [quantity, items], emits: corrected }
index: [[quantity, number]]
";

/// Without `note`, and with another type.
fn broken() -> String {
    SECOND
        .replace("  note: { type: text, optional: true }\n", "")
        .replace("items, note,", "items,")
        .replace("  annotate: { input: [note], emits: annotated }\n", "")
        .replace("price: { type: decimal, precision: 10, scale: 2 }", "price: integer")
}

fn check(world: &World, arguments: &[&str]) -> Output {
    let mut command = writ();
    command
        .current_dir(world.folder())
        .arg("check")
        .arg(world.models())
        .args(arguments)
        .env("WRIT_APP", models::APP)
        .env("WRIT_KAFKA_TOPIC_PREFIX", &world.prefix);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_model_changes_and_old_and_new_events_live_together() {
    let world = World::with_models(&[("parcel.yaml", FIRST)]);
    let against = ["--against", &world::registry_url()];
    let server = world.start(&[]).await;
    let app = server.client();
    let (number, key) = (unique("p"), unique("k"));
    let body = json!({
        "number": number, "qty": 3, "price": "12.50",
        "items": [{ "product": "tea", "weight": 5 }, { "product": "pot" }],
    });
    let headers = [("Idempotency-Key", key.as_str())];
    let old = app.post_with("/v1/parcel/pack", &body, &headers).await.expect(201);
    app.get_at(&format!("/v1/parcel/{}", old.id()), old.position()).await.expect(200);
    assert!(server.terminate().await.success());
    let same = check(&world, &against);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stderr));
    assert!(text(&same.stdout).ends_with("No change.\n"), "{}", text(&same.stdout));

    world.write_model("parcel.yaml", SECOND);
    let fine = check(&world, &against);
    assert_eq!(fine.status.code(), Some(0), "{}", text(&fine.stdout));
    for change in [
        "parcel.Packed: `status` may also be `lost`",
        "parcel.Packed: renames `qty` to `quantity`; on the wire it stays `qty`",
        "parcel.Packed: renames `items.product` to `items.article`",
        "parcel.Packed: adds `carrier` (optional)",
        "parcel.Packed: adds `insured` (default false)",
        "parcel.Lost: is a new event",
    ] {
        assert!(text(&fine.stdout).contains(change), "{change} in\n{}", text(&fine.stdout));
    }

    let server = world.start(&[]).await;
    let app = server.client();
    // The old row, by its new names, before anything new happens to it.
    let row = app.get(&format!("/v1/parcel/{number}")).await.expect(200);
    let expected = json!({
        "number": number, "status": "packed", "quantity": 3, "price": "12.50",
        "items": [{ "article": "tea", "weight": 5 }, { "article": "pot", "weight": null }],
        "note": null, "carrier": null, "insured": false,
    });
    assert_eq!(row.body["state"], expected);
    // A client that doesn't know of the change repeats what it sent.
    let repeated = app.post_with("/v1/parcel/pack", &body, &headers).await.expect(201);
    assert_eq!((repeated.id(), repeated.position()), (old.id(), old.position()));
    // The decider goes on from the old state, and a client with old names is understood.
    let sent = app.post(&format!("/v1/parcel/{number}/send"), &json!({})).await.expect(200);
    assert_eq!((sent.version(), &sent.body["state"]["quantity"]), (2, &json!(3)));
    let lost = app.post(&format!("/v1/parcel/{number}/lose"), &json!({})).await.expect(200);
    assert_eq!(lost.body["state"]["items"], expected["items"]);

    let new = json!({
        "number": unique("p"), "quantity": 30, "price": "1.00", "items": [{ "article": "cup" }], "carrier": "van",
    });
    let new = app.post("/v1/parcel/pack", &new).await.expect(201);
    assert_eq!(new.body["events"][0]["data"]["quantity"], 30);
    let corrected = json!({ "qty": 31, "items": [{ "product": "cups" }] });
    let corrected = app.post(&format!("/v1/parcel/{}/correct", new.id()), &corrected).await.expect(200);
    let rows = app.get_at("/v1/parcel?quantity[gte]=3&sort=quantity", corrected.position()).await.expect(200);
    let items = rows.body["items"].as_array().unwrap();
    let quantities: Vec<&Value> = items.iter().map(|row| &row["state"]["quantity"]).collect();
    assert_eq!(quantities, [&json!(3), &json!(31)]);
    assert_eq!(items[1]["state"]["items"], json!([{ "article": "cups", "weight": null }]));
    app.get("/v1/parcel?qty=3").await.expect(400);

    // On the wire nothing has another name, so that everybody's readers go on.
    let events = kafka::events_of(&world.topic("parcel"), new.id()).await;
    let fields = events[0].fields().await;
    assert_eq!(fields["qty"], apache_avro::types::Value::Long(30));
    let subject = format!("{}-{}.parcel.Packed", world.topic("parcel"), models::APP);
    let versions = kafka::registry(&format!("/subjects/{subject}/versions")).await;
    assert_eq!(versions, json!([1, 2]));

    // From Kafka alone the rows are the same.
    let before = world.rows("parcel").await;
    assert_eq!(before.len(), 2);
    assert!(server.terminate().await.success());
    world.drop_schema().await;
    let server = world.start(&[]).await;
    server.client().get_at(&format!("/v1/parcel/{}", new.id()), corrected.position()).await.expect(200);
    server.client().get_at(&format!("/v1/parcel/{number}"), lost.position()).await.expect(200);
    assert_eq!(world.rows("parcel").await, before);
}

#[tokio::test]
async fn what_breaks_readers_is_refused_before_anything_is_touched() {
    let world = World::with_models(&[("parcel.yaml", SECOND)]);
    let server = world.start(&[]).await;
    let body = json!({ "number": unique("p"), "quantity": 1, "price": "1.00", "items": [], "note": "kept" });
    let parcel = server.client().post("/v1/parcel/pack", &body).await.expect(201);
    server.client().get_at(&format!("/v1/parcel/{}", parcel.id()), parcel.position()).await.expect(200);
    assert!(server.terminate().await.success());
    let rows = world.rows("parcel").await;

    world.write_model("parcel.yaml", &broken());
    let said = [
        "`test.parcel.Packed` no longer has `note`, which version 1 has",
        "`price` of `test.parcel.Packed` is decimal(10, 2) in version 1, and integer today",
        "`test.parcel.Annotated` is registered, but no command of `parcel` emits it any more",
    ];
    let (status, log) = world.spawn_headless("server", &[]).ended().await;
    assert_eq!(status.code(), Some(1), "{log}");
    for part in said.iter().chain(&["parcel.yaml:6:3", "3 changes of the models in", "writ check --against"])
    {
        assert!(flat(&log).contains(part), "{part} in\n{log}");
    }
    assert_eq!(world.rows("parcel").await, rows, "the tables are as they were");

    let url = world::registry_url();
    let pretty = check(&world, &["--against", &url]);
    assert_eq!(pretty.status.code(), Some(1), "{}", text(&pretty.stderr));
    let shown = flat(&text(&pretty.stdout));
    for part in
        said.iter().chain(&["parcel.yaml:6:3", "price: integer", "3 changes refused (shown above), 0 fine."])
    {
        assert!(shown.contains(part), "{part} in\n{}", text(&pretty.stdout));
    }
    let short = check(&world, &["--format", "short", "--against", &url]);
    let lines = text(&short.stdout);
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert!(lines.lines().all(|line| line.contains("parcel.yaml:") && line.contains('(')), "{lines}");

    // The configured registry, and one that isn't there.
    let configured = writ()
        .current_dir(world.folder())
        .arg("check")
        .arg(world.models())
        .arg("--against")
        .envs([("WRIT_APP", models::APP), ("WRIT_REGISTRY_URL", url.as_str())])
        .env("WRIT_KAFKA_TOPIC_PREFIX", &world.prefix)
        .output()
        .unwrap();
    assert_eq!(configured.status.code(), Some(1), "{}", text(&configured.stderr));
    let nobody = check(&world, &["--against", "http://127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(text(&nobody.stderr).contains("doesn't answer"), "{}", text(&nobody.stderr));
}

/// Without the line breaks and borders that a report has in a terminal.
fn flat(report: &str) -> String {
    let words = report.split_whitespace().filter(|word| !matches!(*word, "|" | "│" | "x" | "×"));
    words.collect::<Vec<_>>().join(" ")
}
