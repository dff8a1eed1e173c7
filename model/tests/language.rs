//! The JSON Schema of the language agrees with the check on the files of this repository.

use std::fs;
use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Map, Value as Json};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect()
}

/// The documents of a file as an editor's validator sees them.
fn documents(path: &Path) -> Vec<Json> {
    let text = fs::read_to_string(path).expect("a text");
    let documents = Yaml::load_from_str(text.trim_start_matches('\u{feff}')).expect("valid YAML");
    documents.iter().map(json).filter(|document| !document.is_null()).collect()
}

fn json(yaml: &Yaml<'_>) -> Json {
    if let Some(items) = yaml.as_sequence() {
        return items.iter().map(json).collect();
    }
    if let Some(members) = yaml.as_mapping() {
        let name = |key: &Yaml<'_>| key.as_str().expect("keys are names").to_owned();
        return Json::Object(
            members.iter().map(|(key, value)| (name(key), json(value))).collect::<Map<_, _>>(),
        );
    }
    if let Some(number) = yaml.as_integer() {
        return number.into();
    }
    if let Some(number) = yaml.as_floating_point() {
        return number.into();
    }
    yaml.as_bool().map(Json::from).or_else(|| yaml.as_str().map(Json::from)).unwrap_or(Json::Null)
}

fn faults(document: &Json) -> Vec<String> {
    let schema = writ_model::json_schema::of_language();
    let validator = jsonschema::draft202012::new(&schema).expect("the schema is right");
    validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schema_is_a_schema() {
    assert!(jsonschema::meta::is_valid(&writ_model::json_schema::of_language()));
}

#[test]
fn right_files_fit_the_schema() {
    for path in files("../models").iter().chain(&files("tests/good")) {
        for document in documents(path) {
            assert_eq!(faults(&document), Vec::<String>::new(), "{}", path.display());
        }
    }
}

#[test]
fn the_schema_finds_what_a_schema_can_find() {
    for name in [
        "unknown_keys",
        "types",
        "decimals",
        "enums",
        "guards",
        "no_model",
        "reactions",
        "lists_and_objects",
        "index",
        "search",
        "projections",
        "channels",
    ] {
        // A key that is given twice is no YAML for the other loader.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/check/{name}.yaml"));
        assert!(documents(&path).iter().any(|document| !faults(document).is_empty()), "{name}");
    }
}

/// What the schema says of a model with this one reaction.
fn of_reaction(reaction: &Json) -> Vec<String> {
    faults(&serde_json::json!({ "model": "order", "fields": { "number": "text" }, "reactions": [reaction] }))
}

#[test]
fn the_schema_knows_what_belongs_to_what_in_a_reaction() {
    use serde_json::json;
    for right in [
        json!({ "on": "placed", "command": "cancel" }),
        json!({ "on": ["placed", "paid"], "queue": "invoices", "input": { "a": "id", "b": 1, "c": null } }),
        json!({ "every": "0 3 * * *", "queue": "reports", "jitter": "5m", "catch_up": "all" }),
        json!({ "on": "placed", "after": "24h", "unless": "paid", "command": "cancel" }),
        json!({ "on": "placed", "at": "event.due", "unless": ["paid"], "notify": "actor.id", "title": "Hello" }),
    ] {
        assert_eq!(of_reaction(&right), Vec::<String>::new(), "{right}");
    }
    for wrong in [
        json!("placed"),
        json!({ "on": "placed" }),
        json!({ "command": "cancel" }),
        json!({ "on": "placed", "every": "0 3 * * *", "command": "cancel" }),
        json!({ "on": "placed", "command": "cancel", "queue": "invoices" }),
        json!({ "on": "placed", "command": "cancel", "comand": "cancel" }),
        json!({ "on": "placed", "command": "cancel", "unless": "paid" }),
        json!({ "on": "placed", "command": "cancel", "after": "1h", "at": "now" }),
        json!({ "on": "placed", "command": "cancel", "time_zone": "UTC" }),
        json!({ "on": "placed", "command": "cancel", "title": "Hello" }),
        json!({ "on": "placed", "notify": "actor.id" }),
        json!({ "on": "placed", "notify": "actor.id", "title": "Hello", "channels": ["sms"] }),
        json!({ "on": "placed", "queue": "invoices", "on_rejected": { "command": "cancel" } }),
        json!({ "on": "placed", "command": "cancel", "on_rejected": { "to": "id" } }),
        json!({ "on": "placed", "queue": "invoices", "priority": 10 }),
        json!({ "on": "placed", "queue": "invoices", "backoff": { "frist": "1s" } }),
        json!({ "on": "placed", "queue": "invoices", "unique": { "key": "id" } }),
        json!({ "on": "placed", "for_each": { "a": "event.a", "b": "event.b" }, "queue": "invoices" }),
        json!({ "every": "0 3 * * *", "for_each": { "a": "event.a" }, "queue": "invoices" }),
        json!({ "every": "0 3 * * *", "after": "1h", "queue": "invoices" }),
    ] {
        assert_ne!(of_reaction(&wrong), Vec::<String>::new(), "{wrong}");
    }
}
