//! What an actor may read, as a condition over the fields of a state that has no trace of CEL left: names, typed
//! constants, tests, `and`, `or`, `not`.
//!
//! # Null
//!
//! A predicate is true or false of a state, never unknown. A [`Test`] of a field that is null is **false**, except
//! [`Test::IsNull`], which is true. [`Predicate::Not`] of a test is true exactly where the test is false, so also where the
//! field is null. That null equals null, and that who isn't signed in equals nobody, is worked out before: it
//! stands in the predicate as tests of [`Test::IsNull`], or has made a part of it go away.
//!
//! In SQL, a test of null is unknown. Under `AND` and `OR` alone, unknown and false select the same rows, so a test may stand
//! there as it is. Under `NOT` they don't: `Not` stands before single tests only, and is `(…) IS NOT TRUE`. With this, and
//! with the form that each [`Test`] names, a `WHERE` selects exactly the states of which [`Predicate::holds`].
//!
//! A field of an object that is null is null: `billing.city` without `billing`. In SQL that holds for `billing ->> 'city'` by
//! itself. Fields inside of objects are kept as text there and have to be cast to their [`Kind`].

mod simplify;

use std::cmp::Ordering;

use uuid::Uuid;

use crate::declaration::Type;
use crate::value::{Object, Value};

/// What an actor may read of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Readable {
    /// Every aggregate.
    All,
    /// None.
    Nothing,
    /// Those of which the predicate holds.
    Where(Predicate),
}

/// A condition over the fields of a state; see the module for what null does.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// All of them hold, at least two.
    And(Vec<Predicate>),
    /// At least one of them holds, of at least two.
    Or(Vec<Predicate>),
    /// The test holds.
    Test(Test),
    /// The test doesn't hold.
    Not(Test),
}

/// A test of a field. False where a field in it is null, but for [`Test::IsNull`].
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// The field is null, or an object that it is part of is. Of any [`Kind`]; never of the id.
    IsNull(Path),
    /// A field and a constant of its kind, which isn't null. Integers and decimals compare as numbers with each other.
    /// Text is equal and ordered by its code points: `COLLATE "C"`.
    Compare(Path, Comparison, Value),
    /// Two fields, compared alike.
    CompareFields(Path, Comparison, Path),
    /// The field equals one of the constants, at least one, none of them null.
    In(Path, Vec<Value>),
    /// The field is a list and has an item equal to the constant: `column @> '["…"]'::jsonb`, with the constant as
    /// [`Value::to_json`] writes it. Only of items whose equal values have one JSON form: no decimals.
    HasItem(Path, Value),
    /// The text begins with this: `starts_with(column, '…')`.
    StartsWith(Path, String),
    /// The text ends with this: `right(column, char_length('…')) = '…'`.
    EndsWith(Path, String),
    /// The text contains this: `strpos(column, '…') > 0`.
    Contains(Path, String),
}

/// How two values compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What a test looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// The aggregate's id, a UUID.
    Id,
    /// A field of the state.
    Field {
        /// Its name; for a field inside of objects, all names on the way, outermost first.
        names: Vec<String>,
        /// What it holds.
        kind: Kind,
    },
}

/// What a field holds, as far as a comparison asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, e-mail, URL, enum.
    Text,
    /// A 64-bit integer.
    Integer,
    /// An exact decimal.
    Decimal,
    /// true or false.
    Boolean,
    /// An instant.
    Timestamp,
    /// A calendar date.
    Date,
    /// Milliseconds. Never inside of objects, except for [`Test::IsNull`].
    Duration,
    /// A UUID or reference.
    Uuid,
    /// A list: for [`Test::IsNull`] and [`Test::HasItem`].
    List,
    /// An object or JSON: for [`Test::IsNull`].
    Whole,
}

