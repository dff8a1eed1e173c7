//! Whether a token is one that its issuer has made for this server. Pure: keys and the time are arguments.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use writ_model::Timestamp;

use super::Options;

#[cfg(test)]
mod tests;

/// What is longer isn't looked at. Tokens with many groups have some thousand characters.
const MAX_LENGTH: usize = 16 * 1024;
/// Shorter moduli are broken, or will soon be (NIST SP 800-131A), in bytes.
const MIN_RSA: usize = 256;
/// The longest subject that is taken, in characters: the longest that OpenID Connect has (Core, section 2).
const MAX_SUBJECT: usize = 255;

/// How a token may be signed: by a key pair of which only the issuer has the private half. The names
/// are those of RFC 7518 and RFC 8037.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::RS384 => jsonwebtoken::Algorithm::RS384,
            Algorithm::RS512 => jsonwebtoken::Algorithm::RS512,
            Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
            Algorithm::PS384 => jsonwebtoken::Algorithm::PS384,
            Algorithm::PS512 => jsonwebtoken::Algorithm::PS512,
            Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
            Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// A public key of an issuer.
#[derive(Debug)]
pub(super) struct Key {
    id: String,
    jwk: Jwk,
    decoding: DecodingKey,
}

impl Key {
    /// `None`: it has no id, or isn't for signatures, or can't be used here.
    fn of(jwk: Jwk) -> Option<Key> {
        let common = &jwk.common;
        let is_for_signatures =
            common.public_key_use.as_ref().is_none_or(|is| *is == PublicKeyUse::Signature)
                && common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        let is_usable = match &jwk.algorithm {
            AlgorithmParameters::RSA(key) => URL_SAFE_NO_PAD
                .decode(&key.n)
                .is_ok_and(|n| n.iter().skip_while(|byte| **byte == 0).count() >= MIN_RSA),
            AlgorithmParameters::EllipticCurve(_) | AlgorithmParameters::OctetKeyPair(_) => true,
            // A shared secret has no business in a public document.
            _ => false,
        };
        let (id, decoding) = (common.key_id.clone()?, DecodingKey::from_jwk(&jwk).ok()?);
        (is_for_signatures && is_usable).then_some(Key { id, jwk, decoding })
    }

    /// The key's type decides, and what the issuer says of it, if anything.
    fn is_for(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let by_type = match &self.jwk.algorithm {
            AlgorithmParameters::RSA(_) => {
                matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512)
            }
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => algorithm == ES256,
                EllipticCurve::P384 => algorithm == ES384,
                _ => false,
            },
            AlgorithmParameters::OctetKeyPair(key) => {
                key.curve == EllipticCurve::Ed25519 && algorithm == EdDSA
            }
            _ => false,
        };
        let said = self.jwk.common.key_algorithm;
        by_type && said.is_none_or(|said| said == algorithm.of_library().into())
    }
}

/// The keys of a set (RFC 7517, section 5) that can be used; what isn't understood is passed over.
pub(super) fn keys(set: &Json) -> Vec<Key> {
    let all = set["keys"].as_array().into_iter().flatten();
    all.filter_map(|key| Key::of(serde_json::from_value(key.clone()).ok()?)).collect()
}

/// Why a token isn't accepted, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("not a signed JWT, or too long")]
    Malformed,
    #[error("the algorithm {found:?} isn't allowed")]
    Algorithm { found: String },
    #[error("a token of the type {found:?} is no access token")]
    Type { found: String },
    #[error("the token has critical extensions")]
    Critical,
    #[error("the token names no key")]
    MissingKeyId,
    #[error("the issuer has no key {kid:?}")]
    UnknownKey { kid: String },
    #[error("the key {kid:?} is not for the token's algorithm")]
    KeyType { kid: String },
    #[error("the signature is wrong")]
    Signature,
    #[error("the claim {name:?} is missing or of the wrong type")]
    Claim { name: &'static str },
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is good only together with a key of its holder, which isn't checked here")]
    Bound,
    #[error("the token has expired at {at}")]
    Expired { at: Timestamp },
    #[error("the token isn't valid before {from}")]
    NotYetValid { from: Timestamp },
}

/// As far as a decision depends on it.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<Json>,
}

/// What a good token says.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) subject: String,
    /// From then on it is no good, leeway included.
    pub(super) until: Timestamp,
    all: Json,
}

impl Claims {
    /// The texts at a JSON pointer: those of a list, or the words of a text.
    pub(super) fn texts(&self, pointer: &str) -> Vec<&str> {
        if pointer.is_empty() {
            return Vec::new();
        }
        match self.all.pointer(pointer) {
            Some(Json::Array(items)) => items.iter().filter_map(Json::as_str).collect(),
            Some(Json::String(text)) => text.split_whitespace().collect(),
            _ => Vec::new(),
        }
    }
}

