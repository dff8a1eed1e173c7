//! What orders are made of: who buys, what is sold, where it goes. Skewed as in real shops: some customers and products
//! have many orders, most have few.

use anyhow::{Context, Result};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_model::{Models, Timestamp};

use super::{Made, happen};

const CATEGORIES: usize = 8;
const PRODUCTS: usize = 1000;
/// One customer for so many orders, on average.
const ORDERS_OF_A_CUSTOMER: usize = 100;
const STAFF: usize = 20;
const DAY: i64 = 24 * 60 * 60 * 1000;

const PLACES: [(&str, &str); 16] = [
    ("Berlin", "Germany"),
    ("Hamburg", "Germany"),
    ("München", "Germany"),
    ("London", "UK"),
    ("Cork", "Ireland"),
    ("Paris", "France"),
    ("Lyon", "France"),
    ("Madrid", "Spain"),
    ("Lisboa", "Portugal"),
    ("Torino", "Italy"),
    ("Graz", "Austria"),
    ("Luleå", "Sweden"),
    ("Rio de Janeiro", "Brazil"),
    ("México D.F.", "Mexico"),
    ("Boise", "USA"),
    ("Seattle", "USA"),
];
const TRADES: [&str; 8] =
    ["Bakery", "Delicatessen", "Fishmonger", "Grocery", "Hotel", "Market", "Restaurant", "Winery"];
const GOODS: [&str; 8] = ["Cheese", "Chocolate", "Coffee", "Olives", "Pasta", "Rice", "Syrup", "Tea"];
const NOTES: [&str; 4] =
    ["Ring twice.", "Leave it with the neighbour.", "Keep it cool.", "Call before the delivery."];

/// Ids of what orders refer to.
#[derive(Debug)]
pub(super) struct Catalogue {
    customers: Vec<Uuid>,
    /// With the price in cents.
    products: Vec<(Uuid, u32)>,
    staff: Vec<Uuid>,
}

impl Catalogue {
    /// The catalogue of a shop with `orders` orders, and its events.
    pub(super) fn open(
        models: &Models,
        orders: usize,
        rng: &mut ChaCha8Rng,
        at: Timestamp,
    ) -> Result<(Catalogue, Vec<Made>)> {
        let mut catalogue = Catalogue {
            customers: Vec::new(),
            products: Vec::new(),
            staff: (0..STAFF).map(|_| Uuid::from_u128(rng.random())).collect(),
        };
        let mut events = Vec::new();
        let mut create = |model: &str, key: &str, input: Json, rng: &mut ChaCha8Rng| -> Result<Uuid> {
            let model = models.get(model).with_context(|| format!("the shop has no model {model}"))?;
            let id = model.id_of_key(key).with_context(|| format!("{key} is no key of {}", model.name))?;
            let (command, actor) = (Uuid::from_u128(rng.random()), catalogue.staff[0]);
            events.push(happen(model, id, None, ("create", command), &input, actor, at)?);
            Ok(id)
        };
        let mut categories = Vec::new();
        for n in 1..=CATEGORIES {
            let name = GOODS[(n - 1) % GOODS.len()];
            let input =
                json!({ "number": n, "name": name, "description": format!("Everything about {name}.") });
            categories.push(create("category", &n.to_string(), input, rng)?);
        }
        let mut products = Vec::new();
        for n in 1..=PRODUCTS {
            let cents = rng.random_range(150..12_000);
            let input = json!({
                "number": n,
                "name": format!("{} of {} no. {n}", GOODS[n % GOODS.len()], PLACES[n % PLACES.len()].0),
                "category": categories[n % CATEGORIES],
                "packaging": format!("{} boxes x {} bags", 1 + n % 24, 1 + n % 20),
                "price": money(cents),
                "stock": rng.random_range(0..500),
            });
            products.push((create("product", &n.to_string(), input, rng)?, cents));
        }
        let mut customers = Vec::new();
        for n in 0..(orders / ORDERS_OF_A_CUSTOMER).max(10) {
            let (city, country) = PLACES[rng.random_range(0..PLACES.len())];
            let input = json!({
                "code": format!("C{n:06}"),
                "company": format!("{} {city} {n}", TRADES[rng.random_range(0..TRADES.len())]),
                "contact_name": format!("Contact {n}"),
                "street": format!("Main Street {}", rng.random_range(1..200)),
                "city": city,
                "postal_code": format!("{:05}", rng.random_range(0..100_000)),
                "country": country,
                "phone": format!("030-{:08}", rng.random_range(0..100_000_000)),
            });
            customers.push(create("customer", &format!("C{n:06}"), input, rng)?);
        }
        catalogue.products = products;
        catalogue.customers = customers;
        Ok((catalogue, events))
    }

    /// Somebody who works in the shop.
    pub(super) fn staff(&self, rng: &mut ChaCha8Rng) -> Uuid {
        self.staff[rng.random_range(0..self.staff.len())]
    }

    /// The customer that an order's input names.
    pub(super) fn customer_of(&self, input: &Json) -> Result<Uuid> {
        let customer = input["customer"].as_str().context("an order names its customer")?;
        customer.parse().context("a customer's id is a UUID")
    }

    /// The input of `place`.
    pub(super) fn order(&self, number: &str, now: Timestamp, rng: &mut ChaCha8Rng) -> Json {
        let lines: Vec<Json> = (0..rng.random_range(1..=4))
            .map(|_| {
                let (product, cents) = self.products[skewed(rng, self.products.len())];
                let discount = ["0", "0", "0.05", "0.15"][rng.random_range(0..4)];
                json!({
                    "product": product,
                    "unit_price": money(cents),
                    "quantity": rng.random_range(1..=40),
                    "discount": discount,
                })
            })
            .collect();
        let (city, country) = PLACES[rng.random_range(0..PLACES.len())];
        let mut order = json!({
            "number": number,
            "customer": self.customers[skewed(rng, self.customers.len())],
            "ordered_on": date(now),
            "required_on": date(Timestamp(now.0 + rng.random_range(7..42) * DAY)),
            "ship_to": {
                "name": format!("{} {city}", TRADES[rng.random_range(0..TRADES.len())]),
                "street": format!("Main Street {}", rng.random_range(1..200)),
                "city": city,
                "postal_code": format!("{:05}", rng.random_range(0..100_000)),
                "country": country,
            },
            "lines": lines,
            "freight": money(rng.random_range(100..9_000)),
        });
        if rng.random_bool(0.1) {
            order["note"] = json!(NOTES[rng.random_range(0..NOTES.len())]);
        }
        order
    }
}

/// A number in `0..n`. Half of the choices are even, half prefer the k-th in proportion to 1/k.
fn skewed(rng: &mut ChaCha8Rng, n: usize) -> usize {
    if rng.random_bool(0.5) {
        return rng.random_range(0..n);
    }
    let chosen = (rng.random_range(0.0..1.0) * (n as f64 + 1.0).ln()).exp();
    (chosen as usize).clamp(1, n) - 1
}

fn money(cents: u32) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// The day of a time, as in JSON.
pub(super) fn date(at: Timestamp) -> String {
    at.to_string()[..10].to_owned()
}
