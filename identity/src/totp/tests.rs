use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// The secret of RFC 6238, appendix B.
fn rfc_secret() -> TotpSecret {
    TotpSecret(Zeroizing::new(*b"12345678901234567890"))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1000)
}

/// Appendix B has eight digits of each code; six are the last six of them, because a code is the number modulo 10^6.
#[test]
fn codes_of_rfc_6238() {
    let vectors = [
        (59, "94287082"),
        (1_111_111_109, "07081804"),
        (1_111_111_111, "14050471"),
        (1_234_567_890, "89005924"),
        (2_000_000_000, "69279037"),
        (20_000_000_000, "65353130"),
    ];
    for (seconds, code) in vectors {
        let used = rfc_secret().verify(&code[2..], Used::default(), at(seconds));
        assert_eq!(used, Ok(Used(Some(seconds as u64 / 30))), "{seconds}");
        let eight = rfc_secret().builder().with_digits(8).build().unwrap();
        assert_eq!(eight.generate(seconds as u64).to_string(), code);
    }
}

#[test]
fn one_step_before_and_one_after() {
    let secret = rfc_secret();
    let code = secret.totp().generate(1_111_111_111).to_string();
    // That step lasts from 1111111110 to 1111111139.
    let verify = |seconds| secret.verify(&code, Used::default(), at(seconds)).is_ok();
    assert!(!verify(1_111_111_079));
    assert!(verify(1_111_111_080));
    assert!(verify(1_111_111_169));
    assert!(!verify(1_111_111_170));
}

#[test]
fn a_code_is_good_once() {
    let secret = rfc_secret();
    let code = |seconds: u64| secret.totp().generate(seconds).to_string();
    let (before, present, next) = (code(1_111_111_090), code(1_111_111_111), code(1_111_111_140));
    let now = at(1_111_111_111);
    let used = secret.verify(&present, Used::default(), now).unwrap();
    assert_eq!(secret.verify(&present, used, now), Err(Refusal::Used));
    assert_eq!(secret.verify(&present, used, at(1_111_111_141)), Err(Refusal::Used));
    assert_eq!(secret.verify(&before, used, now), Err(Refusal::Used));
    let used = secret.verify(&next, used, now).unwrap();
    assert_eq!(secret.verify(&next, used, at(1_111_111_141)), Err(Refusal::Used));
}

#[test]
fn what_is_no_code_is_wrong() {
    let secret = rfc_secret();
    for code in ["", "050470", "50471", "0050471", "+50471", " 050471", "050471\n", "05047١", "abcdef"] {
        assert_eq!(secret.verify(code, Used::default(), at(1_111_111_111)), Err(Refusal::Wrong), "{code}");
    }
    assert!(secret.verify("050471", Used::default(), at(1_111_111_111)).is_ok());
    assert_eq!(secret.verify("050471", Used::default(), Timestamp(-1)), Err(Refusal::Wrong));
}

#[test]
fn the_uri_for_an_app() {
    let uri = rfc_secret().uri("Shop & Sons", "ada@shop.example").unwrap();
    let read = Totp::from_url(&*uri).unwrap();
    assert_eq!((read.issuer(), read.account_name()), (Some("Shop & Sons"), "ada@shop.example"));
    assert_eq!(read.secret().as_bytes(), rfc_secret().0.as_slice());
    assert_eq!((read.digits(), read.step(), read.algorithm()), (6, 30, Algorithm::SHA1));
    assert!(uri.starts_with("otpauth://totp/"), "{}", *uri);
    assert!(uri.contains("secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), "{}", *uri);
    for (issuer, account) in [("a:b", "ada"), ("shop", "a:b"), ("", "ada"), ("shop", "")] {
        assert_eq!(rfc_secret().uri(issuer, account).unwrap_err(), Error::Name, "{issuer:?} {account:?}");
    }
}

#[test]
fn a_secret_is_its_base32() {
    let secret = TotpSecret::generate();
    let text = secret.to_base32();
    assert_eq!(TotpSecret::from_base32(&text).unwrap().0, secret.0);
    assert_ne!(*TotpSecret::generate().to_base32(), *text);
    for text in ["", "AAAA", "1", &text[..31]] {
        assert_eq!(TotpSecret::from_base32(text).unwrap_err(), Error::Malformed, "{text}");
    }
    assert_eq!(format!("{secret:?}"), "TotpSecret(***)");
}

#[test]
fn what_was_used_is_a_number_in_json() {
    assert_eq!(serde_json::to_string(&Used(Some(7))).unwrap(), "7");
    assert_eq!(serde_json::from_str::<Used>("null").unwrap(), Used::default());
}

#[test]
fn ten_recovery_codes_each_good_once() {
    let account = Uuid::now_v7();
    let (codes, mut stored) = RecoveryCodes::generate(account);
    assert_eq!((codes.len(), stored.left()), (10, 10));
    for (used, code) in codes.iter().enumerate() {
        // Typed as people type.
        let typed = RecoveryCode::parse(&code.to_text().to_lowercase().replace('-', " ")).unwrap();
        stored = stored.redeem(account, &typed).unwrap();
        assert_eq!(stored.left(), 9 - used);
        assert_eq!(stored.redeem(account, &typed), None);
    }
}

#[test]
fn a_recovery_code_of_another_account_is_none() {
    let (account, other) = (Uuid::now_v7(), Uuid::now_v7());
    let (codes, stored) = RecoveryCodes::generate(account);
    let (foreign, _) = RecoveryCodes::generate(account);
    assert_eq!(stored.redeem(other, &codes[0]), None);
    assert_eq!(stored.redeem(account, &foreign[0]), None);
}

#[test]
fn recovery_codes_as_text() {
    let code = RecoveryCode::parse("oi23 4567-89abcdef").unwrap();
    assert_eq!(*code.to_text(), "0123-4567-89AB-CDEF");
    for text in ["", "0123-4567-89AB", "0123-4567-89AB-CDEF-0", "0123-4567-89AB-CDEU", "0123_4567_89AB_CDEF"]
    {
        assert!(RecoveryCode::parse(text).is_none(), "{text}");
    }
    let (_, stored) = RecoveryCodes::generate(Uuid::now_v7());
    let json = serde_json::to_string(&stored).unwrap();
    assert_eq!(serde_json::from_str::<RecoveryCodes>(&json).unwrap(), stored);
    assert_eq!(format!("{code:?}"), "RecoveryCode(***)");
}

proptest! {
    /// Whatever codes come in whatever order at whatever time: no step is accepted twice, and none after a later one.
    #[test]
    fn no_step_twice(tries in prop::collection::vec((0_i64..300, -3_i64..4), 1..40)) {
        let secret = rfc_secret();
        let mut used = Used::default();
        let mut accepted = Vec::new();
        for (seconds, offset) in tries {
            let now = 1_111_111_110 + seconds;
            let step = now / 30 + offset;
            let code = secret.totp().generate(step as u64 * 30).to_string();
            if let Ok(next) = secret.verify(&code, used, at(now)) {
                prop_assert!(offset.abs() <= 1);
                used = next;
                accepted.push(step);
            }
        }
        prop_assert!(accepted.is_sorted_by(|left, right| left < right), "{accepted:?}");
    }
}
