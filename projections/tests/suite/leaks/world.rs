//! A shop with a thousand orders, of which one customer may read three, and one in which there are no others: what she is
//! told must be the same in both. What is hidden from her differs between the two.

use std::sync::{Arc, LazyLock};

use futures::future::join_all;
use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_model::decide::Actor;
use writ_model::value::object_from_json;
use writ_model::{Model, Models, Position, Timestamp};
use writ_projections::Reader;
use writ_projections::history::History;
use writ_projections::positions::Reads;
use writ_projections::query::Queries;

use crate::stage::{LIMIT, Running, Stage, models};

const SHOP: &str = "
model: customer
fields:
  code: { type: text, key: true, max_length: 20 }
  company: { type: text, max_length: 60 }
  phone: { type: text, optional: true }
crud: true
allow:
  read: id == actor.id
  fields: { phone: role('staff') }
---
model: order
fields:
  number: { type: text, key: true, max_length: 20 }
  customer: { type: ref, to: customer }
  agent: { type: ref, to: customer, optional: true }
  status: { type: enum, values: [placed, noted] }
  total: { type: decimal, precision: 12, scale: 2 }
  note: { type: text, optional: true }
  margin: { type: decimal, precision: 12, scale: 2, optional: true }
  memo: { type: text, optional: true }
  partner: { type: ref, to: customer, optional: true }
  token: { type: text, optional: true, secret: true }
commands:
  place: { creates: true, input: [number, customer, agent, total, note, margin, memo, partner, token], to: placed, emits: placed }
  annotate: { input: { note: {}, memo: {}, margin: {}, token: {}, pin: { type: text, secret: true } }, from: placed, to: noted, emits: annotated }
  cancel: { deletes: true, emits: cancelled }
search: [note, memo]
index: [total]
allow:
  read: role('staff') || state.customer == actor.id
  fields: { 'margin, memo, partner': role('staff') }
---
model: ledger
fields:
  entry: { type: text, key: true, max_length: 20 }
crud: true
allow: { create: role('staff') }
---
projection: sales
fields:
  number: { type: text, key: true }
  customer: { type: ref, to: customer }
  total: { type: decimal, precision: 12, scale: 2 }
  margin: { type: decimal, precision: 12, scale: 2, optional: true }
allow:
  read: state.customer == actor.id
  fields: { margin: role('staff') }
on:
  order.placed: INSERT INTO sales (number, customer, total, margin) VALUES (:number, :customer, :total, :margin)
---
projection: books
fields: { entry: { type: text, key: true } }
on:
  ledger.created: INSERT INTO books (entry) VALUES (:entry)
";

/// Orders of the large shop.
const ORDERS: u64 = 1_000;
/// Hers. The last of them was cancelled; one event of the first but one can't be read any more.
pub(crate) const HERS: [u64; 4] = [100, 500, 900, 300];
/// Somebody else's, and one of those that was cancelled.
pub(crate) const OTHERS: [u64; 2] = [7, 301];

/// The one who reads.
pub(crate) fn her() -> Reader<'static> {
    static ACTOR: LazyLock<Actor> =
        LazyLock::new(|| Actor { id: Some(customer_id("HER")), ..Actor::default() });
    Reader { actor: &ACTOR, now: Timestamp(0) }
}

fn customer_id(code: &str) -> Uuid {
    static MODELS: LazyLock<Arc<Models>> = LazyLock::new(|| models(&[SHOP]));
    MODELS.get("customer").unwrap().id_of_key(code).unwrap()
}

pub(crate) struct World {
    pub(crate) stage: Stage,
    pub(crate) history: History,
    /// With a cache before the tables.
    pub(crate) cached: Queries,
    running: Running,
}

