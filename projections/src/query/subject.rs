//! What a query asks, and what the names in it mean: `ship_to.city` becomes a [`Target`], an SQL expression with its type.

use std::sync::Arc;

use writ_model::access::{Readable, Visible, visible_rows};
use writ_model::{Field, Model, Type, Value};

use super::asked::{Asked, Kinds};
use super::request::Problem;
use crate::reader::Reader;
use crate::tables::{Kind, column, literal, projection_column, quote, text};

/// Names that every model's row has beside its fields.
const FIXED: [(&str, Type); 4] = [
    ("id", Type::Uuid),
    ("version", Type::Integer { min: None, max: None }),
    ("created_at", Type::Timestamp),
    ("updated_at", Type::Timestamp),
];

/// Whether `name` means a column that every model's row has. Such a name never means a field.
pub(super) fn is_fixed(name: &str) -> bool {
    FIXED.iter().any(|(fixed, _)| *fixed == name)
}

/// What a query asks, of whom: the rows of a model, or those of an SQL projection, as one reader sees them. A field that is
/// hidden from the reader isn't found here, so it is nowhere: not in filters, orders, searches, nor in what is shown.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    pub(super) name: &'a str,
    pub(super) asked: Asked<'a>,
    reader: Reader<'a>,
    visible: Visible,
}

/// A value of a row: a column, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    /// As the caller names it.
    pub(super) name: String,
    /// The names of the field and of the parts on the way.
    pub(super) path: Vec<String>,
    /// The column, quoted.
    pub(super) column: String,
    /// The value as an SQL expression of the type of `kind`. Not for what is inside of a list.
    pub(super) sql: String,
    pub(super) kind: Kind,
    pub(super) ty: Type,
    /// The type of the whole column.
    pub(super) whole: Type,
    /// There may be several values: a list is on the way.
    pub(super) in_list: bool,
    /// No row is without a value.
    pub(super) never_null: bool,
}

impl Target {
    /// `<` means something to a reader, and PostgreSQL sees it the same.
    pub(super) fn is_ordered(&self) -> bool {
        // Within an object a duration is its text.
        self.kind.is_ordered() && !(self.is_part() && self.ty == Type::Duration)
    }

    /// Part of an object or a list.
    pub(super) fn is_part(&self) -> bool {
        self.path.len() > 1
    }

    /// A filter's text as the text that PostgreSQL's cast reads.
    pub(super) fn read(&self, given: &str) -> Result<String, String> {
        let value = Value::from_text(&self.ty, given)?;
        let read = if self.is_part() { value.to_text() } else { text(&value) };
        Ok(read.expect("invariant: only scalars are read from text"))
    }

    /// The JSON that a column contains if the list at the end, or on the way, has the item `given`.
    pub(super) fn containing(&self, given: &str) -> Result<serde_json::Value, String> {
        containing(&self.whole, &self.path[1..], &self.name, given)
    }
}

fn containing(ty: &Type, parts: &[String], name: &str, given: &str) -> Result<serde_json::Value, String> {
    match (ty, parts) {
        (Type::List { of, .. }, parts) => {
            Ok(serde_json::Value::Array(vec![containing(&of.ty, parts, name, given)?]))
        }
        (Type::Object(fields), [part, rest @ ..]) => {
            let ty = &fields.get(part).expect("invariant: the path was found").ty;
            Ok(serde_json::json!({ part.as_str(): containing(ty, rest, name, given)? }))
        }
        (Type::Object(fields), []) => {
            let part = fields.keys().next().map_or("part", String::as_str);
            Err(format!("`{name}` holds objects; name one of their parts: `{name}.{part}[contains]=…`"))
        }
        (Type::Json, _) => json(given),
        (ty, _) => Value::from_text(ty, given).map(|value| value.to_json()),
    }
}

/// JSON that PostgreSQL takes too.
fn json(text: &str) -> Result<serde_json::Value, String> {
    fn has_nul(json: &serde_json::Value) -> bool {
        match json {
            serde_json::Value::String(text) => text.contains('\0'),
            serde_json::Value::Array(items) => items.iter().any(has_nul),
            serde_json::Value::Object(members) => {
                members.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
            }
            _ => false,
        }
    }
    match serde_json::from_str(text) {
        Ok(json) if has_nul(&json) => Err("a text can't hold the character U+0000".into()),
        Ok(json) => Ok(json),
        Err(error) => Err(format!("this is not JSON: {error}")),
    }
}

