//! Decimal arithmetic: exact, except for a quotient that doesn't terminate.

use bigdecimal::{BigDecimal, RoundingMode};
use num_bigint::{BigInt, Sign};

/// Digits of a literal, and places of its point.
pub(crate) const MAX_LITERAL_DIGITS: u64 = 100;
/// Digits of any result: bounds what one step may cost.
const MAX_DIGITS: u64 = 1000;
/// Digits after the point of a quotient.
pub(crate) const QUOTIENT_SCALE: i64 = 28;

const TOO_LONG: &str = "a number has more than 1000 digits";

/// A literal; `None` if it is too long.
pub(crate) fn literal(decimal: BigDecimal) -> Option<BigDecimal> {
    let (digits, scale) = (decimal.digits(), decimal.fractional_digit_count());
    (digits <= MAX_LITERAL_DIGITS && scale.unsigned_abs() <= MAX_LITERAL_DIGITS).then(|| whole(decimal))
}

pub(crate) fn add(a: &BigDecimal, b: &BigDecimal) -> Result<BigDecimal, String> {
    bounded(a + b)
}

pub(crate) fn subtract(a: &BigDecimal, b: &BigDecimal) -> Result<BigDecimal, String> {
    bounded(a - b)
}

pub(crate) fn multiply(a: &BigDecimal, b: &BigDecimal) -> Result<BigDecimal, String> {
    bounded(a * b)
}

/// Exact where the quotient has at most 28 digits after the point, otherwise rounded to them, half-even.
pub(crate) fn divide(a: &BigDecimal, b: &BigDecimal) -> Result<BigDecimal, String> {
    let (a_digits, a_scale) = a.as_bigint_and_exponent();
    let (b_digits, b_scale) = b.as_bigint_and_exponent();
    if b_digits.sign() == Sign::NoSign {
        return Err("division by zero".to_owned());
    }
    let shift = QUOTIENT_SCALE - a_scale + b_scale;
    let power = BigInt::from(10).pow(u32::try_from(shift.unsigned_abs()).map_err(|_| TOO_LONG.to_owned())?);
    let (dividend, divisor) =
        if shift >= 0 { (a_digits * power, b_digits) } else { (a_digits, b_digits * power) };
    let mut quotient = &dividend / &divisor;
    let remainder = &dividend % &divisor;
    let half = (remainder.magnitude() * 2_u32).cmp(divisor.magnitude());
    let odd = quotient.bit(0);
    if half.is_gt() || (half.is_eq() && odd) {
        let negative = (dividend.sign() == Sign::Minus) != (divisor.sign() == Sign::Minus);
        quotient += if negative { -1 } else { 1 };
    }
    bounded(whole(BigDecimal::new(quotient, QUOTIENT_SCALE).normalized()))
}

/// Half-even to `scale` digits after the point.
pub(crate) fn round(a: &BigDecimal, scale: i64) -> Result<BigDecimal, String> {
    if !(0..=QUOTIENT_SCALE).contains(&scale) {
        return Err(format!(
            "numbers are rounded to 0 to {QUOTIENT_SCALE} digits after the point, not {scale}"
        ));
    }
    bounded(a.with_scale_round(scale, RoundingMode::HalfEven))
}

/// The integer part, if it is one of 64 bits.
pub(crate) fn truncate(a: &BigDecimal) -> Result<i64, String> {
    let (digits, _) = a.with_scale_round(0, RoundingMode::Down).into_bigint_and_exponent();
    i64::try_from(digits).map_err(|_| "the number is no 64-bit integer".to_owned())
}

fn bounded(decimal: BigDecimal) -> Result<BigDecimal, String> {
    let fits =
        decimal.digits() <= MAX_DIGITS && decimal.fractional_digit_count().unsigned_abs() <= MAX_DIGITS;
    if fits { Ok(decimal) } else { Err(TOO_LONG.to_owned()) }
}

/// Without a negative scale: 1E+3 as 1000.
fn whole(decimal: BigDecimal) -> BigDecimal {
    if decimal.fractional_digit_count() < 0 { decimal.with_scale(0) } else { decimal }
}
