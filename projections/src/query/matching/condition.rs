//! A filter in memory: what `filter.rs` says in SQL. A comparison with a value that isn't there is unknown there, which
//! selects nothing; here it is false.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value as Json;
use uuid::Uuid;
use writ_model::{State, Value};

use super::contained::contains;
use super::pattern::Pattern;
use crate::query::filter::{Filter, Operator};
use crate::query::subject::{Target, is_fixed};
use crate::tables::Kind;

/// A filter, ready to be asked of states.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    source: Source,
    test: Test,
}

/// Where the value is.
#[derive(Debug, Clone, PartialEq)]
enum Source {
    Id,
    Version,
    CreatedAt,
    UpdatedAt,
    /// The names of the field and of the parts of objects on the way.
    Field(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// Equal to one of them.
    In(Vec<Value>),
    /// Has no value, or another one.
    Not(Value),
    /// Compares with the value in one of these ways.
    Order(&'static [Ordering], Value),
    Like(Pattern),
    IsNull(bool),
    /// The whole field as JSON contains this.
    Contains(Json),
}

impl Condition {
    pub(super) fn of(filter: &Filter) -> Condition {
        let target = &filter.target;
        let text = filter.values.first().map(String::as_str).unwrap_or_default();
        let one = || value(target, text);
        let test = match filter.operator {
            Operator::Eq => Test::In(vec![one()]),
            Operator::In => Test::In(filter.values.iter().map(|text| value(target, text)).collect()),
            Operator::Ne => Test::Not(one()),
            Operator::Lt => Test::Order(&[Ordering::Less], one()),
            Operator::Lte => Test::Order(&[Ordering::Less, Ordering::Equal], one()),
            Operator::Gt => Test::Order(&[Ordering::Greater], one()),
            Operator::Gte => Test::Order(&[Ordering::Greater, Ordering::Equal], one()),
            Operator::Like => Test::Like(Pattern::new(text)),
            Operator::Ilike => Test::Like(Pattern::ignoring_case(text)),
            Operator::IsNull => Test::IsNull(text == "true"),
            Operator::Contains => {
                let json = serde_json::from_str(text);
                Test::Contains(json.expect("invariant: the parser has written this JSON"))
            }
        };
        // What is contained is written from the top of its column on.
        let path = if filter.operator == Operator::Contains { &target.path[..1] } else { &target.path[..] };
        Condition { source: Source::of(path), test }
    }

    pub(super) fn holds(&self, id: Uuid, state: &State) -> bool {
        let test = &self.test;
        match &self.source {
            Source::Field(path) => test.holds(find(state, path)),
            Source::Id => test.holds(Some(&Value::Uuid(id))),
            Source::Version => test.holds(Some(&Value::Integer(state.version.cast_signed()))),
            Source::CreatedAt => test.holds(Some(&Value::Timestamp(state.created_at))),
            Source::UpdatedAt => test.holds(Some(&Value::Timestamp(state.updated_at))),
        }
    }
}

/// The value that a filter's text stands for.
pub(super) fn value(target: &Target, text: &str) -> Value {
    let read = match target.kind {
        // As its column keeps it: milliseconds.
        Kind::Duration => text.parse().map(Value::Duration).map_err(|_| "no number".to_owned()),
        _ => Value::from_text(&target.ty, text),
    };
    read.expect("invariant: the parser has read and written this text")
}

impl Source {
    fn of(path: &[String]) -> Source {
        match path {
            // They come before fields of the same name.
            [name] if is_fixed(name) => match name.as_str() {
                "id" => Source::Id,
                "version" => Source::Version,
                "created_at" => Source::CreatedAt,
                _ => Source::UpdatedAt,
            },
            path => Source::Field(path.to_vec()),
        }
    }
}

/// `None`: null, or an object on the way is.
fn find<'s>(state: &'s State, path: &[String]) -> Option<&'s Value> {
    let (first, parts) = path.split_first()?;
    let mut value = state.fields.get(first)?;
    for part in parts {
        let Value::Object(object) = value else { return None };
        value = object.get(part)?;
    }
    Some(value).filter(|value| **value != Value::Null)
}

impl Test {
    fn holds(&self, value: Option<&Value>) -> bool {
        match self {
            Test::IsNull(wanted) => {
                // The null of JSON is no value either.
                *wanted == value.is_none_or(|value| *value == Value::Json(Json::Null))
            }
            Test::Not(other) => value.is_none_or(|value| compare(value, other) != Some(Ordering::Equal)),
            Test::In(wanted) => value.is_some_and(|value| {
                wanted.iter().any(|wanted| compare(value, wanted) == Some(Ordering::Equal))
            }),
            Test::Order(orders, bound) => {
                value.is_some_and(|value| compare(value, bound).is_some_and(|order| orders.contains(&order)))
            }
            Test::Like(pattern) => {
                value.is_some_and(|value| text(value).is_some_and(|text| pattern.matches(&text)))
            }
            Test::Contains(wanted) => value.is_some_and(|value| match value {
                Value::Json(json) => contains(json, wanted),
                value => contains(&value.to_json(), wanted),
            }),
        }
    }
}

/// The text that a pattern is held against: also that of a duration in an object, where it is kept as text.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(Cow::Borrowed(text)),
        other => other.to_text().map(Cow::Owned),
    }
}

/// As PostgreSQL compares two values of one type: text by its bytes, numbers whatever their scale. `None`: they are of
/// two types, which doesn't happen, or of one without an order.
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    Some(match (a, b) {
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Integer(a), Value::Integer(b)) | (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
        (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
        _ => return None,
    })
}
