//! Tables are made once by many, and changed as the declarations change.

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use writ_model::Models;
use writ_projections::tables::{Error, Schema, Table, ensure};

use crate::stage::{Database, models};

const BEFORE: &str = "
model: page
fields:
  title: { type: text }
  gone: { type: text, optional: true }
crud: true
index: [[title]]
";
const AFTER: &str = "
model: page
fields:
  title: { type: text }
  note: { type: text, optional: true }
  rank: { type: integer, default: 7 }
crud: true
index: [[note]]
";
const RETYPED: &str = "
model: page
fields:
  title: { type: integer }
crud: true
";

async fn bring(pool: &PgPool, database: &Database, models: &Models) -> Result<(), Error> {
    let schema = Schema::new(&database.options.schema);
    let tables: Vec<Table> = models.models.values().map(|model| Table::derive(&schema, model)).collect();
    ensure(pool, &schema, &tables, |model| format!("writ.{model}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_begin_at_once_and_declarations_may_change() {
    let database = Database::new();
    let pool = PgPoolOptions::new().max_connections(8).connect(&database.options.url).await.unwrap();
    let before = models(&[BEFORE]);
    let starts = (0..8).map(|_| bring(&pool, &database, &before));
    for outcome in futures::future::join_all(starts).await {
        outcome.unwrap();
    }
    database
        .execute("INSERT INTO $schema.page VALUES (gen_random_uuid(), 1, false, now(), now(), 'old', 'kept')")
        .await;
    database.execute("INSERT INTO $schema.writ_offsets VALUES ('writ.page', 0, 5)").await;

    bring(&pool, &database, &models(&[AFTER])).await.unwrap();
    let quoted = format!("\"{}\"", database.options.schema.replace('"', "\"\""));
    let row: (String, String, Option<String>, i64) =
        sqlx::query_as(AssertSqlSafe(format!("SELECT title, gone, note, rank FROM {quoted}.page")))
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(row, ("old".into(), "kept".into(), None, 7), "new columns are filled, old ones stay");

    let indexes: Vec<String> =
        sqlx::query_scalar("SELECT indexname::text FROM pg_indexes WHERE schemaname = $1 ORDER BY 1")
            .bind(&database.options.schema)
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(indexes, ["page.note#", "page_pkey", "writ_meta_pkey", "writ_offsets_pkey"]);

    let error = bring(&pool, &database, &models(&[RETYPED])).await.unwrap_err();
    let Error::Retyped { column, found, wanted, .. } = &error else { panic!("{error}") };
    assert_eq!((column.as_str(), found.as_str(), wanted.as_str()), ("title", "text", "bigint"));
    assert!(error.to_string().contains(&format!("DROP TABLE {quoted}.\"page\"")), "{error}");

    database.execute("DROP TABLE $schema.page").await;
    bring(&pool, &database, &models(&[RETYPED])).await.unwrap();
    let places: i64 =
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {quoted}.writ_offsets")))
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(places, 0, "a table that was made anew is filled from the beginning");
    pool.close().await;
}
