//! Which views a change may matter to, without asking each: an event costs what its candidates cost.
//!
//! A view that can match some aggregates only is found by their ids. One that demands that a field equals one of some values is
//! found by the value that the field has before the change, or after it: if it has none of them on either side, the view matches
//! neither. The others are candidates always.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;
use writ_model::value::Decimal;
use writ_model::{Object, Timestamp, Value};
use writ_projections::query::Keyed;

use super::change::Change;

/// A value that a field may be asked to equal. Two that PostgreSQL holds for equal are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Text(String),
    /// Whole or not, and with as many zeros as may be: equal numbers are one.
    Number(Decimal),
    Boolean(bool),
    Timestamp(Timestamp),
    Date(i32),
    Duration(i64),
    Uuid(Uuid),
}

impl Key {
    fn of(value: &Value) -> Option<Key> {
        Some(match value {
            Value::Text(text) => Key::Text(text.clone()),
            Value::Integer(number) => Key::Number(Decimal::from(*number)),
            Value::Decimal(number) => Key::Number(number.clone()),
            Value::Boolean(value) => Key::Boolean(*value),
            Value::Timestamp(at) => Key::Timestamp(*at),
            Value::Date(date) => Key::Date(i32::from(date.year()) * 512 + i32::from(date.day_of_year())),
            Value::Duration(millis) => Key::Duration(*millis),
            Value::Uuid(id) => Key::Uuid(*id),
            Value::Null | Value::List(_) | Value::Object(_) | Value::Json(_) => return None,
        })
    }
}

/// Where a view stands in the index.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// Only these aggregates can match. Each stands once.
    Ids(Vec<Uuid>),
    /// Only where the field, or the part of it (`ship_to.city`), has one of these values.
    Field(String, Vec<Key>),
    /// Anything may match.
    Anywhere,
}

impl Place {
    pub(super) fn of(keyed: Option<&Keyed>) -> Place {
        match keyed {
            Some(Keyed::Ids(ids)) => Place::Ids(ids.clone()),
            Some(Keyed::Field(name, values)) => {
                let keys: Option<Vec<Key>> = values.iter().map(Key::of).collect();
                keys.map_or(Place::Anywhere, |mut keys| {
                    let mut seen = HashSet::new();
                    keys.retain(|key| seen.insert(key.clone()));
                    Place::Field(name.clone(), keys)
                })
            }
            None => Place::Anywhere,
        }
    }
}

/// The slots of the views of one model.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_id: HashMap<Uuid, Vec<usize>>,
    by_field: HashMap<String, HashMap<Key, Vec<usize>>>,
    anywhere: Vec<usize>,
}

impl Index {
    pub(super) fn insert(&mut self, place: &Place, slot: usize) {
        match place {
            Place::Ids(ids) => ids.iter().for_each(|id| self.by_id.entry(*id).or_default().push(slot)),
            Place::Field(name, keys) => {
                let values = self.by_field.entry(name.clone()).or_default();
                for key in keys {
                    values.entry(key.clone()).or_default().push(slot);
                }
            }
            Place::Anywhere => self.anywhere.push(slot),
        }
    }

    pub(super) fn remove(&mut self, place: &Place, slot: usize) {
        let without = |slots: &mut Vec<usize>| {
            slots.retain(|other| *other != slot);
            slots.is_empty()
        };
        match place {
            Place::Ids(ids) => {
                for id in ids {
                    if self.by_id.get_mut(id).is_some_and(without) {
                        self.by_id.remove(id);
                    }
                }
            }
            Place::Field(name, keys) => {
                let Some(values) = self.by_field.get_mut(name) else { return };
                for key in keys {
                    if values.get_mut(key).is_some_and(without) {
                        values.remove(key);
                    }
                }
                if values.is_empty() {
                    self.by_field.remove(name);
                }
            }
            Place::Anywhere => {
                without(&mut self.anywhere);
            }
        }
    }

    /// The slots among which a view of this place is, if it is there.
    pub(super) fn beside(&self, place: &Place) -> &[usize] {
        let slots = match place {
            Place::Ids(ids) => ids.first().and_then(|id| self.by_id.get(id)),
            Place::Field(name, keys) => {
                keys.first().and_then(|key| self.by_field.get(name).and_then(|values| values.get(key)))
            }
            Place::Anywhere => Some(&self.anywhere),
        };
        slots.map_or(&[], Vec::as_slice)
    }

    /// Every view that can match before or after the change, each once.
    pub(super) fn candidates(&self, change: &Change) -> Vec<usize> {
        let mut slots = self.anywhere.clone();
        slots.extend(self.by_id.get(&change.aggregate()).into_iter().flatten());
        let states = change.before.iter().chain([&change.after]);
        for (name, values) in &self.by_field {
            let keys = states.clone().filter_map(|state| Key::of(value_at(&state.fields, name)?));
            slots.extend(keys.filter_map(|key| values.get(&key)).flatten());
        }
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

/// `ship_to.city` of a state.
fn value_at<'s>(fields: &'s Object, name: &str) -> Option<&'s Value> {
    let mut parts = name.split('.');
    let first = fields.get(parts.next()?)?;
    parts.try_fold(first, |value, part| match value {
        Value::Object(fields) => fields.get(part),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_are_one_key() {
        let number = |text: &str| Key::of(&Value::Decimal(text.parse().unwrap())).unwrap();
        let mut slots = HashMap::from([(Key::of(&Value::Integer(500)).unwrap(), 1)]);
        for text in ["500", "500.00", "5e2"] {
            assert_eq!(slots.insert(number(text), 2), Some(if text == "500" { 1 } else { 2 }), "{text}");
        }
        assert_eq!(slots.insert(number("500.01"), 3), None);
    }

    #[test]
    fn a_part_of_an_object_has_a_key() {
        let inner: Object = [("city".to_owned(), Value::Text("Ulm".into()))].into_iter().collect();
        let fields: Object = [("ship_to".to_owned(), Value::Object(inner))].into_iter().collect();
        assert_eq!(value_at(&fields, "ship_to.city"), Some(&Value::Text("Ulm".into())));
        assert_eq!(value_at(&fields, "ship_to.city.x"), None);
        assert_eq!(value_at(&fields, "other"), None);
    }
}
