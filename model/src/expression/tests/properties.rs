//! Arithmetic against big integers, and text that nobody would write.

use num_bigint::BigInt;
use proptest::prelude::*;

use super::*;
use crate::value::Decimal;

/// Evaluates over the input fields `a` and `b`.
fn binary(source: &str, a: Value, b: Value, ty: Type, result: Type) -> Result<Value, String> {
    let input = fields(vec![field("a", ty.clone()), field("b", ty)]);
    let result = field("result", result);
    let compiled = Compiled::compile(
        source,
        Env { input: Some(&input), state: None, channel: None },
        Expected::Field(&result),
    )
    .unwrap();
    let values: Object = [("a".to_owned(), a), ("b".to_owned(), b)].into_iter().collect();
    let scope =
        Scope { id: Uuid::nil(), input: &values, state: None, now: Timestamp(0), actor: &Actor::default() };
    compiled.evaluate(&scope).map_err(|error| error.detail)
}

/// The number as digits at the scale 28, exactly.
fn at_28(decimal: &Decimal) -> BigInt {
    let (digits, scale) = decimal.as_bigint_and_exponent();
    assert!(scale <= 28, "{decimal} has more than 28 digits after the point");
    digits * BigInt::from(10).pow((28 - scale) as u32)
}

fn decimal_of(result: Result<Value, String>) -> Decimal {
    match result {
        Ok(Value::Decimal(decimal)) => decimal,
        other => panic!("no decimal: {other:?}"),
    }
}

/// Rounds `n / d` to an integer, half-even, by the definition: the nearest, and of two the even one.
fn half_even(n: &BigInt, d: &BigInt) -> BigInt {
    let near: BigInt = n / d;
    let distance = |q: &BigInt| BigInt::from((n - q * d).magnitude().clone());
    let candidates = [&near - 1, near.clone(), &near + 1];
    let best = candidates.iter().map(distance).min().unwrap();
    let mut nearest: Vec<&BigInt> = candidates.iter().filter(|q| distance(q) == best).collect();
    nearest.sort_by_key(|q| *q % 2 != BigInt::from(0));
    nearest[0].clone()
}

proptest! {
    #[test]
    fn any_text_is_compiled_or_refused(source in ".{0,60}") {
        let _ = compile(&source, Expected::Boolean);
    }

    #[test]
    fn any_tokens_are_compiled_or_refused(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "input", ".", "number", "lines", "quantity", "(", ")", "[", "]", "{", "}", ",", ":", "?", "!", "-", "+", "*",
            "/", "%", "==", "<", "&&", "||", "in", "1", "1.5", "'é'", "\"", "'", "\\", "r'", "'''", "map", "all", "size",
            "sum", "has", "l", "true", "null", " ", "\n", "//", "é", "\u{1F600}", "0x", "1e", "`", "$", "orElse", "u",
        ]), 0..25)
    ) {
        let source = tokens.concat();
        if let Err(faults) = compile(&source, Expected::Boolean) {
            prop_assert!(!faults.is_empty());
            for fault in faults {
                prop_assert!(source.get(fault.span.clone()).is_some(), "{source:?} {fault:?}");
            }
        }
    }

    #[test]
    fn decimals_are_exact(a in any::<i128>(), b in any::<i128>(), sa in 0i64..10, sb in 0i64..10) {
        let a = Decimal::new(BigInt::from(a), sa);
        let b = Decimal::new(BigInt::from(b), sb);
        let (x, y) = (at_28(&a), at_28(&b));
        let unit = BigInt::from(10).pow(28);
        let run = |source| decimal_of(binary(source, Value::Decimal(a.clone()), Value::Decimal(b.clone()), decimal(), decimal()));
        prop_assert_eq!(at_28(&run("input.a + input.b")), &x + &y);
        prop_assert_eq!(at_28(&run("input.a - input.b")), &x - &y);
        prop_assert_eq!(at_28(&run("input.a * input.b")) * &unit, &x * &y);
        prop_assert_eq!(at_28(&run("sum([input.a, input.b, input.a])")), &x + &y + &x);
        if y != BigInt::from(0) {
            prop_assert_eq!(at_28(&run("input.a / input.b")), half_even(&(&x * &unit), &y));
        }
    }

    #[test]
    fn rounding_is_half_even(
        digits in prop_oneof![any::<i64>(), -30i64..30], half in any::<bool>(), scale in 0i64..6, dropped in 1u32..5
    ) {
        // Every second number lies exactly between two results.
        let unit = BigInt::from(10).pow(dropped);
        let n = if half { BigInt::from(digits) * &unit + &unit / 2 } else { BigInt::from(digits) };
        let a = Value::Decimal(Decimal::new(n.clone(), scale + i64::from(dropped)));
        let run = |source: &str| binary(source, a.clone(), a.clone(), decimal(), decimal());
        let rounded = decimal_of(run(&format!("round(input.a, {scale})")));
        prop_assert_eq!(rounded, Decimal::new(half_even(&n, &unit), scale));
        let whole = n / BigInt::from(10).pow(scale as u32 + dropped);
        prop_assert_eq!(decimal_of(run("decimal(int(input.a))")), Decimal::new(whole, 0));
    }

    #[test]
    fn decimal_literals_are_read_digit_by_digit(whole in "[0-9]{1,30}", fraction in "[0-9]{1,30}") {
        let source = format!("{whole}.{fraction}");
        let expected: Decimal = source.parse().unwrap();
        prop_assert_eq!(decimal_of(evaluate(&source, decimal())), expected.clone());
        prop_assert_eq!(decimal_of(evaluate(&format!("-{source}"), decimal())), -expected);
    }

    #[test]
    fn integers_are_checked(a in any::<i64>(), b in any::<i64>()) {
        let run = |source| binary(source, Value::Integer(a), Value::Integer(b), integer(), integer());
        for (source, exact) in [
            ("input.a + input.b", i128::from(a) + i128::from(b)),
            ("input.a - input.b", i128::from(a) - i128::from(b)),
            ("input.a * input.b", i128::from(a) * i128::from(b)),
            ("-input.a", -i128::from(a)),
        ] {
            match i64::try_from(exact) {
                Ok(n) => prop_assert_eq!(run(source), Ok(Value::Integer(n))),
                Err(_) => prop_assert!(run(source).is_err_and(|detail| detail.ends_with("is beyond 64 bits"))),
            }
        }
    }
}
