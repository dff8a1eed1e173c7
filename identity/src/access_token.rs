//! Access tokens: JWTs (RFC 7519) in the profile of RFC 9068, signed with EdDSA (RFC 8037), that live for ten minutes.
//!
//! Nothing in a token chooses how it is checked. The algorithm is EdDSA whatever its header says, the key is one of the
//! ring or none, and a header that asks for anything beyond that is refused. Whether the session was ended meanwhile is
//! not asked here: a token says only what held when it was issued.

#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use writ_model::Timestamp;

use crate::keys::KeyRing;

/// From issue to expiry.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// By how much the clocks of two servers may differ: a token is good for this long after its expiry and before its issue.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// `typ` of the header (RFC 9068, section 2.1): no other JWT, such as an ID token of the same issuer, is an access token.
const TYPE: &str = "at+jwt";
/// The same as a whole media type (RFC 9068, section 4).
const MEDIA_TYPE: &str = "application/at+jwt";
/// Longer than any of ours with a hundred roles; what is longer isn't looked at.
const MAX_LENGTH: usize = 8192;

/// What a token is issued for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who it speaks for: `sub`.
    pub account: Uuid,
    /// The sign-in that it comes from, by which it is revoked: `sid`.
    pub session: Uuid,
    /// How many events the account had when it was looked at: `ver`. Later ones may make the token void.
    pub version: u64,
    /// Names of roles.
    pub roles: Vec<String>,
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Whom for.
    pub grant: Grant,
    /// The token's own id: `jti`.
    pub id: Uuid,
    /// `iat`; in seconds.
    pub issued_at: Timestamp,
    /// `exp`; in seconds. [`LEEWAY`] comes on top.
    pub expires_at: Timestamp,
}

/// The payload.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    ver: u64,
    roles: Vec<String>,
    iat: i64,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    jti: Uuid,
}

/// As far as a decision depends on it. The rest of a header (`jwk`, `jku`, `x5c`, …) is for those who let a token bring its key.
#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

/// No key signs at this time: all of the ring are for later, or retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no key of the ring signs at {at}")]
pub struct NoSigningKey {
    /// The time of issue.
    pub at: Timestamp,
}

/// Why a token isn't accepted. Clients are told that it is invalid, or expired; the rest is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not three parts of base64url with JSON in the first, or too long.
    #[error("not a signed JWT")]
    Malformed,
    /// Signed in another way, or (`none`) not at all.
    #[error("the token's algorithm is {found:?}, not EdDSA")]
    Algorithm {
        /// `alg`.
        found: String,
    },
    /// Some other kind of JWT.
    #[error("the token's type is {found:?}, not at+jwt")]
    Type {
        /// `typ`.
        found: Option<String>,
    },
    /// It must not be accepted by who doesn't understand its extensions (RFC 7515, section 4.1.11).
    #[error("the token has critical extensions")]
    Critical,
    /// The header names no key.
    #[error("the token names no key")]
    MissingKeyId,
    /// The ring has no such key, or it is retired.
    #[error("the token names the key {kid:?}, which is unknown or retired")]
    UnknownKey {
        /// `kid`.
        kid: String,
    },
    /// Not made with the key that it names, or changed since.
    #[error("the token's signature is wrong")]
    Signature,
    /// Signed by us, and yet without what we put into each.
    #[error("the token's claims are incomplete or of the wrong type")]
    Claims,
    /// Another issuer's.
    #[error("the token is of another issuer")]
    Issuer,
    /// For someone else.
    #[error("the token is for another audience")]
    Audience,
    /// Too late.
    #[error("the token has expired at {at}")]
    Expired {
        /// `exp`.
        at: Timestamp,
    },
    /// Too early: `iat` or `nbf` lies ahead.
    #[error("the token isn't valid before {from}")]
    NotYetValid {
        /// The later of `iat` and `nbf`.
        from: Timestamp,
    },
}

/// Issues and verifies the tokens of one issuer for one audience.
#[derive(Debug, Clone)]
pub struct AccessTokens {
    issuer: String,
    audience: String,
    validation: Validation,
}

