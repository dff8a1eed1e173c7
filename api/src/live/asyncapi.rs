//! `GET /asyncapi.json`: the messages of `GET /v1/live` as an AsyncAPI 3.0 document, made once at start of the types that are read
//! and written ([`super::message`]) and of the models.
//!
//! What a message says of a model depends on which one it is: rows, events and inputs are bound to the names by `if` and `then`.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};
use writ_model::Models;
use writ_model::declaration::Channel;

use super::handshake::PROTOCOL;
use super::message::{Frame, FromClient, RowFrame, Said, ToClient};
use crate::identity::grants;
use crate::openapi::{Names, channels, components, lists, reference};
use crate::problem;

/// The document. Equal models give an equal document. `url`: by which clients know the server.
pub(crate) fn document(models: &Models, url: &str) -> Json {
    let mut schemas = Map::from_iter([("Problem".to_owned(), problem::schema())]);
    for model in models.models.values() {
        components::add_model(model, &mut schemas);
        schemas.shift_remove(&Names(model).list());
    }
    for projection in models.projections.values() {
        let mut row = lists::row_schema(projection);
        // `fields` may leave any of them out.
        row.as_object_mut().map(|row| row.shift_remove("required"));
        schemas.insert(lists::row_of(projection), row);
    }
    channels::add_schemas(models, &mut schemas);
    let heard = variants::<FromClient>(SchemaSettings::draft07().for_deserialize());
    let mut told = variants::<ToClient<'static>>(SchemaSettings::draft07().for_serialize());
    told.extend(variants::<Frame>(SchemaSettings::draft07().for_serialize()));
    let of_rows = variants::<RowFrame>(SchemaSettings::draft07().for_serialize());
    told.extend(of_rows.into_iter().map(|(name, schema)| (format!("projection_{name}"), schema)));
    // Both sides have messages of these types.
    told.extend(
        variants::<Said>(SchemaSettings::draft07().for_serialize())
            .into_iter()
            .map(|(name, schema)| (format!("{name}_heard"), schema)),
    );
    let (heard_names, told_names): (Vec<_>, Vec<_>) =
        (heard.keys().cloned().collect(), told.keys().cloned().collect());
    let all = heard.into_iter().chain(told).map(|(name, schema)| {
        let payload = bound(models, &name, schema);
        let name_of = payload["properties"]["type"]["const"].clone();
        let message =
            json!({ "name": name_of, "summary": payload["description"].clone(), "payload": payload });
        (name, message)
    });
    let messages: Map<String, Json> = all.collect();
    let of_channel: Map<String, Json> =
        messages.keys().map(|name| (name.clone(), reference("messages", name))).collect();
    let operation = |action: &str, summary: &str, names: &[String]| {
        let messages: Vec<Json> =
            names.iter().map(|name| json!({ "$ref": format!("#/channels/live/messages/{name}") })).collect();
        json!({ "action": action, "summary": summary, "channel": { "$ref": "#/channels/live" }, "messages": messages })
    };
    json!({
        "asyncapi": "3.0.0",
        "info": { "title": models.app, "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION },
        "defaultContentType": "application/json",
        "servers": { "this": server(url) },
        "channels": { "live": {
            "address": "/v1/live",
            "title": "Live updates",
            "description": format!("A WebSocket (RFC 6455) with the subprotocol `{PROTOCOL}`, which the client has to name."),
            "messages": of_channel,
            "bindings": { "ws": {
                "method": "GET",
                "query": { "type": "object", "additionalProperties": false, "properties": {
                    "ticket": { "type": "string", "description": "Of `POST /v1/live/tickets`, where no header can be sent." }
                } },
                "headers": { "type": "object", "properties": {
                    "Authorization": { "type": "string", "description": "`Bearer` and an access token or an API key." },
                    "Sec-WebSocket-Protocol": { "type": "string", "const": PROTOCOL }
                } },
                "bindingVersion": "0.1.0"
            } }
        } },
        "operations": {
            "hear": operation("receive", "What clients send.", &heard_names),
            "tell": operation("send", "What the server sends.", &told_names),
        },
        "components": { "messages": messages, "schemas": schemas },
    })
}

const DESCRIPTION: &str = "\
What happens to the rows that one may read, as it happens. Every message is a JSON text with a `type`. A subscription begins \
`now`, with a `snapshot`, or at the `resume` of an earlier message; each `resume` is good at any instance.";

fn server(url: &str) -> Json {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let protocol = if scheme == "https" { "wss" } else { "ws" };
    let mut server = json!({ "host": host, "protocol": protocol });
    if !path.is_empty() {
        server["pathname"] = json!(format!("/{}", path.trim_end_matches('/')));
    }
    server
}

/// The schemas of an enum's variants by their `type`.
fn variants<T: JsonSchema>(settings: SchemaSettings) -> BTreeMap<String, Json> {
    let settings = settings.with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    let mut whole = SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value();
    let variants = match whole["oneOf"].take() {
        Json::Array(variants) => variants,
        _ => Vec::new(),
    };
    let named = |variant: Json| {
        let name = variant["properties"]["type"]["const"].as_str().map(str::to_owned);
        (name.expect("invariant: each variant has its type as a constant"), variant)
    };
    variants.into_iter().map(named).collect()
}

/// A message's schema with what the models say of it.
fn bound(models: &Models, message: &str, mut schema: Json) -> Json {
    let names: Vec<&String> = models.models.keys().collect();
    let is_model =
        |name: &str| json!({ "properties": { "model": { "const": name } }, "required": ["model"] });
    let all = models.models.values();
    let rules: Vec<Json> = match message {
        "enter" | "change" => all
            .map(|model| {
                let names = Names(model);
                let emitted = model
                    .commands
                    .values()
                    .filter(|command| !grants::is_own(&model.name, &command.name))
                    .filter_map(|command| model.events.get(&command.emits));
                let mut events: Vec<Json> =
                    emitted.map(|event| reference("schemas", &names.event(event))).collect();
                // Of commands that only the server sends.
                events.push(json!({ "type": "object" }));
                let then =
                    json!({ "row": reference("schemas", &names.item()), "event": { "anyOf": events } });
                json!({ "if": is_model(&model.name), "then": { "properties": then } })
            })
            .collect(),
        "join" => models.channels.values().map(|channel| of_join(channel)).collect(),
        "broadcast" | "broadcast_heard" => {
            let said = models.channels.values().flat_map(|channel| {
                let events = channel.messages.iter().flatten();
                events.map(|(event, _)| reference("schemas", &channels::message(channel, event)))
            });
            let mut payloads: Vec<Json> = said.collect();
            // Of channels that declare no messages, and what defaults are for.
            payloads.push(json!({ "type": "object" }));
            schema["properties"]["payload"] = json!({ "anyOf": payloads, "default": {} });
            Vec::new()
        }
        "snapshot" => {
            let items = all.map(|model| reference("schemas", &Names(model).item()));
            let rows = models.projections.values().map(|one| reference("schemas", &lists::row_of(one)));
            schema["properties"]["rows"]["items"] = json!({ "anyOf": items.chain(rows).collect::<Vec<_>>() });
            schema["properties"]["keys"]["items"] = json!({ "type": "object" });
            Vec::new()
        }
        "subscribe" => {
            schema["oneOf"] = json!([{ "required": ["model"] }, { "required": ["projection"] }]);
            Vec::new()
        }
        "projection_enter" | "projection_change" | "projection_leave" => {
            let of_rows = models.projections.values().map(|one| {
                let condition =
                    json!({ "properties": { "projection": { "const": one.name } }, "required": ["projection"] });
                let then = json!({
                    "key": { "type": "object", "required": one.key },
                    "row": reference("schemas", &lists::row_of(one)),
                });
                json!({ "if": condition, "then": { "properties": then } })
            });
            of_rows.collect()
        }
        "command" => all
            .flat_map(|model| {
                let own =
                    model.commands.values().filter(|command| grants::is_own(&model.name, &command.name));
                let own: Vec<&String> = own.map(|command| &command.name).collect();
                let offered = model.commands.values().filter(move |command| !own.contains(&&command.name));
                offered.map(|command| {
                    let mut condition = is_model(&model.name);
                    condition["properties"]["command"] = json!({ "const": command.name });
                    condition["required"] = json!(["model", "command"]);
                    let mut then = json!({
                        "properties": { "input": reference("schemas", &Names(model).input(command)) }
                    });
                    if !command.creates {
                        then["required"] = json!(["id"]);
                    }
                    json!({ "if": condition, "then": then })
                })
            })
            .collect(),
        _ => Vec::new(),
    };
    // A list of nothing is no schema.
    if schema["properties"].get("channel").is_some() && !models.channels.is_empty() {
        schema["properties"]["channel"]["enum"] = json!(models.channels.keys().collect::<Vec<_>>());
    }
    if schema["properties"].get("model").is_some() {
        schema["properties"]["model"]["enum"] = json!(names);
    }
    if schema["properties"].get("projection").is_some() {
        let names: Vec<&String> = models.projections.keys().collect();
        schema["properties"]["projection"] = match names.is_empty() {
            // An enum of nothing is none.
            true => json!(false),
            false => json!({ "type": "string", "enum": names }),
        };
    }
    if !rules.is_empty() {
        schema["allOf"] = json!(rules);
    }
    schema
}

/// What joining a channel takes.
fn of_join(channel: &Channel) -> Json {
    let mut then = json!({ "properties": {}, "required": [] });
    let target = channels::target(channel);
    for member in ["id", "key"] {
        match &target {
            Some((name, schema)) if *name == member => {
                then["properties"][member] = schema.clone();
                then["required"] = json!([member]);
            }
            _ => then["properties"][member] = json!({ "type": "null" }),
        }
    }
    then["properties"]["state"] = match &channel.presence {
        Some(_) => json!({ "anyOf": [reference("schemas", &channels::said(channel)), { "type": "null" }] }),
        None => json!({ "type": "null" }),
    };
    let condition =
        json!({ "properties": { "channel": { "const": channel.name } }, "required": ["channel"] });
    json!({ "if": condition, "then": then })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::models;

    fn messages() -> Map<String, Json> {
        let document = document(&models(), "https://writ.example/base/");
        document["components"]["messages"].as_object().unwrap().clone()
    }

    #[test]
    fn it_has_every_message_and_every_reference_leads_somewhere() {
        fn visit(document: &Json, value: &Json, count: &mut usize) {
            match value {
                Json::Object(members) => {
                    if let Some(Json::String(target)) = members.get("$ref") {
                        assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
                        *count += 1;
                    }
                    members.values().for_each(|value| visit(document, value, count));
                }
                Json::Array(items) => items.iter().for_each(|value| visit(document, value, count)),
                _ => {}
            }
        }
        let document = document(&models(), "http://127.0.0.1:8080");
        let mut count = 0;
        visit(&document, &document, &mut count);
        assert!(count > 50, "{count}");
        let names: Vec<String> = messages().keys().cloned().collect();
        for name in [
            "subscribe",
            "unsubscribe",
            "ping",
            "authenticate",
            "command",
            "welcome",
            "subscribed",
            "reset",
            "snapshot",
            "ready",
            "enter",
            "change",
            "leave",
            "projection_enter",
            "projection_change",
            "projection_leave",
            "progress",
            "ended",
            "join",
            "broadcast",
            "broadcast_heard",
            "presence",
            "presence_heard",
            "joined",
            "sent",
            "members",
            "missed",
            "answer",
            "error",
            "pong",
            "authenticated",
            "reconnect",
        ] {
            assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
        }
        assert_eq!(document["servers"]["this"], json!({ "host": "127.0.0.1:8080", "protocol": "ws" }));
    }

    /// The AsyncAPI types of a document that a tool can't do without.
    #[test]
    fn it_is_an_asyncapi_document() {
        let document = document(&models(), "https://writ.example/base/");
        assert_eq!(document["asyncapi"], "3.0.0");
        assert_eq!(document["servers"]["this"]["protocol"], "wss");
        assert_eq!(document["servers"]["this"]["pathname"], "/base");
        let channel = document["channels"]["live"]["messages"].as_object().unwrap();
        let mut used = 0;
        for (name, action) in [("hear", "receive"), ("tell", "send")] {
            let operation = &document["operations"][name];
            assert_eq!(operation["action"], action);
            for message in operation["messages"].as_array().unwrap() {
                let name = message["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
                assert!(channel.contains_key(name), "{name}");
                used += 1;
            }
        }
        assert_eq!(used, channel.len(), "each message is sent by one of both");
    }

    /// Against the types themselves: what the server writes fits what the document says, and what fits is read.
    #[test]
    fn messages_fit_their_schemas() {
        let messages = messages();
        let problem = crate::problem::Kind::NotFound.because("None.");
        let sub = "a";
        let rows = [serde_json::value::to_raw_value(&json!({})).unwrap()];
        let samples = [
            ToClient::Welcome {
                connection: uuid::Uuid::nil(),
                account: None,
                expires_at: None,
                ping_seconds: 30,
            },
            ToClient::Subscribed { sub, resume: "x".into() },
            ToClient::Reset { sub, reason: "too_old" },
            ToClient::Ended { sub, reason: super::super::message::Ending::Failed, resume: None },
            ToClient::Error { sub: Some(sub), reference: None, problem: &problem },
            ToClient::Reconnect { after_ms: 1 },
            ToClient::Pong {},
            ToClient::Joined { sub, member: uuid::Uuid::nil(), members: Some(vec![&rows[0]]) },
            ToClient::Joined { sub, member: uuid::Uuid::nil(), members: None },
            ToClient::Sent { reference: "1" },
            ToClient::Members { sub, members: vec![&rows[0]] },
            ToClient::Missed { sub, count: 1 },
        ];
        let fits = |value: &Json| {
            let schema = &messages[value["type"].as_str().unwrap()]["payload"];
            let required = schema["required"].as_array().unwrap();
            let properties = schema["properties"].as_object().unwrap();
            for name in required {
                assert!(value.get(name.as_str().unwrap()).is_some(), "{name} in {value}");
            }
            for name in value.as_object().unwrap().keys() {
                assert!(properties.contains_key(name), "{name} in {schema}");
            }
        };
        for sample in samples {
            fits(&serde_json::to_value(&sample).unwrap());
        }
        let snapshot: Json =
            serde_json::from_str(&ToClient::Snapshot { sub, rows: &rows, keys: Some(&rows) }.text()).unwrap();
        fits(&snapshot);
        let command = &messages["command"]["payload"];
        assert!(command["allOf"].as_array().unwrap().iter().any(|rule| {
            rule["then"]["properties"]["input"]["$ref"] == "#/components/schemas/Note.WriteInput"
        }));
        assert_eq!(command["properties"]["input"]["default"], json!({}));
    }
}
