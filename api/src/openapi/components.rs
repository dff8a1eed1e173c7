//! The parts of the document that operations refer to.

use http::StatusCode;
use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};
use writ_model::{Command, Event, Field, Model, Models, json_schema};

use super::{Names, lists, problems, reference};
use crate::headers::IDEMPOTENCY_KEY_LIMIT;
use crate::identity::grants;
use crate::problem::{self, Kind, PROBLEM_JSON};

/// Schemas that every application has.
pub(super) fn schemas() -> Map<String, Json> {
    let health = json!({
        "type": "object",
        "required": ["status", "parts"],
        "properties": {
            "status": { "type": "string", "enum": ["ready", "waiting"] },
            "parts": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "ready"],
                    "properties": {
                        "name": { "type": "string" },
                        "ready": { "type": "boolean" },
                        "reason": { "type": "string", "description": "Why it is not ready, and what it waits for." }
                    }
                }
            }
        }
    });
    let accepted = json!({
        "type": "object",
        "required": ["command_id", "id"],
        "properties": {
            "command_id": { "type": "string", "format": "uuid" },
            "id": { "type": "string", "format": "uuid", "description": "The aggregate that the command is for." }
        }
    });
    Map::from_iter([
        ("Problem".to_owned(), problem::schema()),
        ("Accepted".to_owned(), accepted),
        ("Readiness".to_owned(), health),
    ])
}

/// The schemas of one model.
pub(crate) fn add_model(model: &Model, schemas: &mut Map<String, Json>) {
    let names = Names(model);
    let mut state = shown(json_schema::of_state(model), &model.fields);
    if let Some(doc) = &model.doc {
        state["description"] = json!(doc);
    }
    schemas.insert(names.state(), state);
    schemas.insert(names.item(), item(&names));
    schemas.insert(names.list(), lists::list(&reference("schemas", &names.item())));
    for command in model.commands.values().filter(|command| !grants::is_own(&model.name, &command.name)) {
        schemas.insert(names.input(command), input(command));
        if let Some(event) = model.events.get(&command.emits) {
            schemas.insert(names.event(event), event_schema(event));
        }
    }
}

fn input(command: &Command) -> Json {
    let mut schema = json_schema::of_input(command);
    for name in command.input.values().filter(|field| field.secret).map(|field| &field.name) {
        schema["properties"][name]["writeOnly"] = json!(true);
    }
    schema
}

/// What of fields an answer may show. Any may be missing: rules hide it, `fields` leaves it out, and who sends a command need not
/// be someone who may read. Secrets always are.
fn shown(mut schema: Json, fields: &IndexMap<String, Field>) -> Json {
    if let Some(schema) = schema.as_object_mut() {
        schema.shift_remove("required");
    }
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.retain(|name, _| fields.get(name).is_none_or(|field| !field.secret));
    }
    schema
}

fn item(names: &Names<'_>) -> Json {
    json!({
        "type": "object",
        "required": ["id", "version", "state", "created_at", "updated_at"],
        "properties": {
            "id": { "type": "string", "format": "uuid" },
            "version": version(),
            "state": reference("schemas", &names.state()),
            "created_at": { "type": "string", "format": "date-time" },
            "updated_at": { "type": "string", "format": "date-time" },
            "expanded": {
                "type": "object",
                "description": "With `expand`: for each of the references the row that it leads to, or null.",
                "additionalProperties": { "type": ["object", "null"] }
            }
        }
    })
}

fn event_schema(event: &Event) -> Json {
    json!({
        "type": "object",
        "required": ["id", "type", "version", "time", "data"],
        "properties": {
            "id": { "type": "string", "format": "uuid" },
            "type": { "const": event.type_name },
            "version": version(),
            "time": { "type": "string", "format": "date-time" },
            "data": shown(json_schema::of_event(event), &event.fields)
        }
    })
}

pub(super) fn version() -> Json {
    json!({ "type": "integer", "format": "int64", "minimum": 1, "description": "Number of events of the aggregate." })
}

