use jsonwebtoken::{DecodingKey, EncodingKey};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::keys::{Key, Schedule};

const ISSUER: &str = "https://shop.example";
const AUDIENCE: &str = "shop";
const NOW: Timestamp = Timestamp(1_800_000_000_000);

struct Fixture {
    tokens: AccessTokens,
    ring: KeyRing,
    grant: Grant,
}

fn fixture() -> Fixture {
    let grant = Grant {
        account: Uuid::now_v7(),
        session: Uuid::now_v7(),
        version: 3,
        roles: vec!["staff".to_owned()],
    };
    Fixture {
        tokens: AccessTokens::new(ISSUER, AUDIENCE),
        ring: KeyRing::new(Key::generate(Timestamp(0))),
        grant,
    }
}

impl Fixture {
    fn key(&self) -> &Key {
        self.ring.signing(NOW).unwrap()
    }

    fn header(&self) -> Json {
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": self.key().kid() })
    }

    fn payload(&self) -> Json {
        let now = NOW.0 / 1000;
        json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": self.grant.account, "sid": self.grant.session, "ver": 3,
            "roles": self.grant.roles, "iat": now, "exp": now + 600, "jti": Uuid::now_v7() })
    }

    /// Signed with our key, whatever it says.
    fn sign(&self, header: &Json, payload: &Json) -> String {
        let message = message(header, payload);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), self.key().encoding(), Algorithm::EdDSA).unwrap();
        format!("{message}.{signature}")
    }

    fn verify(&self, token: &str) -> Result<Claims, Error> {
        self.tokens.verify(&self.ring, token, NOW)
    }

    /// What comes of a token with another member in its header (`null`: without it).
    fn with_header(&self, member: &str, value: Json) -> Result<Claims, Error> {
        self.verify(&self.sign(&changed(self.header(), member, value), &self.payload()))
    }

    fn with_claim(&self, member: &str, value: Json) -> Result<Claims, Error> {
        self.verify(&self.sign(&self.header(), &changed(self.payload(), member, value)))
    }
}

fn changed(mut object: Json, member: &str, value: Json) -> Json {
    let members = object.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(member)
    } else {
        members.insert(member.to_owned(), value)
    };
    object
}

fn message(header: &Json, payload: &Json) -> String {
    [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".")
}

#[test]
fn what_is_issued_is_accepted() {
    let f = fixture();
    let (token, claims) = f.tokens.issue(&f.ring, f.grant.clone(), Timestamp(NOW.0 + 999)).unwrap();
    assert_eq!(f.verify(&token), Ok(claims.clone()));
    assert_eq!((claims.grant, claims.issued_at), (f.grant.clone(), NOW));
    assert_eq!(claims.expires_at, Timestamp(NOW.0 + 600_000));
    let (_, other) = f.tokens.issue(&f.ring, f.grant.clone(), NOW).unwrap();
    assert_ne!(claims.id, other.id);
    // The forger of these tests makes good ones when nothing is changed: it is the change that is refused below.
    assert!(f.verify(&f.sign(&f.header(), &f.payload())).is_ok());
    assert!(f.with_header("typ", json!("application/AT+JWT")).is_ok());
    assert!(f.with_claim("aud", json!(AUDIENCE)).is_ok());
}

