//! Tokens are made here with keys of the tests, and each is wrong in one way. What a real issuer makes is in the end-to-end
//! tests.

use jsonwebtoken::EncodingKey;
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// A key pair: its private half, and its public one as an issuer shows it.
struct Pair {
    private: EncodingKey,
    public: Json,
    algorithm: jsonwebtoken::Algorithm,
}

fn ed25519(kid: &str) -> Pair {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
    Pair {
        private: EncodingKey::from_ed_der(pair.serialized_der()),
        public: json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x }),
        algorithm: jsonwebtoken::Algorithm::EdDSA,
    }
}

fn p256(kid: &str) -> Pair {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let point = pair.public_key_raw();
    let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
    Pair {
        private: EncodingKey::from_ec_der(pair.serialized_der()),
        public: json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y }),
        algorithm: jsonwebtoken::Algorithm::ES256,
    }
}

impl Pair {
    fn sign(&self, header: Json, claims: &Json) -> String {
        let mut all = json!({ "typ": "JWT", "alg": self.algorithm });
        all.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
        let text = all.to_string();
        // The library writes only headers that it knows.
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    fn public_with(&self, more: Json) -> Json {
        let mut public = self.public.clone();
        public.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        public
    }
}

fn options() -> Options {
    Options { issuer: "https://id.example".into(), audience: "shop".into(), ..Options::default() }
}

fn claims() -> Json {
    json!({ "iss": "https://id.example", "aud": "shop", "sub": "ada", "exp": 1_800_000_300 })
}

fn with(name: &str, value: Json) -> Json {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn set(all: &[&Json]) -> Vec<Key> {
    keys(&json!({ "keys": all }))
}

#[test]
fn a_token_is_good_by_the_key_that_it_names() {
    let (ed, ec) = (ed25519("a"), p256("b"));
    let keys = set(&[&ed.public, &ec.public]);
    for (pair, kid) in [(&ed, "a"), (&ec, "b")] {
        let token = pair.sign(json!({ "kid": kid }), &claims());
        assert_eq!(claimed_issuer(&token).as_deref(), Some("https://id.example"));
        assert_eq!(verify(&options(), &keys, &token, NOW).unwrap().subject, "ada");
    }
    let token = ed.sign(json!({ "kid": "b" }), &claims());
    assert_eq!(verify(&options(), &keys, &token, NOW).unwrap_err(), Error::KeyType { kid: "b".into() });
    let token = ed25519("a").sign(json!({ "kid": "a" }), &claims());
    assert_eq!(verify(&options(), &keys, &token, NOW).unwrap_err(), Error::Signature);
    let token = ed.sign(json!({ "kid": "c" }), &claims());
    assert_eq!(verify(&options(), &keys, &token, NOW).unwrap_err(), Error::UnknownKey { kid: "c".into() });
    let token = ed.sign(json!({}), &claims());
    assert_eq!(verify(&options(), &keys, &token, NOW).unwrap_err(), Error::MissingKeyId);
}

#[test]
fn the_header_chooses_nothing() {
    let ed = ed25519("a");
    let keys = set(&[&ed.public]);
    let error = |header: Json| {
        let mut all = json!({ "kid": "a" });
        all.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
        verify(&options(), &keys, &ed.sign(all, &claims()), NOW).err()
    };
    for alg in ["none", "None", "HS256", "ES384", "eddsa", ""] {
        assert_eq!(error(json!({ "alg": alg })), Some(Error::Algorithm { found: alg.into() }));
    }
    assert_eq!(error(json!({ "alg": "RS256" })), Some(Error::KeyType { kid: "a".into() }));
    assert_eq!(error(json!({ "crit": ["exp"] })), Some(Error::Critical));
    for typ in ["at+jwt", "application/at+jwt", "jwt", "AT+JWT"] {
        assert_eq!(error(json!({ "typ": typ })), None, "{typ}");
    }
    for typ in ["logout+jwt", "dpop+jwt", "id+jwt", "application/x"] {
        assert_eq!(error(json!({ "typ": typ })), Some(Error::Type { found: typ.into() }));
    }
    let one = Options { algorithms: vec![Algorithm::ES256], ..options() };
    let token = ed.sign(json!({ "kid": "a" }), &claims());
    assert_eq!(verify(&one, &keys, &token, NOW).unwrap_err(), Error::Algorithm { found: "EdDSA".into() });
}

#[test]
fn a_key_is_for_what_its_issuer_says() {
    let (ed, ec) = (ed25519("a"), p256("b"));
    let result = |public: &Json| {
        verify(&options(), &set(&[public]), &ec.sign(json!({ "kid": "b" }), &claims()), NOW).err()
    };
    assert_eq!(result(&ec.public_with(json!({ "alg": "ES256", "use": "sig", "key_ops": ["verify"] }))), None);
    let unknown = Some(Error::UnknownKey { kid: "b".into() });
    for more in [json!({ "use": "enc" }), json!({ "key_ops": ["encrypt"] }), json!({ "kid": null })] {
        assert_eq!(result(&ec.public_with(more.clone())), unknown, "{more}");
    }
    let wrong = Some(Error::KeyType { kid: "b".into() });
    assert_eq!(result(&ec.public_with(json!({ "alg": "ES384" }))), wrong);
    assert_eq!(result(&ed.public_with(json!({ "kid": "b" }))), wrong);

    let oct = json!({ "kty": "oct", "kid": "b", "k": "AAAA" });
    let n = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0xFF; bytes]);
    let rsa = |n: String| json!({ "kty": "RSA", "kid": "b", "e": "AQAB", "n": n });
    let padded = URL_SAFE_NO_PAD.encode([vec![0; 200], vec![0xFF; 128]].concat());
    for useless in [oct, rsa(n(128)), rsa(padded), json!({ "kty": "future", "kid": "b" }), json!(7)] {
        assert!(set(&[&useless]).is_empty(), "{useless}");
    }
    assert_eq!(set(&[&rsa(n(256)), &json!({ "kty": "future" }), &ed.public]).len(), 2);
    assert!(keys(&json!([])).is_empty());
}

