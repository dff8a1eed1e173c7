//! `GET /openapi.json` and the page that shows it.

use serde_json::Value;

use crate::harness::{self, Slot};

static SERVER: Slot = harness::slot();

#[tokio::test]
async fn every_command_and_query_is_described() {
    let app = harness::shared(&SERVER).await;
    let document = app.get("/openapi.json").await.expect(200).body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    for path in [
        "/v1/purse/open",
        "/v1/purse/{id}/deposit",
        "/v1/note/create",
        "/v1/note/{id}/delete",
        "/v1/order/{id}/pay",
        "/v1/commands",
    ] {
        let operation = &document["paths"][path]["post"];
        assert!(operation.is_object(), "{path}");
        assert!(operation["responses"].as_object().is_some_and(|all| !all.is_empty()), "{path}: {operation}");
    }
    for path in ["/v1/purse", "/v1/purse/{id}", "/v1/note", "/v1/order", "/v1/order/{id}"] {
        assert!(document["paths"][path]["get"].is_object(), "{path}");
    }
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap());
    let ids: Vec<_> = operations.filter_map(|(_, operation)| operation["operationId"].as_str()).collect();
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "operation ids are unique: {ids:?}");
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let app = harness::shared(&SERVER).await;
    let document = app.get("/openapi.json").await.expect(200).body;
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer =
            reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leaves the document"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.push(reference);
            }
            members.values().for_each(|member| collect(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_page_shows_it_without_the_internet() {
    let app = harness::shared(&SERVER).await;
    let page = app.get("/docs/").await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"));
    for part in page.text.split(['"', '\'']) {
        assert!(!part.starts_with("http://") && !part.starts_with("https://"), "loads {part}");
    }
}
