//! What is sent: orders of the sample shop, each placed once and paid once, under names that no other run has.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use serde_json::json;
use uuid::Uuid;

use crate::connection::{Ask, Connection};
use crate::load::{Outcome, Source};

/// Products that the order lines name in turn.
const PRODUCTS: u64 = 10;

/// The customer and the products of one run.
#[derive(Debug)]
pub(crate) struct Shop {
    /// First part of every order number of the run.
    pub(crate) run: String,
    /// Who orders. No other run has this customer, so a query for it finds the run's orders.
    pub(crate) customer: Uuid,
    products: Vec<Uuid>,
}

impl Shop {
    /// Creates a category, products and a customer, and waits until the read models have them.
    pub(crate) async fn create(api: &str) -> Result<Self> {
        let nonce = Uuid::new_v4().as_fields().0;
        // Above every number that a shop would use.
        let first = 1_000_000_000 + u64::from(nonce) * PRODUCTS;
        let mut connection = Connection::open(api).await?;
        let category = json!({ "number": first, "name": format!("Benchmark {nonce:08x}") });
        let category = create(&mut connection, "category", &category).await?;
        let mut products = Vec::new();
        for number in first..first + PRODUCTS {
            let product =
                json!({ "number": number, "name": "Benchmark", "category": category, "price": "12.50" });
            products.push(create(&mut connection, "product", &product).await?);
        }
        let code = format!("BENCH-{nonce:08X}");
        let customer = json!({ "code": code, "company": "Benchmark", "country": "Germany" });
        let customer = create(&mut connection, "customer", &customer).await?;
        connection.close().await;
        Ok(Shop { run: format!("b{nonce:08x}"), customer, products })
    }

    /// The body of `place` for an order with two lines.
    fn order(&self, number: &str, seed: usize) -> Vec<u8> {
        let line = |n: usize, discount| {
            let product = self.products[(seed + n) % self.products.len()];
            json!({ "product": product, "unit_price": "12.50", "quantity": 1 + (seed + n) % 9, "discount": discount })
        };
        let order = json!({
            "number": number,
            "customer": self.customer,
            "ordered_on": "2026-01-31",
            "lines": [line(0, "0"), line(1, "0.05")],
        });
        serde_json::to_vec(&order).expect("a JSON value has a text")
    }
}

async fn create(connection: &mut Connection, model: &str, input: &serde_json::Value) -> Result<Uuid> {
    let path = format!("/v1/{model}/create?wait=projected");
    let answer = connection.expect(Ask::post(path, serde_json::to_vec(input)?)).await?;
    let id = answer["id"].as_str().with_context(|| format!("the answer to {model}.create has no id"))?;
    Ok(id.parse()?)
}

/// One connection's `place` commands.
#[derive(Debug)]
pub(crate) struct Places {
    shop: Arc<Shop>,
    prefix: String,
    next: usize,
    /// The orders that were placed.
    pub(crate) placed: Vec<Uuid>,
    /// Commands whose outcome is not known.
    pub(crate) unknown: u64,
}

impl Places {
    /// The source of connection number `connection` of the stage with `connections` connections.
    pub(crate) fn new(shop: Arc<Shop>, connections: usize, connection: usize) -> Self {
        let prefix = format!("{}-{connections}-{connection}", shop.run);
        Places { shop, prefix, next: 0, placed: Vec::new(), unknown: 0 }
    }
}

impl Source for Places {
    fn next(&mut self) -> Option<Ask> {
        let number = format!("{}-{}", self.prefix, self.next);
        let body = self.shop.order(&number, self.next);
        self.next += 1;
        Some(Ask::post("/v1/order/place", body).header("idempotency-key", number))
    }

    fn take(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Accepted(answer) => match id_of(&answer.body) {
                Some(id) => self.placed.push(id),
                None => self.unknown += 1,
            },
            Outcome::Refused(_) => {}
            Outcome::Unknown(_) => self.unknown += 1,
        }
    }
}

/// The `id` of an answer, found without parsing the rest: the generator's time is the server's loss.
pub(crate) fn id_of(body: &[u8]) -> Option<Uuid> {
    const BEFORE: &[u8] = b"\"id\":\"";
    let at = body.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    Uuid::try_parse_ascii(body.get(at..at + 36)?).ok()
}

