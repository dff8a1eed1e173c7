//! Whether an expression fits the place that it is written for, and the rewriting that makes it fit.

use indexmap::IndexMap;
use uuid::Uuid;

use super::Expected;
use super::check::{Checker, article, suggest};
use super::operators::{conversion_hint, literal_text};
use super::tree::{EachKind, Node, Typed};
use super::types::{Slot, Ty};
use crate::value::Value;

/// What stands for the name of a list's items.
const ITEM: &str = "";

impl Checker<'_> {
    /// The tree as what `expected` asks for.
    pub(super) fn fit(&mut self, typed: Typed, expected: Expected<'_>) -> Typed {
        match expected {
            Expected::Any => typed,
            Expected::Boolean => match &typed.slot.ty {
                Ty::Boolean | Ty::Faulty => typed,
                ty => {
                    let message = format!("a condition is expected, this is {}", article(ty));
                    self.fault(typed.span, message, Some("compare it with something".to_owned()))
                }
            },
            Expected::Field(field) => {
                let slot = Slot::of_field(field);
                self.fit_slot(typed, &slot, &field.name)
            }
        }
    }

    fn fit_slot(&mut self, typed: Typed, to: &Slot, name: &str) -> Typed {
        let typed = self.adapt(typed, &to.ty);
        let typed = match (typed.node, &to.ty) {
            (Node::Object(parts), Ty::Object(slots)) => {
                let (faults, span) = (self.faults.len(), typed.span.clone());
                let node = self.fit_object(parts, slots, &typed.span);
                let slot = Slot::of(if self.faults.len() == faults { to.ty.clone() } else { Ty::Faulty });
                Typed { node, slot, span }
            }
            (Node::List(items), Ty::List(of)) => {
                let (faults, span) = (self.faults.len(), typed.span);
                let items = items.into_iter().map(|item| self.fit_slot(item, of, ITEM)).collect();
                let ty = if self.faults.len() == faults { to.ty.clone() } else { Ty::Faulty };
                Typed { node: Node::List(items), slot: Slot::of(ty), span }
            }
            // The body gives the items of the result.
            (Node::Each(mut each), Ty::List(of)) if each.kind == EachKind::Map => {
                let (faults, span, nullable) = (self.faults.len(), typed.span, typed.slot.nullable);
                each.body = self.fit_slot(each.body, of, ITEM);
                let ty = if self.faults.len() == faults { to.ty.clone() } else { Ty::Faulty };
                Typed { node: Node::Each(each), slot: Slot { ty, nullable }, span }
            }
            (node, _) => Typed { node, ..typed },
        };
        let from = &typed.slot;
        if from.ty == Ty::Faulty {
            return typed;
        }
        if from.ty == Ty::Null && !to.nullable {
            let hint = Some("give a value, or declare it with `optional: true`".to_owned());
            return self.fault(typed.span, format!("{} is never null", called(name)), hint);
        }
        if !assignable(&from.ty, &to.ty) {
            if let (Ty::Enum(values), Ty::Enum(known)) = (&from.ty, &to.ty) {
                let others: Vec<String> =
                    values.iter().filter(|value| !known.contains(value)).cloned().collect();
                let message = format!("{} can't be {}", called(name), quoted(&others));
                return self.fault(typed.span, message, Some(format!("its values are {}", quoted(known))));
            }
            let message = format!("{} is {}, this is {}", called(name), article(&to.ty), article(&from.ty));
            let hint = match (&from.ty, &to.ty) {
                (Ty::Text, Ty::Enum(values)) => {
                    Some(format!("give one of its values as a literal: {}", quoted(values)))
                }
                (Ty::Decimal, Ty::Integer) => Some("turn it into an integer: `int(round(x, 0))`".to_owned()),
                (_, Ty::Text) => Some("turn it into text: `string(x)`".to_owned()),
                (a, b) => conversion_hint(a, b),
            };
            return self.fault(typed.span, message, hint);
        }
        if from.nullable && !to.nullable {
            let message = format!("{} is never null, this can be", called(name));
            let hint = "give a value for that case: `orElse(x, default)`".to_owned();
            return self.fault(typed.span, message, Some(hint));
        }
        if nullable_inside(&from.ty, &to.ty) {
            let message = format!("{} has parts that are never null, in this they can be", called(name));
            let hint = "give a value for that case: `orElse(x, default)`".to_owned();
            return self.fault(typed.span, message, Some(hint));
        }
        typed.widened(&to.ty)
    }

    /// The parts of an object literal in declared order, optional ones that are left out as null.
    fn fit_object(
        &mut self,
        parts: Vec<(String, Typed)>,
        slots: &IndexMap<String, Slot>,
        span: &std::ops::Range<usize>,
    ) -> Node {
        let mut given: IndexMap<String, Typed> = parts.into_iter().collect();
        let mut fitted = Vec::new();
        for (name, slot) in slots {
            let part = match given.shift_remove(name) {
                Some(part) => self.fit_slot(part, slot, name),
                None if slot.nullable => Typed {
                    node: Node::Literal(Value::Null),
                    slot: Slot { ty: Ty::Null, nullable: true },
                    span: span.clone(),
                },
                None => self.fault(span.clone(), format!("the field '{name}' is missing"), None),
            };
            fitted.push((name.clone(), part));
        }
        for (name, part) in given {
            let hint = suggest(&name, slots.keys().map(String::as_str));
            self.fault(part.span, format!("the object has no field '{name}'"), hint);
        }
        Node::Object(fitted)
    }

    /// Gives text literals in `typed` the type of `target`, where that is an enum or a UUID.
    pub(super) fn adapt(&mut self, typed: Typed, target: &Ty) -> Typed {
        match target {
            Ty::Uuid | Ty::Enum(_) | Ty::List(_) | Ty::Object(_) => {}
            _ => return typed,
        }
        let Typed { node, mut slot, span } = typed;
        let node = match (node, target) {
            (Node::Literal(Value::Text(text)), Ty::Uuid) => match Uuid::try_parse(&text) {
                Ok(id) => {
                    return Typed { node: Node::Literal(Value::Uuid(id)), slot: Slot::of(Ty::Uuid), span };
                }
                Err(_) => {
                    let hint = Some(
                        "a UUID has 32 hexadecimal digits: '018f4e1c-…'; a natural key isn't taken here"
                            .to_owned(),
                    );
                    return self.fault(span, format!("'{text}' is no UUID"), hint);
                }
            },
            (Node::Literal(Value::Text(text)), Ty::Enum(values)) => {
                if !values.contains(&text) {
                    let hint = suggest(&text, values.iter().map(String::as_str));
                    let hint = hint.or_else(|| Some(format!("its values are {}", quoted(values))));
                    return self.fault(span, format!("'{text}' is no value of the enum"), hint);
                }
                slot.ty = Ty::Enum(vec![text.clone()]);
                Node::Literal(Value::Text(text))
            }
            (Node::List(items), Ty::List(of)) => {
                let items = items.into_iter().map(|item| self.adapt(item, &of.ty)).collect();
                return self.list_of(items, span);
            }
            (Node::Object(parts), Ty::Object(slots)) => {
                let mut adapt = |(name, part): (String, Typed)| match slots.get(&name) {
                    Some(slot) => (name, self.adapt(part, &slot.ty)),
                    None => (name, part),
                };
                let parts: Vec<(String, Typed)> = parts.into_iter().map(&mut adapt).collect();
                slot.ty =
                    Ty::Object(parts.iter().map(|(name, part)| (name.clone(), part.slot.clone())).collect());
                Node::Object(parts)
            }
            (Node::Conditional(branches), _) => {
                let [test, yes, no] = *branches;
                let (yes, no) = (self.adapt(yes, target), self.adapt(no, target));
                slot = yes.slot.unify(&no.slot).unwrap_or(slot);
                Node::Conditional(Box::new([test, yes, no]))
            }
            (Node::OrElse(first, second), _) => {
                let (first, second) = (self.adapt(*first, target), self.adapt(*second, target));
                let nullable = slot.nullable;
                slot.ty = first.slot.ty.unify(&second.slot.ty).unwrap_or(slot.ty);
                slot.nullable = nullable;
                Node::OrElse(Box::new(first), Box::new(second))
            }
            (node, _) => node,
        };
        Typed { node, slot, span }
    }

    /// The literal text of an argument that has to be one.
    pub(super) fn literal_argument(&mut self, typed: &Typed, what: &str) -> Option<String> {
        let text = literal_text(typed).map(str::to_owned);
        if text.is_none() && typed.slot.ty != Ty::Faulty {
            self.fault(typed.span.clone(), format!("{what} has to be a text literal"), None);
        }
        text
    }
}

