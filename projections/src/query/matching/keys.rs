//! What every match has in common: one field, or the id, with one of a few values.

use indexmap::IndexMap;
use uuid::Uuid;
use writ_model::access::{Comparison, Kind, Path, Predicate, Readable, Test};
use writ_model::{Field, Type, Value};

use super::condition::value;
use crate::query::filter::{Filter, Operator};
use crate::query::subject::is_fixed;

/// An equality that every match fulfils.
#[derive(Debug, Clone, PartialEq)]
pub enum Keyed {
    /// The aggregate has one of these ids, at least one. Each stands once.
    Ids(Vec<Uuid>),
    /// The field of this name, which is at the top of the state, has one of these values: no nulls and no decimals, so equal
    /// ones have one text ([`Value::to_text`]), and that can be looked up. Each stands once.
    Field(String, Vec<Value>),
}

/// The one that is likely to be rarest. `fields`: those of the model.
pub(super) fn best(filters: &[Filter], rows: &Readable, fields: &IndexMap<String, Field>) -> Option<Keyed> {
    let of_filters = filters.iter().filter_map(of_filter);
    let of_rows = match rows {
        Readable::Where(predicate) => of_predicate(predicate, fields),
        Readable::All | Readable::Nothing => None,
    };
    of_filters.chain(of_rows).min_by_key(|keyed| rank(keyed, fields))
}

/// Less is better: how many aggregates may share a value, and the number of values.
fn rank(keyed: &Keyed, fields: &IndexMap<String, Field>) -> (u8, usize) {
    let (name, values) = match keyed {
        Keyed::Ids(ids) => return (0, ids.len()),
        Keyed::Field(name, values) => (name, values),
    };
    let kind = match fields.get(name).map(|field| &field.ty) {
        Some(Type::Uuid | Type::Ref { .. }) => 1,
        Some(Type::Enum(_)) => 3,
        Some(Type::Boolean) => 4,
        _ => 2,
    };
    (kind, values.len())
}

fn of_filter(filter: &Filter) -> Option<Keyed> {
    let target = &filter.target;
    let ([name], Operator::Eq | Operator::In) = (&*target.path, filter.operator) else { return None };
    let values: Vec<Value> = filter.values.iter().map(|text| value(target, text)).collect();
    if is_fixed(name) { ids(&values) } else { field(name, values) }
}

fn of_predicate(predicate: &Predicate, fields: &IndexMap<String, Field>) -> Option<Keyed> {
    match predicate {
        Predicate::And(parts) => {
            let keys = parts.iter().filter_map(|part| of_predicate(part, fields));
            keys.min_by_key(|keyed| rank(keyed, fields))
        }
        // Whichever holds, it is the same field.
        Predicate::Or(parts) => {
            let mut keys = parts.iter().map(|part| of_predicate(part, fields));
            let first = keys.next()??;
            keys.try_fold(first, |so_far, next| either(so_far, next?))
        }
        Predicate::Test(Test::Compare(path, Comparison::Equal, constant)) => {
            of_path(path, std::slice::from_ref(constant))
        }
        Predicate::Test(Test::In(path, constants)) => of_path(path, constants),
        Predicate::Test(_) | Predicate::Not(_) => None,
    }
}

fn of_path(path: &Path, constants: &[Value]) -> Option<Keyed> {
    match path {
        Path::Id => ids(constants),
        // An integer that a decimal is compared with has another text.
        Path::Field { names, kind } if *kind != Kind::Decimal => match &**names {
            [name] => field(name, constants.to_vec()),
            _ => None,
        },
        Path::Field { .. } => None,
    }
}

fn either(one: Keyed, other: Keyed) -> Option<Keyed> {
    match (one, other) {
        (one, other) if one == other => Some(one),
        (Keyed::Field(name, mut values), Keyed::Field(same, more)) if name == same => {
            values.extend(more);
            field(&name, values)
        }
        (Keyed::Ids(ids), Keyed::Ids(more)) => Some(Keyed::Ids(once(ids.into_iter().chain(more)))),
        _ => None,
    }
}

/// Of the id: the version and the times of a row are no key.
fn ids(values: &[Value]) -> Option<Keyed> {
    let id = |value: &Value| if let Value::Uuid(id) = value { Some(*id) } else { None };
    let ids: Option<Vec<Uuid>> = values.iter().map(id).collect();
    Some(Keyed::Ids(once(ids?.into_iter())))
}

fn once<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut once: Vec<T> = Vec::with_capacity(values.size_hint().0);
    for value in values {
        if !once.contains(&value) {
            once.push(value);
        }
    }
    once
}

/// Not with decimals: equal ones may have several texts.
fn field(name: &str, values: Vec<Value>) -> Option<Keyed> {
    let is_key = |value: &Value| !matches!(value, Value::Decimal(_)) && value.to_text().is_some();
    if !values.iter().all(is_key) {
        return None;
    }
    Some(Keyed::Field(name.to_owned(), once(values.into_iter())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_two_kinds_are_equal_without_having_one_text() {
        let key = |kind, constant| {
            let path = Path::Field { names: vec!["amount".to_owned()], kind };
            let test = Test::Compare(path, Comparison::Equal, constant);
            of_predicate(&Predicate::Test(test), &IndexMap::new())
        };
        let (one, exactly) = (Value::Integer(1), Value::Decimal(1.into()));
        assert_eq!(
            key(Kind::Integer, one.clone()),
            Some(Keyed::Field("amount".to_owned(), vec![one.clone()]))
        );
        assert_eq!(key(Kind::Decimal, one), None);
        assert_eq!(key(Kind::Integer, exactly), None);
    }
}
