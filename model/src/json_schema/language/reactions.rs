//! The schema of one item of `reactions:`.

use serde_json::{Value as Json, json};

use super::{described, text};

/// What belongs to which key: the keys without which it can't stand.
const BELONGS: &[(&str, &[&str])] = &[
    ("for_each", &["on"]),
    ("after", &["on"]),
    ("at", &["on"]),
    ("time_zone", &["every"]),
    ("catch_up", &["every"]),
    ("jitter", &["every"]),
    ("to", &["command"]),
    ("on_rejected", &["command"]),
    ("channels", &["notify"]),
    ("title", &["notify"]),
    ("body", &["notify"]),
];

pub(super) fn reaction() -> Json {
    let one_of = |keys: &[&str]| keys.iter().map(|key| json!({ "required": [key] })).collect::<Json>();
    let belongs: serde_json::Map<String, Json> =
        BELONGS.iter().map(|(key, needs)| ((*key).to_owned(), json!(needs))).collect();
    json!({
        "description": "On an event of the model, or by time: when a condition holds, do something.",
        "type": "object",
        "additionalProperties": false,
        "allOf": [
            { "oneOf": one_of(&["on", "every"]) },
            { "oneOf": one_of(&["command", "notify", "webhook", "queue"]) },
            { "not": { "required": ["after", "at"] } },
            { "if": { "required": ["unless"] }, "then": { "anyOf": one_of(&["after", "at"]) } },
            { "if": { "required": ["notify"] }, "then": { "required": ["title"] } }
        ],
        "dependentRequired": belongs,
        "properties": properties()
    })
}

fn properties() -> Json {
    let mut properties = triggers_and_commands();
    if let (Json::Object(all), Json::Object(others)) = (&mut properties, others()) {
        all.extend(others);
    }
    properties
}

fn triggers_and_commands() -> Json {
    json!({

            "name": described("#/$defs/name", "By default made of the events and the action. Ids are derived from it, so another name is another reaction."),
            "on": events("The event of the model, or several."),
            "every": text("A cron expression: minute, hour, day of the month, month, day of the week."),
            "time_zone": text("The zone of whose clock `every` speaks, such as `Europe/Berlin`. By default UTC."),
            "catch_up": {
                "description": "What becomes of times at which no server was there: `skip`, `once` (the last one; by default) or `all`.",
                "enum": ["skip", "once", "all"]
            },
            "jitter": duration("Each tick is put off by a part of this."),
            "for_each": {
                "description": "A name for an item, and the list whose items it is done for.",
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "propertyNames": { "$ref": "#/$defs/name" },
                "additionalProperties": value()
            },
            "when": { "description": "A condition over `event`, `state`, `id`, `version`, `actor.id`, `now`.", "type": ["string", "boolean"] },
            "after": duration("How long after the event: `24h`, or an expression that gives a duration."),
            "at": { "description": "At what time: an expression; null: never.", "type": "string" },
            "unless": events("Events that call it off while it waits."),
            "command": text("A command: `cancel` of the own model, `product.reserve` of another one."),
            "to": { "description": "The id of the aggregate that gets the command. By default that of the event.", "type": "string" },
            "input": values("What the command or the worker gets."),
            "on_rejected": {
                "description": "What is sent when the command is refused; `error.code` and `error.detail` say why.",
                "type": "object",
                "required": ["command"],
                "additionalProperties": false,
                "properties": {
                    "command": text("A command: `cancel` of the own model, `product.reserve` of another one."),
                    "to": { "description": "The id of the aggregate that gets the command.", "type": "string" },
                    "input": values("What the command gets.")
                }
            }
    })
}

/// What is done beside commands.
fn others() -> Json {
    json!({
            "notify": { "description": "The id of who is told: an expression; null: nobody.", "type": "string" },
            "channels": {
                "description": "The ways in which they are told. By default `inbox`.",
                "type": "array",
                "minItems": 1,
                "uniqueItems": true,
                "items": { "enum": ["inbox", "push", "email"] }
            },
            "title": text("A template of what is read first."),
            "body": text("A template of the rest."),
            "webhook": text("The type that receivers register for, such as `order.shipped`."),
            "queue": described("#/$defs/name", "The queue whose workers get it."),
            "priority": { "description": "The highest first; by default 5.", "type": "integer", "minimum": 0, "maximum": 9 },
            "attempts": { "description": "How often it is tried at most; by default 10.", "type": "integer", "minimum": 1, "maximum": 1000 },
            "backoff": {
                "description": "The pauses between two attempts.",
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "first": duration("The first pause; by default 10s."),
                    "factor": { "description": "By what the next one is longer; by default 2.", "type": "number", "minimum": 1, "maximum": 100 },
                    "max": duration("The longest pause; by default 1h.")
                }
            },
            "timeout": duration("How long one attempt may take; by default 5m."),
            "unique": {
                "description": "Another one with the same key isn't made so soon.",
                "type": "object",
                "required": ["key", "within"],
                "additionalProperties": false,
                "properties": {
                    "key": { "description": "An expression with one value.", "type": ["string", "number", "boolean"] },
                    "within": duration("How long after the first one.")
                }
            }
    })
}

fn events(description: &str) -> Json {
    json!({
        "description": description,
        "anyOf": [
            { "$ref": "#/$defs/name" },
            { "type": "array", "minItems": 1, "uniqueItems": true, "items": { "$ref": "#/$defs/name" } }
        ]
    })
}

fn duration(description: &str) -> Json {
    text(description)
}

fn value() -> Json {
    json!({
        "description": "A CEL expression over `event`, `state`, `id`, `version`, `actor.id`, `now` and the item of `for_each`. A text in it has quotes of its own: \"'placed'\".",
        "type": ["string", "number", "boolean", "null"]
    })
}

fn values(description: &str) -> Json {
    json!({
        "description": description,
        "type": "object",
        "propertyNames": { "$ref": "#/$defs/name" },
        "additionalProperties": value()
    })
}
