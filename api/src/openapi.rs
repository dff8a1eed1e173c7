//! `GET /openapi.json`: the OpenAPI 3.1 document of the application's models, made once at start.

mod auth;
pub(crate) mod channels;
pub(crate) mod components;
mod examples;
mod history;
pub(crate) mod lists;
mod live;
mod operations;
mod pages;
mod problems;
mod security;

use serde_json::{Map, Value as Json, json};
use writ_model::{Command, Event, Model, Models};

/// The document. Equal models give an equal document. `is_https`: whether clients reach the server by HTTPS, where cookies have
/// other names.
pub fn document(models: &Models, is_https: bool) -> Json {
    let mut paths = Map::new();
    let mut schemas = components::schemas();
    for model in models.models.values().map(AsRef::as_ref) {
        operations::add_paths(models, model, &mut paths);
        components::add_model(model, &mut schemas);
    }
    history::add_paths(models, &mut paths);
    history::add_schemas(&mut schemas);
    lists::add_projections(models, &mut paths, &mut schemas);
    operations::add_batch(models, &mut paths);
    live::add_paths(models, &mut paths);
    live::add_schemas(models, &mut schemas);
    channels::add_paths(models, &mut paths);
    channels::add_schemas(models, &mut schemas);
    auth::add_paths(&mut paths);
    pages::add_paths(&mut paths);
    let tags: Vec<_> = models
        .models
        .values()
        .map(|model| {
            let mut tag = json!({ "name": model.name });
            if let Some(doc) = &model.doc {
                tag["description"] = json!(doc);
            }
            tag
        })
        .chain([
            json!({ "name": "projections", "description": "Tables that follow the events." }),
            json!({ "name": "history", "description": "What happened." }),
            json!({ "name": "batch", "description": "Many commands in one request." }),
            json!({ "name": live::TAG, "description": "What happens, as it happens; `/asyncapi.json` has the messages of the socket." }),
            json!({ "name": channels::TAG, "description": "Who is at the same thing at this moment, and what they say to each other; `/asyncapi.json` has the messages." }),
            json!({ "name": auth::TAG, "description": "Signing in, and one's own account." }),
            json!({ "name": "health", "description": "For those who run the server." }),
        ])
        .collect();

    json!({
        "openapi": "3.1.0",
        "info": {
            "title": models.app,
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": components::parameters(models),
            "headers": components::headers(),
            "responses": components::responses(),
            "securitySchemes": security::schemes(is_https),
        },
    })
}

const DESCRIPTION: &str = "\
Commands change things: each is checked, decided and kept as an event in Kafka before it is answered. Queries read the \
tables that follow the events, a moment later; send the `Writ-Position` of a command's answer with a query to read what \
you wrote. Errors are problem documents (RFC 9457). Decimals are strings, times are RFC 3339 in UTC. \
Fields of a state or an event that the rules hide from you are missing, and what you may not read is as what doesn't \
exist. Live updates are messages of a socket, which [/asyncapi.json](/asyncapi.json) describes.";

/// The names of a model's schemas. Model, command and event names are lower snake case, so no two collide: each
/// kind has a suffix of its own.
pub(crate) struct Names<'a>(pub(crate) &'a Model);

impl Names<'_> {
    fn state(&self) -> String {
        format!("{}State", pascal(&self.0.name))
    }

    pub(crate) fn item(&self) -> String {
        format!("{}Item", pascal(&self.0.name))
    }

    pub(crate) fn list(&self) -> String {
        format!("{}List", pascal(&self.0.name))
    }

    pub(crate) fn input(&self, command: &Command) -> String {
        format!("{}.{}Input", pascal(&self.0.name), pascal(&command.name))
    }

    pub(crate) fn event(&self, event: &Event) -> String {
        format!("{}.{}Event", pascal(&self.0.name), pascal(&event.name))
    }
}

/// `order_line` as `OrderLine`; `_` stays before a digit, so that `order_2` and `order2` differ.
fn pascal(name: &str) -> String {
    let mut pascal = String::with_capacity(name.len());
    for word in name.split('_') {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if first.is_ascii_digit() => pascal.extend(['_', first]),
            Some(first) => pascal.push(first.to_ascii_uppercase()),
            None => {}
        }
        pascal.push_str(letters.as_str());
    }
    pascal
}

pub(crate) fn reference(section: &str, name: &str) -> Json {
    json!({ "$ref": format!("#/components/{section}/{name}") })
}

#[cfg(test)]
mod tests;
