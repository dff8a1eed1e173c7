//! The part of the document on what happened: events, states of the past, changes.

use http::StatusCode;
use serde_json::{Map, Value as Json, json};
use writ_model::{Model, Models};
use writ_projections::query::MAX_LIMIT;

use super::components::version;
use super::operations::{query, success};
use super::problems::Problems;
use super::security::Security;
use super::{Names, reference};

/// The addresses of events. After those of the commands: a command may be called `events`.
pub(super) fn add_paths(models: &Models, paths: &mut Map<String, Json>) {
    paths.insert("/v1/events".to_owned(), json!({ "get": all(models) }));
    for model in models.models.values() {
        let path = paths.entry(format!("/v1/{}/{{id}}/events", model.name)).or_insert_with(|| json!({}));
        path["get"] = of_one(model);
    }
}

fn all(models: &Models) -> Json {
    let text = json!({ "type": "string" });
    let time = json!({ "type": "string", "format": "date-time" });
    let names: Vec<&String> = models.models.keys().collect();
    let types: Vec<&String> = models
        .models
        .values()
        .flat_map(|model| model.events.values().map(|event| &event.type_name))
        .collect();
    let mut parameters = vec![
        parameter("model", "Events of this model.", json!({ "type": "string", "enum": names })),
        parameter("type", "Events of this type.", json!({ "type": "string", "enum": types })),
        parameter(
            "aggregate_id",
            "Events of this aggregate: its id, or with `model` its natural key.",
            text.clone(),
        ),
        parameter("actor", "What this account caused.", text.clone()),
        parameter("correlation_id", "All that followed from this first command.", text.clone()),
        parameter("causation_id", "What this command caused.", text),
    ];
    for (operator, meaning) in
        [("gt", "Later than"), ("gte", "Not earlier than"), ("lt", "Earlier than"), ("lte", "Not later than")]
    {
        parameters.push(parameter(
            &format!("time[{operator}]"),
            &format!("{meaning} this time."),
            time.clone(),
        ));
    }
    let order = json!({ "type": "string", "enum": ["time", "-time"], "default": "-time" });
    parameters.push(parameter("sort", "The earliest or the latest first.", order));
    parameters.extend(page());
    list("list_events", "history", "Events of all that you may read", &parameters, query())
}

fn of_one(model: &Model) -> Json {
    let name = &model.name;
    let mut parameters = vec![reference("parameters", "Id")];
    parameters.extend(page());
    let summary = format!("The events of one {name}, by version, also after it was deleted");
    list(&format!("events_of_{name}"), name, &summary, &parameters, query().and(&[StatusCode::NOT_FOUND]))
}

fn list(operation: &str, tag: &str, summary: &str, parameters: &[Json], problems: Problems) -> Json {
    json!({
        "operationId": operation,
        "tags": [tag],
        "summary": summary,
        "parameters": parameters,
        "security": Security::ByRules { changes: false }.to_json(),
        "responses": problems
            .responses([("200", success("The page.", &[], &reference("schemas", "LoggedEvents")))]),
    })
}

fn page() -> [Json; 3] {
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50 });
    [
        parameter("limit", "Most events of the page.", limit),
        parameter(
            "after",
            "The `next` of the page before, with the same parameters.",
            json!({ "type": "string" }),
        ),
        reference("parameters", "Position"),
    ]
}

fn parameter(name: &str, description: &str, schema: Json) -> Json {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// The parameters that turn the answer for one row into the past.
pub(super) fn of_the_past() -> [Json; 2] {
    [
        parameter(
            "as_of",
            "The row as it was after the event with this version, or at this time. Takes no other parameter beside it.",
            json!({ "type": "string", "examples": ["3", "2026-01-31T12:00:00.000Z"] }),
        ),
        parameter(
            "diff",
            "What changed between two versions: `3..7`, or `3..` up to now. Takes no other parameter beside it.",
            json!({ "type": "string", "pattern": "^[0-9]+\\.\\.[0-9]*$" }),
        ),
    ]
}

/// What the address of one row answers with: the row, the row as it was, or what changed in it.
pub(super) fn one(names: &Names<'_>) -> Json {
    let item = reference("schemas", &names.item());
    let as_of = json!({
        "type": "object",
        "required": ["as_of"],
        "properties": {
            "as_of": { "type": ["integer", "string"], "description": "The moment that was asked for." },
            "incomplete": { "type": "string", "description": "Why later events before that moment are not in it." }
        }
    });
    json!({ "anyOf": [item, { "allOf": [item, as_of] }, reference("schemas", "Changes")] })
}

/// Schemas of what every application has.
pub(super) fn add_schemas(schemas: &mut Map<String, Json>) {
    let id = json!({ "type": "string", "format": "uuid" });
    let optional = json!({ "type": ["string", "null"] });
    let event = json!({
        "type": "object",
        "required": [
            "id", "type", "model", "aggregate_id", "version", "time", "actor", "correlation_id", "causation_id",
            "position", "data"
        ],
        "properties": {
            "id": id,
            "type": { "type": "string" },
            "model": { "type": "string" },
            "aggregate_id": id,
            "version": version(),
            "time": { "type": "string", "format": "date-time" },
            "actor": optional,
            "correlation_id": optional,
            "causation_id": optional,
            "position": { "type": "string", "description": "Where it stands: a `Writ-Position`." },
            "data": { "description": "The recorded fields that you may see, under today's names." },
            "unreadable": {
                "type": "string",
                "description": "Why today's declarations can't read it; `data` is then as it was kept, or null if fields may be hidden from you."
            },
            "passed_over": {
                "type": "string", "enum": ["duplicate", "hole"],
                "description": "It is in no row: its version was there already, or it stands in the dead letters."
            }
        }
    });
    let change = json!({
        "type": "object",
        "required": ["pointer"],
        "properties": {
            "pointer": { "type": "string", "description": "JSON pointer into the state." },
            "before": { "description": "Absent: nothing stood there." },
            "after": { "description": "Absent: nothing stands there any more." }
        }
    });
    let changes = json!({
        "type": "object",
        "required": ["id", "from", "to", "changes", "events"],
        "properties": {
            "id": id,
            "from": version(),
            "to": version(),
            "changes": { "type": "array", "items": change },
            "events": { "type": "array", "items": reference("schemas", "LoggedEvent") }
        }
    });
    let events = json!({
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": { "type": "array", "items": reference("schemas", "LoggedEvent") },
            "next": { "type": ["string", "null"], "description": "Goes into `after` for the next page; null on the last." }
        }
    });
    schemas.insert("LoggedEvent".to_owned(), event);
    schemas.insert("LoggedEvents".to_owned(), events);
    schemas.insert("Changes".to_owned(), changes);
}
