//! Operators and functions over values that are there.

use std::cmp::Ordering;

use bigdecimal::BigDecimal;

use super::{Evaluation, Frame, MAX_TEXT, order};
use crate::expression::convert;
use crate::expression::exact;
use crate::expression::functions::Function;
use crate::expression::tree::{Arithmetic, Typed};
use crate::value::{Timestamp, Value};

impl Evaluation<'_> {
    pub(super) fn arithmetic(
        &self,
        typed: &Typed,
        kind: Arithmetic,
        left: &Value,
        right: &Value,
    ) -> Result<Value, String> {
        use Arithmetic as A;
        use Value as V;
        let overflow = || self.overflow(typed);
        let integer = |n: Option<i64>| n.map(V::Integer).ok_or_else(overflow);
        let duration = |n: Option<i64>| n.map(V::Duration).ok_or_else(overflow);
        match (kind, left, right) {
            (A::AddIntegers, V::Integer(a), V::Integer(b)) => integer(a.checked_add(*b)),
            (A::SubtractIntegers, V::Integer(a), V::Integer(b)) => integer(a.checked_sub(*b)),
            (A::MultiplyIntegers, V::Integer(a), V::Integer(b)) => integer(a.checked_mul(*b)),
            (A::DivideIntegers | A::RemainderOfIntegers, V::Integer(_), V::Integer(0)) => {
                Err("division by zero".to_owned())
            }
            (A::DivideIntegers, V::Integer(a), V::Integer(b)) => integer(a.checked_div(*b)),
            // The remainder by -1 is 0, also where the quotient overflows.
            (A::RemainderOfIntegers, V::Integer(a), V::Integer(b)) => Ok(V::Integer(a.wrapping_rem(*b))),
            (A::AddDecimals, V::Decimal(a), V::Decimal(b)) => exact::add(a, b).map(V::Decimal),
            (A::SubtractDecimals, V::Decimal(a), V::Decimal(b)) => exact::subtract(a, b).map(V::Decimal),
            (A::MultiplyDecimals, V::Decimal(a), V::Decimal(b)) => exact::multiply(a, b).map(V::Decimal),
            (A::DivideDecimals, V::Decimal(a), V::Decimal(b)) => exact::divide(a, b).map(V::Decimal),
            (A::Concatenate, V::Text(a), V::Text(b)) => {
                self.step((a.len() + b.len()) / 64)?;
                if a.len() + b.len() > MAX_TEXT {
                    return Err(format!("a text has more than {MAX_TEXT} bytes"));
                }
                Ok(V::Text(format!("{a}{b}")))
            }
            (A::AddDurations, V::Duration(a), V::Duration(b)) => duration(a.checked_add(*b)),
            (A::SubtractDurations, V::Duration(a), V::Duration(b)) => duration(a.checked_sub(*b)),
            (A::MultiplyDuration, V::Duration(a), V::Integer(b)) => duration(a.checked_mul(*b)),
            (A::AddToTimestamp, V::Timestamp(at), V::Duration(by)) => {
                convert::add(*at, *by).map(V::Timestamp)
            }
            (A::SubtractFromTimestamp, V::Timestamp(at), V::Duration(by)) => {
                convert::add(*at, by.saturating_neg()).map(V::Timestamp)
            }
            (A::SubtractTimestamps, V::Timestamp(Timestamp(a)), V::Timestamp(Timestamp(b))) => {
                duration(a.checked_sub(*b))
            }
            (A::AddToDate, V::Date(date), V::Duration(by)) => convert::add_days(*date, *by).map(V::Date),
            (A::SubtractFromDate, V::Date(date), V::Duration(by)) => {
                convert::add_days(*date, by.checked_neg().ok_or_else(overflow)?).map(V::Date)
            }
            (A::SubtractDates, V::Date(a), V::Date(b)) => Ok(V::Duration(convert::days_between(*a, *b))),
            _ => Err(self.surprise(typed)),
        }
    }

    pub(super) fn call(
        &self,
        typed: &Typed,
        function: Function,
        args: &[Typed],
        frame: Option<&Frame<'_>>,
    ) -> Result<Value, String> {
        use Function as F;
        use Value as V;
        let values = args.iter().map(|arg| self.present(arg, frame)).collect::<Result<Vec<_>, String>>()?;
        let values: Vec<&Value> = values.iter().map(|value| value.as_ref()).collect();
        if let [V::Text(text), ..] = values.as_slice() {
            self.step(text.len() / 64)?;
        }
        match (function, values.as_slice()) {
            (F::Size, [V::Text(text)]) => Ok(V::Integer(text.chars().count() as i64)),
            (F::Size, [V::List(items)]) => Ok(V::Integer(items.len() as i64)),
            (F::Contains, [V::Text(text), V::Text(part)]) => Ok(V::Boolean(text.contains(part.as_str()))),
            (F::StartsWith, [V::Text(text), V::Text(part)]) => {
                Ok(V::Boolean(text.starts_with(part.as_str())))
            }
            (F::EndsWith, [V::Text(text), V::Text(part)]) => Ok(V::Boolean(text.ends_with(part.as_str()))),
            (F::LowerAscii, [V::Text(text)]) => Ok(V::Text(text.to_ascii_lowercase())),
            (F::UpperAscii, [V::Text(text)]) => Ok(V::Text(text.to_ascii_uppercase())),
            (F::Trim, [V::Text(text)]) => Ok(V::Text(text.trim().to_owned())),
            (F::SumIntegers | F::SumDecimals | F::SumDurations, [V::List(items)]) => {
                self.sum(typed, function, &args[0], items)
            }
            (F::Min | F::Max, [V::List(items)]) => self.extreme(function, &args[0], items),
            (F::Round, [V::Decimal(decimal), V::Integer(scale)]) => {
                exact::round(decimal, *scale).map(V::Decimal)
            }
            (F::Abs, [V::Integer(n)]) => n.checked_abs().map(V::Integer).ok_or_else(|| self.overflow(typed)),
            (F::Abs, [V::Duration(ms)]) => {
                ms.checked_abs().map(V::Duration).ok_or_else(|| self.overflow(typed))
            }
            (F::Abs, [V::Decimal(decimal)]) => Ok(V::Decimal(decimal.abs())),
            (_, [value]) => convert::convert(function, value)
                .map_err(|detail| format!("`{}` can't be computed: {detail}", self.text_of(typed))),
            _ => Err(self.surprise(typed)),
        }
    }

    fn sum(&self, typed: &Typed, function: Function, of: &Typed, items: &[Value]) -> Result<Value, String> {
        self.step(items.len())?;
        let (mut whole, mut decimal) = (0_i64, BigDecimal::from(0));
        for item in items {
            match item {
                Value::Integer(n) | Value::Duration(n) => {
                    whole = whole.checked_add(*n).ok_or_else(|| self.overflow(typed))?;
                }
                Value::Decimal(n) => decimal = exact::add(&decimal, n)?,
                Value::Null => return Err(format!("an item of `{}` is null", self.text_of(of))),
                _ => return Err(self.surprise(of)),
            }
        }
        Ok(match function {
            Function::SumDecimals => Value::Decimal(decimal),
            Function::SumDurations => Value::Duration(whole),
            _ => Value::Integer(whole),
        })
    }

    fn extreme(&self, function: Function, of: &Typed, items: &[Value]) -> Result<Value, String> {
        self.step(items.len())?;
        let mut best: Option<&Value> = None;
        let wanted = if function == Function::Min { Ordering::Less } else { Ordering::Greater };
        for item in items {
            if *item == Value::Null {
                return Err(format!("an item of `{}` is null", self.text_of(of)));
            }
            if best.is_none_or(|best| order(item, best) == Some(wanted)) {
                best = Some(item);
            }
        }
        best.cloned().ok_or_else(|| format!("`{}` is empty", self.text_of(of)))
    }
}
