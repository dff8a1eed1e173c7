//! The functions: their names, their types, and the literals that are computed while checking.
//! `f(x, y)` and `x.f(y)` are the same call.

use std::ops::Range;

use cel::common::ast::{CallExpr, Expr};
use regex::RegexBuilder;

use super::check::{Checker, article, suggest};
use super::convert;
use super::tree::{Node, Typed};
use super::types::{Slot, Ty};
use crate::value::Value;

/// Memory of a compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// A function over values that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    /// Characters of a text, items of a list.
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Trim,
    SumIntegers,
    SumDecimals,
    SumDurations,
    Min,
    Max,
    /// A decimal and its number of digits after the point; half-even.
    Round,
    Abs,
    ToInteger,
    ToDecimal,
    ToText,
    ToTimestamp,
    ToDate,
    ToDuration,
    ToUuid,
}

const NAMES: [&str; 28] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "lowerAscii",
    "upperAscii",
    "trim",
    "sum",
    "min",
    "max",
    "round",
    "abs",
    "int",
    "decimal",
    "string",
    "timestamp",
    "date",
    "duration",
    "uuid",
    "has",
    "orElse",
    "role",
    "map",
    "filter",
    "exists",
    "exists_one",
    "all",
];

impl Checker<'_> {
    /// Types a call that is no operator and no macro.
    pub(super) fn function(&mut self, call: &CallExpr, name_span: Range<usize>, end: usize) -> Typed {
        let name = call.func_name.trim_start_matches('.');
        let start = name_span.start;
        if name == "has" {
            return self.has(call, start..end);
        }
        let args: Vec<Typed> =
            call.target.iter().map(|t| &**t).chain(&call.args).map(|arg| self.check(arg)).collect();
        let span =
            args.first().filter(|_| call.target.is_some()).map_or(start, |target| target.span.start)..end;
        if self.roots().contains(&name) {
            return self.fault(
                name_span,
                format!("`{name}` is no function"),
                Some("write it without brackets".to_owned()),
            );
        }
        if !NAMES.contains(&name) {
            let hint = suggest(name, NAMES.into_iter())
                .or_else(|| Some(format!("functions are {}", NAMES.join(", "))));
            return self.fault(name_span, format!("there is no function `{name}`"), hint);
        }
        let usage = usage(name);
        let arity = if name == "round" { 1..=2 } else { usage.1..=usage.1 };
        if !arity.contains(&args.len()) {
            return self.fault(
                span,
                format!("`{name}` has another number of arguments"),
                Some(format!("write `{}`", usage.0)),
            );
        }
        if args.iter().any(|arg| arg.slot.ty == Ty::Faulty) {
            return Typed::faulty(span);
        }
        match name {
            "orElse" => self.or_else(args, span),
            "role" => self.role(args, span),
            "matches" => self.matches(args, span),
            _ => self.plain(name, args, span),
        }
    }

    /// `has(input.note)`.
    fn has(&mut self, call: &CallExpr, span: Range<usize>) -> Typed {
        let operand = match (&call.target, call.args.as_slice()) {
            (None, [operand]) if matches!(operand.expr, Expr::Select(_)) => self.check(operand),
            _ => {
                let hint = Some("write `has(input.note)`; for other values `x != null`".to_owned());
                return self.fault(span, "`has` takes one field".to_owned(), hint);
            }
        };
        Typed { node: Node::Has(Box::new(operand)), slot: Slot::of(Ty::Boolean), span }
    }

    fn or_else(&mut self, args: Vec<Typed>, span: Range<usize>) -> Typed {
        let [first, second] = exactly(args);
        let (first, second) = self.branches(first, second);
        let Some(ty) = first.slot.ty.unify(&second.slot.ty) else {
            let message =
                format!("the default is {}, the value {}", article(&second.slot.ty), article(&first.slot.ty));
            return self.fault(second.span, message, Some("both need one type".to_owned()));
        };
        let slot = Slot { nullable: second.slot.nullable, ty };
        let (first, second) = (first.widened(&slot.ty), second.widened(&slot.ty));
        Typed { node: Node::OrElse(Box::new(first), Box::new(second)), slot, span }
    }

    fn role(&mut self, args: Vec<Typed>, span: Range<usize>) -> Typed {
        let [name] = exactly(args);
        if !name.slot.ty.is_text() {
            let message = format!("`role` takes the name of a role, this is {}", article(&name.slot.ty));
            return self.fault(name.span, message, Some("write `role('staff')`".to_owned()));
        }
        Typed { node: Node::Role(Box::new(name)), slot: Slot::of(Ty::Boolean), span }
    }

    fn matches(&mut self, args: Vec<Typed>, span: Range<usize>) -> Typed {
        let [text, pattern] = exactly(args);
        if !text.slot.ty.is_text() {
            let message = format!("`matches` takes text, this is {}", article(&text.slot.ty));
            return self.fault(text.span, message, None);
        }
        let Some(source) = self.literal_argument(&pattern, "the regular expression") else {
            return Typed::faulty(span);
        };
        match RegexBuilder::new(&source).size_limit(MAX_REGEX).build() {
            Ok(regex) => {
                Typed { node: Node::Matches(Box::new(text), regex), slot: Slot::of(Ty::Boolean), span }
            }
            Err(error) => {
                let reason = match error {
                    regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
                    error => {
                        let text = error.to_string();
                        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
                    }
                };
                self.fault(pattern.span, format!("the regular expression is wrong: {reason}"), None)
            }
        }
    }

    fn plain(&mut self, name: &str, mut args: Vec<Typed>, span: Range<usize>) -> Typed {
        use Function as F;
        if name == "round" && args.len() == 1 {
            let scale = Typed {
                node: Node::Literal(Value::Integer(0)),
                slot: Slot::of(Ty::Integer),
                span: span.clone(),
            };
            args.push(scale);
        }
        let types: Vec<&Ty> = args.iter().map(|arg| &arg.slot.ty).collect();
        let typed = match (name, types.as_slice()) {
            ("size", [ty]) if ty.is_text() => Some((F::Size, Ty::Integer)),
            ("size", [Ty::List(_)]) => Some((F::Size, Ty::Integer)),
            ("contains", [a, b]) if a.is_text() && b.is_text() => Some((F::Contains, Ty::Boolean)),
            ("startsWith", [a, b]) if a.is_text() && b.is_text() => Some((F::StartsWith, Ty::Boolean)),
            ("endsWith", [a, b]) if a.is_text() && b.is_text() => Some((F::EndsWith, Ty::Boolean)),
            ("lowerAscii", [a]) if a.is_text() => Some((F::LowerAscii, Ty::Text)),
            ("upperAscii", [a]) if a.is_text() => Some((F::UpperAscii, Ty::Text)),
            ("trim", [a]) if a.is_text() => Some((F::Trim, Ty::Text)),
            ("sum", [Ty::List(of)]) => match of.ty {
                Ty::Integer | Ty::Never => Some((F::SumIntegers, Ty::Integer)),
                Ty::Decimal => Some((F::SumDecimals, Ty::Decimal)),
                Ty::Duration => Some((F::SumDurations, Ty::Duration)),
                Ty::Faulty => return Typed::faulty(span),
                _ => None,
            },
            ("min" | "max", [Ty::List(of)]) if of.ty.is_ordered() => {
                Some((if name == "min" { F::Min } else { F::Max }, of.ty.clone()))
            }
            ("round", [a, Ty::Integer]) if a.is_number() => Some((F::Round, Ty::Decimal)),
            ("abs", [Ty::Integer | Ty::Decimal | Ty::Duration]) => Some((F::Abs, types[0].clone())),
            ("int", [Ty::Integer | Ty::Decimal | Ty::Text]) => Some((F::ToInteger, Ty::Integer)),
            ("decimal", [Ty::Integer | Ty::Decimal | Ty::Text]) => Some((F::ToDecimal, Ty::Decimal)),
            ("timestamp", [Ty::Text | Ty::Date | Ty::Timestamp]) => Some((F::ToTimestamp, Ty::Timestamp)),
            ("date", [Ty::Text | Ty::Date | Ty::Timestamp]) => Some((F::ToDate, Ty::Date)),
            ("duration", [Ty::Text | Ty::Duration]) => Some((F::ToDuration, Ty::Duration)),
            ("uuid", [Ty::Text | Ty::Uuid]) => Some((F::ToUuid, Ty::Uuid)),
            ("string", [Ty::List(_) | Ty::Object(_) | Ty::Json | Ty::Null]) => None,
            ("string", [_]) => Some((F::ToText, Ty::Text)),
            _ => None,
        };
        let Some((function, ty)) = typed else {
            let given: Vec<String> = types.iter().map(|ty| article(ty)).collect();
            let message = format!("`{name}` doesn't take {}", given.join(" and "));
            return self.fault(span, message, Some(format!("write `{}`", usage(name).0)));
        };
        if function == F::Round {
            args[0] = std::mem::replace(&mut args[0], Typed::faulty(0..0)).widened(&Ty::Decimal);
        }
        // `timestamp('…')` and the like are computed now, so that a mistake is found now.
        if let ([argument], true) = (args.as_slice(), is_conversion(function))
            && let Node::Literal(value) = &argument.node
        {
            return match convert::convert(function, value) {
                Ok(value) => Typed { node: Node::Literal(value), slot: Slot::of(ty), span },
                Err(detail) => self.fault(argument.span.clone(), detail, None),
            };
        }
        Typed { node: Node::Call(function, args), slot: Slot::of(ty), span }
    }
}

