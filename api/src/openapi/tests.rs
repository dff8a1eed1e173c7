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
    writ_identity::models::check("shop", &sources).unwrap()
}

#[test]
fn the_document_of_a_small_model() {
    insta::assert_json_snapshot!(document(&models(), false));
}

#[test]
fn it_is_an_openapi_document() {
    let text = document(&models(), false).to_string();
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
    let (document, mut count) = (document(&models(), false), 0);
    visit(&document, &document, &mut count);
    assert!(count > 50, "{count}");
}

#[test]
fn operation_ids_are_unique() {
    let document = document(&models(), false);
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
    let document = document(&shop(), false);
    oas3::from_json(document.to_string()).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        if let Some(body) = operations["post"]
            .get("requestBody")
            .filter(|_| path != "/v1/commands" && !path.starts_with("/v1/auth/"))
        {
            assert!(body["content"]["application/json"]["example"].is_object(), "{path}");
        }
    }
}

#[test]
fn a_command_that_can_find_a_value_taken_says_so() {
    let document = document(&shop(), false);
    let description =
        |path: &str| document["paths"][path]["post"]["description"].as_str().unwrap_or_default();
    let expected = "409 `not-unique` if another category has the same `name`.";
    assert!(description("/v1/category/create").contains(expected));
    assert!(description("/v1/category/{id}/update").contains(expected));
    assert_eq!(description("/v1/category/{id}/delete"), "");
    assert!(!description("/v1/product/create").contains("not-unique"));
}

/// The method and address of every route, as `router.rs` has them on one page.
fn routes() -> Vec<(&'static str, &'static str)> {
    let page = include_str!("../router.rs");
    let mut routes = Vec::new();
    for route in page.split(".route(\"").skip(1) {
        let (path, rest) = route.split_once('"').unwrap();
        let handlers = rest.split(".route").next().unwrap();
        for method in ["get", "post", "put", "patch", "delete", "any"] {
            let called = |before: &str| handlers.contains(&format!("{before}{method}("));
            if called(" ") || called(".") {
                routes.push((method, path));
            }
        }
    }
    routes
}

/// What of a route the document shows, of a shop whose models and commands stand for the parts of an address.
fn described((method, path): (&str, &str)) -> Option<String> {
    let path = match (method, path) {
        // Pages for people.
        ("get", "/" | "/docs" | "/docs/" | "/docs/{*path}") => return None,
        // The feed of a model that may be called so.
        ("get", "/v1/live/tickets") => return None,
        ("get", "/v1/live/{model}") => "/v1/live/order",
        ("post", "/v1/channels/{channel}/broadcast") => "/v1/channels/desk/broadcast",
        ("get", "/v1/channels/{channel}/members") => "/v1/channels/desk/members",
        ("get", "/v1/projections/{name}") => "/v1/projections/daily_sales",
        ("get", "/v1/{model}") => "/v1/order",
        ("get", "/v1/{model}/{id_or_command}") => "/v1/order/{id}",
        ("post", "/v1/{model}/{id_or_command}") => "/v1/order/place",
        ("get", "/v1/{model}/{id}/{events_or_command}") => "/v1/order/{id}/events",
        ("post", "/v1/{model}/{id}/{events_or_command}") => "/v1/order/{id}/pay",
        (_, own) => own,
    };
    Some(format!("{method} {path}"))
}

#[test]
fn every_route_has_an_operation_and_every_operation_a_route() {
    let document = document(&shop(), false);
    let mut operations: Vec<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    let routes = routes();
    assert!(routes.len() > 30, "{routes:?}");
    let expected: Vec<String> = routes.into_iter().filter_map(described).collect();
    for route in &expected {
        assert!(operations.contains(route), "the document lacks {route}");
    }
    let models = shop();
    operations.retain(|operation| {
        let (_, path) = operation.split_once(' ').unwrap();
        let first = path.trim_start_matches("/v1/").split('/').next().unwrap();
        !expected.contains(operation)
            && !models.models.contains_key(first)
            && !path.starts_with("/v1/projections/")
            && !path.starts_with("/v1/live/")
    });
    assert!(operations.is_empty(), "nothing serves {operations:?}");
}

#[test]
fn what_only_the_server_sends_is_not_offered() {
    let document = document(&shop(), false);
    let paths = document["paths"].as_object().unwrap();
    for own in ["/v1/account/create", "/v1/account/{id}/sign_in", "/v1/session/start", "/v1/api_key/create"] {
        assert!(!paths.contains_key(own), "{own}");
    }
    for offered in
        ["/v1/account/{id}/rename", "/v1/account/{id}/disable", "/v1/api_key/{id}/revoke", "/v1/role/create"]
    {
        assert!(paths.contains_key(offered), "{offered}");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(!schemas.contains_key("Account.CreateInput") && !schemas.contains_key("Account.SignedInEvent"));
}

#[test]
fn secrets_are_in_no_state_and_no_event() {
    let document = document(&shop(), false);
    let state = &document["components"]["schemas"]["AccountState"];
    assert!(state["properties"]["email"].is_object() && state.get("required").is_none(), "{state}");
    for secret in ["password", "totp"] {
        assert!(state["properties"].get(secret).is_none(), "{secret}");
    }
}

#[test]
fn every_operation_says_who_may_send_it() {
    let document = document(&shop(), true);
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    assert_eq!(schemes["Cookie"]["name"], "__Host-writ_access");
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap_or_else(|| panic!("{method} {path}"));
            let named = security.iter().flat_map(|one| one.as_object().unwrap().keys());
            named.for_each(|name| assert!(schemes.contains_key(name), "{method} {path}: {name}"));
            let is_open =
                security.is_empty() || security.iter().any(|one| one.as_object().unwrap().is_empty());
            let is_refused = operation["responses"].get("401").is_some();
            assert!(is_open || is_refused, "{method} {path}");
            if path.starts_with("/v1/") {
                assert!(is_refused && operation["responses"].get("429").is_some(), "{method} {path}");
            }
        }
    }
}

/// The types beside the handlers say by themselves what is refused and what is answered.
#[test]
fn bodies_are_those_of_the_handlers() {
    let document = document(&shop(), false);
    let body = |path: &str| {
        document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"].clone()
    };
    let sign_in = body("/v1/auth/sign-in");
    assert_eq!(sign_in["required"], json!(["email", "password"]));
    assert_eq!(sign_in["additionalProperties"], false);
    assert_eq!(body("/v1/auth/api-keys")["properties"]["scopes"]["type"], "array");
}
