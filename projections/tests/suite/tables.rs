//! Tables are made once by many, and changed as the declarations change.

use std::sync::Arc;

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use writ_model::Models;
use writ_producers::topics::Topics;
use writ_projections::tables::{Changed, Error, Schema, Table, Unfit, bring_indexes, ensure};

use crate::stage::{Database, Stage, models};

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

async fn bring(pool: &PgPool, database: &Database, models: &Models) -> Result<Unfit, Error> {
    let schema = Schema::new(&database.options.schema);
    let tables: Vec<Table> = models.models.values().map(|model| Table::derive(&schema, model)).collect();
    let unfit = ensure(pool, &schema, models, &Topics::new("writ"), Changed::Rebuild).await?;
    let mut connection = pool.acquire().await?;
    while !bring_indexes(&mut connection, &schema, &tables).await? {}
    Ok(unfit)
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
    database.execute("INSERT INTO $schema.writ_offsets VALUES ('page', 1, 'writ.page', 0, 5)").await;

    bring(&pool, &database, &models(&[AFTER])).await.unwrap();
    let quoted = format!("\"{}\"", database.options.schema.replace('"', "\"\""));
    let row: (String, String, Option<String>, i64) =
        sqlx::query_as(AssertSqlSafe(format!("SELECT title, gone, note, rank FROM {quoted}.page")))
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(row, ("old".into(), "kept".into(), None, 7), "new columns are filled, old ones stay");

    let indexes: Vec<String> = sqlx::query_scalar(
        "SELECT indexname::text FROM pg_indexes WHERE schemaname = $1 AND tablename = 'page' ORDER BY 1",
    )
    .bind(&database.options.schema)
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(indexes, ["page.note#", "page_pkey"]);

    let generations = async || -> Vec<(i32, String, i64)> {
        let sql = format!(
            "SELECT generation, state, (SELECT count(*) FROM {quoted}.writ_offsets WHERE projection = name \
             AND writ_offsets.generation = writ_projections.generation) \
             FROM {quoted}.writ_projections WHERE name = 'page' ORDER BY 1"
        );
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&pool).await.unwrap()
    };
    for _ in 0..2 {
        let unfit = bring(&pool, &database, &models(&[RETYPED])).await.unwrap();
        let why = unfit.get("page").expect("a text is no number");
        assert!(why.contains("title is text") && why.contains("bigint"), "{why}");
        let wanted = [(1, "live".into(), 1), (2, "building".into(), 0)];
        assert_eq!(generations().await, wanted, "it is to be built anew, and serves meanwhile");
    }
    assert_eq!(bring(&pool, &database, &models(&[AFTER])).await.unwrap(), Unfit::new());

    database.execute("DROP TABLE $schema.page").await;
    assert_eq!(bring(&pool, &database, &models(&[RETYPED])).await.unwrap(), Unfit::new());
    let wanted = [(2, "building".into(), 0), (3, "live".into(), 0)];
    assert_eq!(generations().await, wanted, "a table that was made anew is filled from the beginning");
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
    assert_eq!(names, ["page.handle.id", "page.quantity.handle.id"]);
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

const WORDY: &str = "
model: page
fields:
  slug: { type: text, key: true, max_length: 20 }
  rank: { type: integer }
  title: { type: text }
  body: { type: text, optional: true }
crud: true
index: [[rank]]
";

fn searching(models: &mut Arc<Models>) {
    let page = &mut Arc::get_mut(models).unwrap().models["page"];
    Arc::get_mut(page).unwrap().search = vec!["title".into(), "body".into()];
}

#[tokio::test(flavor = "multi_thread")]
async fn the_projector_makes_the_indexes_of_tables_in_use() {
    let mut stage = Stage::new(&[WORDY]).await;
    searching(&mut stage.models);
    let pool = PgPoolOptions::new().max_connections(4).connect(&stage.database.options.url).await.unwrap();
    let schema = &stage.database.options.schema;
    bring(&pool, &stage.database, &stage.models).await.unwrap();
    let derived = indexes(&pool, schema).await;
    let names: Vec<&str> = derived.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["page.rank.id", "page.slug.id", "page.title.body~"]);

    // One that was never finished, one that is missing, one that nobody declares.
    stage
        .database
        .execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '$schema.\"page.rank.id\"'::regclass",
        )
        .await;
    stage.database.execute("DROP INDEX $schema.\"page.title.body~\"").await;
    stage.database.execute("CREATE INDEX \"page.rank.version\" ON $schema.page (rank, version)").await;

    let running = stage.start();
    let limit = tokio::time::Instant::now() + crate::stage::LIMIT;
    loop {
        let now = indexes(&pool, schema).await;
        let same = now.iter().map(|(name, _)| name).eq(&names);
        if same && now[0].1 != derived[0].1 {
            assert_eq!(now[1], derived[1], "what was right is left alone");
            break;
        }
        assert!(tokio::time::Instant::now() < limit, "the indexes are made: {now:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    running.stop().await;
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_is_too_long_to_be_searched() {
    let database = Database::new();
    let pool = PgPoolOptions::new().max_connections(1).connect(&database.options.url).await.unwrap();
    let mut models = models(&[WORDY]);
    searching(&mut models);
    bring(&pool, &database, &models).await.unwrap();
    // Distinct words of one character of four bytes; words with a point or a hyphen, which stand in it whole and in
    // parts; letters that are longer in lower case; one endless word.
    for (number, text) in [
        "(SELECT string_agg(chr(131072 + n), ' ') FROM generate_series(1, 40000) n)",
        "(SELECT string_agg(chr(131072 + n) || '-' || chr(171072 + n), ' ') FROM generate_series(1, 20000) n)",
        "(SELECT string_agg(n || '.com/' || n, ' ') FROM generate_series(1, 20000) n)",
        "(SELECT string_agg(chr(304) || chr(304 + n % 9000), ' ') FROM generate_series(1, 40000) n)",
        "repeat('a', 3000000)",
        "repeat('a-', 300000)",
    ]
    .iter()
    .enumerate()
    {
        database
            .execute(&format!(
                "INSERT INTO $schema.page VALUES \
                 (gen_random_uuid(), 1, false, now(), now(), 'p{number}', 7, {text}, {text})"
            ))
            .await;
    }
    pool.close().await;
}