/// Whether a value of `from` is, or widens to, one of `to`, nulls aside.
fn assignable(from: &Ty, to: &Ty) -> bool {
    match (from, to) {
        (Ty::Never | Ty::Null | Ty::Faulty, _) | (Ty::Integer, Ty::Decimal) | (Ty::Enum(_), Ty::Text) => true,
        (Ty::Enum(from), Ty::Enum(to)) => from.iter().all(|value| to.contains(value)),
        (Ty::List(from), Ty::List(to)) => assignable(&from.ty, &to.ty),
        (Ty::Object(from), Ty::Object(to)) => {
            from.len() == to.len()
                && to.iter().all(|(name, to)| from.get(name).is_some_and(|from| assignable(&from.ty, &to.ty)))
        }
        (from, to) => from == to,
    }
}

/// Whether an item or a part may be null where `to` doesn't allow it.
fn nullable_inside(from: &Ty, to: &Ty) -> bool {
    let slots = |from: &Slot, to: &Slot| {
        ((from.nullable || from.ty == Ty::Null) && !to.nullable) || nullable_inside(&from.ty, &to.ty)
    };
    match (from, to) {
        (Ty::List(from), Ty::List(to)) => slots(from, to),
        (Ty::Object(from), Ty::Object(to)) => {
            to.iter().any(|(name, to)| from.get(name).is_some_and(|from| slots(from, to)))
        }
        _ => false,
    }
}

pub(super) fn quoted(values: &[String]) -> String {
    values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ")
}

fn called(name: &str) -> String {
    if name == ITEM { "an item of the list".to_owned() } else { format!("`{name}`") }
}
