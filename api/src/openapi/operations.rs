//! The paths of the document.

use http::StatusCode;
use serde_json::{Map, Value as Json, json};
use writ_model::{Command, Model, Models};

use super::components::version;
use super::problems::Problems;
use super::security::Security;
use super::{Names, examples, history, lists, reference};
use crate::identity::grants;

/// The paths of one model.
pub(super) fn add_paths(models: &Models, model: &Model, paths: &mut Map<String, Json>) {
    let name = &model.name;
    let key = model.key.as_ref().map_or_else(String::new, |key| format!(", or by its {key}"));
    let [as_of, diff] = history::of_the_past();
    paths.insert(format!("/v1/{name}"), json!({ "get": lists::of_model(model) }));
    paths.insert(
        format!("/v1/{name}/{{id}}"),
        json!({
            "get": {
                "operationId": format!("get_{name}"),
                "tags": [name],
                "summary": format!("One {name} by its id{key}"),
                "parameters": [
                    reference("parameters", "Id"),
                    lists::fields(),
                    lists::expand(model),
                    as_of,
                    diff,
                    reference("parameters", "IfNoneMatch"),
                    reference("parameters", "Position"),
                ],
                "security": Security::ByRules { changes: false }.to_json(),
                "responses": query().and(&[StatusCode::NOT_FOUND]).responses([
                    ("200", success("It exists.", &["ETag"], &history::one(&Names(model)))),
                    ("304", not_modified()),
                ]),
            }
        }),
    );
    for command in model.commands.values().filter(|command| !grants::is_own(name, &command.name)) {
        let path = if command.creates {
            format!("/v1/{name}/{}", command.name)
        } else {
            format!("/v1/{name}/{{id}}/{}", command.name)
        };
        paths.insert(path, json!({ "post": post(models, model, command) }));
    }
}

fn post(models: &Models, model: &Model, command: &Command) -> Json {
    let names = Names(model);
    let mut parameters = vec![reference("parameters", "Wait"), reference("parameters", "IdempotencyKey")];
    if !command.creates {
        parameters.insert(0, reference("parameters", "Id"));
        parameters.push(reference("parameters", "IfMatch"));
    }
    let mut media = json!({ "schema": reference("schemas", &names.input(command)) });
    if let Some(example) = examples::input(models, command) {
        media["example"] = example;
    }
    let (status, description, headers): (_, _, &[&str]) = if command.creates {
        ("201", "It is created.", &["ETag", "Writ-Position", "Writ-Projected", "Location"])
    } else {
        ("200", "It is done.", &["ETag", "Writ-Position", "Writ-Projected"])
    };
    let mut operation = json!({
        "operationId": format!("{}_{}", model.name, command.name),
        "tags": [model.name],
        "summary": format!("{} {}", command.name.replace('_', " "), model.name),
        "parameters": parameters,
        "requestBody": {
            // Without a required field the body may be left out.
            "required": command.input.values().any(|field| !field.optional && field.default.is_none() && command.creates),
            "content": { "application/json": media }
        },
        "security": Security::ByRules { changes: true }.to_json(),
        "responses": problems(model, command).responses([
            (status, success(description, headers, &answer(&names, model, command))),
            ("202", success("Kafka has the command (`wait=accepted`).", &[], &reference("schemas", "Accepted"))),
        ]),
    });
    let description: Vec<String> = command.doc.iter().cloned().chain(not_unique(model, command)).collect();
    if !description.is_empty() {
        operation["description"] = json!(description.join("\n\n"));
    }
    operation
}

/// Of every query of a read model.
pub(super) fn query() -> Problems {
    Problems::of_query().and(&[StatusCode::BAD_REQUEST, StatusCode::PRECONDITION_FAILED])
}

fn problems(model: &Model, command: &Command) -> Problems {
    let problems = Problems::of_change().with_body().and(&[StatusCode::PRECONDITION_FAILED]);
    let problems = if command.creates { problems } else { problems.and(&[StatusCode::NOT_FOUND]) };
    let can_conflict = command.creates || !command.from.is_empty() || not_unique(model, command).is_some();
    if can_conflict { problems.and(&[StatusCode::CONFLICT]) } else { problems }
}

