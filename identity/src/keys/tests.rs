use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// RFC 8037, appendix A.1.
const RFC_8037_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const RFC_8037_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
/// Appendix A.3.
const RFC_8037_THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

const DAY: i64 = 24 * 60 * 60 * 1000;

fn rfc_ring() -> KeyRing {
    let ring = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "d": RFC_8037_D, "x": RFC_8037_X,
        "not_before": "2026-01-01T00:00:00Z" }] });
    KeyRing::from_json(&ring.to_string()).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn public_key_and_thumbprint_of_rfc_8037() {
    let ring = rfc_ring();
    let key = ring.signing(at("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(key.kid(), RFC_8037_THUMBPRINT);
    assert_eq!(
        serde_json::to_value(ring.jwks(at("2026-01-01T00:00:00Z"))).unwrap(),
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": RFC_8037_X, "use": "sig", "alg": "EdDSA",
            "kid": RFC_8037_THUMBPRINT }] })
    );
}

/// Appendix A.4 signs, A.5 verifies.
#[test]
fn signature_of_rfc_8037() {
    let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let ring = rfc_ring();
    let key = ring.verifying(RFC_8037_THUMBPRINT, at("2026-01-01T00:00:00Z")).unwrap();
    let signed = jsonwebtoken::crypto::sign(message, key.encoding(), Algorithm::EdDSA).unwrap();
    assert_eq!(signed, signature);
    let verify =
        |message: &[u8]| jsonwebtoken::crypto::verify(signature, message, key.decoding(), Algorithm::EdDSA);
    assert!(verify(message).unwrap());
    assert!(!verify(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmd").unwrap());
}

#[test]
fn no_private_key_is_published_or_shown() {
    let ring = rfc_ring();
    let published = serde_json::to_string(&ring.jwks(Timestamp(0))).unwrap();
    for shown in [published, format!("{ring:?}")] {
        assert!(shown.contains(RFC_8037_THUMBPRINT) && !shown.contains(RFC_8037_D), "{shown}");
        assert!(!shown.contains(r#""d""#), "{shown}");
    }
}

#[test]
fn a_ring_is_what_its_json_says() {
    let first = KeyRing::new(Key::generate(Timestamp(0)));
    let ring = first.rotated(Timestamp(40 * DAY), &Schedule::default()).unwrap();
    let json = ring.to_json();
    let read = KeyRing::from_json(&json).unwrap();
    assert_eq!(*read.to_json(), *json);
    assert_eq!(read.jwks(Timestamp(40 * DAY)).keys.len(), 2);
    assert!(json.contains(r#""not_before": "1970-02-11T00:00:00.000Z""#), "{}", *json);
}

#[test]
fn the_order_in_the_file_does_not_count() {
    let ring =
        KeyRing::new(Key::generate(Timestamp(0))).rotated(Timestamp(40 * DAY), &Schedule::default()).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&ring.to_json()).unwrap();
    json["keys"].as_array_mut().unwrap().reverse();
    let read = KeyRing::from_json(&json.to_string()).unwrap();
    for day in [0, 40, 41, 42] {
        let [left, right] = [&ring, &read].map(|ring| ring.signing(Timestamp(day * DAY)).map(Key::kid));
        assert!(left.is_some() && left == right, "day {day}: {left:?} {right:?}");
    }
    assert_eq!(read.rotation_due(&Schedule::default()), ring.rotation_due(&Schedule::default()));
}

#[test]
fn every_fault_of_a_ring_is_named() {
    let key = |change: serde_json::Value| {
        let mut key =
            json!({ "kty": "OKP", "crv": "Ed25519", "d": RFC_8037_D, "not_before": "2026-01-01T00:00:00Z" });
        key.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        key
    };
    let read = |keys: &[serde_json::Value]| KeyRing::from_json(&json!({ "keys": keys }).to_string());
    let fault = |change| read(&[key(change)]).map(|_| ()).unwrap_err();
    assert!(read(&[key(json!({}))]).is_ok());
    assert!(read(&[key(json!({ "kid": RFC_8037_THUMBPRINT, "x": RFC_8037_X, "use": "sig" }))]).is_ok());
    assert_eq!(read(&[]).unwrap_err(), Error::Empty);
    assert_eq!(fault(json!({ "crv": "X25519" })), Error::Kind { number: 1 });
    assert_eq!(fault(json!({ "kty": "EC" })), Error::Kind { number: 1 });
    assert_eq!(fault(json!({ "d": &RFC_8037_D[1..] })), Error::Secret { number: 1 });
    assert_eq!(fault(json!({ "d": "AAAA" })), Error::Secret { number: 1 });
    assert_eq!(fault(json!({ "x": RFC_8037_D })), Error::Mismatch { number: 1, member: "x" });
    assert_eq!(fault(json!({ "kid": "other" })), Error::Mismatch { number: 1, member: "kid" });
    assert_eq!(fault(json!({ "retire_at": "2026-01-01T00:00:00Z" })), Error::Times { number: 1 });
    let twice = read(&[key(json!({})), key(json!({ "not_before": "2027-01-01T00:00:00Z" }))]);
    assert_eq!(twice.unwrap_err(), Error::Duplicate { kid: RFC_8037_THUMBPRINT.to_owned() });
    let malformed = KeyRing::from_json(&format!(r#"{{ "keys": [{{ "d": "{RFC_8037_D}" }}] }}"#)).unwrap_err();
    assert!(matches!(malformed, Error::Malformed { line: 1, .. }));
    assert!(!malformed.to_string().contains(RFC_8037_D));
}

#[test]
fn a_key_takes_over_and_the_last_one_verifies_for_a_while() {
    let schedule = Schedule::default();
    let hour = 60 * 60 * 1000;
    let first = KeyRing::new(Key::generate(Timestamp(0)));
    assert_eq!(first.rotation_due(&schedule), Timestamp(29 * DAY));
    assert!(first.rotated(Timestamp(29 * DAY - 1), &schedule).is_none());
    let ring = first.rotated(Timestamp(29 * DAY), &schedule).unwrap();
    let [old, new] = [0, 1].map(|index| ring.keys[index].kid().to_owned());
    let signing = |now| ring.signing(Timestamp(now)).map(|key| key.kid().to_owned());
    assert_eq!(signing(-1), None);
    assert_eq!(signing(30 * DAY - 1), Some(old.clone()));
    assert_eq!(signing(30 * DAY), Some(new.clone()));
    let verifies = |kid: &str, now| ring.verifying(kid, Timestamp(now)).is_some();
    assert!(verifies(&new, 29 * DAY));
    assert!(verifies(&old, 30 * DAY + hour - 1));
    assert!(!verifies(&old, 30 * DAY + hour));
    assert_eq!(ring.jwks(Timestamp(30 * DAY)).keys.len(), 2);
    assert_eq!(ring.jwks(Timestamp(30 * DAY + hour)).keys.len(), 1);
    // A second server that finds the same ring adds nothing.
    assert!(ring.rotated(Timestamp(29 * DAY + 1), &schedule).is_none());
}

#[test]
fn a_late_rotation_still_publishes_ahead() {
    let first = KeyRing::new(Key::generate(Timestamp(0)));
    let ring = first.rotated(Timestamp(90 * DAY), &Schedule::default()).unwrap();
    assert_eq!(ring.keys[1].not_before(), Timestamp(91 * DAY));
    assert_eq!(ring.signing(Timestamp(91 * DAY - 1)).unwrap().kid(), ring.keys[0].kid());
}

#[test]
fn a_key_that_retires_early_is_followed_in_time() {
    let ring = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "d": RFC_8037_D,
        "not_before": "2026-01-01T00:00:00Z", "retire_at": "2026-01-08T00:00:00Z" }] });
    let ring = KeyRing::from_json(&ring.to_string()).unwrap();
    assert_eq!(ring.rotation_due(&Schedule::default()), at("2026-01-07T00:00:00Z"));
    let rotated = ring.rotated(at("2026-01-07T00:00:00Z"), &Schedule::default()).unwrap();
    assert_eq!(rotated.keys[1].not_before(), at("2026-01-08T00:00:00Z"));
    assert_eq!(rotated.keys[0].retire_at(), Some(at("2026-01-08T00:00:00Z")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whenever someone looks after the ring, whatever a key signs verifies for as long as it should, by a JWKS that was
    /// fetched when the key was first there; and one key signs at any time.
    #[test]
    fn what_was_signed_verifies(pauses in prop::collection::vec(0_i64..80 * DAY, 1..12), tokens in prop::collection::vec(0.0_f64..1.0, 8)) {
        let schedule = Schedule::default();
        let [ahead, overlap] = [schedule.published_ahead, schedule.verifies_after].map(|span| span.as_millis() as i64);
        let mut ring = KeyRing::new(Key::generate(Timestamp(0)));
        let mut now = 0;
        for pause in pauses {
            // Between two looks the ring stays as it is.
            for share in &tokens {
                let signed_at = now + (pause as f64 * share) as i64;
                let key = ring.signing(Timestamp(signed_at));
                prop_assert!(key.is_some(), "no key signs at {signed_at}");
                let kid = key.map(|key| key.kid().to_owned()).unwrap_or_default();
                prop_assert!(ring.verifying(&kid, Timestamp(signed_at + overlap - 1)).is_some());
            }
            now += pause;
            if let Some(rotated) = ring.rotated(Timestamp(now), &schedule) {
                let new = rotated.last();
                prop_assert!(new.not_before().0 >= now + ahead, "published too late");
                for old in ring.keys.iter().filter(|key| !key.is_retired(Timestamp(now))) {
                    prop_assert!(rotated.verifying(old.kid(), Timestamp(now)).is_some(), "a key is lost");
                }
                prop_assert_eq!(rotated.signing(Timestamp(now)).map(Key::kid), ring.signing(Timestamp(now)).map(Key::kid));
                ring = rotated;
            }
        }
    }
}
