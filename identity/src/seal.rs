//! Sealing: what the value of a `secret` field is in every topic, state and table, namely AES-256-GCM with the server's key.
//!
//! A sealed value is bound to its place: model, aggregate and field are authenticated with it, so that one who may write
//! to a topic or a table can't give an account the password hash of another. He can still put an older value of the same
//! place back. How long the value is shows; what it is doesn't, nor whether two are equal.
//!
//! # How many values a key may seal
//! Each takes a random nonce of 96 bits, because several servers share a key and no counter. Two equal nonces of one key
//! would open both values and let others be forged. NIST SP 800-38D, section 8.3, therefore allows 2^32 values per key:
//! then the chance of a collision is below 2^-32. A million sealed values a day reach that after eleven years; a new
//! key every year (put it first in the ring) stays far from it.

#[cfg(test)]
mod tests;

use std::fmt;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use writ_model::secret::PREFIX;
use zeroize::Zeroizing;

use crate::digest::random;

const KEY_LENGTH: usize = 32;
const NONCE_LENGTH: usize = 12;

/// Where a value belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The aggregate's id.
    pub aggregate: Uuid,
    /// The field's name on the wire, which a rename leaves as it is.
    pub field: &'a str,
}

impl Place<'_> {
    /// The associated data. Each part has its length before it: no two places are one text.
    fn associated_data(&self, key_id: &str) -> Vec<u8> {
        let mut data = Vec::new();
        for part in [
            PREFIX.as_bytes(),
            key_id.as_bytes(),
            self.model.as_bytes(),
            self.aggregate.as_bytes(),
            self.field.as_bytes(),
        ] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part);
        }
        data
    }
}

/// Why a value can't be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It isn't a sealed value.
    #[error("not a sealed value")]
    Malformed,
    /// The ring lacks the key: it was removed too early, or the value is of another system.
    #[error("the value was sealed with the key {id}, which isn't in the ring")]
    UnknownKey {
        /// The key's id.
        id: String,
    },
    /// Changed, or moved from another place.
    #[error("the sealed value doesn't belong here, or was changed")]
    Refused,
}

/// Keys that can't be read. No error holds any part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error(
        "there is no sealing key: give 32 random bytes as base64, such as `openssl rand -base64 32` prints"
    )]
    Empty,
    /// Something else stands there.
    #[error("sealing key {number} isn't 32 bytes as base64, such as `openssl rand -base64 32` prints")]
    Malformed {
        /// From 1.
        number: usize,
    },
    /// Twice the same.
    #[error("sealing key {number} is in the ring already")]
    Duplicate {
        /// From 1.
        number: usize,
    },
}

struct Key {
    /// The first 8 bytes of the key's SHA-256, in hexadecimal. Nobody can give two keys the same id, and of 256 random
    /// bits they tell nothing.
    id: String,
    cipher: Aes256Gcm,
    /// Of the HMACs that nonces of repeatable values and tags come from.
    nonce_key: Zeroizing<[u8; 32]>,
}

/// The keys: the first one seals, all of them open. `Debug` shows their ids.
pub struct SealingKeys {
    keys: Vec<Key>,
}