impl World {
    /// `others`: with the orders of others.
    pub(crate) async fn new(others: bool) -> World {
        let stage = Stage::new(&[SHOP]).await;
        let running = stage.start();
        let world = World {
            history: stage.queries.history(stage.topics.clone()),
            cached: Queries::new(&stage.database.options, stage.cache()).unwrap(),
            stage,
            running,
        };
        let is_there = |number: &u64| others || HERS.contains(number);
        let numbers: Vec<u64> = (0..ORDERS).filter(is_there).collect();
        let mut positions: Vec<Position> = Vec::new();
        let codes: &[&str] = if others { &["HER", "AGENT", "BOB", "EVE"] } else { &["HER"] };
        for (index, code) in codes.iter().enumerate() {
            let input = json!({ "code": code, "company": format!("Company {code}"), "phone": hidden(others, "phone") });
            positions.push(world.event("customer", "created", code, 1, index as u64, &input).await);
        }
        for entry in ["rent", "wages"].iter().filter(|_| others) {
            positions.push(world.event("ledger", "created", entry, 1, 20, &json!({ "entry": entry })).await);
        }
        for some in numbers.chunks(100) {
            positions.extend(join_all(some.iter().map(|number| world.order(*number, others))).await.concat());
        }
        let waiter = world.stage.queries.positions(world.stage.topics.clone());
        let (sales, books) =
            (&world.stage.models.projections["sales"], &world.stage.models.projections["books"]);
        for reads in [Reads::Rows, Reads::EventLog, Reads::Projection(sales), Reads::Projection(books)] {
            // The last ones of each partition stand for all.
            for some in positions.chunks(200) {
                waiter.wait(reads, some, LIMIT).await.unwrap();
            }
        }
        // One that today's declarations can't read, and events of a model that is gone.
        let unread = order_id(&world.model("order"), HERS[1]);
        world
            .stage
            .database
            .execute(&format!(
                "UPDATE $schema.event_log SET type = 'test.order.Gone' WHERE aggregate_id = '{unread}' AND version = 2; \
                 UPDATE $schema.event_log SET model = 'gone' WHERE aggregate_id = '{}'",
                order_id(&world.model("order"), 8)
            ))
            .await;
        world
    }

    pub(crate) fn model(&self, name: &str) -> Arc<Model> {
        self.stage.model(name)
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }

    async fn order(&self, number: u64, others: bool) -> Vec<Position> {
        let (key, hers) = (format!("N{number}"), HERS.contains(&number));
        let customer = if hers { "HER" } else { ["BOB", "EVE"][usize::try_from(number % 2).unwrap()] };
        // What others' orders have differs in all; hers are the same, but for what is hidden.
        let word = if hers { "hers" } else { "theirs" };
        let placed = json!({
            "number": key,
            "customer": customer_id(customer),
            "agent": customer_id("AGENT"),
            "total": format!("{}.00", number % 97),
            "note": format!("{word} {number}"),
            "margin": margin(others, number),
            "memo": hidden(others, "memo"),
            "partner": customer_id(if others { "BOB" } else { "EVE" }),
            "token": hidden(others, "token"),
            "status": "placed",
        });
        let mut positions = vec![self.event("order", "placed", &key, 1, number * 10, &placed).await];
        let noted = json!({
            "note": format!("{word} {number} noted"),
            "memo": hidden(others, "again"),
            "margin": margin(others, number + 1),
            "token": hidden(others, "other"),
            "pin": hidden(others, "pin"),
            "status": "noted",
        });
        positions.push(self.event("order", "annotated", &key, 2, number * 10 + 1, &noted).await);
        if number % 100 == 1 || number == HERS[3] {
            positions.push(self.event("order", "cancelled", &key, 3, number * 10 + 2, &json!({})).await);
        }
        positions
    }

    async fn event(
        &self,
        model: &str,
        event: &str,
        key: &str,
        version: u64,
        at: u64,
        data: &Json,
    ) -> Position {
        let model = self.model(model);
        let event = &model.events[event];
        let fields =
            object_from_json(&event.fields, data, false).unwrap_or_else(|errors| panic!("{errors:?}"));
        let at = Timestamp(1_700_000_000_000 + i64::try_from(at).unwrap());
        self.stage.publish(&model, event, model.id_of_key(key).unwrap(), version, at, &fields).await
    }
}

/// The id of an order.
pub(crate) fn order_id(model: &Model, number: u64) -> Uuid {
    model.id_of_key(&format!("N{number}")).unwrap()
}

/// A text that she must not see, different in the two shops.
fn hidden(others: bool, what: &str) -> String {
    format!("hidden {what} {}", if others { "large" } else { "small" })
}

/// In another order in the two shops.
fn margin(others: bool, number: u64) -> String {
    if others { format!("{number}.50") } else { format!("{}.25", 5_000 - number) }
}
