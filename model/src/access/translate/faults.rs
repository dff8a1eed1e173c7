//! What a query can't do, and what would be right.

use super::Translation;
use super::condition::Condition;
use crate::expression::Fault;
use crate::expression::tree::{EachKind, Node, Typed};

impl Translation<'_> {
    pub(super) fn fault(&mut self, typed: &Typed, message: &str, hint: &str) {
        let message = format!("`read` becomes a query, and a query {message}");
        self.faults.push(Fault { span: typed.span.clone(), message, hint: Some(hint.to_owned()) });
    }

    /// As [`Translation::fault`], for a condition.
    pub(super) fn no_condition(&mut self, typed: &Typed, message: &str, hint: &str) -> Condition {
        self.fault(typed, message, hint);
        Condition::failed()
    }

    /// The fault of what isn't translated.
    pub(super) fn not_in_a_query(&mut self, typed: &Typed) -> Condition {
        let in_field = "keep the result in a field of the model, and compare that";
        let (message, hint) = match &typed.node {
            Node::Each(each) => match each.kind {
                EachKind::Map | EachKind::Filter => ("doesn't make lists", in_field),
                _ => ("doesn't go over a list", "whether a list has an item is `actor.id in state.members`"),
            },
            Node::Index(..) => (
                "doesn't take single items of a list",
                "whether a list has one is `actor.id in state.members`",
            ),
            Node::Matches(..) => {
                ("doesn't know these regular expressions", "use `startsWith`, `endsWith` or `contains`")
            }
            Node::Arithmetic(..) | Node::Negate(_) => (
                "doesn't compute with fields",
                "compute on the other side: `state.at > now - duration('24h')`; or keep the result in a field of the model",
            ),
            Node::List(_) | Node::Object(_) => {
                ("doesn't make lists and objects", "compare the fields one by one, joined with `&&`")
            }
            Node::Member(..) => ("only takes parts of fields", "write `state.address.city`"),
            Node::Conditional(_) | Node::OrElse(..) => {
                ("doesn't choose between values here", "choose between conditions: `a ? x == 1 : y == 1`")
            }
            _ if typed.slot.ty.is_boolean() => {
                ("doesn't compare conditions", "join them with `&&`, `||` and `!`")
            }
            _ => ("doesn't call this function with a field", in_field),
        };
        self.no_condition(typed, message, hint)
    }
}
