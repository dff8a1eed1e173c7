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

const NAMED: &str = "
model: page
fields:
  slug: { type: text, key: true, max_length: 20 }
  qty: { type: integer }
  lines: { type: list, of: { name: { type: text, optional: true }, box: { type: object, fields: { w: integer, h: integer } } } }
crud: true
index: [[qty, slug]]
";
const RENAMED: &str = "
model: page
fields:
  handle: { type: text, key: true, max_length: 20, renamed_from: slug }
  quantity: { type: integer, renamed_from: qty }
  lines:
    type: list
    of:
      title: { type: text, optional: true, renamed_from: name }
      box: { type: object, fields: { width: { type: integer, renamed_from: w }, h: integer } }
crud: true
index: [[quantity, handle]]
";
const RENAMED_AGAIN: &str = "
model: page
fields:
  handle: { type: text, key: true, max_length: 20, renamed_from: slug }
  amount: { type: integer, renamed_from: [qty, quantity] }
  items:
    type: list
    renamed_from: lines
    of:
      label: { type: text, optional: true, renamed_from: [name, title] }
      box: { type: object, fields: { width: { type: integer, renamed_from: w }, h: integer } }
crud: true
index: [[amount, handle]]
";

/// Name and object id of each index: one that was made anew has another id.
async fn indexes(pool: &PgPool, schema: &str) -> Vec<(String, i64)> {
    sqlx::query_as(
        "SELECT relname::text, c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
         WHERE nspname = $1 AND relkind = 'i' AND relname LIKE 'page.%' ORDER BY 1",
    )
    .bind(schema)
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_field_keeps_its_values_and_indexes() {
    let database = Database::new();
    let pool = PgPoolOptions::new().max_connections(4).connect(&database.options.url).await.unwrap();
    let quoted = format!("\"{}\"", database.options.schema.replace('"', "\"\""));
    let row = async || -> serde_json::Value {
        let sql = format!(
            "SELECT to_jsonb(t) - '{{id,version,deleted,created_at,updated_at}}'::text[] FROM {quoted}.page t \
             WHERE version = 1"
        );
        sqlx::query_scalar::<_, String>(AssertSqlSafe(format!("SELECT ({sql})::text")))
            .fetch_one(&pool)
            .await
            .map(|text| serde_json::from_str(&text).unwrap())
            .unwrap()
    };
    bring(&pool, &database, &models(&[NAMED])).await.unwrap();
    let lines = r#"[{"name": "a", "box": {"w": 1, "h": 2}}, {"name": null, "box": {"w": 3, "h": 4}}]"#;
    database
        .execute(&format!(
            "INSERT INTO $schema.page VALUES (gen_random_uuid(), 1, false, now(), now(), 'one', 7, '{lines}'), \
             (gen_random_uuid(), 2, false, now(), now(), 'two', 8, '[]'), \
             (gen_random_uuid(), 3, false, now(), now(), 'three', 9, NULL)"
        ))
        .await;
    let before = indexes(&pool, &database.options.schema).await;

    // Twice: the second time there is nothing to do.
    for _ in 0..2 {
        bring(&pool, &database, &models(&[RENAMED])).await.unwrap();
        assert_eq!(
            row().await,
            serde_json::json!({ "handle": "one", "quantity": 7, "lines": [
                { "title": "a", "box": { "width": 1, "h": 2 } },
                { "title": null, "box": { "width": 3, "h": 4 } },
            ] })
        );
    }
    let after = indexes(&pool, &database.options.schema).await;
    let names: Vec<&str> = after.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["page.handle", "page.quantity.handle"]);
    let ids = |indexes: &[(String, i64)]| {
        let mut ids: Vec<i64> = indexes.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&after), ids(&before), "no index was built anew");

    // A server with the old files would add `qty` again, empty.
    let error = bring(&pool, &database, &models(&[NAMED])).await.unwrap_err();
    assert!(matches!(error, Error::Renamed { .. }), "{error}");
    let only_the_part = RENAMED.replace(", renamed_from: w", "").replace("width:", "w:");
    let error = bring(&pool, &database, &models(&[&only_the_part])).await.unwrap_err();
    assert!(error.to_string().contains("lines.box.w"), "{error}");

    bring(&pool, &database, &models(&[RENAMED_AGAIN])).await.unwrap();
    assert_eq!(
        row().await,
        serde_json::json!({ "handle": "one", "amount": 7, "items": [
            { "label": "a", "box": { "width": 1, "h": 2 } },
            { "label": null, "box": { "width": 3, "h": 4 } },
        ] })
    );

    // A table that is made anew knows the old names too.
    database.execute("DROP TABLE $schema.page").await;
    bring(&pool, &database, &models(&[RENAMED_AGAIN])).await.unwrap();
    let error = bring(&pool, &database, &models(&[RENAMED])).await.unwrap_err();
    assert!(matches!(error, Error::Renamed { .. }), "{error}");
    pool.close().await;
}
