//! Declarations of fields: of a state, of an input, of an object or of the items of a list.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use indexmap::IndexMap;

use super::report::{Report, list, shown, suggest};
use super::types::{self, Directory};
use super::yaml::{self, Entry, Kind, Node};
use super::{Field, Type, names, renames};
use crate::value::Value;

/// Every key that the declaration of a field may have.
pub(super) const KEYS: &[&str] = &[
    "type",
    "key",
    "optional",
    "default",
    "min",
    "max",
    "min_length",
    "max_length",
    "pattern",
    "unique",
    "immutable",
    "personal",
    "secret",
    "doc",
    "renamed_from",
    "values",
    "to",
    "of",
    "precision",
    "scale",
    "fields",
];

/// Where a field is declared; not every place takes every key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `fields:` of a model.
    State,
    /// `fields:` of a projection.
    Column,
    /// `input:` of a command.
    Input,
    /// `fields:` of an object.
    Part,
    /// `of:` of a list.
    Item,
    /// What is said in a channel, and its key.
    Message,
}

impl Place {
    /// Why a field of this place can't have the key `key`.
    fn refuses(self, key: &str) -> Option<&'static str> {
        match (self, key) {
            (Place::State, _) => None,
            (Place::Column, "min" | "max" | "min_length" | "max_length" | "pattern") => {
                Some("a projection keeps what its statements write; constraints are for commands")
            }
            (Place::Column, "default") => Some("give the value in the statement: `COALESCE(:note, '')`"),
            (Place::Column, "renamed_from") => {
                Some("rename it in the statements too: a changed projection is built anew")
            }
            (Place::Column, "unique" | "immutable" | "personal" | "secret") => {
                Some("it belongs to the `fields` of a model")
            }
            (Place::Column, _) => None,
            (Place::Message, "renamed_from") => Some("nothing is kept of it that has the old name"),
            (Place::Message, "personal" | "secret") => Some("nothing is kept of it; who may join sees it"),
            (_, "key" | "unique" | "immutable") => Some("it belongs to the `fields` of a model"),
            (Place::Input, _) => None,
            (_, "personal" | "secret") => Some("put it on the whole field of the model"),
            (Place::Item, "optional" | "default") => Some("the items of a list are always there"),
            (Place::Item, "renamed_from") => Some("the items of a list have no name"),
            _ => None,
        }
    }
}

/// The fields of one map, with what the later checks want to know.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) fields: IndexMap<String, Field>,
    /// Where the name of each field stands.
    pub(super) spans: HashMap<String, Range<usize>>,
    /// Fields whose type is unknown because of a fault that is reported. What uses them can't be judged.
    pub(super) broken: HashSet<String>,
}

impl Fields {
    /// Whether there is a field of this name, be it broken.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name) || self.broken.contains(name)
    }

    pub(super) fn span(&self, name: &str) -> Range<usize> {
        self.spans.get(name).cloned().unwrap_or(0..0)
    }
}

impl Field {
    /// A required field without anything beside its type.
    pub(crate) fn plain(name: &str, ty: Type) -> Field {
        Field {
            name: name.to_owned(),
            ty,
            optional: false,
            default: None,
            immutable: false,
            key: false,
            personal: false,
            secret: false,
            doc: None,
            renamed_from: Vec::new(),
        }
    }
}

/// Reads a map from names to declarations.
pub(super) fn read_all(report: &mut Report<'_>, directory: &Directory, node: &Node, place: Place) -> Fields {
    let mut all = Fields::default();
    let hint = "write one line for each field: `name: { type: text }`";
    let Some(entries) = yaml::entries(report, node, hint) else { return all };
    for entry in entries {
        let name_is_good = names::check_field(report, &entry.key_span, &entry.key, place);
        match read(report, directory, entry, place) {
            Some(field) if name_is_good => {
                all.spans.insert(field.name.clone(), entry.key_span.clone());
                all.fields.insert(field.name.clone(), field);
            }
            _ => {
                all.broken.insert(entry.key.clone());
            }
        }
    }
    for name in renames::check(report, entries, &all.fields, |name| all.has(name)) {
        all.fields[&name].renamed_from.clear();
    }
    all
}

/// Reads one declaration. `None`: its type is unknown, and that is reported.
pub(super) fn read(
    report: &mut Report<'_>,
    directory: &Directory,
    entry: &Entry,
    place: Place,
) -> Option<Field> {
    declaration(report, directory, &entry.key, &entry.key_span, &entry.value, place)
}

