//! `@>` of PostgreSQL's `jsonb`: whether a document contains another one (`JsonbDeepContains`).
//!
//! An object contains one whose members it has, each with a value that contains the other's. A list contains one of whose
//! items each is in some item of it, whatever their order and number. At the top, a list also contains a scalar that is
//! one of its items. Scalars contain what they are equal to; numbers are equal as numbers, so `1` and `1.0` are.

use std::str::FromStr;

use serde_json::{Number, Value as Json};
use writ_model::Decimal;

/// Whether `outer @> inner`.
pub(super) fn contains(outer: &Json, inner: &Json) -> bool {
    match (outer, inner) {
        (Json::Array(items), scalar) if !scalar.is_array() && !scalar.is_object() => {
            items.iter().any(|item| within(item, scalar))
        }
        (outer, inner) => within(outer, inner),
    }
}

/// The same, but not at the top.
fn within(outer: &Json, inner: &Json) -> bool {
    match (outer, inner) {
        (Json::Object(outer), Json::Object(inner)) => {
            inner.iter().all(|(name, inner)| outer.get(name).is_some_and(|outer| within(outer, inner)))
        }
        (Json::Array(outer), Json::Array(inner)) => {
            inner.iter().all(|inner| outer.iter().any(|outer| within(outer, inner)))
        }
        (Json::Number(outer), Json::Number(inner)) => is_same(outer, inner),
        // Of one kind and no containers, or different.
        (outer, inner) => outer == inner,
    }
}

/// Whether they are the same number to PostgreSQL, which reads their texts as exact decimals.
fn is_same(a: &Number, b: &Number) -> bool {
    match (a.is_f64(), b.is_f64()) {
        // Texts of two binary fractions are the same number if they are.
        (true, true) | (false, false) => a == b,
        _ => match (Decimal::from_str(&a.to_string()), Decimal::from_str(&b.to_string())) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_contain_items_and_only_at_the_top_without_brackets() {
        for (outer, inner, expected) in [
            (json!([1, 2]), json!(1), true),
            (json!([[1, 2]]), json!([1]), false),
            (json!([[1, 2]]), json!([[1]]), true),
            (json!([1, 2, 2]), json!([2, 1, 1]), true),
            (json!({ "a": [1] }), json!({ "a": 1 }), false),
            (json!({ "a": [1], "b": null }), json!({ "b": null }), true),
            (json!({ "a": 1 }), json!({ "b": null }), false),
            (json!(1), json!([1]), false),
            (json!(1), json!(1), true),
            (json!([]), json!([]), true),
            (json!({}), json!([]), false),
            (json!([{ "a": 1, "b": 2 }]), json!([{ "a": 1 }, { "b": 2 }]), true),
            (json!([1.0, -0.0, 1e16]), json!([1, 0, 10_000_000_000_000_000_u64]), true),
            (json!([1.844_674_407_370_955_2e19]), json!([u64::MAX]), false),
        ] {
            assert_eq!(contains(&outer, &inner), expected, "{outer} @> {inner}");
        }
    }
}
