//! What a comparison compares: a field, or a constant of the actor.

use super::super::predicate::{self, Comparison, Kind, Path, Readable, Test};
use super::condition::Condition;
use super::{Translation, is_known};
use crate::declaration::{Field, Type};
use crate::expression::tree::{Node, Typed};
use crate::value::Value;

/// One side of a comparison as written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'t> {
    typed: &'t Typed,
    /// A branch or an item of a list: `actor.id` and `null` by themselves count in their own way, there they don't.
    is_wrapped: bool,
}

impl<'t> Side<'t> {
    pub(super) fn bare(typed: &'t Typed) -> Side<'t> {
        Side { typed, is_wrapped: false }
    }

    pub(super) fn wrapped(typed: &'t Typed) -> Side<'t> {
        Side { typed, is_wrapped: true }
    }

    pub(super) fn is_actor(self) -> bool {
        !self.is_wrapped && matches!(self.typed.node, Node::ActorId)
    }

    pub(super) fn is_null_literal(self) -> bool {
        !self.is_wrapped && matches!(self.typed.node, Node::Literal(Value::Null))
    }

    /// Whether an integer becomes a decimal.
    pub(super) fn is_widened(self) -> bool {
        matches!(self.typed.node, Node::Widen(_))
    }
}

/// The value of one side.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Path(Path),
    /// The actor makes it a constant; `None`: it has no value.
    Known(Option<Value>),
}

impl Operand {
    /// Where it has a value, which may be null. What is null has no parts.
    pub(super) fn has_value(&self) -> Readable {
        match self {
            Operand::Known(value) => Readable::always(value.is_some()),
            Operand::Path(Path::Field { names, .. }) if names.len() > 1 => {
                let names = names[..names.len() - 1].to_vec();
                Readable::test(Test::IsNull(Path::Field { names, kind: Kind::Whole })).not()
            }
            Operand::Path(_) => Readable::All,
        }
    }

