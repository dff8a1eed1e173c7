//! The part of the document on channels: saying something without a socket, and who is there.

use http::StatusCode;
use serde_json::{Map, Value as Json, json};
use writ_model::declaration::{Channel, Each};
use writ_model::{Models, json_schema};

use super::examples;
use super::lists::parameter;
use super::operations::success;
use super::problems::Problems;
use super::security::Security;
use super::{pascal, reference};

/// Its tag.
pub(super) const TAG: &str = "channels";

/// The addresses.
pub(super) fn add_paths(models: &Models, paths: &mut Map<String, Json>) {
    for channel in models.channels.values() {
        let name = &channel.name;
        paths.insert(format!("/v1/channels/{name}/broadcast"), json!({ "post": broadcast(models, channel) }));
        if channel.presence.is_some() {
            paths.insert(format!("/v1/channels/{name}/members"), json!({ "get": members(channel) }));
        }
    }
}

/// What is said in channels, and who is there.
pub(crate) fn add_schemas(models: &Models, schemas: &mut Map<String, Json>) {
    for channel in models.channels.values() {
        for (event, fields) in channel.messages.iter().flatten() {
            schemas.insert(message(channel, event), json_schema::of_said(fields));
        }
        if let Some(fields) = &channel.presence {
            schemas.insert(said(channel), json_schema::of_said(fields));
            let state = json_schema::of_heard(fields);
            schemas.insert(member(channel), json!({
                "type": "object",
                "required": ["member", "account", "state", "since"],
                "properties": {
                    "member": { "type": "string", "format": "uuid" },
                    "account": { "type": ["string", "null"], "format": "uuid", "description": "Who it is; null: nobody who has signed in." },
                    "state": state,
                    "since": { "type": "string", "format": "date-time", "description": "When it joined." }
                }
            }));
        }
    }
}

/// The schema of an event's payload.
pub(crate) fn message(channel: &Channel, event: &str) -> String {
    format!("{}.{}Message", pascal(&channel.name), pascal(event))
}

/// The schema of what a member says of itself.
pub(crate) fn said(channel: &Channel) -> String {
    format!("{}Presence", pascal(&channel.name))
}

/// The schema of a member as others see it.
pub(crate) fn member(channel: &Channel) -> String {
    format!("{}Member", pascal(&channel.name))
}

/// The member that names one of the channels, and its schema. `None`: there is one.
pub(crate) fn target(channel: &Channel) -> Option<(&'static str, Json)> {
    match &channel.each {
        Each::Single => None,
        Each::Aggregate(model) => {
            let description = format!("Of the {model}: its id or natural key.");
            Some(("id", json!({ "type": "string", "description": description })))
        }
        Each::Key(field) => {
            let fields = [("key".to_owned(), (**field).clone())].into_iter().collect();
            Some(("key", json_schema::of_said(&fields)["properties"]["key"].clone()))
        }
    }
}

fn problems(channel: &Channel, problems: Problems) -> Problems {
    match channel.each {
        Each::Aggregate(_) => problems.and(&[StatusCode::NOT_FOUND]),
        Each::Single | Each::Key(_) => problems,
    }
}

fn broadcast(models: &Models, channel: &Channel) -> Json {
    let name = &channel.name;
    let one = |event: Json, payload: Json, needed: bool| {
        let mut required = vec!["event"];
        let mut properties = json!({ "event": event, "payload": payload });
        if let Some((member, schema)) = target(channel) {
            required.push(member);
            properties[member] = schema;
        }
        if needed {
            required.push("payload");
        }
        json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties })
    };
    let schema = match &channel.messages {
        None => one(
            json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]{0,47}$" }),
            json!({ "type": "object", "default": {} }),
            false,
        ),
        Some(messages) => {
            let each = messages.iter().map(|(event, fields)| {
                let needed = fields.values().any(|field| !field.optional && field.default.is_none());
                one(json!({ "const": event }), reference("schemas", &message(channel, event)), needed)
            });
            json!({ "oneOf": each.collect::<Vec<_>>() })
        }
    };
    let mut content = json!({ "schema": schema });
    let event = channel.messages.iter().flatten().next().map_or("hello", |(event, _)| event.as_str());
    if let Some(payload) = examples::payload(models, channel, event) {
        let mut example = json!({ "event": event, "payload": payload });
        if let (Some((member, _)), Some(which)) = (target(channel), examples::target(models, channel)) {
            example[member] = which;
        }
        content["example"] = example;
    }
    let problems = Problems::of_change().with_body();
    json!({
        "operationId": format!("broadcast_{name}"),
        "tags": [TAG],
        "summary": format!("Say something in the channel {name}, without being there"),
        "description": "Whoever is there hears it, at most once.",
        "security": Security::ByRules { changes: true }.to_json(),
        "requestBody": { "required": true, "content": { "application/json": content } },
        "responses": self::problems(channel, problems).responses([("202", json!({
            "description": "It is said.",
            "headers": { "X-Request-Id": reference("headers", "RequestId") }
        }))]),
    })
}

fn members(channel: &Channel) -> Json {
    let name = &channel.name;
    let target = target(channel).map(|(member, schema)| {
        let mut target = parameter(member, "Which of the channels.", schema);
        target["required"] = json!(true);
        target
    });
    let list = json!({
        "type": "object",
        "required": ["members"],
        "properties": { "members": { "type": "array", "items": reference("schemas", &member(channel)) } }
    });
    let problems = Problems::of_query().and(&[StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN]);
    json!({
        "operationId": format!("members_{name}"),
        "tags": [TAG],
        "summary": format!("Who is in the channel {name}"),
        "parameters": target.into_iter().collect::<Vec<_>>(),
        "security": Security::ByRules { changes: false }.to_json(),
        "responses": self::problems(channel, problems).responses([("200", success("Those who have said something of themselves.", &[], &list))]),
    })
}
