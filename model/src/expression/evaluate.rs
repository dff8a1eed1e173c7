//! The typed tree to a value. Pure: the names have the values of the [`Scope`], and nothing else is read.

mod compute;

use std::borrow::Cow;
use std::cell::Cell;
use std::cmp::Ordering;

use bigdecimal::BigDecimal;

use super::Scope;
use super::tree::{Comparison, Each, EachKind, Node, Typed};
use super::types::Ty;
use crate::value::{Object, Value};

/// Steps of one evaluation: a node, an item of a list, 64 bytes of text.
pub(crate) const MAX_STEPS: u64 = 100_000;
/// Bytes of a text that an expression puts together.
const MAX_TEXT: usize = 1 << 20;

static NULL: Value = Value::Null;

/// Evaluates a tree that was compiled from `source`, with the values of the names beside those of the scope. Errors: what went wrong, for the caller of the command.
pub(super) fn evaluate(
    root: &Typed,
    source: &str,
    scope: &Scope<'_>,
    names: &[&Value],
    nullable: bool,
) -> Result<Value, String> {
    let evaluation = Evaluation { source, scope, steps: Cell::new(0) };
    evaluation.below(root, names, None, nullable)
}

/// The same without such names, with the steps that it took, also where it failed.
pub(super) fn evaluate_counting(
    root: &Typed,
    source: &str,
    scope: &Scope<'_>,
    nullable: bool,
) -> (Result<Value, String>, u64) {
    let evaluation = Evaluation { source, scope, steps: Cell::new(0) };
    let value = evaluation.below(root, &[], None, nullable);
    (value, evaluation.steps.get())
}

struct Evaluation<'s> {
    source: &'s str,
    scope: &'s Scope<'s>,
    steps: Cell<u64>,
}

/// The item of a macro, and the macros around it.
struct Frame<'f> {
    item: &'f Value,
    outer: Option<&'f Frame<'f>>,
}

