//! The part of the document on what isn't data: the pages for those who run the server, keys, and the document itself.

use serde_json::{Map, Value as Json, json};

use super::operations::success;
use super::problems::Problems;
use super::reference;
use super::security::Security;

/// The addresses outside `/v1`.
pub(super) fn add_paths(paths: &mut Map<String, Json>) {
    let any = json!({ "type": "object" });
    let readiness = |description: &str| success(description, &[], &reference("schemas", "Readiness"));
    let mut waiting = readiness("Some part doesn't.");
    waiting["headers"]["Retry-After"] = reference("headers", "RetryAfter");
    let metrics = json!({
        "description": "Prometheus' text format.",
        "headers": { "X-Request-Id": reference("headers", "RequestId") },
        "content": { "text/plain": { "schema": { "type": "string" } } }
    });
    let of_page = Problems::of_page;
    add(
        paths,
        "/healthz",
        "health",
        "The process answers",
        of_page().responses([("200", success("It does.", &[], &any))]),
    );
    add(
        paths,
        "/readyz",
        "readiness",
        "Every part works, or which doesn't and why",
        of_page().responses([("200", readiness("All parts work.")), ("503", waiting)]),
    );
    add(paths, "/metrics", "metrics", "Metrics for Prometheus", of_page().responses([("200", metrics)]));
    add(
        paths,
        "/.well-known/jwks.json",
        "jwks",
        "The public keys by which anyone verifies access tokens (RFC 7517)",
        of_page().responses([("200", success("Those that sign, signed, or will sign.", &[], &keys()))]),
    );
    add(
        paths,
        "/openapi.json",
        "openapi",
        "This document",
        of_page().responses([("200", success("OpenAPI 3.1.", &[], &any))]),
    );
    add(
        paths,
        "/asyncapi.json",
        "asyncapi",
        "The messages of `GET /v1/live`",
        of_page().responses([("200", success("AsyncAPI 3.0.", &[], &any))]),
    );
}

fn add(paths: &mut Map<String, Json>, path: &str, id: &str, summary: &str, responses: Json) {
    let tag = if path == "/.well-known/jwks.json" { super::auth::TAG } else { "health" };
    let operation = json!({
        "operationId": id, "tags": [tag], "summary": summary,
        "security": Security::Nobody.to_json(), "responses": responses,
    });
    paths.insert(path.to_owned(), json!({ "get": operation }));
}

/// Ed25519 keys as JWKs (RFC 8037).
fn keys() -> Json {
    json!({
        "type": "object",
        "required": ["keys"],
        "properties": { "keys": { "type": "array", "items": {
            "type": "object",
            "required": ["kty", "crv", "x", "kid", "alg", "use"],
            "properties": {
                "kty": { "const": "OKP" }, "crv": { "const": "Ed25519" }, "alg": { "const": "EdDSA" },
                "use": { "const": "sig" }, "x": { "type": "string" }, "kid": { "type": "string" }
            }
        } } }
    })
}
