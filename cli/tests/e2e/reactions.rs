//! What follows on events by the model files' own word: once, whoever is killed, in order, and with a way back when it is refused.

mod faults;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{self, Client, Server, World, eventually, kafka, unique};

/// A booking takes seats of several flights, or of none: a refusal cancels it, and a cancellation gives back what was taken.
const BOOKING: &str = "\
model: booking
fields:
  number: { type: text, key: true, max_length: 40 }
  status: { type: enum, values: [asked, cancelled] }
  legs: { type: list, of: { flight: { type: ref, to: flight }, seats: { type: integer, min: 1 } } }
  share: { type: integer, default: 1 }
  why: { type: text, max_length: 500, optional: true }
commands:
  ask: { creates: true, input: [number, legs, share], set: { status: \"'asked'\" }, emits: asked }
  cancel: { input: [why], from: asked, to: cancelled, emits: cancelled }
reactions:
  - { on: asked, for_each: { leg: event.legs }, command: flight.take, to: leg.flight, input: { booking: id, places: leg.seats },
      on_rejected: { command: cancel, input: { why: error.detail } } }
  - { on: cancelled, for_each: { leg: state.legs }, command: flight.free, to: leg.flight, input: { booking: id } }
  - { name: shared, on: asked, when: size(event.legs) == 0, command: ledger.count, to: uuid('00000000-0000-8000-8000-000000000001'),
      input: { by: 12 / event.share } }
";

/// Every booking takes once.
const FLIGHT: &str = "\
model: flight
fields:
  number: { type: text, key: true, max_length: 40 }
  seats: { type: integer, min: 0 }
  taken: { type: integer, min: 0, default: 0 }
  freed: { type: integer, min: 0, default: 0 }
commands:
  plan: { creates: true, input: [number, seats], emits: planned }
  take:
    input: { booking: uuid, places: { type: integer, min: 1 } }
    require:
      - { that: state.taken + input.places <= state.seats, else: The flight is full. }
    set: { taken: state.taken + input.places }
    emits: taken
  free: { input: { booking: uuid }, set: { freed: state.freed + 1 }, emits: freed }
";

const LEDGER: &str = "\
model: ledger
fields:
  total: { type: integer, default: 0 }
commands:
  open: { creates: true, emits: opened }
  count: { input: { by: integer }, set: { total: state.total + input.by }, emits: counted }
";

fn world() -> World {
    World::with_models(&[("booking.yaml", BOOKING), ("flight.yaml", FLIGHT), ("ledger.yaml", LEDGER)])
}

async fn flight(app: &Client, seats: u64) -> String {
    let body = json!({ "number": unique("f"), "seats": seats });
    app.post("/v1/flight/plan?wait=projected", &body).await.expect(201).id().to_owned()
}

/// A booking of so many seats of each of these.
async fn book(app: &Client, legs: &[(&str, u64)]) -> harness::Answer {
    let legs: Vec<Value> =
        legs.iter().map(|(flight, seats)| json!({ "flight": flight, "seats": seats })).collect();
    app.post("/v1/booking/ask", &json!({ "number": unique("b"), "legs": legs })).await.expect(201)
}

async fn becomes(app: &Client, path: &str, member: &str, wanted: Value) -> harness::Answer {
    eventually(&format!("{member} of {path} becomes {wanted}"), async || {
        let row = app.try_get(path).await?;
        (row.body["state"][member] == wanted).then_some(row)
    })
    .await
}

/// The ids of all commands of a kind that stand in Kafka.
async fn commands(world: &World, model: &str, command: &str) -> BTreeMap<Uuid, usize> {
    let mut found = BTreeMap::new();
    for (_, value) in kafka::read_raw(&world.topic("commands")).await {
        let record: Value = serde_json::from_slice(&value).unwrap();
        if record["model"] == model && record["command"] == command {
            *found.entry(record["id"].as_str().unwrap().parse().unwrap()).or_default() += 1;
        }
    }
    found
}

#[tokio::test]
async fn a_command_follows_on_each_item_of_an_event() {
    let world = world();
    let server = world.start(&[]).await;
    let app = server.client();
    let (first, second) = (flight(&app, 10).await, flight(&app, 10).await);
    let booking = book(&app, &[(&first, 2), (&second, 3)]).await;
    becomes(&app, &format!("/v1/flight/{first}"), "taken", json!(2)).await;
    becomes(&app, &format!("/v1/flight/{second}"), "taken", json!(3)).await;
    let event = &kafka::events_of(&world.topic("flight"), &first).await[1];
    let cause = &kafka::events_of(&world.topic("booking"), booking.id()).await[0];
    assert_eq!(event.header("ce_causationid"), cause.header("ce_id"));
    assert_eq!(event.header("ce_correlationid"), cause.header("ce_correlationid"), "it is one chain");
    assert!(!event.headers.contains_key("ce_actor"), "nobody in particular has sent it");

    // Nothing to do is nothing done.
    book(&app, &[]).await;
    let again = book(&app, &[(&first, 1)]).await;
    becomes(&app, &format!("/v1/flight/{first}"), "taken", json!(3)).await;
    assert_eq!(commands(&world, "flight", "take").await.len(), 3);
    assert_eq!(
        app.get(&format!("/v1/booking/{}", again.id())).await.expect(200).body["state"]["status"],
        "asked"
    );
}

#[tokio::test]
async fn a_refusal_is_reacted_to_and_what_was_taken_is_given_back() {
    let world = world();
    let server = world.start(&[]).await;
    let app = server.client();
    let (free, full) = (flight(&app, 10).await, flight(&app, 1).await);
    let booking = book(&app, &[(&free, 2), (&full, 2)]).await;
    let path = format!("/v1/booking/{}", booking.id());
    let cancelled = becomes(&app, &path, "status", json!("cancelled")).await;
    assert_eq!(cancelled.body["state"]["why"], "The flight is full.");
    becomes(&app, &format!("/v1/flight/{free}"), "freed", json!(1)).await;
    becomes(&app, &format!("/v1/flight/{full}"), "freed", json!(1)).await;
    assert_eq!(app.get(&format!("/v1/flight/{full}")).await.body["state"]["taken"], 0);
    // The order at the one that had taken: taken first, then freed.
    let events = kafka::events_of(&world.topic("flight"), &free).await;
    let kinds: Vec<&str> = events.iter().map(|event| event.header("ce_type")).collect();
    assert_eq!(kinds, ["test.flight.Planned", "test.flight.Taken", "test.flight.Freed"]);
    let metrics = app.get("/metrics").await.text;
    let rejected = "writ_reactions_rejected_total{model=\"booking\",reaction=\"asked_flight_take\"} 1";
    assert!(metrics.contains(rejected), "{metrics}");
}

#[tokio::test]
async fn of_many_who_want_the_last_seats_as_many_get_them_as_there_are() {
    let world = world();
    let server = world.start(&[]).await;
    let app = server.client();
    let small = flight(&app, 7).await;
    let one = [(&*small, 1)];
    let bookings = futures::future::join_all((0..12).map(|_| book(&app, &one))).await;
    let path = format!("/v1/flight/{small}");
    becomes(&app, &path, "freed", json!(5)).await;
    assert_eq!(app.get(&path).await.body["state"]["taken"], 7);
    let mut cancelled = 0;
    for booking in &bookings {
        let row = app.get(&format!("/v1/booking/{}", booking.id())).await.expect(200);
        cancelled += usize::from(row.body["state"]["status"] == "cancelled");
    }
    assert_eq!(cancelled, 5);
}

/// An expression that fails stops neither the partition nor the other reactions.
#[tokio::test]
async fn what_cannot_be_worked_out_is_a_dead_letter() {
    let world = world();
    let server = world.start(&[]).await;
    let app = server.client();
    let bad = json!({ "number": unique("b"), "legs": [], "share": 0 });
    app.post("/v1/booking/ask", &bad).await.expect(201);
    let letter = eventually("a dead letter comes", async || {
        kafka::read(&world.topic("dead-letters")).await.into_iter().next()
    })
    .await;
    assert!(letter.header("writ_reason").contains("the reaction failed"), "{:?}", letter.headers);
    let context: Value = serde_json::from_str(letter.header("writ_context")).unwrap();
    assert_eq!(context["during"], "reacting by `booking.shared`");
    let small = flight(&app, 5).await;
    book(&app, &[(&small, 5)]).await;
    becomes(&app, &format!("/v1/flight/{small}"), "taken", json!(5)).await;
    assert_eq!(kafka::read(&world.topic("dead-letters")).await.len(), 1);
    assert_eq!(app.get("/readyz").await.status, 200);
}

/// A reaction that is new doesn't fire for what was before it.
#[tokio::test]
async fn a_new_reaction_begins_now() {
    let world = world();
    let without: String = BOOKING.split("reactions:").next().unwrap().to_owned();
    world.write_model("booking.yaml", &without);
    let server = world.start(&[]).await;
    let app = server.client();
    let small = flight(&app, 100).await;
    for _ in 0..20 {
        book(&app, &[(&small, 1)]).await;
    }
    assert!(server.terminate().await.success());

    world.write_model("booking.yaml", BOOKING);
    let server: Server = world.start(&[]).await;
    let app = server.client();
    for _ in 0..20 {
        book(&app, &[(&small, 1)]).await;
    }
    becomes(&app, &format!("/v1/flight/{small}"), "taken", json!(20)).await;
    assert_eq!(commands(&world, "flight", "take").await.len(), 20);
}