/// Whether the function is one of [`convert::convert`].
fn is_conversion(function: Function) -> bool {
    use Function as F;
    matches!(
        function,
        F::ToInteger | F::ToDecimal | F::ToText | F::ToTimestamp | F::ToDate | F::ToDuration | F::ToUuid
    )
}

/// How a function is called, and its number of arguments.
fn usage(name: &str) -> (&'static str, usize) {
    match name {
        "size" => ("size(text or list)", 1),
        "contains" => ("contains(text, part)", 2),
        "startsWith" => ("startsWith(text, part)", 2),
        "endsWith" => ("endsWith(text, part)", 2),
        "matches" => ("matches(text, 'regular expression')", 2),
        "lowerAscii" => ("lowerAscii(text)", 1),
        "upperAscii" => ("upperAscii(text)", 1),
        "trim" => ("trim(text)", 1),
        "sum" => ("sum(list of numbers)", 1),
        "min" => ("min(list of numbers, texts or times)", 1),
        "max" => ("max(list of numbers, texts or times)", 1),
        "round" => ("round(number, digits)", 2),
        "abs" => ("abs(number)", 1),
        "int" => ("int(decimal or text)", 1),
        "decimal" => ("decimal(integer or text)", 1),
        "string" => ("string(value)", 1),
        "timestamp" => ("timestamp('2026-01-31T12:00:00Z')", 1),
        "date" => ("date('2026-01-31')", 1),
        "duration" => ("duration('24h')", 1),
        "uuid" => ("uuid(text)", 1),
        "orElse" => ("orElse(value, default)", 2),
        _ => ("role('name')", 1),
    }
}

/// The arguments, whose number was checked.
fn exactly<const N: usize>(args: Vec<Typed>) -> [Typed; N] {
    args.try_into().expect("invariant: the number of arguments was checked")
}
