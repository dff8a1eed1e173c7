//! The ring as JSON, for a file or a variable: a JWK set of private keys (RFC 7517, RFC 8037), each with two members of ours.
//! Other tools can read the keys, and whoever writes one by hand needs only `d` and `not_before`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use writ_model::Timestamp;
use zeroize::{Zeroize, Zeroizing};

use super::{Key, KeyRing};
use crate::time::rfc3339;

/// A ring that can't be read. No error holds any part of a private key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not the JSON that it should be.
    #[error(
        "the key ring isn't `{{\"keys\": [{{\"kty\": \"OKP\", \"crv\": \"Ed25519\", \"d\": …, \"not_before\": …}}]}}` at line {line}, column {column}"
    )]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// It has no key.
    #[error("the key ring has no key")]
    Empty,
    /// Not Ed25519.
    #[error("key {number} of the ring is no Ed25519 key: `kty` must be OKP and `crv` Ed25519")]
    Kind {
        /// From 1.
        number: usize,
    },
    /// The private key isn't one.
    #[error("`d` of key {number} of the ring isn't 32 bytes as base64url without padding")]
    Secret {
        /// From 1.
        number: usize,
    },
    /// `x` or `kid` belongs to another private key.
    #[error("`{member}` of key {number} of the ring doesn't belong to its `d`")]
    Mismatch {
        /// From 1.
        number: usize,
        /// `x` or `kid`.
        member: &'static str,
    },
    /// It would be retired before it signs.
    #[error("key {number} of the ring has a `retire_at` that isn't after its `not_before`")]
    Times {
        /// From 1.
        number: usize,
    },
    /// A key stands there twice.
    #[error("the key {kid} is in the ring twice")]
    Duplicate {
        /// The public key's thumbprint.
        kid: String,
    },
}

#[derive(Serialize, Deserialize)]
struct StoredRing {
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    kty: String,
    crv: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    d: Secret,
    #[serde(with = "rfc3339")]
    not_before: Timestamp,
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    retire_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl KeyRing {
    /// Reads what [`KeyRing::to_json`] has written, or an administrator.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(json: &str) -> Result<KeyRing, Error> {
        let stored: StoredRing = serde_json::from_str(json)
            .map_err(|error| Error::Malformed { line: error.line(), column: error.column() })?;
        let mut keys = Vec::with_capacity(stored.keys.len());
        for (index, stored) in stored.keys.iter().enumerate() {
            keys.push(stored.read(index + 1)?);
        }
        keys.sort_by_key(|key: &Key| key.not_before);
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].iter().any(|other| other.kid == key.kid) {
                return Err(Error::Duplicate { kid: key.kid.clone() });
            }
        }
        if keys.is_empty() { Err(Error::Empty) } else { Ok(KeyRing { keys }) }
    }

    /// With the private keys: for a file that only the server reads, or a variable.
    pub fn to_json(&self) -> Zeroizing<String> {
        let keys = self.keys.iter().map(StoredKey::of).collect();
        let json = serde_json::to_string_pretty(&StoredRing { keys });
        Zeroizing::new(json.expect("text and times are JSON"))
    }
}

impl StoredKey {
    fn of(key: &Key) -> StoredKey {
        StoredKey {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            kid: Some(key.kid.clone()),
            x: Some(public(key)),
            d: Secret(URL_SAFE_NO_PAD.encode(key.secret.as_bytes())),
            not_before: key.not_before,
            retire_at: key.retire_at,
        }
    }

    fn read(&self, number: usize) -> Result<Key, Error> {
        if self.kty != "OKP" || self.crv != "Ed25519" {
            return Err(Error::Kind { number });
        }
        if self.retire_at.is_some_and(|retire_at| retire_at <= self.not_before) {
            return Err(Error::Times { number });
        }
        let seed =
            URL_SAFE_NO_PAD.decode(&self.d.0).map(Zeroizing::new).map_err(|_| Error::Secret { number })?;
        let seed = <&[u8; 32]>::try_from(seed.as_slice()).map_err(|_| Error::Secret { number })?;
        let key = Key::from_seed(seed, self.not_before, self.retire_at);
        let differs =
            |given: &Option<String>, right: &str| given.as_deref().is_some_and(|given| given != right);
        if differs(&self.x, &public(&key)) {
            return Err(Error::Mismatch { number, member: "x" });
        }
        if differs(&self.kid, &key.kid) {
            return Err(Error::Mismatch { number, member: "kid" });
        }
        Ok(key)
    }
}

fn public(key: &Key) -> String {
    URL_SAFE_NO_PAD.encode(key.secret.verifying_key().as_bytes())
}
