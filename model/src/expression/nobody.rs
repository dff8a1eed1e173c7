//! Where `actor.id` may be compared: only by itself, as a side of `==` and `!=`, or on the left of `in`.
//!
//! There an actor who isn't signed in equals nobody (see `evaluate`). Inside of something else (a list, a default, a branch)
//! the id is a null like any other by the time it is compared, and would equal a missing owner. A rule that reads as if it
//! asked for an owner would let everyone in, so it is refused when the models are loaded.

use super::Fault;
use super::tree::{EachKind, Node, Typed};
use super::types::Ty;

/// Every place at which an id that may be nobody's is compared as part of something else.
pub(super) fn check(typed: &Typed, faults: &mut Vec<Fault>) {
    match &typed.node {
        Node::Compare(_, left, right) => [left, right].into_iter().for_each(|side| alone(side, faults)),
        Node::In(item, list) => {
            alone(item, faults);
            inside(list, faults);
        }
        // The items are compared in the body, under a name of their own.
        Node::Each(each) => inside(&each.over, faults),
        _ => {}
    }
    typed.each_part(&mut |part| check(part, faults));
}

fn alone(side: &Typed, faults: &mut Vec<Fault>) {
    if !matches!(side.node, Node::ActorId) {
        inside(side, faults);
    }
}

fn inside(typed: &Typed, faults: &mut Vec<Fault>) {
    if may_hold_nobody(typed) {
        faults.push(Fault {
            span: typed.span.clone(),
            message: "`actor.id` is part of what is compared here, so nobody would equal a missing value"
                .to_owned(),
            hint: Some("compare `actor.id` itself, with `==` or on the left of `in`".to_owned()),
        });
    }
}

/// Whether the value may be, or contain, the id of an actor who isn't signed in.
fn may_hold_nobody(typed: &Typed) -> bool {
    let is_whole = !matches!(typed.slot.ty, Ty::List(_) | Ty::Object(_));
    if is_whole && !typed.slot.nullable {
        return false;
    }
    match &typed.node {
        Node::ActorId => true,
        Node::Conditional(branches) => branches[1..].iter().any(may_hold_nobody),
        Node::Member(from, _) | Node::Index(from, _) | Node::Widen(from) => may_hold_nobody(from),
        Node::OrElse(left, right) | Node::Arithmetic(_, left, right) => {
            may_hold_nobody(left) || may_hold_nobody(right)
        }
        Node::List(items) | Node::Call(_, items) => items.iter().any(may_hold_nobody),
        Node::Object(parts) => parts.iter().any(|(_, part)| may_hold_nobody(part)),
        Node::Each(each) => match each.kind {
            EachKind::Map => may_hold_nobody(&each.body),
            EachKind::Filter => may_hold_nobody(&each.over),
            EachKind::All | EachKind::Exists | EachKind::ExistsOne => false,
        },
        _ => false,
    }
}