    /// Where it has one that isn't null.
    pub(super) fn is_present(&self) -> Readable {
        match self {
            Operand::Known(value) => Readable::always(!matches!(value, None | Some(Value::Null))),
            Operand::Path(path) => is_present(path),
        }
    }
}

/// Where the field isn't null.
pub(super) fn is_present(path: &Path) -> Readable {
    Readable::test(Test::IsNull(path.clone())).not()
}

/// Stands for a part that depends on the actor while there is none.
pub(super) fn placeholder(typed: &Typed) -> Readable {
    let names = vec![typed.span.start.to_string()];
    Readable::test(Test::IsNull(Path::Field { names, kind: Kind::Whole }))
}

/// Numbers compare by their value, so an integer that becomes a decimal is the same.
pub(super) fn without_widening(typed: &Typed) -> &Typed {
    if let Node::Widen(operand) = &typed.node { operand } else { typed }
}

/// Whether a state can have this value. U+0000 is in no text of a state, and PostgreSQL takes none; a role's name can
/// have it.
pub(super) fn is_storable(value: &Value) -> bool {
    !matches!(value, Value::Text(text) if text.contains('\0'))
}

/// Null equals null only, and an actor that isn't signed in equals nobody, as the evaluation has it.
pub(super) fn equal_as_written(left: Side<'_>, a: &Operand, right: Side<'_>, b: &Operand) -> Condition {
    let is_nobody = |side: Side<'_>, operand: &Operand, other: Side<'_>| {
        side.is_actor() && matches!(operand, Operand::Known(Some(Value::Null))) && !other.is_null_literal()
    };
    if is_nobody(left, a, right) || is_nobody(right, b, left) {
        return Condition { has_value: a.has_value().and(b.has_value()), holds: Readable::Nothing };
    }
    equal(a, b)
}

/// Only what is there has an order.
pub(super) fn in_order(a: Operand, ordering: Comparison, b: Operand) -> Condition {
    let has_value = a.is_present().and(b.is_present());
    let storable = |operand: &Operand| match operand {
        Operand::Known(Some(constant)) => is_storable(constant),
        _ => true,
    };
    if !storable(&a) || !storable(&b) {
        return Condition::failed();
    }
    let holds = match (a, b) {
        (Operand::Known(None), _) | (_, Operand::Known(None)) => return Condition::failed(),
        (Operand::Known(Some(a)), Operand::Known(Some(b))) => {
            Readable::always(predicate::compare(&a, ordering, &b))
        }
        (Operand::Path(path), Operand::Known(Some(constant))) => {
            Readable::test(Test::Compare(path, ordering, constant))
        }
        (Operand::Known(Some(constant)), Operand::Path(path)) => {
            Readable::test(Test::Compare(path, ordering.flipped(), constant))
        }
        (Operand::Path(a), Operand::Path(b)) => Readable::test(Test::CompareFields(a, ordering, b)),
    };
    Condition { has_value, holds }
}

/// Equality of which null is only one more value.
pub(super) fn equal(a: &Operand, b: &Operand) -> Condition {
    let has_value = a.has_value().and(b.has_value());
    let holds = match (a, b) {
        (Operand::Known(None), _) | (_, Operand::Known(None)) => return Condition::failed(),
        (Operand::Known(Some(a)), Operand::Known(Some(b))) => {
            Readable::always(predicate::compare(a, Comparison::Equal, b))
        }
        (Operand::Path(path), Operand::Known(Some(constant)))
        | (Operand::Known(Some(constant)), Operand::Path(path)) => equals_constant(path, constant),
        (Operand::Path(a), Operand::Path(b)) => {
            let is_null = |path: &Path| Readable::test(Test::IsNull(path.clone()));
            let both_null = is_null(a).and(is_null(b));
            Readable::test(Test::CompareFields(a.clone(), Comparison::Equal, b.clone())).or(both_null)
        }
    };
    Condition { has_value, holds }
}

fn equals_constant(path: &Path, constant: &Value) -> Readable {
    match constant {
        Value::Null => Readable::test(Test::IsNull(path.clone())),
        constant if is_storable(constant) => {
            Readable::test(Test::Compare(path.clone(), Comparison::Equal, constant.clone()))
        }
        _ => Readable::Nothing,
    }
}

/// `item in list`, where the list is a constant.
pub(super) fn is_one_of(item: &Operand, mut constants: Vec<Value>) -> Condition {
    let before = constants.len();
    constants.retain(|constant| *constant != Value::Null);
    let has_null = constants.len() < before;
    constants.retain(is_storable);
    let holds = match item {
        Operand::Known(None) => return Condition::failed(),
        Operand::Known(Some(Value::Null)) => Readable::always(has_null),
        Operand::Known(Some(item)) => {
            let equals = |constant| predicate::compare(item, Comparison::Equal, constant);
            Readable::always(constants.iter().any(equals))
        }
        Operand::Path(path) => {
            let is_null = if has_null { equals_constant(path, &Value::Null) } else { Readable::Nothing };
            Readable::test(Test::In(path.clone(), constants)).or(is_null)
        }
    };
    Condition { has_value: item.has_value(), holds }
}

impl Translation<'_> {
    /// The test, the branch if it holds and the other, of `?:` and `orElse`.
    pub(super) fn branches<'t>(&mut self, side: Side<'t>) -> Option<(Condition, Side<'t>, Side<'t>)> {
        if is_known(side.typed) {
            return None;
        }
        match &without_widening(side.typed).node {
            Node::Conditional(branches) => {
                let [test, yes, no] = &**branches;
                Some((self.condition(test), Side::wrapped(yes), Side::wrapped(no)))
            }
            Node::OrElse(first, second) => {
                Some((self.is_null(first), Side::wrapped(second), Side::wrapped(first)))
            }
            _ => None,
        }
    }

    /// One side that isn't a branch. `None`: it is nothing that a query compares, and that is a fault. With `any_kind`
    /// also what it can only compare with null.
    pub(super) fn operand(&mut self, side: Side<'_>, any_kind: bool) -> Option<Operand> {
        if is_known(side.typed) {
            return Some(Operand::Known(self.known(side.typed)));
        }
        let typed = without_widening(side.typed);
        let path = self.path(typed)?;
        if any_kind {
            return Some(Operand::Path(path));
        }
        match &path {
            Path::Field { kind: Kind::List | Kind::Whole, .. } => {
                let hint = "compare its parts (`state.address.city == 'Bonn'`), or compare it with `null`";
                self.fault(typed, "doesn't compare lists, objects and json as a whole", hint);
                None
            }
            Path::Field { names, kind: Kind::Duration } if names.len() > 1 => {
                let hint = "make it a field of the model itself";
                self.fault(typed, "doesn't compare a duration inside of an object", hint);
                None
            }
            _ => Some(Operand::Path(path)),
        }
    }

    /// The id, a field of the state or a part of one. `None`: it is none of them, and that is a fault.
    pub(super) fn path(&mut self, typed: &Typed) -> Option<Path> {
        if let Node::Id = typed.node {
            return Some(Path::Id);
        }
        let Some((names, field)) = self.field(typed) else {
            self.not_in_a_query(typed);
            return None;
        };
        let kind = Kind::of(&field.ty);
        Some(Path::Field { names, kind })
    }

    fn field(&self, typed: &Typed) -> Option<(Vec<String>, &Field)> {
        match &typed.node {
            Node::State(name) => Some((vec![name.clone()], self.fields.get(name)?)),
            Node::Member(operand, name) => {
                let (mut names, field) = self.field(operand)?;
                let Type::Object(parts) = &field.ty else { return None };
                names.push(name.clone());
                Some((names, parts.get(name)?))
            }
            _ => None,
        }
    }

    /// What the items of a list are.
    pub(super) fn item_kind(&self, list: &Typed) -> Option<Kind> {
        match self.field(list) {
            Some((_, Field { ty: Type::List { of, .. }, .. })) => Some(Kind::of(&of.ty)),
            _ => None,
        }
    }
}
