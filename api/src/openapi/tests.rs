use writ_model::diagnostic::Source;

use super::*;

use crate::tests::models;

/// The models of the sample application.
fn shop() -> Models {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| Source { name: path.display().to_string(), text: std::fs::read_to_string(path).unwrap() })
        .collect();
    Models::check("shop", &sources).unwrap()
}

#[test]
fn the_document_of_a_small_model() {
    insta::assert_json_snapshot!(document(&models()));
}

#[test]
fn it_is_an_openapi_document() {
    let text = document(&models()).to_string();
    let spec = oas3::from_json(&text).unwrap();
    spec.validate_version().unwrap();
    let operations: Vec<_> = spec.operations().map(|(path, method, _)| format!("{method} {path}")).collect();
    for expected in ["POST /v1/note/write", "POST /v1/note/{id}/close", "GET /v1/note", "POST /v1/commands"] {
        assert!(operations.iter().any(|operation| operation == expected), "{expected} in {operations:?}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn visit(document: &Json, value: &Json, count: &mut usize) {
        match value {
            Json::Object(members) => {
                if let Some(Json::String(target)) = members.get("$ref") {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{target}");
                    *count += 1;
                }
                members.values().for_each(|value| visit(document, value, count));
            }
            Json::Array(items) => items.iter().for_each(|value| visit(document, value, count)),
            _ => {}
        }
    }
    let (document, mut count) = (document(&models()), 0);
    visit(&document, &document, &mut count);
    assert!(count > 50, "{count}");
}

#[test]
fn operation_ids_are_unique() {
    let document = document(&models());
    let ids: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap().to_owned())
        .collect();
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
}

#[test]
fn names_become_pascal_case() {
    assert_eq!(pascal("order_line"), "OrderLine");
    assert_eq!((pascal("order2").as_str(), pascal("order_2").as_str()), ("Order2", "Order_2"));
}

#[test]
fn every_command_of_the_sample_shop_has_an_example() {
    let document = document(&shop());
    oas3::from_json(document.to_string()).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        if let Some(body) = operations["post"].get("requestBody").filter(|_| path != "/v1/commands") {
            assert!(body["content"]["application/json"]["example"].is_object(), "{path}");
        }
    }
}

#[test]
fn a_command_that_can_find_a_value_taken_says_so() {
    let document = document(&shop());
    let description =
        |path: &str| document["paths"][path]["post"]["description"].as_str().unwrap_or_default();
    let expected = "409 `not-unique` if another category has the same `name`.";
    assert!(description("/v1/category/create").contains(expected));
    assert!(description("/v1/category/{id}/update").contains(expected));
    assert_eq!(description("/v1/category/{id}/delete"), "");
    assert!(!description("/v1/product/create").contains("not-unique"));
}
