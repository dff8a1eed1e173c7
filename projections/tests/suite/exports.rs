//! All rows as a stream: whole, in bounded memory, and never in anybody's way.

use futures::StreamExt as _;
use serde_json::Value as Json;
use writ_projections::query::{Error, Export, Format};

use crate::shop::Shop;

async fn export(shop: &Shop, params: &[(&str, &str)], format: Format) -> Result<Export, Error> {
    shop.queries.export(&shop.parse(params).unwrap(), format).await
}

async fn text(export: Export) -> String {
    let pieces: Vec<Vec<u8>> = export.map(Result::unwrap).collect().await;
    String::from_utf8(pieces.concat()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_every_row_in_order() {
    let shop = Shop::new().await;
    shop.many(20_000).await;
    shop.database
        .execute(
            "UPDATE $schema.\"order\" SET note = E'a \"b\",\\r\\nc', tags = '[\"x\"]', ship_to = '{\"city\": \"Rom, Italia\"}' \
             WHERE number = '1'",
        )
        .await;
    let rows = shop.database.number("SELECT count(*) FROM $schema.\"order\" WHERE NOT deleted").await;
    let lines = text(export(&shop, &[("sort", "-total")], Format::Ndjson).await.unwrap()).await;
    let items: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(items.len(), usize::try_from(rows).unwrap());
    let page = shop.list(&[("sort", "-total"), ("limit", "1000")]).await;
    for (item, row) in items.iter().zip(&page.items) {
        assert_eq!(item["id"], row.id.to_string());
        assert_eq!(item["state"], serde_json::from_str::<Json>(row.state.get()).unwrap());
        assert_eq!(item["created_at"], row.created_at);
    }

    let table = text(export(&shop, &[("sort", "created_at")], Format::Csv).await.unwrap()).await;
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(
        header.join(","),
        "id,version,number,customer,status,total,ship_to,lines,tags,extra,note,secret_note,created_at,updated_at"
    );
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), items.len());
    let first = records.iter().find(|record| &record[2] == "1").unwrap();
    assert_eq!((&first[10], &first[8], &first[3]), ("a \"b\",\r\nc", "[\"x\"]", ""));
    assert_eq!((&first[4], &first[5]), ("paid", "729.75"));

    let wanted = [("fields", "ship_to.city,number,total"), ("number", "1")];
    let table = text(export(&shop, &wanted, Format::Csv).await.unwrap()).await;
    assert_eq!(table, "ship_to.city,number,total\r\n\"Rom, Italia\",1,729.75\r\n");
    let none =
        text(export(&shop, &[("number", "none"), ("fields", "number")], Format::Csv).await.unwrap()).await;
    assert_eq!(none, "number\r\n");
    assert_eq!(text(export(&shop, &[("number", "none")], Format::Ndjson).await.unwrap()).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_that_wait_hold_up_nobody() {
    let shop = Shop::new().await;
    shop.many(60_000).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut export = export(&shop, &[], Format::Ndjson).await.unwrap();
        assert!(export.next().await.unwrap().is_ok());
        waiting.push(export);
    }
    let refused = export(&shop, &[], Format::Ndjson).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "there are no more connections for exports");
    assert_eq!(shop.list(&[("limit", "10")]).await.items.len(), 10, "but others go on");

    // A caller that has gone lets go of the table.
    drop(waiting);
    shop.database.execute("SET LOCAL lock_timeout = '60s'; DROP TABLE $schema.\"order\"").await;
    let missing = export(&shop, &[], Format::Csv).await;
    assert!(matches!(missing, Err(Error::Unavailable(_))), "an error is said before the first row");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_breaks_off_says_so() {
    let shop = Shop::new().await;
    shop.many(60_000).await;
    let mut export = export(&shop, &[], Format::Ndjson).await.unwrap();
    assert!(export.next().await.unwrap().is_ok());
    let schema = &shop.database.options.schema;
    let ended: bool = sqlx::query_scalar(
        "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE application_name = 'writ-exports' AND starts_with(query, 'SELECT ') AND strpos(query, $1) > 0",
    )
    .bind(schema.replace('"', "\"\""))
    .fetch_one(&shop.pool)
    .await
    .unwrap();
    assert!(ended);
    let rest: Vec<Result<Vec<u8>, Error>> = export.collect().await;
    assert!(rest.last().unwrap().is_err(), "it doesn't look like the end");
}
