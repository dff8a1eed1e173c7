//! JSON Schema of a model file, for completion and first checks in editors. It can't say all that
//! [`crate::Models::check`] says: names across a file, types of expressions, what a state machine needs.

use serde_json::{Value as Json, json};

mod reactions;

const NAME: &str = "^[a-z][a-z0-9_]{0,47}$";

pub(super) fn schema() -> Json {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Writ model",
        "description": "One model: its fields, its commands and who may use them. Or one projection: a table of your own. Or one channel: what people say to each other, and who is there.",
        "type": "object",
        "if": { "required": ["projection"] },
        "then": { "$ref": "#/$defs/projection" },
        "else": {
            "if": { "required": ["channel"] },
            "then": { "$ref": "#/$defs/channel" },
            "else": { "$ref": "#/$defs/model" }
        },
        "$defs": {
            "name": {
                "description": "Lower-case letters, digits and `_`, at most 48, a letter first.",
                "type": "string",
                "pattern": NAME
            },
            "condition": {
                "description": "A CEL expression that is true or false, over `state`, `input`, `actor`, `id`, `now` and `role(name)`.",
                "type": ["string", "boolean"]
            },
            "expression": {
                "description": "A CEL expression over `state`, `input`, `actor`, `id` and `now`. A text in it has quotes of its own: \"'placed'\".",
                "type": ["string", "number", "boolean", "null"]
            },
            "type": type_names(),
            "field": field(),
            "column": column(),
            "command": command(),
            "model": model(),
            "reaction": reactions::reaction(),
            "projection": projection(),
            "said": said(),
            "channel": channel()
        }
    })
}

fn channel() -> Json {
    let fields = |of: &str| {
        json!({
            "description": of,
            "type": ["object", "null"],
            "propertyNames": { "$ref": "#/$defs/name" },
            "additionalProperties": { "$ref": "#/$defs/said" }
        })
    };
    let mut presence =
        fields("What a member says of itself, such as a name. With it, members see who is there.");
    presence["type"] = json!("object");
    json!({
        "description": "One channel: what people say to each other while they look at the same thing, and who is there. Nothing of it is kept.",
        "type": "object",
        "required": ["channel"],
        "additionalProperties": false,
        "not": { "required": ["of", "key"] },
        "properties": {
            "channel": described("#/$defs/name", "The name of the channel, part of the permissions for it."),
            "doc": text("What it is for."),
            "of": described("#/$defs/name", "A model: there is a channel for each of its aggregates, for those who may read it."),
            "key": described("#/$defs/said", "A single value: there is a channel for each."),
            "presence": presence,
            "messages": {
                "description": "The events that may be sent, and the fields that each carries. Without it any event may be, with any JSON object.",
                "type": "object",
                "minProperties": 1,
                "propertyNames": { "$ref": "#/$defs/name" },
                "additionalProperties": fields("The fields of the payload.")
            },
            "allow": {
                "description": "Who may `join` and who may `send`: conditions over `state` and `id` (with `of`), `key` (with `key`), `actor`, `role(name)` and `now`.",
                "type": "object",
                "propertyNames": { "pattern": "^ *(join|send)( *, *(join|send))* *$" },
                "additionalProperties": { "$ref": "#/$defs/condition" }
            }
        }
    })
}

/// A field of what is said in a channel.
fn said() -> Json {
    let refused = ["key", "unique", "immutable", "renamed_from", "personal", "secret"];
    let mut field = field();
    if let Some(properties) = field["anyOf"][1]["properties"].as_object_mut() {
        properties.retain(|name, _| !refused.contains(&name.as_str()));
    }
    field["description"] = json!("A field: its type, or a map of its type and constraints.");
    field
}

fn model() -> Json {
    json!({
        "description": "One model: its fields, its commands and who may use them.",
        "type": "object",
        "required": ["model", "fields"],
        "additionalProperties": false,
        "properties": {
            "model": described("#/$defs/name", "The name of the model: part of its topic, table, routes and event types."),
            "doc": text("What one of it stands for."),
            "fields": {
                "description": "The fields of the state.",
                "type": "object",
                "minProperties": 1,
                "propertyNames": { "$ref": "#/$defs/name" },
                "additionalProperties": { "$ref": "#/$defs/field" }
            },
            "crud": {
                "description": "Adds the commands `create`, `update` and `delete`, or those of the list.",
                "anyOf": [
                    { "type": "boolean" },
                    { "type": "array", "uniqueItems": true, "items": { "enum": ["create", "update", "delete"] } }
                ]
            },
            "commands": {
                "description": "What can be done, by name.",
                "type": "object",
                "propertyNames": { "$ref": "#/$defs/name", "not": { "enum": ["read", "fields"] } },
                "additionalProperties": { "$ref": "#/$defs/command" }
            },
            "allow": {
                "description": "Who may do what: command names with commas between them, or `read`, each with a condition; `fields` for single fields.",
                "type": "object",
                "properties": { "fields": field_rules() },
                "propertyNames": { "pattern": "^ *[a-z][a-z0-9_]*( *, *[a-z][a-z0-9_]*)* *$" },
                "additionalProperties": { "$ref": "#/$defs/condition" }
            },
            "unique": {
                "description": "Fields whose values no two aggregates share together: `[a, b]`, or a list for each constraint.",
                "anyOf": [names(), {
                    "type": "array",
                    "minItems": 1,
                    "items": { "anyOf": [names(), {
                        "type": "object",
                        "required": ["fields"],
                        "additionalProperties": false,
                        "properties": {
                            "fields": names(),
                            "ignore_case": flag("Text that differs only by case is the same.")
                        }
                    }] }
                }]
            },
            "index": index(),
            "search": described_names("Texts that `q=` searches; an index makes that fast. Without it all texts are searched."),
            "reactions": {
                "description": "What the model's events, or the time, set off.",
                "type": "array",
                "items": { "$ref": "#/$defs/reaction" }
            }
        }
    })
}