#[test]
fn every_claim_is_held_against_the_configuration() {
    let ed = ed25519("a");
    let keys = set(&[&ed.public]);
    let error = |claims: &Json| verify(&options(), &keys, &ed.sign(json!({ "kid": "a" }), claims), NOW).err();
    for aud in
        [json!("other"), json!(["other"]), json!([]), json!(null), json!({ "shop": 1 }), json!("shop ")]
    {
        assert_eq!(error(&with("aud", aud.clone())), Some(Error::Audience), "{aud}");
    }
    assert_eq!(error(&with("aud", json!(["other", "shop"]))), None);
    for iss in [json!("https://id.example/"), json!(["https://id.example"]), json!(null)] {
        assert_eq!(error(&with("iss", iss.clone())), Some(Error::Issuer), "{iss}");
    }
    for sub in [json!(""), json!(7), json!(null), json!("x".repeat(256))] {
        assert_eq!(error(&with("sub", sub.clone())), Some(Error::Claim { name: "sub" }), "{sub}");
    }
    assert_eq!(error(&with("cnf", json!({ "jkt": "x" }))), Some(Error::Bound));
    assert!(matches!(error(&with("events", json!({}))), Some(Error::Type { .. })));
    for exp in [json!("1800000300"), json!(null), json!(1e300)] {
        assert_eq!(error(&with("exp", exp.clone())), Some(Error::Claim { name: "exp" }), "{exp}");
    }
    // 30 s of leeway.
    let (now, leeway) = (1_800_000_000, 30);
    assert!(matches!(error(&with("exp", json!(now - leeway))), Some(Error::Expired { .. })));
    assert_eq!(error(&with("exp", json!(now - leeway + 1))), None);
    for name in ["iat", "nbf"] {
        assert!(
            matches!(error(&with(name, json!(now + leeway + 1))), Some(Error::NotYetValid { .. })),
            "{name}"
        );
        assert_eq!(error(&with(name, json!(now + leeway))), None, "{name}");
        assert_eq!(error(&with(name, json!(1_700_000_000.5))), None, "a fraction is allowed");
    }
}

#[test]
fn what_is_no_token_is_refused_before_anything_else() {
    let ed = ed25519("a");
    let keys = set(&[&ed.public]);
    let long = ed.sign(json!({ "kid": "a" }), &with("x", json!("x".repeat(MAX_LENGTH))));
    for text in ["", ".", "..", "a.b", "a.b.c.d", "ü.ü.ü", &long] {
        assert_eq!(verify(&options(), &keys, text, NOW).unwrap_err(), Error::Malformed, "{text:.10}");
        assert_eq!(claimed_issuer(text), None, "{text:.10}");
    }
}

#[test]
fn texts_are_found_by_a_pointer() {
    let all = json!({ "a": { "b": ["x y", 7, "z"] }, "scope": "x  y", "https://e.example/r": ["q"], "n": 1 });
    let claims = Claims { subject: "s".into(), until: NOW, all };
    let cases: [(&str, &[&str]); 7] = [
        ("/a/b", &["x y", "z"]),
        ("/scope", &["x", "y"]),
        ("/https:~1~1e.example~1r", &["q"]),
        ("/n", &[]),
        ("/a", &[]),
        ("/c", &[]),
        ("", &[]),
    ];
    for (pointer, texts) in cases {
        assert_eq!(claims.texts(pointer), texts, "{pointer}");
    }
}
