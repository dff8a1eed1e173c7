//! Tables of a small shop without Kafka: rows are put there by SQL.

use std::sync::Arc;

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use writ_model::{FieldError, Model, Models};
use writ_projections::query::{ListRequest, Page, Queries};
use writ_projections::tables::{Schema, Table};

use crate::stage::{Database, everything, models};

const CUSTOMER: &str = "
model: customer
fields:
  code: { type: text, key: true, max_length: 20 }
  company: { type: text, max_length: 60 }
crud: true
";
const ORDER: &str = "
model: order
fields:
  number: { type: text, key: true, max_length: 20 }
  customer: { type: ref, to: customer, optional: true }
  status: { type: enum, values: [placed, paid, shipped] }
  total: { type: decimal, precision: 12, scale: 2, optional: true }
  ship_to:
    type: object
    optional: true
    fields:
      city: { type: text, optional: true }
      days: { type: integer, optional: true }
      price: { type: decimal, precision: 10, scale: 2, optional: true }
      on: { type: date, optional: true }
      at: { type: timestamp, optional: true }
      express: { type: boolean, optional: true }
      within: { type: duration, optional: true }
  lines: { type: list, of: { product: { type: ref, to: customer }, quantity: { type: integer } } }
  tags: { type: list, of: { type: text } }
  extra: { type: json, optional: true }
  note: { type: text, optional: true }
  secret_note: { type: text, optional: true }
crud: true
index: [[status, total], [total]]
search: [note]
allow:
  read: role('staff') || state.customer == actor.id
";
const DAILY: &str = "
projection: daily
fields:
  day: { type: date, key: true }
  city: { type: text, key: true }
  total: { type: decimal, precision: 14, scale: 2, optional: true }
  orders: { type: integer, optional: true }
index: [total]
on:
  order.created: >
    INSERT INTO daily (day, city, total, orders)
    VALUES ((:event.time AT TIME ZONE 'UTC')::date, :number, :total, 1)
    ON CONFLICT (day, city) DO UPDATE SET orders = daily.orders + 1
";

pub(crate) struct Shop {
    pub(crate) database: Database,
    pub(crate) models: Arc<Models>,
    pub(crate) queries: Queries,
    pub(crate) pool: PgPool,
}

impl Shop {
    pub(crate) async fn new() -> Shop {
        let (database, models) = (Database::new(), models(&[CUSTOMER, ORDER, DAILY]));
        let schema = Schema::new(&database.options.schema);
        database.execute("CREATE SCHEMA $schema").await;
        let tables = models.models.values().map(|model| Table::derive(&schema, model));
        let projections = models.projections.values().map(|one| Table::of_projection(&schema, one));
        for table in tables.chain(projections) {
            database.execute(&table.create()).await;
            for (_, create) in table.create_indexes() {
                database.execute(&create).await;
            }
        }
        let pool = PgPoolOptions::new().max_connections(2).connect(&database.options.url).await.unwrap();
        Shop { queries: Queries::new(&database.options, None).unwrap(), database, models, pool }
    }

    pub(crate) fn order(&self) -> &Model {
        self.models.get("order").unwrap()
    }

    pub(crate) fn parse(&self, params: &[(&str, &str)]) -> Result<ListRequest<'_>, Vec<FieldError>> {
        let params: Vec<(String, String)> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ListRequest::parse(everything().asks((&*self.models, self.order())), &params)
    }

    pub(crate) async fn list(&self, params: &[(&str, &str)]) -> Page {
        let request = self.parse(params).unwrap_or_else(|errors| panic!("{params:?}: {errors:?}"));
        self.queries.list(&request).await.unwrap_or_else(|error| panic!("{params:?}: {error}"))
    }

    /// The numbers of the orders of a page, without a space between.
    pub(crate) async fn numbers(&self, params: &[(&str, &str)]) -> String {
        let page = self.list(params).await;
        let number =
            |state: &str| serde_json::from_str::<serde_json::Value>(state).unwrap()["number"].clone();
        page.items.iter().map(|row| number(row.state.get()).as_str().unwrap().to_owned()).collect()
    }

    /// `count` orders, made by PostgreSQL. Every total is shared by some, and some have none.
    pub(crate) async fn many(&self, count: usize) {
        let status = "(ARRAY['placed', 'paid', 'shipped'])[1 + n % 3]";
        self.database
            .execute(&format!(
                "INSERT INTO $schema.\"order\" (id, version, deleted, created_at, updated_at, number, status, total, lines, tags, note) \
                 SELECT gen_random_uuid(), 1, n % 50 = 0, now() - n * interval '1 second', now(), n::text, {status}, \
                 CASE WHEN n % 20 = 0 THEN NULL ELSE (n::bigint * 7919 % 5000) / 4.0 END, '[]', '[]', 'note ' || n \
                 FROM generate_series(1, {count}) AS n"
            ))
            .await;
        // Outside of a transaction.
        let quoted = format!("\"{}\"", self.database.options.schema.replace('"', "\"\""));
        sqlx::query(AssertSqlSafe(format!("VACUUM ANALYZE {quoted}.\"order\"")))
            .execute(&self.pool)
            .await
            .unwrap();
    }
}