impl AccessTokens {
    /// `issuer`: the URL under which the JWKS is found; `audience`: what the tokens are for (RFC 9068 wants both).
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> AccessTokens {
        let (issuer, audience) = (issuer.into(), audience.into());
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[&audience]);
        validation.set_required_spec_claims(&["iss", "aud"]);
        // The library reads the wall clock. Times are compared here, against the one that was handed in.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        AccessTokens { issuer, audience, validation }
    }

    /// A token with an id of its own, and what it says.
    ///
    /// # Errors
    /// No key of the ring signs now.
    pub fn issue(
        &self,
        ring: &KeyRing,
        grant: Grant,
        now: Timestamp,
    ) -> Result<(String, Claims), NoSigningKey> {
        let key = ring.signing(now).ok_or(NoSigningKey { at: now })?;
        let claims = Claims {
            grant,
            id: Uuid::new_v4(),
            issued_at: whole_seconds(now),
            expires_at: whole_seconds(now).plus(LIFETIME),
        };
        let payload = Payload {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: claims.grant.account,
            sid: claims.grant.session,
            ver: claims.grant.version,
            roles: claims.grant.roles.clone(),
            iat: claims.issued_at.0 / 1000,
            exp: claims.expires_at.0 / 1000,
            nbf: None,
            jti: claims.id,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key.kid().to_owned());
        let token = jsonwebtoken::encode(&header, &payload, key.encoding());
        Ok((token.expect("an Ed25519 key signs whatever JSON it is given"), claims))
    }

    /// What the token says, if all of it holds now.
    ///
    /// # Errors
    /// The first thing that is wrong with it: its form, its header, its signature, its claims, its times.
    pub fn verify(&self, ring: &KeyRing, token: &str, now: Timestamp) -> Result<Claims, Error> {
        let header = header(token)?;
        if header.alg != "EdDSA" {
            return Err(Error::Algorithm { found: header.alg });
        }
        let is_access_token =
            |typ: &String| [TYPE, MEDIA_TYPE].iter().any(|right| typ.eq_ignore_ascii_case(right));
        if !header.typ.as_ref().is_some_and(is_access_token) {
            return Err(Error::Type { found: header.typ });
        }
        if header.crit.is_some() {
            return Err(Error::Critical);
        }
        let kid = header.kid.ok_or(Error::MissingKeyId)?;
        let Some(key) = ring.verifying(&kid, now) else { return Err(Error::UnknownKey { kid }) };
        let decoded = jsonwebtoken::decode::<serde_json::Value>(token, key.decoding(), &self.validation)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidSignature => Error::Signature,
                ErrorKind::InvalidIssuer => Error::Issuer,
                ErrorKind::InvalidAudience => Error::Audience,
                ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) => Error::Claims,
                _ => Error::Malformed,
            })?;
        let payload: Payload = serde_json::from_value(decoded.claims).map_err(|_| Error::Claims)?;
        let claims = payload.claims().ok_or(Error::Claims)?;
        let not_before = payload.nbf.map(|nbf| seconds(nbf).ok_or(Error::Claims)).transpose()?;
        let from = not_before.map_or(claims.issued_at, |not_before| not_before.max(claims.issued_at));
        if now.plus(LEEWAY) < from {
            return Err(Error::NotYetValid { from });
        }
        if now >= claims.expires_at.plus(LEEWAY) {
            return Err(Error::Expired { at: claims.expires_at });
        }
        Ok(claims)
    }
}

impl Payload {
    /// `None`: a time that no calendar has.
    fn claims(&self) -> Option<Claims> {
        Some(Claims {
            grant: Grant {
                account: self.sub,
                session: self.sid,
                version: self.ver,
                roles: self.roles.clone(),
            },
            id: self.jti,
            issued_at: seconds(self.iat)?,
            expires_at: seconds(self.exp)?,
        })
    }
}

fn header(token: &str) -> Result<TokenHeader, Error> {
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    let &[header, _, _] = parts.as_slice() else { return Err(Error::Malformed) };
    if token.len() > MAX_LENGTH {
        return Err(Error::Malformed);
    }
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| Error::Malformed)?;
    serde_json::from_slice(&header).map_err(|_| Error::Malformed)
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp(time.0.div_euclid(1000) * 1000)
}

fn seconds(seconds: i64) -> Option<Timestamp> {
    seconds.checked_mul(1000).map(Timestamp).filter(|time| time.is_in_range())
}
