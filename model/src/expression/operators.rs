//! The types of operators.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, operators};

use super::check::{Checker, article};
use super::tree::{Arithmetic, Comparison, Node, Typed};
use super::types::{Slot, Ty};
use crate::value::Value;

impl Checker<'_> {
    /// Types an operator; `None` if the call is none.
    pub(super) fn operator(&mut self, id: u64, call: &CallExpr) -> Option<Typed> {
        if call.target.is_some() {
            return None;
        }
        let at = self.parsed.token(id);
        Some(match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, [operand]) => {
                let operand = self.condition(operand, "!");
                let span = at.start..operand.span.end;
                Typed { node: Node::Not(Box::new(operand)), slot: Slot::of(Ty::Boolean), span }
            }
            (operators::NEGATE, [operand]) => self.negate(at.start, operand),
            (operators::LOGICAL_AND, [left, right]) => self.logic(left, right, "&&", Node::And),
            (operators::LOGICAL_OR, [left, right]) => self.logic(left, right, "||", Node::Or),
            (operators::CONDITIONAL, [test, yes, no]) => self.conditional(test, yes, no),
            (operators::INDEX, [list, index]) => self.index(at.start, list, index),
            (operators::IN, [item, list]) => self.is_in(item, list),
            (name, [left, right]) => {
                if let Some(comparison) = comparison(name) {
                    self.compare(comparison, left, right)
                } else if let Some(sign) = sign(name) {
                    self.arithmetic(sign, left, right)
                } else {
                    return None;
                }
            }
            _ => return None,
        })
    }

    /// A part that must be boolean.
    pub(super) fn condition(&mut self, expr: &IdedExpr, of: &str) -> Typed {
        let typed = self.check(expr);
        match &typed.slot.ty {
            Ty::Boolean | Ty::Faulty => typed,
            ty => {
                let message = format!("`{of}` takes a condition, this is {}", article(ty));
                self.fault(typed.span, message, Some("compare it with something".to_owned()))
            }
        }
    }

    fn logic(
        &mut self,
        left: &IdedExpr,
        right: &IdedExpr,
        sign: &str,
        node: fn(Box<Typed>, Box<Typed>) -> Node,
    ) -> Typed {
        let (left, right) = (self.condition(left, sign), self.condition(right, sign));
        let span = left.span.start..right.span.end;
        Typed { node: node(Box::new(left), Box::new(right)), slot: Slot::of(Ty::Boolean), span }
    }

    fn negate(&mut self, start: usize, operand: &IdedExpr) -> Typed {
        let operand = self.check(operand);
        let span = start..operand.span.end;
        match &operand.slot.ty {
            Ty::Faulty => Typed::faulty(span),
            Ty::Integer | Ty::Decimal | Ty::Duration => {
                let slot = Slot::of(operand.slot.ty.clone());
                Typed { node: Node::Negate(Box::new(operand)), slot, span }
            }
            ty => {
                let message = format!("`-` takes a number or a duration, this is {}", article(ty));
                self.fault(span, message, None)
            }
        }
    }

    fn conditional(&mut self, test: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> Typed {
        let test = self.condition(test, "?:");
        let (yes, no) = (self.check(yes), self.check(no));
        let span = test.span.start..no.span.end;
        let (yes, no) = self.branches(yes, no);
        match yes.slot.unify(&no.slot) {
            Some(slot) => {
                let (yes, no) = (yes.widened(&slot.ty), no.widened(&slot.ty));
                Typed { node: Node::Conditional(Box::new([test, yes, no])), slot, span }
            }
            None => {
                let message = format!(
                    "the branches of `?:` are {} and {}",
                    article(&yes.slot.ty),
                    article(&no.slot.ty)
                );
                self.fault(span, message, Some("both need one type".to_owned()))
            }
        }
    }

    fn index(&mut self, open: usize, list: &IdedExpr, index: &IdedExpr) -> Typed {
        let (list, index) = (self.check(list), self.check(index));
        let span = list.span.start..self.parsed.close_of(open);
        if !matches!(index.slot.ty, Ty::Integer | Ty::Faulty) {
            let message = format!("the index of a list is an integer, this is {}", article(&index.slot.ty));
            let hint = matches!(list.slot.ty, Ty::Object(_))
                .then(|| "select a field with a point: `a.b`".to_owned());
            return self.fault(index.span, message, hint);
        }
        match &list.slot.ty {
            Ty::Faulty => Typed::faulty(span),
            Ty::List(item) => {
                let slot = Slot::clone(item);
                Typed { node: Node::Index(Box::new(list), Box::new(index)), slot, span }
            }
            ty => {
                let message = format!("`[…]` takes an item of a list, this is {}", article(ty));
                self.fault(list.span, message, None)
            }
        }
    }

    fn is_in(&mut self, item: &IdedExpr, list: &IdedExpr) -> Typed {
        let (item, list) = (self.check(item), self.check(list));
        let span = item.span.start..list.span.end;
        let of = match &list.slot.ty {
            Ty::Faulty => return Typed::faulty(span),
            Ty::List(of) => of.ty.clone(),
            ty => {
                let message = format!("`in` takes a list on its right, this is {}", article(ty));
                let hint = ty.is_text().then(|| "use `contains(text, part)`".to_owned());
                return self.fault(list.span, message, hint);
            }
        };
        let target = Ty::List(Box::new(Slot::of(item.slot.ty.clone())));
        let (item, list) = (self.adapt(item, &of), self.adapt(list, &target));
        let unified = match &list.slot.ty {
            Ty::List(of) => item.slot.ty.unify(&of.ty),
            _ => Some(Ty::Faulty),
        };
        match unified {
            Some(ty) => {
                let (item, list) =
                    (item.widened(&ty), list.widened(&Ty::List(Box::new(Slot::of(ty.clone())))));
                Typed { node: Node::In(Box::new(item), Box::new(list)), slot: Slot::of(Ty::Boolean), span }
            }
            None => {
                let message = format!("{} is never in a list of {}", article(&item.slot.ty), of.plural());
                self.fault(span, message, None)
            }
        }
    }

    fn compare(&mut self, comparison: Comparison, left: &IdedExpr, right: &IdedExpr) -> Typed {
        let (left, right) = (self.check(left), self.check(right));
        let span = left.span.start..right.span.end;
        let (left, right) = self.reconcile(left, right);
        let unified = left.slot.ty.unify(&right.slot.ty);
        let disjoint = matches!((&left.slot.ty, &right.slot.ty), (Ty::Enum(a), Ty::Enum(b)) if !a.iter().any(|v| b.contains(v)));
        let Some(ty) = unified.filter(|_| !disjoint) else {
            let message =
                format!("{} can't be compared with {}", article(&left.slot.ty), article(&right.slot.ty));
            let hint = match (&left.slot.ty, &right.slot.ty) {
                (Ty::Enum(_), Ty::Enum(_)) => Some("they have no value in common".to_owned()),
                (a, b) => conversion_hint(a, b),
            };
            return self.fault(span, message, hint);
        };
        if !matches!(comparison, Comparison::Equal | Comparison::NotEqual) && !ty.is_ordered() {
            let message = format!("{} has no order", article(&ty));
            return self.fault(span, message, Some("use `==` or `!=`".to_owned()));
        }
        let (left, right) = (left.widened(&ty), right.widened(&ty));
        let node = Node::Compare(comparison, Box::new(left), Box::new(right));
        Typed { node, slot: Slot::of(Ty::Boolean), span }
    }

    fn arithmetic(&mut self, sign: char, left: &IdedExpr, right: &IdedExpr) -> Typed {
        use Arithmetic as A;
        let (mut left, mut right) = (self.check(left), self.check(right));
        let span = left.span.start..right.span.end;
        let (a, b) = (&left.slot.ty, &right.slot.ty);
        if *a == Ty::Faulty || *b == Ty::Faulty {
            return Typed::faulty(span);
        }
        let (kind, ty) = match (sign, a, b) {
            ('+', Ty::Integer, Ty::Integer) => (A::AddIntegers, Ty::Integer),
            ('-', Ty::Integer, Ty::Integer) => (A::SubtractIntegers, Ty::Integer),
            ('*', Ty::Integer, Ty::Integer) => (A::MultiplyIntegers, Ty::Integer),
            ('/', Ty::Integer, Ty::Integer) => (A::DivideIntegers, Ty::Integer),
            ('%', Ty::Integer, Ty::Integer) => (A::RemainderOfIntegers, Ty::Integer),
            ('+' | '-' | '*' | '/', a, b) if a.is_number() && b.is_number() => {
                let kind = match sign {
                    '+' => A::AddDecimals,
                    '-' => A::SubtractDecimals,
                    '*' => A::MultiplyDecimals,
                    _ => A::DivideDecimals,
                };
                (left, right) = (left.widened(&Ty::Decimal), right.widened(&Ty::Decimal));
                (kind, Ty::Decimal)
            }
            ('+', a, b) if a.is_text() && b.is_text() => (A::Concatenate, Ty::Text),
            ('+', Ty::Duration, Ty::Duration) => (A::AddDurations, Ty::Duration),
            ('-', Ty::Duration, Ty::Duration) => (A::SubtractDurations, Ty::Duration),
            ('*', Ty::Duration, Ty::Integer) => (A::MultiplyDuration, Ty::Duration),
            ('+', Ty::Timestamp, Ty::Duration) => (A::AddToTimestamp, Ty::Timestamp),
            ('-', Ty::Timestamp, Ty::Duration) => (A::SubtractFromTimestamp, Ty::Timestamp),
            ('-', Ty::Timestamp, Ty::Timestamp) => (A::SubtractTimestamps, Ty::Duration),
            ('+', Ty::Date, Ty::Duration) => (A::AddToDate, Ty::Date),
            ('-', Ty::Date, Ty::Duration) => (A::SubtractFromDate, Ty::Date),
            ('-', Ty::Date, Ty::Date) => (A::SubtractDates, Ty::Duration),
            ('*', Ty::Integer, Ty::Duration) | ('+', Ty::Duration, Ty::Timestamp | Ty::Date) => {
                std::mem::swap(&mut left, &mut right);
                match left.slot.ty {
                    Ty::Timestamp => (A::AddToTimestamp, Ty::Timestamp),
                    Ty::Date => (A::AddToDate, Ty::Date),
                    _ => (A::MultiplyDuration, Ty::Duration),
                }
            }
            (_, a, b) => {
                let hint = match (sign, a, b) {
                    ('+', a, _) | ('+', _, a) if a.is_text() => {
                        Some("turn the other part into text: `string(x)`".to_owned())
                    }
                    ('%', ..) => Some("`%` takes integers".to_owned()),
                    ('+' | '-', Ty::Timestamp | Ty::Date, _) => {
                        Some("add a duration: `duration('24h')`".to_owned())
                    }
                    (_, a, _) if a.is_text() => {
                        Some("turn text into a number: `decimal(text)`, `int(text)`".to_owned())
                    }
                    (_, _, b) if b.is_text() => {
                        Some("turn text into a number: `decimal(text)`, `int(text)`".to_owned())
                    }
                    _ => None,
                };
                let message = format!("`{sign}` doesn't take {} and {}", article(a), article(b));
                return self.fault(span, message, hint);
            }
        };
        let node = Node::Arithmetic(kind, Box::new(left), Box::new(right));
        Typed { node, slot: Slot::of(ty), span }
    }

    /// As [`Checker::reconcile`], but where one branch is an enum the other may be any text: then both are text.
    pub(super) fn branches(&mut self, first: Typed, second: Typed) -> (Typed, Typed) {
        if first.slot.ty.is_text() && second.slot.ty.is_text() {
            return (first, second);
        }
        self.reconcile(first, second)
    }

    /// Lets text literals on one side take the type of the other.
    pub(super) fn reconcile(&mut self, left: Typed, right: Typed) -> (Typed, Typed) {
        let (a, b) = (left.slot.ty.clone(), right.slot.ty.clone());
        (self.adapt(left, &b), self.adapt(right, &a))
    }
}

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::LessOrEqual,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn sign(name: &str) -> Option<char> {
    Some(match name {
        operators::ADD => '+',
        operators::SUBSTRACT => '-',
        operators::MULTIPLY => '*',
        operators::DIVIDE => '/',
        operators::MODULO => '%',
        _ => return None,
    })
}

/// How to bring two types together.
pub(super) fn conversion_hint(a: &Ty, b: &Ty) -> Option<String> {
    let hint = match (a, b) {
        (Ty::Timestamp, Ty::Date) | (Ty::Date, Ty::Timestamp) => "take the date of the instant: `date(x)`",
        (Ty::Timestamp, Ty::Text) | (Ty::Text, Ty::Timestamp) => "write `timestamp('2026-01-31T12:00:00Z')`",
        (Ty::Date, Ty::Text) | (Ty::Text, Ty::Date) => "write `date('2026-01-31')`",
        (Ty::Duration, Ty::Text) | (Ty::Text, Ty::Duration) => "write `duration('24h')`",
        (Ty::Uuid, Ty::Text) | (Ty::Text, Ty::Uuid) => "turn the text into a UUID: `uuid(text)`",
        (Ty::Integer | Ty::Decimal, Ty::Text) | (Ty::Text, Ty::Integer | Ty::Decimal) => {
            "turn text into a number: `decimal(text)`, `int(text)`"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The text of a literal.
pub(super) fn literal_text(typed: &Typed) -> Option<&str> {
    match &typed.node {
        Node::Literal(Value::Text(text)) => Some(text),
        _ => None,
    }
}
