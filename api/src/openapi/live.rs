//! The part of the document on live updates: the handshake, tickets, event streams and polls. The messages of the socket are in
//! `/asyncapi.json`.

use http::StatusCode;
use serde_json::{Map, Value as Json, json};
use writ_model::declaration::Projection;
use writ_model::{Model, Models};

use super::auth::response;
use super::lists::{self, parameter};
use super::operations::success;
use super::problems::Problems;
use super::security::Security;
use super::{Names, pascal, reference};
use crate::live::follow::{DEFAULT_WAIT, MAX_WAIT};
use crate::live::handshake::PROTOCOL;
use crate::live::tickets::Ticket;

/// Its tag.
pub(super) const TAG: &str = "live";

/// The addresses.
pub(super) fn add_paths(models: &Models, paths: &mut Map<String, Json>) {
    paths.insert("/v1/live".to_owned(), json!({ "get": socket() }));
    for model in models.models.values() {
        paths.insert(format!("/v1/live/{}", model.name), json!({ "get": follow(model) }));
    }
    for projection in models.projections.values() {
        paths.insert(format!("/v1/live/{}", projection.name), json!({ "get": follow_rows(projection) }));
    }
    // Beside the feed of a model that is called so.
    let path = paths.entry("/v1/live/tickets").or_insert_with(|| json!({}));
    path["post"] = json!({
        "operationId": "live_ticket",
        "tags": [TAG],
        "summary": "A ticket, good once, for who opens a socket where no header can be sent",
        "security": Security::ByRules { changes: true }.to_json(),
        "responses": Problems::of_change().responses([("200", success("The ticket.", &[], &response::<Ticket>()))]),
    });
}

/// The answers of a poll.
pub(super) fn add_schemas(models: &Models, schemas: &mut Map<String, Json>) {
    for model in models.models.values() {
        schemas.insert(polled(model), poll(model));
    }
    for projection in models.projections.values() {
        schemas.insert(polled_rows(projection), poll_rows(projection));
    }
}

fn polled(model: &Model) -> String {
    format!("{}Changes", pascal(&model.name))
}

fn polled_rows(projection: &Projection) -> String {
    format!("Projections.{}Changes", pascal(&projection.name))
}

fn socket() -> Json {
    let ticket = "Of `POST /v1/live/tickets`, in place of a header.";
    let header = |name: &str, description: &str, schema: Json| json!({ "name": name, "in": "header", "required": true, "description": description, "schema": schema });
    let protocol = json!({ "type": "string", "const": PROTOCOL });
    let version = json!({ "type": "string", "const": "13" });
    json!({
        "operationId": "live",
        "tags": [TAG],
        "summary": "Open a WebSocket for live updates and commands",
        "parameters": [
            parameter("ticket", ticket, json!({ "type": "string" })),
            header("Sec-WebSocket-Protocol", "Has to name it.", protocol),
            header("Sec-WebSocket-Key", "RFC 6455: the base64 of 16 bytes.", json!({ "type": "string" })),
            header("Sec-WebSocket-Version", "RFC 6455.", version),
        ],
        "security": Security::ByRules { changes: false }.to_json(),
        "responses": Problems::of_query()
            .and(&[StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN])
            .responses([("101", json!({ "description": "The socket is open." }))]),
    })
}

fn follow(model: &Model) -> Json {
    let mut parameters = lists::filters_of(model);
    // One by its key as well.
    parameters.retain(|parameter| parameter["name"] != "id");
    parameters.push(parameter("id", "Only this one, by its id or natural key.", json!({ "type": "string" })));
    operation(&model.name, "items", parameters, &polled(model))
}

fn follow_rows(projection: &Projection) -> Json {
    operation(&projection.name, "rows", lists::filters(&projection.fields), &polled_rows(projection))
}

fn operation(name: &str, what: &str, mut parameters: Vec<Json>, schema: &str) -> Json {
    let text = || json!({ "type": "string" });
    parameters.extend([
        lists::fields(),
        parameter("from", "`now`, `snapshot`, or a `resume`.", json!({ "type": "string", "default": "now" })),
        parameter(
            "wait",
            "Of a poll: seconds to wait for a change.",
            json!({ "type": "integer", "minimum": 0, "maximum": MAX_WAIT, "default": DEFAULT_WAIT }),
        ),
        json!({ "name": "Last-Event-ID", "in": "header", "description": "Of an event stream: where it goes on, in place of `from`.", "schema": text() }),
    ]);
    let mut found = success("What happened, as soon as something has.", &[], &reference("schemas", schema));
    found["content"]["text/event-stream"] = json!({ "schema": { "type": "string" } });
    json!({
        "operationId": format!("live_{name}"),
        "tags": [TAG],
        "summary": format!("Changes of {name} {what}: an event stream with `Accept: text/event-stream`, else a long poll"),
        "parameters": parameters,
        "security": Security::ByRules { changes: false }.to_json(),
        "responses": Problems::of_query()
            .and(&[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND])
            .responses([("200", found)]),
    })
}

fn poll_rows(projection: &Projection) -> Json {
    let row = reference("schemas", &lists::row_of(projection));
    let key = json!({ "type": "object", "required": projection.key, "description": "The columns that identify the row." });
    json!({
        "type": "object",
        "required": ["changes", "resume"],
        "properties": {
            "reset": { "type": "string", "enum": ["changed", "other_view"], "description": "`from` was of no use: forget what there is and take `snapshot`." },
            "snapshot": { "type": "array", "items": row, "description": "All rows, if the answer begins with them." },
            "keys": { "type": "array", "items": key, "description": "The keys of the rows of `snapshot`, one each." },
            "changes": { "type": "array", "items": {
                "type": "object",
                "required": ["type", "projection", "key", "resume"],
                "properties": {
                    "type": { "type": "string", "enum": ["enter", "change", "leave"] },
                    "projection": { "type": "string", "const": projection.name },
                    "key": key,
                    "row": row,
                    "resume": { "type": "string" }
                }
            } },
            "resume": { "type": "string", "description": "Goes into `from` of the next poll." }
        }
    })
}

fn poll(model: &Model) -> Json {
    let item = reference("schemas", &Names(model).item());
    let text = || json!({ "type": "string" });
    json!({
        "type": "object",
        "required": ["changes", "resume"],
        "properties": {
            "reset": { "type": "string", "enum": ["too_old", "repartitioned", "unknown", "other_view"], "description": "`from` was of no use: forget what there is and take `snapshot`." },
            "snapshot": { "type": "array", "items": item, "description": "All rows, if the answer begins with them." },
            "changes": { "type": "array", "items": {
                "type": "object",
                "required": ["type", "model", "id", "position", "resume"],
                "properties": {
                    "type": { "type": "string", "enum": ["enter", "change", "leave"] },
                    "model": { "type": "string", "const": model.name },
                    "id": { "type": "string", "format": "uuid" },
                    "version": super::components::version(),
                    "event": { "type": "object" },
                    "row": item,
                    "position": text(),
                    "resume": text()
                }
            } },
            "resume": { "type": "string", "description": "Goes into `from` of the next poll." }
        }
    })
}
