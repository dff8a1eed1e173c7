//! The types of the language and the constraints that fit each of them.

use std::collections::HashMap;

use super::fields::{self, Place};
use super::report::{Report, shown, suggest};
use super::yaml::{self, Entry, Kind, Members, Node};
use super::{Field, KeyOf, Pattern, Type};
use crate::value::{Decimal, Value};

/// The names of all types.
pub(super) const NAMES: &[&str] = &[
    "text",
    "integer",
    "decimal",
    "boolean",
    "timestamp",
    "date",
    "duration",
    "uuid",
    "email",
    "url",
    "enum",
    "ref",
    "list",
    "object",
    "json",
];

/// The keys that only some types take.
const CONSTRAINTS: &[(&str, &[&str])] = &[
    ("min", &["integer", "decimal"]),
    ("max", &["integer", "decimal"]),
    ("min_length", &["text", "list"]),
    ("max_length", &["text", "list"]),
    ("pattern", &["text"]),
    ("values", &["enum"]),
    ("to", &["ref"]),
    ("of", &["list"]),
    ("precision", &["decimal"]),
    ("scale", &["decimal"]),
    ("fields", &["object"]),
];

/// What people call a type elsewhere.
const ALIASES: &[(&str, &str)] = &[
    ("string", "text"),
    ("str", "text"),
    ("varchar", "text"),
    ("char", "text"),
    ("int", "integer"),
    ("bigint", "integer"),
    ("long", "integer"),
    ("number", "decimal"),
    ("numeric", "decimal"),
    ("float", "decimal"),
    ("double", "decimal"),
    ("money", "decimal"),
    ("bool", "boolean"),
    ("datetime", "timestamp"),
    ("timestamptz", "timestamp"),
    ("instant", "timestamp"),
    ("time", "timestamp"),
    ("reference", "ref"),
    ("array", "list"),
    ("map", "object"),
    ("struct", "object"),
    ("jsonb", "json"),
    ("any", "json"),
];

const MOST_DIGITS: u64 = 38;

/// The models of the application and the types of their natural keys, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) app: String,
    pub(super) models: HashMap<String, Option<Type>>,
}

/// The types of a natural key.
pub(super) const KEY_TYPES: &[&str] = &["text", "integer", "uuid", "enum", "email"];

/// Whether a natural key may be of this type.
pub(super) fn can_be_key(ty: &Type) -> bool {
    KEY_TYPES.contains(&ty.name())
}

/// Reads the type called `ty` of the field `field`, with its constraints. `node` is where the type is named.
pub(super) fn read(
    report: &mut Report<'_>,
    directory: &Directory,
    ty: &str,
    field: &str,
    node: &Node,
    members: Option<&Members<'_>>,
) -> Option<Type> {
    let Some(ty) = NAMES.iter().copied().find(|name| *name == ty) else {
        let hint = match ALIASES.iter().find(|(alias, _)| *alias == ty.to_lowercase()) {
            Some((_, name)) => Some(format!("write `{name}`")),
            None => suggest(ty, NAMES.iter().copied()),
        };
        report.error(&node.span, format!("there is no type {}", shown(ty)), hint);
        return None;
    };
    let mut given = Given { report, members, node, field };
    given.refuse_what_does_not_fit(ty);
    match ty {
        "text" => {
            let (min_length, max_length) = given.lengths();
            Some(Type::Text { min_length, max_length, pattern: given.pattern() })
        }
        "integer" => {
            let bound = |given: &mut Given<'_, '_, '_>, key| {
                given.parsed(key, "a whole number of 64 bits", |text| text.parse::<i64>().ok())
            };
            let (min, max) = (bound(&mut given, "min"), bound(&mut given, "max"));
            given.in_order("min", &min, "max", &max);
            Some(Type::Integer { min, max })
        }
        "decimal" => given.decimal(),
        "boolean" => Some(Type::Boolean),
        "timestamp" => Some(Type::Timestamp),
        "date" => Some(Type::Date),
        "duration" => Some(Type::Duration),
        "uuid" => Some(Type::Uuid),
        "email" => Some(Type::Email),
        "url" => Some(Type::Url),
        "enum" => given.values().map(Type::Enum),
        "ref" => given.reference(directory),
        "list" => given.list(directory),
        "object" => given.object(directory),
        _ => Some(Type::Json),
    }
}