#[test]
fn header_and_payload_on_the_wire() {
    let f = fixture();
    let (token, claims) = f.tokens.issue(&f.ring, f.grant.clone(), NOW).unwrap();
    let part = |index| -> Json {
        let part = token.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(part(0), f.header());
    assert_eq!(part(1), changed(f.payload(), "jti", json!(claims.id)));
}

#[test]
fn the_jwks_alone_is_enough_to_verify() {
    let f = fixture();
    let (token, _) = f.tokens.issue(&f.ring, f.grant.clone(), NOW).unwrap();
    let jwks: jsonwebtoken::jwk::JwkSet =
        serde_json::from_str(&serde_json::to_string(&f.ring.jwks(NOW)).unwrap()).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(jwks.find(&kid).unwrap()).unwrap();
    assert!(jsonwebtoken::decode::<Json>(&token, &key, &f.tokens.validation).is_ok());
}

#[test]
fn no_other_algorithm() {
    let f = fixture();
    let refused = |found: &str| Err(Error::Algorithm { found: found.to_owned() });
    // Not signed at all, spelled in every way.
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let header = changed(f.header(), "alg", json!(none));
        assert_eq!(f.verify(&format!("{}.", message(&header, &f.payload()))), refused(none));
        assert_eq!(f.verify(&f.sign(&header, &f.payload())), refused(none));
    }
    // Signed by HMAC with what everyone knows: the public key, as bytes, as text, as a document.
    let jwk = f.ring.jwks(NOW).keys.remove(0);
    let x = serde_json::to_value(&jwk).unwrap()["x"].as_str().unwrap().to_owned();
    for secret in [URL_SAFE_NO_PAD.decode(&x).unwrap(), x.into_bytes(), serde_json::to_vec(&jwk).unwrap()] {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(f.key().kid().to_owned());
        let token = jsonwebtoken::encode(&header, &f.payload(), &EncodingKey::from_secret(&secret)).unwrap();
        assert_eq!(f.verify(&token), refused("HS256"));
    }
    assert_eq!(f.with_header("alg", json!("RS256")), refused("RS256"));
    assert_eq!(f.with_header("alg", json!("eddsa")), refused("eddsa"));
    assert_eq!(f.with_header("alg", Json::Null), Err(Error::Malformed));
}

#[test]
fn no_other_type_of_token() {
    let f = fixture();
    let refused = |found: &str| Err(Error::Type { found: Some(found.to_owned()) });
    assert_eq!(f.with_header("typ", json!("JWT")), refused("JWT"));
    assert_eq!(f.with_header("typ", json!("at+jwt2")), refused("at+jwt2"));
    assert_eq!(f.with_header("typ", Json::Null), Err(Error::Type { found: None }));
}

#[test]
fn no_other_key() {
    let f = fixture();
    assert_eq!(f.with_header("kid", Json::Null), Err(Error::MissingKeyId));
    assert_eq!(f.with_header("kid", json!("other")), Err(Error::UnknownKey { kid: "other".to_owned() }));
    // Signed by a stranger who names his own key, or brings it along, or names ours.
    let stranger = fixture();
    let token = |header: &Json| stranger.sign(header, &f.payload());
    let kid = stranger.key().kid().to_owned();
    assert_eq!(f.verify(&token(&stranger.header())), Err(Error::UnknownKey { kid: kid.clone() }));
    let jwk = serde_json::to_value(stranger.ring.jwks(NOW).keys.remove(0)).unwrap();
    let brought = changed(stranger.header(), "jwk", jwk.clone());
    assert_eq!(f.verify(&token(&brought)), Err(Error::UnknownKey { kid }));
    assert_eq!(f.verify(&token(&changed(f.header(), "jwk", jwk))), Err(Error::Signature));
    assert_eq!(f.verify(&token(&f.header())), Err(Error::Signature));
}

#[test]
fn a_retired_key_verifies_nothing() {
    let mut f = fixture();
    let (token, _) = f.tokens.issue(&f.ring, f.grant.clone(), NOW).unwrap();
    let kid = f.key().kid().to_owned();
    f.ring = f.ring.rotated(NOW, &Schedule::default()).unwrap();
    let retired = f.ring.verifying(&kid, NOW).unwrap().retire_at().unwrap();
    assert_eq!(f.tokens.verify(&f.ring, &token, retired), Err(Error::UnknownKey { kid }));
    assert_eq!(f.verify(&token).map(|claims| claims.grant), Ok(f.grant));
}

#[test]
fn no_critical_extension() {
    assert_eq!(fixture().with_header("crit", json!(["b64"])), Err(Error::Critical));
}

#[test]
fn no_other_issuer_or_audience() {
    let f = fixture();
    assert_eq!(f.with_claim("iss", json!("https://evil.example")), Err(Error::Issuer));
    assert_eq!(f.with_claim("iss", json!(format!("{ISSUER}/"))), Err(Error::Issuer));
    assert_eq!(f.with_claim("aud", json!("warehouse")), Err(Error::Audience));
    assert_eq!(f.with_claim("aud", json!(["warehouse", "till"])), Err(Error::Audience));
    assert_eq!(f.with_claim("iss", Json::Null), Err(Error::Claims));
    assert_eq!(f.with_claim("aud", Json::Null), Err(Error::Claims));
}