pub(super) fn parameters(models: &Models) -> Json {
    let names: Vec<_> = models.models.keys().map(String::as_str).collect();
    let position = format!("({}):[0-9]{{1,5}}:[0-9]{{1,18}}", names.join("|"));
    json!({
        "Id": {
            "name": "id", "in": "path", "required": true,
            "description": "The id, or the natural key where the model has one.",
            "schema": { "type": "string" }
        },
        "Wait": {
            "name": "wait", "in": "query",
            "description": "How far the answer waits: `accepted`, Kafka has the command (202); `committed`, its event is committed; `projected`, queries show it.",
            "schema": { "type": "string", "enum": ["accepted", "committed", "projected"], "default": "committed" }
        },
        "IdempotencyKey": {
            "name": "Idempotency-Key", "in": "header",
            "description": "Makes a repeat safe: it gives the first outcome. For one caller and one aggregate.",
            "schema": { "type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_LIMIT, "pattern": "^[!-~]+$" },
            "example": "8e03978e-40d5-43dd-bc93-6894a57f9324"
        },
        "IfMatch": {
            "name": "If-Match", "in": "header",
            "description": "The version that was seen, as `ETag` gave it. Another version: 412.",
            "schema": { "type": "string", "pattern": "^\"[0-9]+\"$" },
            "example": "\"3\""
        },
        "IfNoneMatch": {
            "name": "If-None-Match", "in": "header",
            "description": "The version that is known. The same version: 304.",
            "schema": { "type": "string" },
            "example": "\"3\""
        },
        "Position": {
            "name": "Writ-Position", "in": "header",
            "description": "Waits until the read model shows these positions; several are separated by commas.",
            "schema": { "type": "string", "pattern": format!("^{position}(, ?{position})*$") },
            "example": "order:5:1234"
        }
    })
}

pub(super) fn headers() -> Json {
    json!({
        "ETag": { "description": "The version in quotes.", "schema": { "type": "string" }, "example": "\"3\"" },
        "Location": { "description": "Where the new aggregate is.", "schema": { "type": "string" } },
        "Position": {
            "description": "The place of the event; send it with a query to read what was written.",
            "schema": { "type": "string" },
            "example": "order:5:1234"
        },
        "Projected": {
            "description": "With `wait=projected`: whether queries show it already.",
            "schema": { "type": "string", "enum": ["true", "false"] }
        },
        "RequestId": { "description": "Names the request in the server's log.", "schema": { "type": "string" } },
        "RetryAfter": { "description": "Seconds.", "schema": { "type": "integer", "minimum": 0 } },
        "RateLimitPolicy": {
            "description": "The limits of the client (draft-ietf-httpapi-ratelimit-headers-10); absent if there are none.",
            "schema": { "type": "string" }, "example": "\"account\";q=1000;w=10"
        },
        "RateLimit": {
            "description": "What is left of these limits.",
            "schema": { "type": "string" }, "example": "\"account\";r=999;t=1"
        },
        "SetCookie": { "description": "The tokens, if they go into cookies.", "schema": { "type": "string" } },
        "WwwAuthenticate": { "description": "RFC 6750.", "schema": { "type": "string", "const": "Bearer" } },
        "Allow": { "description": "The methods that the address takes.", "schema": { "type": "string" } }
    })
}

/// The name of the response with the problems of a status.
pub(super) fn response_name(status: StatusCode) -> String {
    format!("Problem{}", status.as_u16())
}

/// One response for each status, with an example of every kind of problem that has it.
pub(super) fn responses() -> Json {
    let mut responses = Map::new();
    for first in Kind::ALL {
        let status = first.status();
        if responses.contains_key(&response_name(status)) {
            continue;
        }
        let kinds = || Kind::ALL.iter().filter(move |kind| kind.status() == status);
        let description: Vec<_> =
            kinds().map(|kind| format!("- `{}`:{}", kind.urn(), kind.advice())).collect();
        let examples: Map<_, _> = kinds()
            .map(|kind| (kind.slug().to_owned(), json!({ "value": kind.because(kind.advice().trim()) })))
            .collect();
        let mut headers = json!({ "X-Request-Id": reference("headers", "RequestId") });
        match status {
            StatusCode::SERVICE_UNAVAILABLE => headers["Retry-After"] = reference("headers", "RetryAfter"),
            StatusCode::TOO_MANY_REQUESTS => {
                headers["Retry-After"] = reference("headers", "RetryAfter");
                headers["RateLimit-Policy"] = reference("headers", "RateLimitPolicy");
                headers["RateLimit"] = reference("headers", "RateLimit");
            }
            StatusCode::UNAUTHORIZED => headers["WWW-Authenticate"] = reference("headers", "WwwAuthenticate"),
            StatusCode::METHOD_NOT_ALLOWED => headers["Allow"] = reference("headers", "Allow"),
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => {
                headers["ETag"] = reference("headers", "ETag")
            }
            _ => {}
        }
        responses.insert(
            response_name(status),
            json!({
                "description": description.join("\n"),
                "headers": headers,
                "content": { PROBLEM_JSON: { "schema": reference("schemas", "Problem"), "examples": examples } }
            }),
        );
    }
    let bare = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    responses.insert(response_name(bare), problems::head_too_large());
    Json::Object(responses)
}