impl<'a> Subject<'a> {
    pub(crate) fn new(asked: Asked<'a>, reader: Reader<'a>) -> Subject<'a> {
        let visible = match asked.kind {
            Kinds::Model(model, _) => reader.sees(model),
            Kinds::Projection(projection) => visible_rows(projection, reader.actor, reader.now),
        };
        Subject { name: asked.name, asked, reader, visible }
    }

    /// The name of the model or the projection.
    pub fn name(&self) -> &'a str {
        self.name
    }

    pub(super) fn reader(&self) -> Reader<'a> {
        self.reader
    }

    /// What the reader sees of it.
    pub fn visible(&self) -> &Visible {
        &self.visible
    }

    /// Whether the reader sees every row, each with all that anyone sees of it.
    pub(super) fn is_whole(&self) -> bool {
        self.visible.rows == Readable::All && self.visible.hidden == self.asked.seen_whole().hidden
    }

    /// What the reader sees of a model that a reference leads to.
    pub(super) fn visible_of(&self, model: &Model) -> Visible {
        self.reader.sees(model)
    }

    pub(super) fn is_model(&self) -> bool {
        self.model().is_some()
    }

    /// The model, unless it is a projection.
    pub(crate) fn model(&self) -> Option<&'a Model> {
        match self.asked.kind {
            Kinds::Model(model, _) => Some(model),
            Kinds::Projection(_) => None,
        }
    }

    /// The names that make an order total.
    pub(super) fn key(&self) -> Vec<&'a str> {
        match self.asked.kind {
            Kinds::Model(..) => vec!["id"],
            Kinds::Projection(projection) => projection.key.iter().map(String::as_str).collect(),
        }
    }

    /// The fields that the reader sees, in the order of the declaration.
    pub(super) fn fields(&self) -> impl Iterator<Item = &'a Field> {
        self.asked.fields.values().filter(|field| self.visible.shows(&field.name))
    }

    fn field(&self, name: &str) -> Option<&'a Field> {
        self.asked.fields.get(name).filter(|_| self.visible.shows(name))
    }

    /// Every name at the top, in the order in which a row shows them.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        let fixed = if self.is_model() { &FIXED[..] } else { &[] };
        let (before, after) = fixed.split_at(fixed.len().min(2));
        let names = |fixed: &'static [(&'static str, Type)]| fixed.iter().map(|(name, _)| *name);
        names(before).chain(self.fields().map(|field| field.name.as_str())).chain(names(after))
    }

    /// The model that a reference leads to, if it may be followed.
    pub(super) fn referenced(&self, name: &str) -> Option<&'a Arc<Model>> {
        match self.asked.kind {
            Kinds::Model(_, Some(models)) => models.get(name),
            _ => None,
        }
    }

    /// The columns that `q` searches, not quoted.
    pub(super) fn searched(&self) -> Vec<String> {
        let declared: &[String] = match self.asked.kind {
            Kinds::Model(model, _) => &model.search,
            Kinds::Projection(_) => &[],
        };
        let is_searched = |field: &&Field| {
            Kind::of(&field.ty) == Kind::Text && (declared.is_empty() || declared.contains(&field.name))
        };
        self.fields().filter(is_searched).map(|field| self.column(&field.name)).collect()
    }

    fn column(&self, field: &str) -> String {
        if self.is_model() { column(field) } else { projection_column(field) }
    }

    /// What `name` means. `verb`: what it is to be used for, `filter by`. `others`: what may stand in its place beside a field.
    pub(super) fn target(&self, name: &str, verb: &str, others: &[&str]) -> Result<Target, Problem> {
        let mut parts = name.split('.');
        let first = parts.next().unwrap_or_default();
        let fixed = FIXED.iter().find(|(fixed, _)| self.is_model() && *fixed == first);
        let (column, whole, is_key) = match (fixed, self.field(first)) {
            (Some((fixed, ty)), _) => (quote(fixed), ty, true),
            (None, Some(field)) => (quote(&self.column(first)), &field.ty, self.key().contains(&first)),
            (None, None) => return Err(self.unknown(first, verb, others)),
        };
        let (mut ty, mut path, mut in_list) = (whole, vec![first.to_owned()], false);
        for part in parts {
            while let Type::List { of, .. } = ty {
                (ty, in_list) = (&of.ty, true);
            }
            let before = path.join(".");
            let Type::Object(fields) = ty else {
                let detail = match ty {
                    Type::Json => format!(
                        "`{before}` is JSON, whose parts are not declared; ask with `{before}[contains]`"
                    ),
                    ty => format!("`{before}` is of type {} and has no parts", ty.name()),
                };
                return Err(("unknown_parameter", detail));
            };
            let Some(field) = fields.get(part) else {
                let hint = suggest(part, fields.keys().map(String::as_str));
                return Err((
                    "unknown_parameter",
                    format!("there is no `{}` in `{before}` to {verb}; {hint}", clip(part)),
                ));
            };
            ty = &field.ty;
            path.push(part.to_owned());
        }
        let kind = if path.len() > 1 && *ty == Type::Duration { Kind::Text } else { Kind::of(ty) };
        Ok(Target {
            name: name.to_owned(),
            sql: value(&column, &path[1..], kind),
            kind,
            ty: ty.clone(),
            whole: whole.clone(),
            in_list,
            never_null: is_key && path.len() == 1,
            column,
            path,
        })
    }

    fn unknown(&self, name: &str, verb: &str, others: &[&str]) -> Problem {
        let sorts = verb.starts_with("sort");
        let fields = self.fields().filter(|field| !sorts || Kind::of(&field.ty) != Kind::Json);
        let fixed = if self.is_model() { &FIXED[..] } else { &[] };
        let known = fixed.iter().map(|(name, _)| *name).chain(fields.map(|field| field.name.as_str()));
        let hint = suggest(name, known.chain(others.iter().copied()));
        ("unknown_parameter", format!("there is no field `{}` to {verb}; {hint}", clip(name)))
    }
}

/// A column, or the part of its JSON at `path`, as a value of `kind`. What isn't of that type is no value: a part
/// is only as sound as the statement that wrote it.
fn value(column: &str, path: &[String], kind: Kind) -> String {
    let [between @ .., last] = path else { return column.to_owned() };
    let object = between.iter().fold(column.to_owned(), |sql, part| format!("{sql} -> {}", literal(part)));
    let text = format!("({object} ->> {})", literal(last));
    match kind {
        Kind::Json => format!("({object} -> {})", literal(last)),
        Kind::Text => format!("({text} COLLATE \"C\")"),
        kind => {
            let ty = kind.cast();
            format!("(CASE WHEN pg_input_is_valid({text}, {}) THEN {text}::{ty} END)", literal(&ty))
        }
    }
}

/// The end of a message about a name that isn't there.
pub(super) fn suggest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.collect();
    let near = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&clip(name), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None => format!("there are {}", known.join(", ")),
    }
}

/// The beginning of a caller's text, for messages.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}
