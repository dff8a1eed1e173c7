//! Of which model the value of an expression is the id: ids are all of one type in expressions, but a product's id sent to
//! a command of customers would be an aggregate that nobody finds.

use std::ops::Range;

use super::names::Context;
use crate::declaration::Type;
use crate::expression::tree::{EachKind, Node, Typed};

/// The first model other than `wanted` whose id the value may be, and the part that is such an id. What no declaration says
/// something of may be any id. So may `actor.id`: models whose aggregates are people often give them the ids of their accounts.
pub(super) fn other_than(
    context: &Context<'_>,
    typed: &Typed,
    wanted: &str,
) -> Option<(String, Range<usize>)> {
    let model = match &typed.node {
        Node::OrElse(left, right) => {
            return other_than(context, left, wanted).or_else(|| other_than(context, right, wanted));
        }
        Node::Conditional(branches) => {
            return branches[1..].iter().find_map(|branch| other_than(context, branch, wanted));
        }
        Node::Id => &context.model.name,
        _ => match declared(context, typed)? {
            Type::Ref { to, .. } => to,
            _ => return None,
        },
    };
    (model != wanted).then(|| (model.clone(), typed.span.clone()))
}

/// The declared type of a value that is a field or a part of one.
pub(super) fn declared<'t>(context: &'t Context<'_>, typed: &Typed) -> Option<&'t Type> {
    match &typed.node {
        Node::Input(name) => context.event.as_ref()?.get(name).map(|field| &field.ty),
        Node::State(name) => context.model.fields.get(name).map(|field| &field.ty),
        Node::Member(of, name) => match declared(context, of)? {
            Type::Object(fields) => fields.get(name).map(|field| &field.ty),
            _ => None,
        },
        Node::Index(list, _) => match declared(context, list)? {
            Type::List { of, .. } => Some(&of.ty),
            _ => None,
        },
        Node::Each(each) if each.kind == EachKind::Filter => declared(context, &each.over),
        // Outside of macros the names count from the last one.
        Node::Item(depth) => {
            let (name, _) = context.names.iter().rev().nth(*depth)?;
            let is_item = name != "version" && name != "error";
            if is_item { context.item.as_ref() } else { None }
        }
        _ => None,
    }
}
