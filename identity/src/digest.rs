//! What is kept of a secret that is random: its SHA-256.
//!
//! A password is guessed, so its hash must be slow. A secret of 256 random bits is not: whoever tries all of them against
//! a fast hash is no nearer the end than against a slow one, while a slow one would cost the server on every request.
//! For the same reason no salt is needed: there is no table of 2^256 hashes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// As many random bytes as asked for, from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("an operating system that has started gives random bytes");
    bytes
}

/// The SHA-256 of a random secret, as base64url text where it is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// `purpose` keeps what is stored for one purpose from being worth anything for another.
    pub(crate) fn of(purpose: &str, parts: &[&[u8]]) -> SecretHash {
        let mut hash = Sha256::new();
        for part in [purpose.as_bytes()].iter().chain(parts) {
            // With its length before it, no two lists of parts are one text.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        SecretHash(hash.finalize().into())
    }

    /// In constant time: how much of a guess was right doesn't show.
    pub(crate) fn matches(&self, other: &SecretHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// No secret, but nothing for a log either.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(***)")
    }
}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(SecretHash).ok_or_else(|| de::Error::custom("a hash is 32 bytes as base64url"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lists_of_parts_are_one() {
        let parts: [(&str, &[&[u8]]); 5] =
            [("ab", &[b"cd"]), ("a", &[b"bcd"]), ("ab", &[b"c", b"d"]), ("abcd", &[]), ("ab", &[b"cd", b""])];
        for (index, left) in parts.iter().enumerate() {
            for right in &parts[..index] {
                let [left_hash, right_hash] =
                    [left, right].map(|(purpose, parts)| SecretHash::of(purpose, parts));
                assert!(!left_hash.matches(&right_hash), "{left:?} {right:?}");
            }
            assert!(SecretHash::of(left.0, left.1).matches(&SecretHash::of(left.0, left.1)));
        }
    }

    #[test]
    fn a_stored_hash_is_32_bytes() {
        let hash = SecretHash::of("a", &[]);
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<SecretHash>(&json).unwrap(), hash);
        for wrong in [r#""""#, r#""AAAA""#, r#""!""#, "7"] {
            assert!(serde_json::from_str::<SecretHash>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(format!("{hash:?}"), "SecretHash(***)");
    }
}