#[test]
fn every_claim_is_there_and_of_its_type() {
    let f = fixture();
    for member in ["sub", "sid", "ver", "roles", "iat", "exp", "jti"] {
        assert_eq!(f.with_claim(member, Json::Null), Err(Error::Claims), "{member}");
        assert_eq!(f.with_claim(member, json!({ "$ne": 1 })), Err(Error::Claims), "{member}");
    }
    assert_eq!(f.with_claim("sub", json!("admin")), Err(Error::Claims));
    for member in ["iat", "exp", "nbf"] {
        assert_eq!(f.with_claim(member, json!(i64::MAX)), Err(Error::Claims), "{member}");
    }
}

#[test]
fn times_are_compared_with_the_leeway() {
    let f = fixture();
    let (token, claims) = f.tokens.issue(&f.ring, f.grant.clone(), NOW).unwrap();
    let verify =
        |offset_millis: i64| f.tokens.verify(&f.ring, &token, Timestamp(NOW.0 + offset_millis)).map(|_| ());
    let early = Err(Error::NotYetValid { from: NOW });
    let late = Err(Error::Expired { at: claims.expires_at });
    assert_eq!(verify(-30_001), early);
    assert_eq!(verify(-30_000), Ok(()));
    assert_eq!(verify(629_999), Ok(()));
    assert_eq!(verify(630_000), late);
    let soon = NOW.0 / 1000 + 31;
    let from = Timestamp(soon * 1000);
    assert_eq!(f.with_claim("nbf", json!(soon)), Err(Error::NotYetValid { from }));
    assert_eq!(f.with_claim("iat", json!(soon)), Err(Error::NotYetValid { from }));
    assert!(f.with_claim("nbf", json!(soon - 1)).is_ok());
    // Of the two the later one counts.
    let payload = changed(changed(f.payload(), "iat", json!(soon)), "nbf", json!(soon - 60));
    assert_eq!(f.verify(&f.sign(&f.header(), &payload)), Err(Error::NotYetValid { from }));
    let past = Timestamp(NOW.0 - 30_000);
    assert_eq!(f.with_claim("exp", json!(past.0 / 1000)), Err(Error::Expired { at: past }));
}

#[test]
fn no_key_no_token() {
    let f = fixture();
    let at = Timestamp(-1);
    assert_eq!(f.tokens.issue(&f.ring, f.grant.clone(), at).unwrap_err(), NoSigningKey { at });
}

#[test]
fn what_is_no_jwt_is_malformed() {
    let f = fixture();
    let good = f.sign(&f.header(), &f.payload());
    let long = f.sign(&f.header(), &changed(f.payload(), "more", json!("x".repeat(MAX_LENGTH))));
    for token in ["", ".", "..", "a.b.c", "a.b.c.d", &format!("{good}.x"), &format!("Bearer {good}"), &long] {
        assert_eq!(f.verify(token), Err(Error::Malformed), "{token}");
    }
    let without_signature = good.rsplit_once('.').unwrap().0;
    assert_eq!(f.verify(without_signature), Err(Error::Malformed));
    assert_eq!(f.verify(&format!("{without_signature}.")), Err(Error::Signature));
}

proptest! {
    /// Whatever is sent, it is refused, not panicked at.
    #[test]
    fn any_text_is_refused(text in "[A-Za-z0-9_.{}\":-]{0,80}") {
        prop_assert!(fixture().verify(&text).is_err());
    }

    /// No single character of a token can be another one.
    #[test]
    fn a_changed_token_is_refused(place in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]") {
        let f = fixture();
        let (token, _) = f.tokens.issue(&f.ring, f.grant.clone(), NOW).unwrap();
        let place = place.index(token.len());
        let changed = format!("{}{to}{}", &token[..place], &token[place + 1..]);
        prop_assume!(changed != token);
        prop_assert!(f.verify(&changed).is_err());
    }
}
