//! API keys, by which services sign in: `writ_<id>_<secret><checksum>`, all in lower-case hexadecimal. A double click selects
//! one, a scanner finds it in a repository by its first letters, and the checksum tells a key from a typing error or a
//! look-alike without asking any table.
//!
//! Of the secret only a SHA-256 is stored. That is enough because it is 256 random bits: nobody guesses one, so nothing
//! needs to make guessing slow, as a password's hash must. A hash that is slow would let every request cost the server
//! what a sign-in costs.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use writ_model::Timestamp;
use writ_model::access::Permissions;
use zeroize::Zeroizing;

use crate::digest::{SecretHash, random};
use crate::time::rfc3339;

/// What every key begins with.
const PREFIX: &str = "writ_";
const ID_LENGTH: usize = 32;
const SECRET_LENGTH: usize = 64;
const CHECKSUM_LENGTH: usize = 8;

/// A key in clear: shown once when it is made, then known to its holder only. It is overwritten when it goes, and `Debug`
/// shows no more than its id.
#[derive(Clone)]
pub struct ApiKey {
    id: Uuid,
    secret: Zeroizing<String>,
}

/// Why a text isn't an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something else.
    #[error("not an API key: it has the form writ_<id>_<secret>")]
    Malformed,
    /// A key in which something was mistyped or cut.
    #[error("the API key is mistyped or incomplete: its checksum is wrong")]
    Checksum,
}

impl ApiKey {
    /// A new one. `id`: of the stored key, by which it is found.
    pub fn generate(id: Uuid) -> ApiKey {
        ApiKey { id, secret: hex(Zeroizing::new(random::<{ SECRET_LENGTH / 2 }>()).as_slice()) }
    }

    /// Reads what a client sent. Whether it is any good is [`StoredApiKey::verify`]'s to say.
    ///
    /// # Errors
    /// It isn't what [`ApiKey::to_text`] gives.
    pub fn parse(text: &str) -> Result<ApiKey, Error> {
        let (id, rest) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(Error::Malformed)?;
        let digits = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !digits(id) || !digits(rest) {
            return Err(Error::Malformed);
        }
        if id.len() != ID_LENGTH || rest.len() != SECRET_LENGTH + CHECKSUM_LENGTH {
            return Err(Error::Checksum);
        }
        let (secret, given) = rest.split_at(SECRET_LENGTH);
        let id = Uuid::try_parse(id).map_err(|_| Error::Malformed)?;
        let key = ApiKey { id, secret: Zeroizing::new(secret.to_owned()) };
        if *key.checksum() == given { Ok(key) } else { Err(Error::Checksum) }
    }

    /// As its holder keeps it.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "{PREFIX}{}_{}{}",
            self.id.simple(),
            self.secret.as_str(),
            self.checksum().as_str()
        ))
    }

    /// The id of the stored key that it claims to be.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Against typing errors, not against people: anyone can compute it.
    fn checksum(&self) -> Zeroizing<String> {
        let hash = Sha256::new()
            .chain_update(PREFIX)
            .chain_update(self.id.simple().to_string())
            .chain_update("_")
            .chain_update(self.secret.as_bytes())
            .finalize();
        hex(&hash[..CHECKSUM_LENGTH / 2])
    }

    fn hash(&self) -> SecretHash {
        SecretHash::of("writ api key", &[self.id.as_bytes(), self.secret.as_bytes()])
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A key as it is stored: nothing in it lets anyone sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredApiKey {
    id: Uuid,
    hash: SecretHash,
    scopes: Permissions,
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// Why a key isn't accepted. A client is told no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another key's id or secret.
    #[error("the API key is wrong")]
    Wrong,
    /// Right, but too late.
    #[error("the API key has expired at {at}")]
    Expired {
        /// From then on.
        at: Timestamp,
    },
}

impl StoredApiKey {
    /// What is stored of a key. `scopes`: all that it may do, whatever its owner may; `expires_at`: from then on it is no
    /// good.
    pub fn new(key: &ApiKey, scopes: Permissions, expires_at: Option<Timestamp>) -> StoredApiKey {
        StoredApiKey { id: key.id, hash: key.hash(), scopes, expires_at }
    }

    /// The scopes, if this is the key, and still good. In constant time as to the secret. That an unknown id is answered
    /// sooner tells nobody anything: ids are no secrets, and one alone is of no use.
    ///
    /// # Errors
    /// Why it isn't accepted.
    pub fn verify(&self, presented: &ApiKey, now: Timestamp) -> Result<&Permissions, Refusal> {
        if !self.hash.matches(&presented.hash()) {
            return Err(Refusal::Wrong);
        }
        match self.expires_at {
            Some(at) if at <= now => Err(Refusal::Expired { at }),
            _ => Ok(&self.scopes),
        }
    }

    /// By which it is found.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// What is stored of its secret.
    pub fn hash(&self) -> SecretHash {
        self.hash
    }

    /// All that it may do.
    pub fn scopes(&self) -> &Permissions {
        &self.scopes
    }

    /// From then on it is no good. `None`: it lasts until it is revoked.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        for digit in [byte >> 4, byte & 0xf] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}
