//! The keys that sign access tokens: a ring of Ed25519 keys, of which one signs and all verify.
//!
//! Everything about a key but its bytes is a function of time. It is published as soon as it is in the ring, signs from its
//! `not_before` until the next one does, and verifies until its `retire_at`. So every server with the same ring agrees,
//! without a word between them, and [`KeyRing::rotated`] only ever adds a key that will sign later: a verifier that
//! fetches the JWKS now and then knows it in time.

mod stored;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, OctetKeyPairParameters,
    OctetKeyPairType, PublicKeyUse, ThumbprintHash,
};
use jsonwebtoken::{DecodingKey, EncodingKey};
use writ_model::Timestamp;
use zeroize::Zeroizing;

pub use stored::Error;

/// When keys come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// How long a key signs.
    pub signs_for: Duration,
    /// How long a key is published before it signs: longer than anyone keeps a fetched JWKS.
    pub published_ahead: Duration,
    /// How long a key verifies after it has signed last: longer than any access token lives, leeway included.
    pub verifies_after: Duration,
}

impl Default for Schedule {
    /// Signs for 30 days; a day ahead of that, and an hour after.
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Schedule { signs_for: 30 * 24 * HOUR, published_ahead: 24 * HOUR, verifies_after: HOUR }
    }
}

/// A private key and its times. `Debug` shows the id and the times.
#[derive(Clone)]
pub struct Key {
    secret: ed25519_dalek::SigningKey,
    encoding: EncodingKey,
    decoding: DecodingKey,
    jwk: Jwk,
    kid: String,
    not_before: Timestamp,
    retire_at: Option<Timestamp>,
}

impl Key {
    /// A new one, which signs from then on.
    pub fn generate(not_before: Timestamp) -> Key {
        Key::from_seed(&Zeroizing::new(crate::digest::random()), not_before, None)
    }

    /// `seed`: the private key of RFC 8032, 32 random bytes.
    fn from_seed(seed: &[u8; 32], not_before: Timestamp, retire_at: Option<Timestamp>) -> Key {
        let secret = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = secret.verifying_key();
        let der = secret.to_pkcs8_der().expect("every Ed25519 key has a PKCS #8 form");
        let mut jwk = Jwk {
            common: CommonParameters {
                public_key_use: Some(PublicKeyUse::Signature),
                key_algorithm: Some(KeyAlgorithm::EdDSA),
                ..CommonParameters::default()
            },
            algorithm: AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
                key_type: OctetKeyPairType::OctetKeyPair,
                curve: EllipticCurve::Ed25519,
                x: URL_SAFE_NO_PAD.encode(public.as_bytes()),
            }),
        };
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).expect("an OKP key has a thumbprint");
        jwk.common.key_id = Some(kid.clone());
        Key {
            encoding: EncodingKey::from_ed_der(der.as_bytes()),
            decoding: DecodingKey::from_ed_der(public.as_bytes()),
            secret,
            jwk,
            kid,
            not_before,
            retire_at,
        }
    }

    /// The id in the header of what it signs: the thumbprint of the public key (RFC 7638).
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// From when it signs.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// From when it doesn't verify any more. `None`: no other key follows it yet.
    pub fn retire_at(&self) -> Option<Timestamp> {
        self.retire_at
    }

    pub(crate) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }

    pub(crate) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    fn is_retired(&self, now: Timestamp) -> bool {
        self.retire_at.is_some_and(|retire_at| retire_at <= now)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("not_before", &self.not_before)
            .field("retire_at", &self.retire_at)
            .finish_non_exhaustive()
    }
}

/// At least one key, in the order in which they sign.
#[derive(Debug, Clone)]
pub struct KeyRing {
    keys: Vec<Key>,
}

impl KeyRing {
    /// The first ring of a system.
    pub fn new(first: Key) -> KeyRing {
        KeyRing { keys: vec![first] }
    }

    /// The key that signs: the one that began last. `None`: all are for later, or retired.
    pub fn signing(&self, now: Timestamp) -> Option<&Key> {
        self.keys.iter().rev().find(|key| key.not_before <= now && !key.is_retired(now))
    }

    /// The key with this id, unless it is retired. One that doesn't sign yet is found: another server's clock may be ahead.
    pub fn verifying(&self, kid: &str, now: Timestamp) -> Option<&Key> {
        self.keys.iter().find(|key| key.kid == kid && !key.is_retired(now))
    }

    /// The public keys (RFC 7517, RFC 8037) that verify now or will: the body of `/.well-known/jwks.json`.
    pub fn jwks(&self, now: Timestamp) -> JwkSet {
        JwkSet {
            keys: self.keys.iter().filter(|key| !key.is_retired(now)).map(|key| key.jwk.clone()).collect(),
        }
    }

    /// When the next key must be added so that it is known before it signs. Adding one later is no fault: the present key
    /// signs on until the new one has been published for long enough.
    pub fn rotation_due(&self, schedule: &Schedule) -> Timestamp {
        let signs_until = self.signs_until(schedule);
        let ahead = i64::try_from(schedule.published_ahead.as_millis()).unwrap_or(i64::MAX);
        Timestamp(signs_until.0.saturating_sub(ahead)).max(Timestamp::MIN)
    }

    /// The ring with a key that takes over, and without those that are retired: `None` before the [rotation is
    /// due](KeyRing::rotation_due). To be stored, and read by every server, within [`Schedule::published_ahead`].
    pub fn rotated(&self, now: Timestamp, schedule: &Schedule) -> Option<KeyRing> {
        if now < self.rotation_due(schedule) {
            return None;
        }
        let takes_over = self.signs_until(schedule).max(now.plus(schedule.published_ahead));
        let mut keys: Vec<Key> = self.keys.iter().filter(|key| !key.is_retired(now)).cloned().collect();
        if let Some(last) = keys.last_mut() {
            last.retire_at.get_or_insert(takes_over.plus(schedule.verifies_after));
        }
        keys.push(Key::generate(takes_over));
        Some(KeyRing { keys })
    }

    /// Until when the last key signs if another one follows in time.
    fn signs_until(&self, schedule: &Schedule) -> Timestamp {
        let last = self.last();
        let scheduled = last.not_before.plus(schedule.signs_for);
        // Only a ring that was written by hand ends without a successor.
        last.retire_at.map_or(scheduled, |retire_at| retire_at.min(scheduled))
    }

    fn last(&self) -> &Key {
        self.keys.last().expect("a ring has at least one key")
    }
}
