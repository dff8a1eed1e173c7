//! The kinds of queries, and the values that they are asked with.

use std::sync::Arc;

use anyhow::Result;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::dataset::Dataset;
use crate::orders::number;

const STATUSES: [&str; 4] = ["placed", "paid", "shipped", "cancelled"];
const WORDS: [&str; 8] =
    ["bakery", "delicatessen", "fishmonger", "grocery", "hotel", "market", "restaurant", "winery"];
/// Values of each kind that are drawn from.
const SAMPLES: i64 = 10_000;

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Goal {
    /// An index answers it, filter and order both.
    Indexed,
    /// Measured for comparison.
    None,
}

/// Values that are there.
#[derive(Debug, Clone)]
pub(super) struct Shop {
    pub(super) orders: usize,
    /// Of random orders.
    ids: Arc<[Uuid]>,
    /// Each as often as it has orders.
    customers: Arc<[Uuid]>,
    /// Days on which something was ordered.
    days: Arc<[String]>,
}

impl Shop {
    /// Draws samples from the rows.
    pub(super) async fn read(dataset: &Dataset, pool: &PgPool) -> Result<Shop> {
        let table = format!("{}.\"order\"", dataset.schema);
        let of = |what: &str| {
            AssertSqlSafe(format!("SELECT {what} FROM {table} ORDER BY md5(id::text) LIMIT {SAMPLES}"))
        };
        let ids: Vec<Uuid> = sqlx::query_scalar(of("id")).fetch_all(pool).await?;
        let customers: Vec<Uuid> = sqlx::query_scalar(of("customer")).fetch_all(pool).await?;
        let days: Vec<String> = sqlx::query_scalar(of("ordered_on::text")).fetch_all(pool).await?;
        Ok(Shop { orders: dataset.orders, ids: ids.into(), customers: customers.into(), days: days.into() })
    }
}

type Path = Arc<dyn Fn(&Shop, &mut ChaCha8Rng) -> String + Send + Sync>;

/// A kind of query.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) goal: Goal,
    path: Path,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Case {
    pub(super) fn new(
        name: impl Into<String>,
        goal: Goal,
        path: impl Fn(&Shop, &mut ChaCha8Rng) -> String + Send + Sync + 'static,
    ) -> Case {
        Case { name: name.into(), goal, path: Arc::new(path) }
    }

    /// The next request.
    pub(super) fn path(&self, shop: &Shop, rng: &mut ChaCha8Rng) -> String {
        (self.path)(shop, rng)
    }
}

fn pick<'a, T: ?Sized>(rng: &mut ChaCha8Rng, values: &'a [&'a T]) -> &'a T {
    values.choose(rng).expect("invariant: the list is not empty")
}

fn id(shop: &Shop, rng: &mut ChaCha8Rng) -> Uuid {
    *shop.ids.choose(rng).expect("invariant: the shop has orders")
}

fn customer(shop: &Shop, rng: &mut ChaCha8Rng) -> Uuid {
    *shop.customers.choose(rng).expect("invariant: the shop has customers")
}

fn day<'a>(shop: &'a Shop, rng: &mut ChaCha8Rng) -> &'a str {
    shop.days.choose(rng).expect("invariant: the shop has orders")
}

fn any_number(shop: &Shop, rng: &mut ChaCha8Rng) -> String {
    number(rng.random_range(0..shop.orders))
}

/// All but the deep pages.
pub(super) fn all() -> Vec<Case> {
    use Goal::{Indexed, None};
    let list = "/v1/order?limit=50";
    vec![
        Case::new("one, by id", Indexed, |shop, rng| format!("/v1/order/{}", id(shop, rng))),
        Case::new("one, by natural key", Indexed, |shop, rng| format!("/v1/order/{}", any_number(shop, rng))),
        Case::new("number = …", Indexed, move |shop, rng| {
            format!("{list}&number={}", any_number(shop, rng))
        }),
        Case::new("number ≥ …, by number", Indexed, move |shop, rng| {
            format!("{list}&number[gte]={}&sort=number", any_number(shop, rng))
        }),
        Case::new("status = …, newest first, from a day", Indexed, move |shop, rng| {
            let (status, day) = (pick(rng, &STATUSES), day(shop, rng));
            format!("{list}&status={status}&ordered_on[lte]={day}&sort=-ordered_on")
        }),
        Case::new("status = …, a range of days, oldest first", Indexed, move |shop, rng| {
            let (status, day) = (pick(rng, &STATUSES), day(shop, rng));
            format!("{list}&status={status}&ordered_on[gte]={day}&ordered_on[lt]=2026-12-31&sort=ordered_on")
        }),
        Case::new("status = …, one day", Indexed, move |shop, rng| {
            let (status, day) = (pick(rng, &STATUSES), day(shop, rng));
            format!("{list}&status={status}&ordered_on={day}")
        }),
        Case::new("customer = …", Indexed, move |shop, rng| {
            format!("{list}&customer={}", customer(shop, rng))
        }),
        Case::new("customer = …, newest first", Indexed, move |shop, rng| {
            format!("{list}&customer={}&sort=-ordered_on", customer(shop, rng))
        }),
        Case::new("status = …, newest first, expand=customer", Indexed, move |shop, rng| {
            let (status, day) = (pick(rng, &STATUSES), day(shop, rng));
            format!("{list}&status={status}&ordered_on[lte]={day}&sort=-ordered_on&expand=customer")
        }),
        Case::new("status = …, newest first, three fields", Indexed, move |shop, rng| {
            let (status, day) = (pick(rng, &STATUSES), day(shop, rng));
            format!(
                "{list}&status={status}&ordered_on[lte]={day}&sort=-ordered_on&fields=number,total,ship_to.city"
            )
        }),
        Case::new("status = …, one day, count", None, move |shop, rng| {
            let (status, day) = (pick(rng, &STATUSES), day(shop, rng));
            format!("{list}&status={status}&ordered_on={day}&count=true")
        }),
        Case::new("status = …, from a day, count (estimated)", None, move |shop, rng| {
            let (status, day) = (pick(rng, &STATUSES), day(shop, rng));
            format!("{list}&status={status}&ordered_on[lte]={day}&sort=-ordered_on&count=true")
        }),
        Case::new("customers, q=…", None, |_, rng| {
            format!("/v1/customer?limit=50&q={}", pick(rng, &WORDS))
        }),
        Case::new("ship_to.city = …, from a day (no index)", None, move |shop, rng| {
            format!("{list}&ship_to.city=Graz&ordered_on[lte]={}", day(shop, rng))
        }),
    ]
}