impl Kind {
    pub(super) fn of(ty: &Type) -> Kind {
        match ty {
            Type::Text { .. } | Type::Email | Type::Url | Type::Enum(_) => Kind::Text,
            Type::Integer { .. } => Kind::Integer,
            Type::Decimal { .. } => Kind::Decimal,
            Type::Boolean => Kind::Boolean,
            Type::Timestamp => Kind::Timestamp,
            Type::Date => Kind::Date,
            Type::Duration => Kind::Duration,
            Type::Uuid | Type::Ref { .. } => Kind::Uuid,
            Type::List { .. } => Kind::List,
            Type::Object(_) | Type::Json => Kind::Whole,
        }
    }
}

impl Path {
    /// What it holds.
    pub fn kind(&self) -> Kind {
        match self {
            Path::Id => Kind::Uuid,
            Path::Field { kind, .. } => *kind,
        }
    }

    /// The value in a state. `None`: null.
    fn value<'v>(&self, id: &'v Value, fields: &'v Object) -> Option<&'v Value> {
        let Path::Field { names, .. } = self else { return Some(id) };
        let (first, rest) = names.split_first()?;
        let mut value = fields.get(first)?;
        for name in rest {
            let Value::Object(parts) = value else { return None };
            value = parts.get(name)?;
        }
        Some(value).filter(|value| **value != Value::Null)
    }
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }

    /// The comparison with its sides exchanged.
    pub(super) fn flipped(self) -> Comparison {
        match self {
            Comparison::Equal => Comparison::Equal,
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        }
    }
}

/// Compares two values that aren't null. False for values of different kinds, which a checked rule doesn't compare.
pub(super) fn compare(a: &Value, comparison: Comparison, b: &Value) -> bool {
    use crate::value::Decimal;
    let order = match (a, b) {
        (Value::Integer(a), Value::Integer(b)) | (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
        (Value::Integer(a), Value::Decimal(b)) => Decimal::from(*a).cmp(b),
        (Value::Decimal(a), Value::Integer(b)) => a.cmp(&Decimal::from(*b)),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (a, b) => return comparison == Comparison::Equal && a == b,
    };
    comparison.holds(order)
}

impl Test {
    fn holds(&self, id: &Value, fields: &Object) -> bool {
        let text_of = |path: &Path| match path.value(id, fields) {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        match self {
            Test::IsNull(path) => path.value(id, fields).is_none(),
            Test::Compare(path, comparison, constant) => {
                path.value(id, fields).is_some_and(|value| compare(value, *comparison, constant))
            }
            Test::CompareFields(left, comparison, right) => {
                match (left.value(id, fields), right.value(id, fields)) {
                    (Some(left), Some(right)) => compare(left, *comparison, right),
                    _ => false,
                }
            }
            Test::In(path, constants) => path.value(id, fields).is_some_and(|value| {
                constants.iter().any(|constant| compare(value, Comparison::Equal, constant))
            }),
            Test::HasItem(path, constant) => match path.value(id, fields) {
                Some(Value::List(items)) => items.contains(constant),
                _ => false,
            },
            Test::StartsWith(path, part) => text_of(path).is_some_and(|text| text.starts_with(part.as_str())),
            Test::EndsWith(path, part) => text_of(path).is_some_and(|text| text.ends_with(part.as_str())),
            Test::Contains(path, part) => text_of(path).is_some_and(|text| text.contains(part.as_str())),
        }
    }
}

impl Predicate {
    /// Whether it holds of an aggregate with this id and these fields: what a translation has to agree with.
    pub fn holds(&self, id: Uuid, fields: &Object) -> bool {
        self.holds_of(&Value::Uuid(id), fields)
    }

    fn holds_of(&self, id: &Value, fields: &Object) -> bool {
        match self {
            Predicate::And(parts) => parts.iter().all(|part| part.holds_of(id, fields)),
            Predicate::Or(parts) => parts.iter().any(|part| part.holds_of(id, fields)),
            Predicate::Test(test) => test.holds(id, fields),
            Predicate::Not(test) => !test.holds(id, fields),
        }
    }
}

impl Readable {
    /// Whether the actor may read an aggregate with this id and these fields.
    pub fn holds(&self, id: Uuid, fields: &Object) -> bool {
        match self {
            Readable::All => true,
            Readable::Nothing => false,
            Readable::Where(predicate) => predicate.holds(id, fields),
        }
    }
}
