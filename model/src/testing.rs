//! Arbitrary declarations, and arbitrary values that fit them.

use indexmap::IndexMap;
use num_bigint::BigInt;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::string::string_regex;
use uuid::Uuid;

use crate::declaration::{Field, KeyOf, Pattern, Type};
use crate::value::{Decimal, Object, Timestamp, Value, date_from_days};

/// A required field without anything else.
pub(crate) fn field(name: &str, ty: Type) -> Field {
    Field::plain(name, ty)
}

/// The same, optional.
pub(crate) fn optional(name: &str, ty: Type) -> Field {
    Field { optional: true, ..field(name, ty) }
}

/// Fields by their names.
pub(crate) fn fields(list: impl IntoIterator<Item = Field>) -> IndexMap<String, Field> {
    list.into_iter().map(|field| (field.name.clone(), field)).collect()
}

/// Text without constraints.
pub(crate) fn text() -> Type {
    Type::Text { min_length: None, max_length: None, pattern: None }
}

/// A whole number without constraints.
pub(crate) fn integer() -> Type {
    Type::Integer { min: None, max: None }
}

/// A decimal without bounds.
pub(crate) fn decimal(precision: u32, scale: u32) -> Type {
    Type::Decimal { precision, scale, min: None, max: None }
}

/// A pattern as the declaration compiles it.
pub(crate) fn pattern(source: &str) -> Pattern {
    Pattern { source: source.to_owned(), regex: regex::Regex::new(&format!("^(?:{source})$")).unwrap() }
}

/// One to five declared fields with an object that fits them.
pub(crate) fn declared_object() -> impl Strategy<Value = (IndexMap<String, Field>, Object)> {
    any_fields().prop_flat_map(|fields| {
        let object = object_of(&fields);
        (Just(fields), object)
    })
}

/// One to five declared fields.
pub(crate) fn any_fields() -> impl Strategy<Value = IndexMap<String, Field>> {
    fields_of(any_type().boxed(), 5)
}

/// Any type with constraints that some value meets.
pub(crate) fn any_type() -> impl Strategy<Value = Type> {
    scalar_type().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (fields_of(inner.clone(), 1), option::of(0u64..2), option::of(2u64..4)).prop_map(
                |(mut fields, min_length, max_length)| {
                    let (_, of) = fields.pop().unwrap();
                    let of = Box::new(Field { name: "item".to_owned(), default: None, ..of });
                    Type::List { of, min_length, max_length }
                }
            ),
            fields_of(inner, 4).prop_map(Type::Object),
        ]
    })
}

fn fields_of(ty: BoxedStrategy<Type>, most: usize) -> BoxedStrategy<IndexMap<String, Field>> {
    let one = (ty, any::<bool>(), any::<bool>()).prop_flat_map(|(ty, optional, has_default)| {
        let default =
            if has_default && !optional { value_of(&ty).prop_map(Some).boxed() } else { Just(None).boxed() };
        default.prop_map(move |default| Field { optional, default, ..field("", ty.clone()) })
    });
    vec(one, 1..=most)
        .prop_map(|list| {
            fields(list.into_iter().enumerate().map(|(index, field)| Field {
                name: format!("part_{index}"),
                renamed_from: (0..index % 3).map(|old| format!("part_{index}_{old}")).collect(),
                ..field
            }))
        })
        .boxed()
}

fn scalar_type() -> BoxedStrategy<Type> {
    let key = KeyOf { app: "shop".to_owned(), model: "customer".to_owned(), ty: Box::new(text()) };
    prop_oneof![
        (option::of(0u64..3), option::of(3u64..20)).prop_map(|(min_length, max_length)| Type::Text {
            min_length,
            max_length,
            pattern: None
        }),
        Just(Type::Text { min_length: None, max_length: None, pattern: Some(pattern("[A-Z]{5}")) }),
        bounds(any::<i64>().boxed()).prop_map(|(min, max)| Type::Integer { min, max }),
        (1u32..=38)
            .prop_flat_map(|precision| (Just(precision), 0..=precision))
            .prop_flat_map(|(precision, scale)| bounds(any_decimal(precision, scale))
                .prop_map(move |(min, max)| { Type::Decimal { precision, scale, min, max } })),
        Just(Type::Boolean),
        Just(Type::Timestamp),
        Just(Type::Date),
        Just(Type::Duration),
        Just(Type::Uuid),
        Just(Type::Email),
        Just(Type::Url),
        (1usize..5).prop_map(|count| Type::Enum((0..count).map(|index| format!("value_{index}")).collect())),
        option::of(Just(key)).prop_map(|key| Type::Ref { to: "customer".to_owned(), key }),
        Just(Type::Json),
    ]
    .boxed()
}

/// None, one or both of two ordered bounds.
fn bounds<T: Clone + PartialOrd + std::fmt::Debug + 'static>(
    of: BoxedStrategy<T>,
) -> impl Strategy<Value = (Option<T>, Option<T>)> {
    (option::of(of.clone()), option::of(of)).prop_map(|bounds| match bounds {
        (Some(min), Some(max)) if min > max => (Some(max), Some(min)),
        bounds => bounds,
    })
}