/// The keys that are given with a type.
struct Given<'r, 'a, 'n> {
    report: &'r mut Report<'a>,
    members: Option<&'n Members<'n>>,
    node: &'n Node,
    field: &'n str,
}

impl<'n> Given<'_, '_, 'n> {
    fn get(&self, key: &str) -> Option<&'n Entry> {
        self.members.and_then(|members| members.get(key))
    }

    fn refuse_what_does_not_fit(&mut self, ty: &str) {
        for (key, types) in CONSTRAINTS {
            if let (Some(entry), false) = (self.get(key), types.contains(&ty)) {
                let other = match (*key, ty) {
                    ("min", "text" | "list") => ", did you mean `min_length`?",
                    ("max", "text" | "list") => ", did you mean `max_length`?",
                    ("min_length" | "max_length", "integer" | "decimal") => ", did you mean `min` and `max`?",
                    _ => "",
                };
                self.report.error(
                    &entry.key_span,
                    format!("`{key}` doesn't fit the type {ty}"),
                    format!("`{key}` is for {}{other}", types.join(" and ")),
                );
            }
        }
    }

    /// A key that the type can't do without.
    fn required(&mut self, key: &str, example: &str) -> Option<&'n Entry> {
        let entry = self.get(key);
        if entry.is_none() {
            let message = format!("the field {} needs `{key}`", shown(self.field));
            self.report.error(&self.node.span, message, format!("such as `{example}`"));
        }
        entry
    }

    fn parsed<T>(&mut self, key: &str, what: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let entry = self.get(key)?;
        let value = entry.value.scalar().and_then(|scalar| parse(&scalar.text));
        if value.is_none() {
            let message = format!("`{key}` is {what}, found {}", entry.value.what());
            self.report.error(&entry.value.span, message, None::<String>);
        }
        value
    }

    fn in_order<T: PartialOrd>(&mut self, low: &str, least: &Option<T>, high: &str, most: &Option<T>) {
        if let (Some(least), Some(most), Some(entry)) = (least, most, self.get(low))
            && least > most
        {
            let message = format!("`{low}` is greater than `{high}`, so no value fits");
            self.report.error(&entry.value.span, message, "exchange them");
        }
    }

    fn lengths(&mut self) -> (Option<u64>, Option<u64>) {
        let length = |given: &mut Self, key| {
            given.parsed(key, "a whole number from 0", |text| text.parse::<u32>().ok().map(u64::from))
        };
        let (least, most) = (length(self, "min_length"), length(self, "max_length"));
        self.in_order("min_length", &least, "max_length", &most);
        (least, most)
    }

    fn pattern(&mut self) -> Option<Pattern> {
        let entry = self.get("pattern")?;
        let source = yaml::text(self.report, &entry.value, "a regular expression in single quotes")?;
        let compile = |source: &str| regex::RegexBuilder::new(source).size_limit(1 << 20).build();
        // Alone first: `a)|(b` would otherwise escape from the group around it.
        match compile(source).and_then(|_| compile(&format!(r"\A(?:{source})\z"))) {
            Ok(regex) => Some(Pattern { source: source.to_owned(), regex }),
            Err(error) => {
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                self.report.error(
                    &entry.value.span,
                    format!("{} is no regular expression: {}", shown(source), reason),
                    "the syntax is that of Rust's regex crate, without look-around and back-references",
                );
                None
            }
        }
    }

    fn decimal(&mut self) -> Option<Type> {
        let example = "{ type: decimal, precision: 12, scale: 2 }";
        self.required("precision", example)?;
        self.required("scale", example)?;
        let number = |text: &str| text.parse::<u32>().ok();
        let what = format!("a whole number from 1 to {MOST_DIGITS}");
        let digits =
            |text: &str| number(text).filter(|digits| (1..=MOST_DIGITS).contains(&u64::from(*digits)));
        let precision = self.parsed("precision", &what, digits);
        let scale = self.parsed("scale", "a whole number from 0 to the precision", number);
        let (precision, scale) = (precision?, scale?);
        if let (true, Some(entry)) = (scale > precision, self.get("scale")) {
            self.report.error(
                &entry.value.span,
                format!("a number of {precision} digits can't have {scale} of them after the point"),
                "`precision` counts all digits, `scale` those after the point",
            );
            return None;
        }
        let unbounded = Type::Decimal { precision, scale, min: None, max: None };
        let (min, max) = (self.decimal_bound("min", &unbounded), self.decimal_bound("max", &unbounded));
        self.in_order("min", &min, "max", &max);
        Some(Type::Decimal { precision, scale, min, max })
    }

    fn decimal_bound(&mut self, key: &str, ty: &Type) -> Option<Decimal> {
        let entry = self.get(key)?;
        let mut errors = Vec::new();
        let value = Value::from_json(ty, &fields::json(&entry.value, ty), "", &mut errors);
        for error in errors {
            let message = format!("`{key}` is no value of the field: {}", error.detail);
            self.report.error(&entry.value.span, message, None::<String>);
        }
        match value {
            Some(Value::Decimal(bound)) => Some(bound),
            Some(_) => {
                self.report.error(&entry.value.span, format!("`{key}` is a number"), None::<String>);
                None
            }
            None => None,
        }
    }

    fn values(&mut self) -> Option<Vec<String>> {
        let entry = self.required("values", "{ type: enum, values: [draft, published] }")?;
        let hint = "write `values: [draft, published]`";
        let mut values: Vec<String> = Vec::new();
        let mut good = true;
        for item in yaml::items(self.report, &entry.value, hint)? {
            let Some(value) = yaml::text(self.report, item, "a value of an enum is a name") else {
                good = false;
                continue;
            };
            let is_word = value.len() <= 64
                && value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_word {
                let message = format!("{} is not a name for a value of an enum", shown(value));
                let hint =
                    "a value starts with a letter and has only letters, digits and `_`, at most 64 of them";
                self.report.error(&item.span, message, hint);
                good = false;
            } else if values.iter().any(|known| known == value) {
                self.report.error(&item.span, format!("`{value}` is given twice"), "remove one of them");
            } else {
                values.push(value.to_owned());
            }
        }
        if values.is_empty() && good {
            self.report.error(&entry.value.span, "an enum needs at least one value", hint);
            return None;
        }
        (good || !values.is_empty()).then_some(values)
    }

    fn reference(&mut self, directory: &Directory) -> Option<Type> {
        let entry = self.required("to", "{ type: ref, to: customer }")?;
        let to = yaml::text(self.report, &entry.value, "the name of a model")?;
        let Some(key) = directory.models.get(to) else {
            let mut known: Vec<&str> = directory.models.keys().map(String::as_str).collect();
            known.sort_unstable();
            self.report.error(
                &entry.value.span,
                format!("there is no model {}", shown(to)),
                suggest(to, known),
            );
            return None;
        };
        let key = key.as_ref().map(|ty| KeyOf {
            app: directory.app.clone(),
            model: to.to_owned(),
            ty: Box::new(ty.clone()),
        });
        Some(Type::Ref { to: to.to_owned(), key })
    }

    fn list(&mut self, directory: &Directory) -> Option<Type> {
        let (min_length, max_length) = self.lengths();
        let entry = self.required("of", "{ type: list, of: { type: text } }")?;
        // `of: { product: …, quantity: … }` is short for an object with these fields.
        let is_declaration = match &entry.value.kind {
            Kind::Map(_) => entry.value.get("type").is_some_and(|entry| entry.value.scalar().is_some()),
            _ => true,
        };
        let (of, span) = (&entry.value, &entry.key_span);
        let item = if is_declaration {
            fields::declaration(self.report, directory, "item", span, of, Place::Item)?
        } else {
            let ty = self.parts(directory, of)?;
            Field::plain("item", ty)
        };
        Some(Type::List { of: Box::new(item), min_length, max_length })
    }

    fn object(&mut self, directory: &Directory) -> Option<Type> {
        let entry = self.required("fields", "{ type: object, fields: { street: text, city: text } }")?;
        self.parts(directory, &entry.value)
    }

    fn parts(&mut self, directory: &Directory, node: &Node) -> Option<Type> {
        let before = self.report.len();
        let parts = fields::read_all(self.report, directory, node, Place::Part);
        if !parts.broken.is_empty() {
            return None;
        }
        if parts.fields.is_empty() {
            if self.report.len() == before {
                self.report.error(
                    &node.span,
                    "an object needs at least one field",
                    "such as `{ city: text }`",
                );
            }
            return None;
        }
        Some(Type::Object(parts.fields))
    }
}