fn projection() -> Json {
    json!({
        "description": "One projection: a table, and an SQL statement for each event that changes it.",
        "type": "object",
        "required": ["projection", "fields", "on"],
        "additionalProperties": false,
        "properties": {
            "projection": described("#/$defs/name", "The name of the projection and of its table."),
            "doc": text("What a row stands for."),
            "fields": {
                "description": "The columns of the table.",
                "type": "object",
                "minProperties": 1,
                "propertyNames": { "$ref": "#/$defs/name" },
                "additionalProperties": { "$ref": "#/$defs/column" }
            },
            "index": index(),
            "allow": {
                "description": "Who may read it: `read` with a condition over the columns (`state.day`) and the actor; `fields` for single columns.",
                "type": "object",
                "additionalProperties": false,
                "properties": { "read": { "$ref": "#/$defs/condition" }, "fields": field_rules() }
            },
            "on": {
                "description": "A statement for each event, such as `order.placed: INSERT INTO …`. Its parameters are the event's fields (`:total`) and `:event.id`, `.type`, `.aggregate_id`, `.version`, `.time`, `.actor`, `.correlation_id`, `.causation_id`.",
                "type": "object",
                "minProperties": 1,
                "propertyNames": { "pattern": "^ *[a-z][a-z0-9_]* *\\. *[a-z][a-z0-9_]* *$" },
                "additionalProperties": text("One INSERT, UPDATE, DELETE or MERGE of PostgreSQL. It writes and reads the table of the projection only.")
            }
        }
    })
}

fn field_rules() -> Json {
    json!({
        "description": "Who sees single fields: names with commas between them, each with a condition over `actor`, `role(name)` and `now`. Others don't find the field anywhere.",
        "type": "object",
        "propertyNames": { "pattern": "^ *[a-z][a-z0-9_]*( *, *[a-z][a-z0-9_]*)* *$" },
        "additionalProperties": { "$ref": "#/$defs/condition" }
    })
}

fn index() -> Json {
    json!({
        "description": "Fields by which rows are filtered or sorted: `[status, created_at]` is one index, `[[status, created_at], [customer]]` are two.",
        "anyOf": [names(), { "type": "array", "minItems": 1, "items": names() }]
    })
}

/// A field of a projection: without what is for commands only.
fn column() -> Json {
    let mut field = field();
    let refused = [
        "min",
        "max",
        "min_length",
        "max_length",
        "pattern",
        "default",
        "renamed_from",
        "unique",
        "immutable",
        "personal",
        "secret",
    ];
    if let Some(properties) = field["anyOf"][1]["properties"].as_object_mut() {
        properties.retain(|name, _| !refused.contains(&name.as_str()));
        properties.insert("key".to_owned(), flag("It is part of what identifies a row."));
        properties.insert("optional".to_owned(), flag("It may be null."));
    }
    field["description"] = json!("A column: its type, or a map of its type and what belongs to it.");
    field
}

fn text(description: &str) -> Json {
    json!({ "description": description, "type": "string" })
}

fn flag(description: &str) -> Json {
    json!({ "description": description, "type": "boolean" })
}

fn names() -> Json {
    json!({ "type": "array", "minItems": 1, "uniqueItems": true, "items": { "$ref": "#/$defs/name" } })
}

fn described_names(description: &str) -> Json {
    let mut names = names();
    names["description"] = json!(description);
    names
}

fn described(reference: &str, description: &str) -> Json {
    json!({ "$ref": reference, "description": description })
}

/// The types with what each of them holds, so that an editor shows it beside the name.
fn type_names() -> Json {
    let named = [
        ("text", "Unicode text without NUL."),
        ("integer", "A 64-bit signed integer."),
        ("decimal", "An exact decimal; needs `precision` and `scale`."),
        ("boolean", "true or false."),
        ("timestamp", "An instant in UTC, in milliseconds."),
        ("date", "A calendar date, such as 2026-01-31."),
        ("duration", "A span of time in ISO 8601, such as PT24H."),
        ("uuid", "A UUID."),
        ("email", "An e-mail address."),
        ("url", "An absolute URL."),
        ("enum", "One of `values`."),
        ("ref", "The id of an aggregate of the model `to`."),
        ("list", "Items, each as `of` says."),
        ("object", "Named parts, as `fields` says."),
        ("json", "Any JSON."),
    ];
    let names: Vec<Json> =
        named.iter().map(|(name, holds)| json!({ "const": name, "description": holds })).collect();
    json!({ "description": "The type of a field.", "oneOf": names })
}