impl Evaluation<'_> {
    /// The names stand around the expression as a macro's item does around its body, the first one outermost.
    fn below(
        &self,
        root: &Typed,
        names: &[&Value],
        outer: Option<&Frame<'_>>,
        nullable: bool,
    ) -> Result<Value, String> {
        match names.split_first() {
            Some((item, rest)) => self.below(root, rest, Some(&Frame { item, outer }), nullable),
            None if nullable => self.value(root, outer).map(Cow::into_owned),
            None => self.present(root, outer).map(Cow::into_owned),
        }
    }

    fn step(&self, cost: usize) -> Result<(), String> {
        let steps = self.steps.get().saturating_add(cost as u64);
        self.steps.set(steps);
        if steps > MAX_STEPS { Err(format!("more than {MAX_STEPS} steps")) } else { Ok(()) }
    }

    /// A value that may be null.
    fn value<'a>(&'a self, typed: &'a Typed, frame: Option<&'a Frame<'a>>) -> Result<Cow<'a, Value>, String> {
        self.step(1)?;
        let boolean = |b: bool| Ok(Cow::Owned(Value::Boolean(b)));
        match &typed.node {
            Node::Literal(value) => Ok(Cow::Borrowed(value)),
            Node::Input(name) => Ok(Cow::Borrowed(self.scope.input.get(name).unwrap_or(&NULL))),
            Node::State(name) => {
                let field = self.scope.state.and_then(|state| state.get(name));
                Ok(Cow::Borrowed(field.unwrap_or(&NULL)))
            }
            Node::Now => Ok(Cow::Owned(Value::Timestamp(self.scope.now))),
            Node::Id => Ok(Cow::Owned(Value::Uuid(self.scope.id))),
            Node::ActorId => Ok(Cow::Owned(self.scope.actor.id.map_or(Value::Null, Value::Uuid))),
            Node::ActorRoles => {
                let roles = &self.scope.actor.roles;
                self.step(roles.len())?;
                Ok(Cow::Owned(Value::List(roles.iter().cloned().map(Value::Text).collect())))
            }
            Node::Item(depth) => {
                let mut at = frame;
                for _ in 0..*depth {
                    at = at.and_then(|frame| frame.outer);
                }
                Ok(Cow::Borrowed(at.expect("invariant: the checker counts the enclosing macros").item))
            }
            Node::Member(operand, name) => Ok(member(self.present(operand, frame)?, name)),
            Node::Index(list, index) => self.index(list, index, frame),
            Node::List(items) => {
                let items = items.iter().map(|item| self.owned(item, frame));
                Ok(Cow::Owned(Value::List(items.collect::<Result<_, String>>()?)))
            }
            Node::Object(parts) => {
                let parts = parts.iter().map(|(name, part)| Ok((name.clone(), self.owned(part, frame)?)));
                Ok(Cow::Owned(Value::Object(parts.collect::<Result<Object, String>>()?)))
            }
            Node::Not(operand) => boolean(!self.boolean(operand, frame)?),
            Node::And(left, right) => boolean(self.boolean(left, frame)? && self.boolean(right, frame)?),
            Node::Or(left, right) => boolean(self.boolean(left, frame)? || self.boolean(right, frame)?),
            Node::Conditional(branches) => {
                let [test, yes, no] = &**branches;
                self.value(if self.boolean(test, frame)? { yes } else { no }, frame)
            }
            Node::Negate(operand) => Ok(Cow::Owned(match self.present(operand, frame)?.as_ref() {
                Value::Decimal(decimal) => Value::Decimal(-decimal),
                Value::Duration(ms) => Value::Duration(ms.checked_neg().ok_or_else(|| self.overflow(typed))?),
                Value::Integer(n) => Value::Integer(n.checked_neg().ok_or_else(|| self.overflow(typed))?),
                _ => return Err(self.surprise(operand)),
            })),
            Node::Compare(comparison, left, right) => {
                boolean(self.compare(*comparison, left, right, frame)?)
            }
            Node::In(item, list) => boolean(self.is_in(item, list, frame)?),
            Node::Arithmetic(kind, left, right) => {
                let (left, right) = (self.present(left, frame)?, self.present(right, frame)?);
                self.arithmetic(typed, *kind, &left, &right).map(Cow::Owned)
            }
            Node::Widen(operand) => {
                let value = self.owned(operand, frame)?;
                Ok(Cow::Owned(widen(value, &typed.slot.ty)))
            }
            Node::Has(operand) => boolean(*self.reachable(operand, frame)? != Value::Null),
            Node::OrElse(first, second) => match self.reachable(first, frame)? {
                value if *value == Value::Null => self.value(second, frame),
                value => Ok(value),
            },
            Node::Role(name) => {
                let name = self.present(name, frame)?;
                boolean(matches!(name.as_ref(), Value::Text(name) if self.scope.actor.roles.contains(name)))
            }
            Node::Matches(operand, regex) => {
                let value = self.present(operand, frame)?;
                let text = self.text(operand, &value)?;
                self.step(text.len() / 16)?;
                boolean(regex.is_match(text))
            }
            Node::Call(function, args) => self.call(typed, *function, args, frame).map(Cow::Owned),
            Node::Each(each) => self.each(each, frame).map(Cow::Owned),
        }
    }

    /// A value that must be there.
    fn present<'a>(
        &'a self,
        typed: &'a Typed,
        frame: Option<&'a Frame<'a>>,
    ) -> Result<Cow<'a, Value>, String> {
        let value = self.value(typed, frame)?;
        if *value == Value::Null { Err(format!("`{}` is null", self.text_of(typed))) } else { Ok(value) }
    }

    /// Null also where a part on the way to the value is null.
    fn reachable<'a>(
        &'a self,
        typed: &'a Typed,
        frame: Option<&'a Frame<'a>>,
    ) -> Result<Cow<'a, Value>, String> {
        match &typed.node {
            Node::Member(operand, name) => {
                let operand = self.reachable(operand, frame)?;
                Ok(if *operand == Value::Null { operand } else { member(operand, name) })
            }
            _ => self.value(typed, frame),
        }
    }

    /// A value of its own, which costs its size.
    fn owned(&self, typed: &Typed, frame: Option<&Frame<'_>>) -> Result<Value, String> {
        let value = self.value(typed, frame)?;
        self.step(size(&value))?;
        Ok(value.into_owned())
    }

    fn boolean(&self, typed: &Typed, frame: Option<&Frame<'_>>) -> Result<bool, String> {
        match self.present(typed, frame)?.as_ref() {
            Value::Boolean(b) => Ok(*b),
            _ => Err(self.surprise(typed)),
        }
    }

    fn text<'v>(&self, typed: &Typed, value: &'v Value) -> Result<&'v str, String> {
        match value {
            Value::Text(text) => Ok(text),
            _ => Err(self.surprise(typed)),
        }
    }

    fn index<'a>(
        &'a self,
        list: &'a Typed,
        index: &'a Typed,
        frame: Option<&'a Frame<'a>>,
    ) -> Result<Cow<'a, Value>, String> {
        let (items, at) = (self.present(list, frame)?, self.present(index, frame)?);
        let Value::Integer(at) = *at else { return Err(self.surprise(index)) };
        let outside = |len: usize| format!("`{}` has no item {at}, it has {len}", self.text_of(list));
        let position = usize::try_from(at).ok();
        match items {
            Cow::Borrowed(Value::List(items)) => {
                position.and_then(|at| items.get(at)).map(Cow::Borrowed).ok_or_else(|| outside(items.len()))
            }
            Cow::Owned(Value::List(mut items)) => match position.filter(|at| *at < items.len()) {
                Some(at) => Ok(Cow::Owned(items.swap_remove(at))),
                None => Err(outside(items.len())),
            },
            _ => Err(self.surprise(list)),
        }
    }

    fn compare(
        &self,
        comparison: Comparison,
        left: &Typed,
        right: &Typed,
        frame: Option<&Frame<'_>>,
    ) -> Result<bool, String> {
        use Comparison as C;
        if let C::Equal | C::NotEqual = comparison {
            let (a, b) = (self.value(left, frame)?, self.value(right, frame)?);
            self.step(size(&a).min(size(&b)))?;
            let equal = equal(left, &a, right, &b);
            return Ok(equal == (comparison == C::Equal));
        }
        let (a, b) = (self.present(left, frame)?, self.present(right, frame)?);
        let order = order(&a, &b).ok_or_else(|| self.surprise(left))?;
        Ok(match comparison {
            C::Less => order.is_lt(),
            C::LessOrEqual => order.is_le(),
            C::Greater => order.is_gt(),
            C::GreaterOrEqual | C::Equal | C::NotEqual => order.is_ge(),
        })
    }

    fn is_in(&self, item: &Typed, list: &Typed, frame: Option<&Frame<'_>>) -> Result<bool, String> {
        let (value, items) = (self.value(item, frame)?, self.present(list, frame)?);
        let Value::List(items) = items.as_ref() else { return Err(self.surprise(list)) };
        self.step(items.len().saturating_mul(size(&value)))?;
        // Nobody is in a list of accounts while nobody is signed in.
        let anonymous = matches!(item.node, Node::ActorId) && *value == Value::Null;
        Ok(!anonymous && items.contains(&value))
    }

    fn each(&self, each: &Each, frame: Option<&Frame<'_>>) -> Result<Value, String> {
        let over = self.present(&each.over, frame)?;
        let Value::List(items) = over.as_ref() else { return Err(self.surprise(&each.over)) };
        let mut kept = Vec::new();
        let mut found = 0_usize;
        for item in items {
            self.step(1)?;
            let inner = Frame { item, outer: frame };
            match each.kind {
                EachKind::Map => {
                    let wanted = match &each.filter {
                        Some(filter) => self.boolean(filter, Some(&inner))?,
                        None => true,
                    };
                    if wanted {
                        kept.push(self.owned(&each.body, Some(&inner))?);
                    }
                }
                EachKind::Filter => {
                    if self.boolean(&each.body, Some(&inner))? {
                        self.step(size(item))?;
                        kept.push(item.clone());
                    }
                }
                EachKind::All => {
                    if !self.boolean(&each.body, Some(&inner))? {
                        return Ok(Value::Boolean(false));
                    }
                }
                EachKind::Exists => {
                    if self.boolean(&each.body, Some(&inner))? {
                        return Ok(Value::Boolean(true));
                    }
                }
                EachKind::ExistsOne => found += usize::from(self.boolean(&each.body, Some(&inner))?),
            }
        }
        Ok(match each.kind {
            EachKind::Map | EachKind::Filter => Value::List(kept),
            EachKind::All => Value::Boolean(true),
            EachKind::Exists => Value::Boolean(false),
            EachKind::ExistsOne => Value::Boolean(found == 1),
        })
    }

    fn text_of(&self, typed: &Typed) -> &str {
        self.source.get(typed.span.clone()).unwrap_or(self.source)
    }

    fn overflow(&self, typed: &Typed) -> String {
        format!("`{}` is beyond 64 bits", self.text_of(typed))
    }

    /// A value that isn't of its declared type.
    fn surprise(&self, typed: &Typed) -> String {
        format!("the value of `{}` isn't of its declared type", self.text_of(typed))
    }
}

