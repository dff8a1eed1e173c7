//! The typed tree: what the checker makes of the parsed text, and what is evaluated. Every conversion is a node of
//! its own, so the operands of an operator always have exactly the type that it works on.

use std::ops::Range;

use regex::Regex;

use super::functions::Function;
use super::types::{Slot, Ty};
use crate::value::Value;

/// A node with its type and its place in the source.
#[derive(Debug, Clone)]
pub(crate) struct Typed {
    pub(crate) node: Node,
    pub(crate) slot: Slot,
    /// Byte range in the source.
    pub(crate) span: Range<usize>,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Literal(Value),
    /// A field of the input.
    Input(String),
    /// A field of the state.
    State(String),
    Now,
    Id,
    ActorId,
    ActorRoles,
    /// The item of an enclosing macro: 0 is the innermost.
    Item(usize),
    /// A part of an object.
    Member(Box<Typed>, String),
    /// An item of a list, from 0.
    Index(Box<Typed>, Box<Typed>),
    List(Vec<Typed>),
    Object(Vec<(String, Typed)>),
    Not(Box<Typed>),
    Negate(Box<Typed>),
    And(Box<Typed>, Box<Typed>),
    Or(Box<Typed>, Box<Typed>),
    Conditional(Box<[Typed; 3]>),
    Compare(Comparison, Box<Typed>, Box<Typed>),
    /// Whether a list holds a value.
    In(Box<Typed>, Box<Typed>),
    Arithmetic(Arithmetic, Box<Typed>, Box<Typed>),
    /// Integers, also in lists and objects, become decimals.
    Widen(Box<Typed>),
    /// Whether the value is there.
    Has(Box<Typed>),
    /// The first, or the second where it is null.
    OrElse(Box<Typed>, Box<Typed>),
    /// Whether the actor has the role.
    Role(Box<Typed>),
    /// Whether the expression is found in the text.
    Matches(Box<Typed>, Regex),
    Call(Function, Vec<Typed>),
    /// A macro over a list.
    Each(Box<Each>),
}

/// A macro over a list: `over.map(item, body)`, `over.map(item, filter, body)`.
#[derive(Debug, Clone)]
pub(crate) struct Each {
    pub(crate) kind: EachKind,
    pub(crate) over: Typed,
    pub(crate) filter: Option<Typed>,
    pub(crate) body: Typed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EachKind {
    Map,
    Filter,
    All,
    Exists,
    ExistsOne,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// An operator with the types that it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    AddIntegers,
    SubtractIntegers,
    MultiplyIntegers,
    DivideIntegers,
    RemainderOfIntegers,
    AddDecimals,
    SubtractDecimals,
    MultiplyDecimals,
    DivideDecimals,
    Concatenate,
    AddDurations,
    SubtractDurations,
    /// A duration, an integer.
    MultiplyDuration,
    /// A timestamp, a duration.
    AddToTimestamp,
    SubtractFromTimestamp,
    /// Gives a duration.
    SubtractTimestamps,
    /// A date, a duration of whole days.
    AddToDate,
    SubtractFromDate,
    /// Gives a duration.
    SubtractDates,
}

impl Typed {
    /// Stands for a part with a fault.
    pub(crate) fn faulty(span: Range<usize>) -> Typed {
        Typed { node: Node::Literal(Value::Null), slot: Slot { ty: Ty::Faulty, nullable: true }, span }
    }

    /// Whether `test` holds for this node or one below it.
    pub(crate) fn any(&self, test: &dyn Fn(&Node) -> bool) -> bool {
        let mut found = test(&self.node);
        self.each_part(&mut |part| found = found || part.any(test));
        found
    }

    /// Visits the nodes right below this one.
    pub(crate) fn each_part<'a>(&'a self, visit: &mut dyn FnMut(&'a Typed)) {
        match &self.node {
            Node::Literal(_)
            | Node::Input(_)
            | Node::State(_)
            | Node::Now
            | Node::Id
            | Node::ActorId
            | Node::ActorRoles
            | Node::Item(_) => {}
            Node::Member(operand, _)
            | Node::Not(operand)
            | Node::Negate(operand)
            | Node::Widen(operand)
            | Node::Has(operand)
            | Node::Role(operand)
            | Node::Matches(operand, _) => visit(operand),
            Node::Index(left, right)
            | Node::And(left, right)
            | Node::Or(left, right)
            | Node::Compare(_, left, right)
            | Node::In(left, right)
            | Node::Arithmetic(_, left, right)
            | Node::OrElse(left, right) => {
                visit(left);
                visit(right);
            }
            Node::Conditional(branches) => branches.iter().for_each(visit),
            Node::List(items) | Node::Call(_, items) => items.iter().for_each(visit),
            Node::Object(parts) => parts.iter().for_each(|(_, part)| visit(part)),
            Node::Each(each) => {
                visit(&each.over);
                each.filter.iter().for_each(&mut *visit);
                visit(&each.body);
            }
        }
    }

    /// The tree as a value of `ty`, which its own type must unify to.
    pub(crate) fn widened(self, ty: &Ty) -> Typed {
        if !needs_widening(&self.slot.ty, ty) {
            return self;
        }
        let slot = Slot { ty: ty.clone(), nullable: self.slot.nullable };
        let span = self.span.clone();
        Typed { node: Node::Widen(Box::new(self)), slot, span }
    }
}

/// Whether `from` holds integers where `to` holds decimals.
fn needs_widening(from: &Ty, to: &Ty) -> bool {
    match (from, to) {
        (Ty::Integer, Ty::Decimal) => true,
        (Ty::List(from), Ty::List(to)) => needs_widening(&from.ty, &to.ty),
        (Ty::Object(from), Ty::Object(to)) => {
            from.iter().any(|(name, slot)| to.get(name).is_some_and(|to| needs_widening(&slot.ty, &to.ty)))
        }
        _ => false,
    }
}
