//! Exact decimals: read without an exponent, held at the declared scale, never rounded (`docs/decisions/001`).

use num_bigint::{BigInt, Sign};

use super::Decimal;

/// Longest decimal that is read, in characters: far above 38 digits, far below what makes arithmetic slow.
const MAX_TEXT: usize = 128;

/// Why a decimal isn't a value of the declared type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalFault {
    /// It has digits below the declared scale.
    #[error("has digits that would be lost by rounding")]
    TooPrecise,
    /// It has more digits than the declared precision.
    #[error("has too many digits")]
    OutOfRange,
}

/// Reads `-12.50`. There is no exponent, so a short text can't name a huge number. Errors: what would be right.
pub fn parse_decimal(text: &str) -> Result<Decimal, String> {
    let wrong = || "write it as digits with a point and no exponent, such as \"12.50\"".to_owned();
    if text.len() > MAX_TEXT {
        return Err(format!("a decimal has at most {MAX_TEXT} characters"));
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((_, "")) => return Err(wrong()),
        Some(parts) => parts,
        None => (unsigned, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(wrong());
    }
    let sign = if unsigned.len() < text.len() { "-" } else { "" };
    let digits: BigInt = format!("{sign}{whole}{fraction}").parse().map_err(|_| wrong())?;
    let scale = i64::try_from(fraction.len()).expect("invariant: the text is short");
    Ok(Decimal::new(digits, scale))
}

/// The same number at exactly `scale` digits after the point, of at most `precision` digits. Refuses rather than rounds.
/// The cost is bounded by `precision` and the digits of `value`, whatever its exponent.
pub fn fit_decimal(value: &Decimal, precision: u32, scale: u32) -> Result<Decimal, DecimalFault> {
    let (digits, own_scale) = value.as_bigint_and_scale();
    let scale = i64::from(scale);
    if digits.sign() == Sign::NoSign {
        return Ok(Decimal::new(BigInt::ZERO, scale));
    }
    let ten = BigInt::from(10u8);
    let digits = if own_scale <= scale {
        let missing = u32::try_from(scale.saturating_sub(own_scale)).map_err(|_| DecimalFault::OutOfRange)?;
        if missing > precision {
            return Err(DecimalFault::OutOfRange);
        }
        digits.as_ref() * ten.pow(missing)
    } else {
        let surplus = u32::try_from(own_scale.saturating_sub(scale)).map_err(|_| DecimalFault::TooPrecise)?;
        // 10^surplus > 2^surplus > |digits|, so it can't divide them.
        if u64::from(surplus) > digits.bits() {
            return Err(DecimalFault::TooPrecise);
        }
        let divisor = ten.pow(surplus);
        if (digits.as_ref() % &divisor).sign() != Sign::NoSign {
            return Err(DecimalFault::TooPrecise);
        }
        digits.as_ref() / divisor
    };
    if *digits.magnitude() >= ten.pow(precision).into_parts().1 {
        return Err(DecimalFault::OutOfRange);
    }
    Ok(Decimal::new(digits, scale))
}