/// The field of an object; null if it is left out.
fn member<'a>(object: Cow<'a, Value>, name: &str) -> Cow<'a, Value> {
    match object {
        Cow::Borrowed(Value::Object(fields)) => Cow::Borrowed(fields.get(name).unwrap_or(&NULL)),
        Cow::Owned(Value::Object(mut fields)) => Cow::Owned(fields.swap_remove(name).unwrap_or(Value::Null)),
        _ => Cow::Borrowed(&NULL),
    }
}

/// Equality. Null equals null only, and an actor that isn't signed in equals nobody: two missing ids are no match.
fn equal(left: &Typed, a: &Value, right: &Typed, b: &Value) -> bool {
    let nobody = |typed: &Typed, value: &Value| matches!(typed.node, Node::ActorId) && *value == Value::Null;
    let asked = |typed: &Typed| matches!(typed.node, Node::Literal(Value::Null));
    if (nobody(left, a) && !asked(right)) || (nobody(right, b) && !asked(left)) {
        return false;
    }
    a == b
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    Some(match (a, b) {
        (Value::Integer(a), Value::Integer(b)) | (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        _ => return None,
    })
}

/// Integers to decimals where `ty` has them, also inside.
fn widen(value: Value, ty: &Ty) -> Value {
    match (value, ty) {
        (Value::Integer(n), Ty::Decimal) => Value::Decimal(BigDecimal::from(n)),
        (Value::List(items), Ty::List(of)) => {
            Value::List(items.into_iter().map(|item| widen(item, &of.ty)).collect())
        }
        (Value::Object(fields), Ty::Object(slots)) => {
            let widened = fields.into_iter().map(|(name, value)| {
                let value = match slots.get(&name) {
                    Some(slot) => widen(value, &slot.ty),
                    None => value,
                };
                (name, value)
            });
            Value::Object(widened.collect())
        }
        (value, _) => value,
    }
}

/// What a copy of the value costs, in steps beside the one of its node.
fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len() / 64,
        Value::Decimal(_) => 1,
        Value::List(items) => items.iter().map(|item| 1 + size(item)).sum(),
        Value::Object(fields) => fields.values().map(|field| 1 + size(field)).sum(),
        Value::Json(json) => size_of_json(json),
        _ => 0,
    }
}

fn size_of_json(json: &serde_json::Value) -> usize {
    match json {
        serde_json::Value::Array(items) => items.iter().map(|item| 1 + size_of_json(item)).sum(),
        serde_json::Value::Object(members) => members.values().map(|member| 1 + size_of_json(member)).sum(),
        serde_json::Value::String(text) => text.len() / 64,
        _ => 1,
    }
}