/// `iss`, of which nothing is proven yet.
pub(super) fn claimed_issuer(token: &str) -> Option<String> {
    let payload = parts(token)?.1;
    let payload: Json = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    payload["iss"].as_str().map(str::to_owned)
}

fn parts(token: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    let &[header, payload, _] = parts.as_slice() else { return None };
    (token.len() <= MAX_LENGTH).then_some((header, payload))
}

/// Checks a token, all of it.
pub(super) fn verify(options: &Options, keys: &[Key], token: &str, now: Timestamp) -> Result<Claims, Error> {
    let (header, _) = parts(token).ok_or(Error::Malformed)?;
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| Error::Malformed)?;
    let Header { alg, typ, kid, crit } = serde_json::from_slice(&header).map_err(|_| Error::Malformed)?;
    let allowed = options.algorithms.iter().find(|allowed| format!("{allowed:?}") == alg);
    let Some(&algorithm) = allowed else { return Err(Error::Algorithm { found: alg }) };
    if let Some(found) = typ
        && !is_access_token(&found)
    {
        return Err(Error::Type { found });
    }
    if crit.is_some() {
        return Err(Error::Critical);
    }
    let kid = kid.ok_or(Error::MissingKeyId)?;
    let mut named = keys.iter().filter(|key| key.id == kid).peekable();
    if named.peek().is_none() {
        return Err(Error::UnknownKey { kid });
    }
    let Some(key) = named.find(|key| key.is_for(algorithm)) else { return Err(Error::KeyType { kid }) };

    let mut validation = Validation::new(algorithm.of_library());
    // All of that is compared below, against the time that was handed in.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let decoded = jsonwebtoken::decode::<Json>(token, &key.decoding, &validation);
    let all = decoded.map_err(|_| Error::Signature)?.claims;
    let until = check_claims(options, &all, now)?;
    let subject = all["sub"].as_str().filter(|subject| (1..=MAX_SUBJECT).contains(&subject.chars().count()));
    let subject = subject.ok_or(Error::Claim { name: "sub" })?.to_owned();
    Ok(Claims { subject, until, all })
}

/// Many issuers name no type, or only `JWT`; but what says that it is something else is something else.
fn is_access_token(typ: &str) -> bool {
    let short = typ.to_ascii_lowercase();
    ["jwt", "at+jwt"].contains(&short.strip_prefix("application/").unwrap_or(&short))
}

fn check_claims(options: &Options, all: &Json, now: Timestamp) -> Result<Timestamp, Error> {
    if all["iss"].as_str() != Some(options.issuer.as_str()) {
        return Err(Error::Issuer);
    }
    let is_us = |audience: &Json| audience.as_str() == Some(options.audience.as_str());
    let is_for_us = match &all["aud"] {
        Json::Array(all) => all.iter().any(is_us),
        one => is_us(one),
    };
    if !is_for_us {
        return Err(Error::Audience);
    }
    // A logout token or another event about a session (OpenID Connect Back-Channel Logout, section 2.4).
    if all.get("events").is_some() {
        return Err(Error::Type { found: "events".to_owned() });
    }
    // RFC 7800: to take it as a bearer token would undo what it was bound for.
    if all.get("cnf").is_some() {
        return Err(Error::Bound);
    }
    let leeway = i64::from(options.leeway_seconds) * 1000;
    let expires = time(all, "exp")?.ok_or(Error::Claim { name: "exp" })?;
    let until = Timestamp(expires.0.saturating_add(leeway));
    if now >= until {
        return Err(Error::Expired { at: expires });
    }
    for name in ["nbf", "iat"] {
        match time(all, name)? {
            Some(from) if now.0.saturating_add(leeway) < from.0 => return Err(Error::NotYetValid { from }),
            _ => {}
        }
    }
    Ok(until)
}

/// A NumericDate (RFC 7519, section 2), which may have a fraction.
fn time(all: &Json, name: &'static str) -> Result<Option<Timestamp>, Error> {
    let Some(value) = all.get(name) else { return Ok(None) };
    let seconds = value.as_f64().map(|seconds| seconds.floor()).ok_or(Error::Claim { name })?;
    // Exact: a calendar's seconds are far below 2^53.
    let time = Timestamp((seconds * 1000.0) as i64);
    if time.is_in_range() { Ok(Some(time)) } else { Err(Error::Claim { name }) }
}