impl SealingKeys {
    /// Keys in base64, separated by white space or commas, the newest first. To change the key, put a new one before the
    /// others; an old one may go when no value names it any more.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(text: &str) -> Result<SealingKeys, KeyError> {
        let mut keys: Vec<Key> = Vec::new();
        let texts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|text| !text.is_empty());
        for (index, text) in texts.enumerate() {
            let number = index + 1;
            let bytes =
                STANDARD.decode(text).map(Zeroizing::new).map_err(|_| KeyError::Malformed { number })?;
            let bytes: &[u8; KEY_LENGTH] =
                bytes.as_slice().try_into().map_err(|_| KeyError::Malformed { number })?;
            let id = Sha256::digest(bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            if keys.iter().any(|key| key.id == id) {
                return Err(KeyError::Duplicate { number });
            }
            let nonce_key = Zeroizing::new(mac(bytes, &[b"writ sealing nonces"]));
            keys.push(Key { id, cipher: Aes256Gcm::new(bytes.into()), nonce_key });
        }
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(SealingKeys { keys }) }
    }

    /// A new key in the form that [`SealingKeys::parse`] reads.
    pub fn generate() -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(*Zeroizing::new(random::<KEY_LENGTH>())))
    }

    /// Their ids, as sealed values name them; the one that seals comes first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Seals a value: `sealed:1:<key id>:<base64url of nonce, ciphertext and tag>`. Two of the same value differ.
    pub fn seal(&self, place: Place<'_>, value: &[u8]) -> String {
        self.seal_with(place, random(), value)
    }

    /// The same, but equal arguments give an equal text: a repeat of a command with its idempotency key is then the same
    /// command. The nonce is an HMAC of all arguments, so it is as good as random to everyone without the key, and no two
    /// values share one. What shows is that two commands with one id had the same value, which is what the id says.
    pub fn seal_repeatably(&self, place: Place<'_>, command: Uuid, value: &[u8]) -> String {
        let key = self.newest();
        let data = place.associated_data(&key.id);
        let length = (data.len() as u64).to_be_bytes();
        let hash = mac(key.nonce_key.as_slice(), &[command.as_bytes(), &length, &data, value]);
        let (nonce, _) = hash.split_first_chunk().expect("32 bytes are more than 12");
        self.seal_with(place, *nonce, value)
    }

    /// A text that only who has the key can make for this purpose and this data: an HMAC, of which nothing is stored.
    pub fn tag(&self, purpose: &str, data: &[u8]) -> String {
        tag(self.newest(), purpose, data)
    }

    /// Whether it is one, of any of the keys. In constant time.
    pub fn is_tag(&self, purpose: &str, data: &[u8], text: &str) -> bool {
        self.keys.iter().any(|key| tag(key, purpose, data).as_bytes().ct_eq(text.as_bytes()).into())
    }

    fn newest(&self) -> &Key {
        self.keys.first().expect("a ring has at least one key")
    }

    fn seal_with(&self, place: Place<'_>, nonce: [u8; NONCE_LENGTH], value: &[u8]) -> String {
        let key = self.newest();
        let payload = Payload { msg: value, aad: &place.associated_data(&key.id) };
        let sealed = key.cipher.encrypt(&Nonce::from(nonce), payload);
        let sealed = sealed.expect("a field's value is shorter than the 64 GiB that AES-GCM takes");
        format!("{PREFIX}{}:{}", key.id, URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// The value that was sealed for this place.
    ///
    /// # Errors
    /// It can't be opened, or not here.
    pub fn open(&self, place: Place<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        let (id, body) = parts(sealed).ok_or(Error::Malformed)?;
        let Some(key) = self.keys.iter().find(|key| key.id == id) else {
            return Err(Error::UnknownKey { id: id.to_owned() });
        };
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| Error::Malformed)?;
        let (nonce, sealed) = body.split_first_chunk::<NONCE_LENGTH>().ok_or(Error::Malformed)?;
        let payload = Payload { msg: sealed, aad: &place.associated_data(id) };
        key.cipher.decrypt(&Nonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| Error::Refused)
    }

    /// Whether it was sealed with another key than new values are. Sealing it anew is what lets an old key go.
    pub fn needs_resealing(&self, sealed: &str) -> bool {
        let newest = self.ids().next();
        parts(sealed).is_some_and(|(id, _)| newest != Some(id))
    }
}

fn tag(key: &Key, purpose: &str, data: &[u8]) -> String {
    let length = (purpose.len() as u64).to_be_bytes();
    let key = mac(key.nonce_key.as_slice(), &[b"tag", &length, purpose.as_bytes()]);
    URL_SAFE_NO_PAD.encode(mac(&key, &[data]))
}

/// HMAC-SHA-256 (RFC 2104) of the parts, one after the other.
fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The key's id and the rest.
fn parts(sealed: &str) -> Option<(&str, &str)> {
    sealed.strip_prefix(PREFIX)?.split_once(':')
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}