/// The same requests to a server that does nothing.
#[derive(Debug)]
pub(crate) struct Echoes(pub(crate) Places);

impl Source for Echoes {
    fn next(&mut self) -> Option<Ask> {
        self.0.next()
    }

    fn take(&mut self, _: Outcome) {}
}

/// The orders to pay, shared by the connections of a stage so that all of them run out at the same time.
#[derive(Debug)]
pub(crate) struct Unpaid {
    orders: Vec<Uuid>,
    next: AtomicUsize,
}

impl Unpaid {
    /// To be paid in this order.
    pub(crate) fn new(orders: Vec<Uuid>) -> Arc<Self> {
        Arc::new(Unpaid { orders, next: AtomicUsize::new(0) })
    }
}

/// How far an order got, as far as the answers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payment {
    /// Acknowledged.
    Paid,
    /// Sent, but the outcome is not known.
    Unknown,
}

/// One connection's `pay` commands.
#[derive(Debug)]
pub(crate) struct Pays {
    unpaid: Arc<Unpaid>,
    current: Uuid,
    /// What became of the orders.
    pub(crate) outcomes: HashMap<Uuid, Payment>,
}

impl Pays {
    /// Takes its orders from `unpaid`.
    pub(crate) fn new(unpaid: Arc<Unpaid>) -> Self {
        Pays { unpaid, current: Uuid::nil(), outcomes: HashMap::new() }
    }
}

impl Source for Pays {
    fn next(&mut self) -> Option<Ask> {
        let next = self.unpaid.next.fetch_add(1, Ordering::Relaxed);
        self.current = *self.unpaid.orders.get(next)?;
        let id = self.current;
        let ask = Ask::post(format!("/v1/order/{id}/pay"), r#"{"reference":"benchmark"}"#);
        Some(ask.header("idempotency-key", format!("pay-{id}")))
    }

    fn take(&mut self, outcome: Outcome) {
        let payment = match outcome {
            Outcome::Accepted(_) => Payment::Paid,
            Outcome::Refused(_) => return,
            Outcome::Unknown(_) => Payment::Unknown,
        };
        self.outcomes.insert(self.current, payment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> Arc<Shop> {
        let products = (0..PRODUCTS).map(|n| Uuid::from_u128(n.into())).collect();
        Arc::new(Shop { run: "b00000001".into(), customer: Uuid::nil(), products })
    }

    #[test]
    fn an_order_has_two_lines_and_a_number_of_its_own() {
        let mut source = Places::new(shop(), 256, 255);
        let first = source.next().unwrap();
        let second = source.next().unwrap();
        let body: serde_json::Value = serde_json::from_slice(&first.body).unwrap();
        assert_eq!(body["number"], "b00000001-256-255-0");
        assert_eq!(body["lines"].as_array().unwrap().len(), 2);
        assert_ne!(first.header, second.header);
    }

    #[test]
    fn order_numbers_fit_the_model() {
        let mut source = Places::new(shop(), 256, 255);
        source.next = 9_999_999;
        let (_, number) = source.next().unwrap().header.unwrap();
        assert!(number.len() <= 30, "{number}");
    }

    #[test]
    fn the_id_is_found_in_an_answer() {
        let id = Uuid::from_u128(7);
        let body = format!(r#"{{"id":"{id}","version":1,"events":[{{"id":"x"}}]}}"#);
        assert_eq!(id_of(body.as_bytes()), Some(id));
        assert_eq!(id_of(b"{}"), None);
        assert_eq!(id_of(br#"{"id":"short"}"#), None);
    }

    #[test]
    fn every_order_is_paid_once() {
        let ids: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        let unpaid = Unpaid::new(ids);
        let (mut one, mut two) = (Pays::new(unpaid.clone()), Pays::new(unpaid));
        let paths: Vec<String> =
            [one.next(), two.next(), one.next()].into_iter().flatten().map(|a| a.path).collect();
        assert_eq!(paths.len(), 3);
        assert!(paths[0] != paths[1] && paths[1] != paths[2]);
        assert!(two.next().is_none());
    }
}