fn not_modified() -> Json {
    let headers =
        json!({ "ETag": reference("headers", "ETag"), "X-Request-Id": reference("headers", "RequestId") });
    json!({ "description": "It has the version of `If-None-Match`.", "headers": headers })
}

/// Which values the command can find taken.
fn not_unique(model: &Model, command: &Command) -> Option<String> {
    let changed = &model.events.get(&command.emits)?.fields;
    let can_meet =
        |fields: &[String]| !command.deletes && fields.iter().any(|field| changed.contains_key(field));
    let taken: Vec<String> = model
        .uniques
        .iter()
        .filter(|unique| can_meet(&unique.fields))
        .map(|unique| {
            unique.fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(" and ")
        })
        .collect();
    let name = &model.name;
    (!taken.is_empty())
        .then(|| format!("409 `not-unique` if another {name} has the same {}.", taken.join(", or the same ")))
}

fn answer(names: &Names<'_>, model: &Model, command: &Command) -> Json {
    let state =
        if command.deletes { json!({ "type": "null" }) } else { reference("schemas", &names.state()) };
    let event =
        model.events.get(&command.emits).map_or(json!({}), |event| reference("schemas", &names.event(event)));
    json!({
        "type": "object",
        "required": ["id", "version", "state", "events"],
        "properties": {
            "id": { "type": "string", "format": "uuid" },
            "version": version(),
            "state": state,
            "events": { "type": "array", "minItems": 1, "items": event }
        }
    })
}

/// `POST /v1/commands`.
pub(super) fn add_batch(models: &Models, paths: &mut Map<String, Json>) {
    let line = json!({
        "type": "object",
        "required": ["model", "command"],
        "additionalProperties": false,
        "properties": {
            "model": { "type": "string", "enum": models.models.keys().collect::<Vec<_>>() },
            "command": { "type": "string" },
            "id": { "type": "string", "description": "Id or natural key; not for creating commands." },
            "input": { "type": "object" },
            "idempotency_key": { "type": "string" },
            "if_match": { "type": "integer", "minimum": 0 }
        }
    });
    let answer = json!({
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": { "type": "integer", "description": "What the single command would have answered." },
            "id": { "type": "string", "format": "uuid" },
            "command_id": { "type": "string", "format": "uuid" },
            "version": version(),
            "state": { "type": ["object", "null"] },
            "events": { "type": "array", "items": { "type": "object" } },
            "position": { "type": "string" },
            "projected": { "type": "boolean" },
            "problem": reference("schemas", "Problem")
        }
    });
    paths.insert(
        "/v1/commands".to_owned(),
        json!({
            "post": {
                "operationId": "batch",
                "tags": ["batch"],
                "summary": "Many commands, one per line",
                "description": "NDJSON in, NDJSON out: one command per line, one answer per line in the same order. A line that is refused doesn't stop the others. Commands of one aggregate are decided in the order of the lines. Read the answers while you send: the server stops reading when nobody takes its answers.",
                "parameters": [reference("parameters", "Wait")],
                "requestBody": { "required": true, "content": { "application/x-ndjson": { "schema": line } } },
                "security": Security::ByRules { changes: true }.to_json(),
                "responses": Problems::of_change()
                    .and(&[StatusCode::BAD_REQUEST, StatusCode::UNSUPPORTED_MEDIA_TYPE])
                    .responses([("200", json!({
                        "description": "One line for each line.",
                        "headers": { "X-Request-Id": reference("headers", "RequestId") },
                        "content": { "application/x-ndjson": { "schema": answer } }
                    }))]),
            }
        }),
    );
}

pub(super) fn success(description: &str, headers: &[&str], schema: &Json) -> Json {
    let header = |name: &str| match name {
        "Writ-Position" => "Position".to_owned(),
        "Writ-Projected" => "Projected".to_owned(),
        other => other.to_owned(),
    };
    let headers: Map<_, _> = headers
        .iter()
        .map(|name| ((*name).to_owned(), reference("headers", &header(name))))
        .chain([("X-Request-Id".to_owned(), reference("headers", "RequestId"))])
        .collect();
    json!({
        "description": description,
        "headers": headers,
        "content": { "application/json": { "schema": schema } }
    })
}
