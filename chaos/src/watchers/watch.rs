//! What somebody watches: a model and a condition, as the server is asked for it and as the check works it out by itself.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};
use writ_model::{State, Value};

/// A model, and a condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) model: &'static str,
    condition: Condition,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Any,
    AtLeast(&'static str, i64),
    Below(&'static str, i64),
    Begins(&'static str, String),
}

impl Watch {
    /// Those that rows often begin and cease to fulfil come most often.
    pub(crate) fn choose(rng: &mut ChaCha8Rng) -> Watch {
        let digit = char::from_digit(rng.random_range(0..16), 16).expect("invariant: it is below 16");
        let balance = rng.random_range(600..1400);
        let (model, condition) = match rng.random_range(0..10) {
            0 => ("purse", Condition::Any),
            1..4 => ("purse", Condition::AtLeast("balance", balance)),
            4..6 => ("purse", Condition::Below("balance", balance)),
            6 => ("register", Condition::AtLeast("value", rng.random_range(0..1000))),
            7 => ("register", Condition::Any),
            8 => ("member", Condition::Begins("email", format!("m-{digit}"))),
            _ => ("member", Condition::Any),
        };
        Watch { model, condition }
    }

    /// The filter of the subscription.
    pub(crate) fn filter(&self) -> Json {
        match &self.condition {
            Condition::Any => json!({}),
            Condition::AtLeast(field, value) => json!({ format!("{field}[gte]"): value }),
            Condition::Below(field, value) => json!({ format!("{field}[lt]"): value }),
            Condition::Begins(field, text) => json!({ format!("{field}[like]"): format!("{text}%") }),
        }
    }

    /// Whether a state is one of those.
    pub(crate) fn holds(&self, state: &State) -> bool {
        let integer = |field: &str| match state.fields.get(field) {
            Some(Value::Integer(value)) => Some(*value),
            _ => None,
        };
        !state.deleted
            && match &self.condition {
                Condition::Any => true,
                Condition::AtLeast(field, value) => integer(field).is_some_and(|found| found >= *value),
                Condition::Below(field, value) => integer(field).is_some_and(|found| found < *value),
                Condition::Begins(field, text) => {
                    matches!(state.fields.get(*field), Some(Value::Text(found)) if found.starts_with(text))
                }
            }
    }
}