fn any_decimal(precision: u32, scale: u32) -> BoxedStrategy<Decimal> {
    let largest = 10i128.pow(precision) - 1;
    prop_oneof![
        4 => -largest..=largest,
        1 => Just(largest),
        1 => Just(-largest),
        2 => (-1000i128..=1000).prop_map(move |small| small.clamp(-largest, largest)),
    ]
    .prop_map(move |digits| Decimal::new(BigInt::from(digits), i64::from(scale)))
    .boxed()
}

/// A value of the field, null as well if it is optional.
pub(crate) fn value_of_field(field: &Field) -> BoxedStrategy<Value> {
    let value = value_of(&field.ty);
    if field.optional { prop_oneof![1 => Just(Value::Null), 3 => value].boxed() } else { value }
}

/// An object of the fields.
pub(crate) fn object_of(fields: &IndexMap<String, Field>) -> BoxedStrategy<Object> {
    let mut object: BoxedStrategy<Object> = Just(Object::new()).boxed();
    for (name, field) in fields {
        let name = name.clone();
        object = (object, value_of_field(field))
            .prop_map(move |(mut object, value)| {
                object.insert(name.clone(), value);
                object
            })
            .boxed();
    }
    object
}

/// A value that meets every constraint of the type.
pub(crate) fn value_of(ty: &Type) -> BoxedStrategy<Value> {
    match ty {
        Type::Text { pattern: Some(pattern), .. } => {
            string_regex(&pattern.source).unwrap().prop_map(Value::Text).boxed()
        }
        Type::Text { min_length, max_length, .. } => {
            let (min, max) = (min_length.unwrap_or(0) as usize, max_length.unwrap_or(30) as usize);
            vec(any::<char>().prop_filter("no NUL", |c| *c != '\0'), min..=max)
                .prop_map(|chars| Value::Text(chars.into_iter().collect()))
                .boxed()
        }
        Type::Integer { min, max } => {
            let (min, max) = (min.unwrap_or(i64::MIN), max.unwrap_or(i64::MAX));
            prop_oneof![4 => min..=max, 1 => Just(min), 1 => Just(max)].prop_map(Value::Integer).boxed()
        }
        Type::Decimal { precision, scale, min, max } => {
            let (min, max) = (min.clone(), max.clone());
            any_decimal(*precision, *scale)
                .prop_map(move |value| {
                    let value = min.clone().map_or(value.clone(), |min| value.max(min));
                    Value::Decimal(max.clone().map_or(value.clone(), |max| value.min(max)))
                })
                .boxed()
        }
        Type::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Type::Timestamp => {
            let (min, max) = (Timestamp::MIN.0, Timestamp::MAX.0);
            prop_oneof![4 => min..=max, 1 => Just(min), 1 => Just(max), 1 => Just(-1)]
                .prop_map(|millis| Value::Timestamp(Timestamp(millis)))
                .boxed()
        }
        Type::Date => {
            let (first, last) = (-719_162, 2_932_896);
            prop_oneof![4 => first..=last, 1 => Just(first), 1 => Just(last), 1 => Just(-1)]
                .prop_map(|days| Value::Date(date_from_days(days).unwrap()))
                .boxed()
        }
        Type::Duration => prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), -100_000i64..100_000]
            .prop_map(Value::Duration)
            .boxed(),
        Type::Uuid | Type::Ref { .. } => {
            any::<u128>().prop_map(|bits| Value::Uuid(Uuid::from_u128(bits))).boxed()
        }
        Type::Email => string_regex("[a-z][a-z0-9.]{0,8}[a-z]@[a-z]{1,8}\\.org")
            .unwrap()
            .prop_filter("no two dots", |text| !text.contains(".."))
            .prop_map(Value::Text)
            .boxed(),
        Type::Url => string_regex("https?://[a-z]{1,8}\\.org(/[a-z0-9]{0,8}){0,2}(\\?[a-z]=[0-9])?")
            .unwrap()
            .prop_map(Value::Text)
            .boxed(),
        Type::Enum(names) => proptest::sample::select(names.clone()).prop_map(Value::Text).boxed(),
        Type::List { of, min_length, max_length } => {
            let (min, max) = (min_length.unwrap_or(0) as usize, max_length.unwrap_or(3) as usize);
            vec(value_of_field(of), min..=max).prop_map(Value::List).boxed()
        }
        Type::Object(fields) => object_of(fields).prop_map(Value::Object).boxed(),
        Type::Json => any_json()
            .prop_filter("null is no JSON value", |json| !json.is_null())
            .prop_map(Value::Json)
            .boxed(),
    }
}

/// Any JSON without NUL.
pub(crate) fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        prop::num::f64::NORMAL.prop_map(serde_json::Value::from),
        "[^\0]{0,12}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map("[a-z_0-9/~]{0,8}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}