fn field() -> Json {
    let length = |of: &str| json!({ "description": of, "type": "integer", "minimum": 0 });
    let bound = |of: &str| json!({ "description": of, "type": ["number", "string"] });
    let fields = |of: &str| {
        json!({
            "description": of,
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "$ref": "#/$defs/name" },
            "additionalProperties": { "$ref": "#/$defs/field" }
        })
    };
    let needs = |ty: &str, keys: &[&str]| {
        json!({
            "if": { "required": ["type"], "properties": { "type": { "const": ty } } },
            "then": { "required": keys }
        })
    };
    let declaration = json!({
        "type": "object",
        "required": ["type"],
        "additionalProperties": false,
        "properties": {
            "type": { "$ref": "#/$defs/type" },
            "doc": text("What the field holds."),
            "optional": flag("It may be absent or null."),
            "default": { "description": "Taken when a creating command leaves the field out." },
            "key": flag("The natural key: ids are derived from it."),
            "unique": {
                "description": "No two aggregates of the model have the same value.",
                "anyOf": [{ "type": "boolean" }, {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": { "ignore_case": flag("Text that differs only by case is the same.") }
                }]
            },
            "immutable": flag("It can't change after the creation."),
            "personal": flag("It is data about a person."),
            "secret": flag("It is never shown in clear."),
            "renamed_from": {
                "description": "The name that the field had before, or all of them, oldest first. Events and stored states keep the first.",
                "anyOf": [
                    { "$ref": "#/$defs/name" },
                    { "type": "array", "minItems": 1, "uniqueItems": true, "items": { "$ref": "#/$defs/name" } }
                ]
            },
            "min": bound("The least value of an integer or a decimal."),
            "max": bound("The greatest value of an integer or a decimal."),
            "min_length": length("The least number of characters of a text, or of items of a list."),
            "max_length": length("The greatest number of characters of a text, or of items of a list."),
            "pattern": text("A regular expression that the whole text must match."),
            "values": {
                "description": "The values of an enum.",
                "type": "array",
                "minItems": 1,
                "uniqueItems": true,
                "items": { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$" }
            },
            "to": described("#/$defs/name", "The model that a ref points to."),
            "of": {
                "description": "What each item of a list is: a declaration, or the fields of an object.",
                "anyOf": [{ "$ref": "#/$defs/field" }, fields("The fields of each item.")]
            },
            "precision": {
                "description": "The number of all digits of a decimal.",
                "type": "integer", "minimum": 1, "maximum": 38
            },
            "scale": {
                "description": "The number of digits of a decimal after the point.",
                "type": "integer", "minimum": 0, "maximum": 38
            },
            "fields": fields("The fields of an object.")
        },
        "allOf": [
            needs("decimal", &["precision", "scale"]),
            needs("enum", &["values"]),
            needs("ref", &["to"]),
            needs("list", &["of"]),
            needs("object", &["fields"])
        ]
    });
    json!({
        "description": "A field: its type, or a map of its type and constraints.",
        "anyOf": [{ "$ref": "#/$defs/type" }, declaration]
    })
}

fn command() -> Json {
    let names = json!({ "type": "array", "uniqueItems": true, "items": { "$ref": "#/$defs/name" } });
    json!({
        "description": "A command: what it takes, when it is allowed, what it changes.",
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {
            "doc": text("What the command does."),
            "creates": flag("It starts a new aggregate."),
            "deletes": flag("It ends the aggregate."),
            "input": {
                "description": "What the caller sends: a list of fields of the model, or a map of them and of inputs that only the event records.",
                "anyOf": [
                    names,
                    {
                        "type": "object",
                        "propertyNames": { "$ref": "#/$defs/name" },
                        "additionalProperties": {
                            "anyOf": [
                                { "type": "null" },
                                { "type": "object", "maxProperties": 0 },
                                { "$ref": "#/$defs/field" }
                            ]
                        }
                    }
                ]
            },
            "require": {
                "description": "Conditions, in the order in which they are tested.",
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["that", "else"],
                    "additionalProperties": false,
                    "properties": {
                        "that": { "$ref": "#/$defs/condition" },
                        "else": text("What the caller reads when the condition doesn't hold.")
                    }
                }
            },
            "from": {
                "description": "The values of the state field that allow the command.",
                "anyOf": [{ "type": "string" }, { "type": "array", "minItems": 1, "items": { "type": "string" } }]
            },
            "to": text("The value of the state field after the command."),
            "set": {
                "description": "Fields and the expressions whose values they get.",
                "type": "object",
                "propertyNames": { "$ref": "#/$defs/name" },
                "additionalProperties": { "$ref": "#/$defs/expression" }
            },
            "emits": described("#/$defs/name", "The event; by default it is called like the command.")
        }
    })
}
