//! The macros over lists: `list.map(item, …)`, `filter`, `all`, `exists`, `exists_one`.

use std::ops::Range;

use cel::common::ast::{CallExpr, Expr};

use super::check::{Checker, article};
use super::tree::{Each, EachKind, Node, Typed};
use super::types::{Slot, Ty};

impl Checker<'_> {
    /// `list.map(item, …)` and the like; `None` if the call is none.
    pub(super) fn macro_call(
        &mut self,
        call: &CallExpr,
        name_span: &Range<usize>,
        end: usize,
    ) -> Option<Typed> {
        let name = call.func_name.as_str();
        let kind = match name {
            "map" => EachKind::Map,
            "filter" => EachKind::Filter,
            "all" => EachKind::All,
            "exists" => EachKind::Exists,
            "exists_one" | "existsOne" => EachKind::ExistsOne,
            _ => return None,
        };
        let (target, item, filter, body) = match (&call.target, call.args.as_slice()) {
            (Some(target), [item, body]) => (target, item, None, body),
            (Some(target), [item, filter, body]) if kind == EachKind::Map => {
                (target, item, Some(filter), body)
            }
            _ => {
                let hint = format!("write `list.{name}(item, …)`");
                return Some(self.fault(
                    name_span.start..end,
                    format!("`{name}` is called in another way"),
                    Some(hint),
                ));
            }
        };
        let over = self.check(target);
        let span = over.span.start..end;
        let slot = match &over.slot.ty {
            Ty::List(item) => Slot::clone(item),
            Ty::Faulty => Slot { ty: Ty::Faulty, nullable: true },
            ty => {
                let message = format!("`{name}` goes over a list, this is {}", article(ty));
                self.fault(over.span.clone(), message, None);
                Slot { ty: Ty::Faulty, nullable: true }
            }
        };
        let variable = match &item.expr {
            Expr::Ident(variable) if !self.roots().contains(&variable.as_str()) => variable.clone(),
            _ => {
                let hint = Some(format!("write `list.{name}(item, …)` with a name that isn't taken"));
                let message = format!("the first argument of `{name}` is a new name for the item");
                return Some(self.fault(self.parsed.token(item.id), message, hint));
            }
        };
        self.items.push((variable, slot.clone()));
        let filter = filter.map(|filter| self.condition(filter, name));
        let body = if kind == EachKind::Map { self.check(body) } else { self.condition(body, name) };
        self.items.pop();
        let ty = match kind {
            EachKind::Map => Ty::List(Box::new(body.slot.clone())),
            EachKind::Filter => Ty::List(Box::new(slot)),
            EachKind::All | EachKind::Exists | EachKind::ExistsOne => Ty::Boolean,
        };
        let node = Node::Each(Box::new(Each { kind, over, filter, body }));
        Some(Typed { node, slot: Slot::of(ty), span })
    }
}