/// The same for a declaration that isn't the value of a map: `of:` of a list.
pub(super) fn declaration(
    report: &mut Report<'_>,
    directory: &Directory,
    name: &str,
    name_span: &Range<usize>,
    node: &Node,
    place: Place,
) -> Option<Field> {
    // `name: text` is short for `name: { type: text }`.
    if let Kind::Scalar(scalar) = &node.kind
        && !scalar.is_null()
    {
        let ty = types::read(report, directory, &scalar.text, name, node, None)?;
        return Some(Field::plain(name, ty));
    }
    if node.is_null() {
        report.error(
            name_span,
            format!("the field {} has no type", shown(name)),
            format!("write `{name}: text`, or another of {}", list(types::NAMES.iter().copied())),
        );
        return None;
    }
    let members = yaml::members(report, node, "a field", KEYS)?;
    for key in KEYS {
        if let (Some(entry), Some(reason)) = (members.get(key), place.refuses(key)) {
            report.error(&entry.key_span, format!("`{key}` can't be used here"), reason);
        }
    }
    let ty = match members.get("type") {
        Some(entry) => {
            let hint = format!("one of {}", list(types::NAMES.iter().copied()));
            let ty = yaml::text(report, &entry.value, &hint)?;
            types::read(report, directory, ty, name, &entry.value, Some(&members))?
        }
        None => {
            let hint = "every field says its type, such as `type: text`";
            report.error(name_span, format!("the field {} has no `type`", shown(name)), hint);
            return None;
        }
    };
    let mut field = Field::plain(name, ty);
    field.optional = yaml::flag(report, members.get("optional"));
    field.key = yaml::flag(report, members.get("key"));
    field.immutable = yaml::flag(report, members.get("immutable")) || field.key;
    field.personal = yaml::flag(report, members.get("personal"));
    field.secret = yaml::flag(report, members.get("secret"));
    if field.secret && !matches!(field.ty, Type::Text { .. } | Type::Email | Type::Url) {
        let message = format!("`{name}` can't be secret: it is of type {}", field.ty.name());
        report.error(name_span, message, "a secret is sealed, which makes a text of it: text, email or url");
    }
    if let (true, Some(default)) = (field.secret, members.get("default")) {
        let hint = "remove it: everyone who reads this file would know the secret";
        report.error(&default.key_span, format!("`{name}` is secret, so it can't have a default"), hint);
    }
    field.doc = members
        .value("doc")
        .and_then(|node| yaml::text(report, node, "say in a sentence what the field holds"))
        .map(str::to_owned);
    if let Some(entry) = members.get("default") {
        field.default = default(report, &field, &entry.value);
    }
    if let Some(entry) = members.get("renamed_from") {
        field.renamed_from = renames::read(report, &entry.value);
    }
    match place {
        Place::State => check_key(report, &field, name_span, members.get("default")),
        Place::Column => check_key_column(report, &field, name_span),
        Place::Input | Place::Part | Place::Item | Place::Message => {}
    }
    Some(field)
}

fn check_key(report: &mut Report<'_>, field: &Field, span: &Range<usize>, default: Option<&Entry>) {
    if !field.key {
        return;
    }
    let name = &field.name;
    if !types::can_be_key(&field.ty) {
        let message = format!("the key `{name}` can't be of type {}", field.ty.name());
        report.error(span, message, format!("a key is of type {}", list(types::KEY_TYPES.iter().copied())));
    }
    if field.optional {
        let hint = "remove `optional`: the id is derived from the key";
        report.error(span, format!("the key `{name}` can't be optional"), hint);
    }
    if let Some(default) = default {
        let hint = "remove it: two aggregates would have the same id";
        report.error(&default.key_span, format!("the key `{name}` can't have a default"), hint);
    }
    if field.secret {
        let hint = "the id is derived from the key, so everyone who knows the id can test a guess";
        report.error(span, format!("the key `{name}` can't be secret"), hint);
    }
}

fn check_key_column(report: &mut Report<'_>, field: &Field, span: &Range<usize>) {
    if !field.key {
        return;
    }
    let name = &field.name;
    if let Type::List { .. } | Type::Object(_) | Type::Json = field.ty {
        let message = format!("the key `{name}` can't be of type {}", field.ty.name());
        report.error(span, message, "a key is a single value, or several columns with `key: true`");
    }
    if field.optional {
        let hint = "remove `optional`: every row has its key";
        report.error(span, format!("the key `{name}` can't be optional"), hint);
    }
}

fn default(report: &mut Report<'_>, field: &Field, node: &Node) -> Option<Value> {
    if node.is_null() {
        let hint = "write `optional: true` for a field that may be null";
        report.error(&node.span, "null is no default", hint);
        return None;
    }
    if let (Type::Enum(values), Some(scalar)) = (&field.ty, node.scalar())
        && !values.contains(&scalar.text)
    {
        let message = format!("{} is no value of `{}`", shown(&scalar.text), field.name);
        report.error(&node.span, message, suggest(&scalar.text, values.iter().map(String::as_str)));
        return None;
    }
    let mut errors = Vec::new();
    let value = Value::from_json(&field.ty, &json(node, &field.ty), "", &mut errors);
    for error in errors {
        let place = if error.pointer.is_empty() { String::new() } else { format!(" at {}", error.pointer) };
        report.error(
            &node.span,
            format!("the default of `{}` doesn't fit{place}: {}", field.name, error.detail),
            match (&field.ty, node.scalar()) {
                (Type::Text { .. }, Some(scalar)) if scalar.is_plain() => {
                    Some(format!("write text in quotes: \"{}\"", scalar.text))
                }
                _ => None,
            },
        );
    }
    value
}

/// The JSON form of a value in the file. Numbers with a fraction become text, so that they stay exact.
pub(super) fn json(node: &Node, ty: &Type) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.kind {
        Kind::List(items) => {
            let of = if let Type::List { of, .. } = ty { &of.ty } else { ty };
            Json::Array(items.iter().map(|item| json(item, of)).collect())
        }
        Kind::Map(entries) => {
            let part = |name: &str| match ty {
                Type::Object(fields) => fields.get(name).map_or(&Type::Json, |field| &field.ty),
                _ => &Type::Json,
            };
            let members =
                entries.iter().map(|entry| (entry.key.clone(), json(&entry.value, part(&entry.key))));
            Json::Object(members.collect())
        }
        Kind::Scalar(scalar) => {
            if scalar.is_null() {
                Json::Null
            } else if let Some(value) = scalar.as_bool() {
                Json::Bool(value)
            } else if scalar.is_number() && !matches!(ty, Type::Decimal { .. }) {
                let number = || serde_json::from_str(&scalar.text).ok();
                if scalar.text.contains('.') && !matches!(ty, Type::Json) {
                    Json::String(scalar.text.clone())
                } else {
                    number().unwrap_or_else(|| Json::String(scalar.text.clone()))
                }
            } else {
                Json::String(scalar.text.clone())
            }
        }
    }
}
