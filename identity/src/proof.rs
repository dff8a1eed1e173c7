//! What a link in a mail proves: that its reader reads the mails to an account's address. Of its secret only a hash is stored,
//! with the time for which it is good; it is used up with the first command that follows it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::digest::{SecretHash, random};

/// What a link is for. It is good for nothing else: who may confirm an address must not get a password by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A new password.
    Password,
    /// The address is its owner's.
    Email,
}

impl Purpose {
    /// As the model `account` has it, in `proof_for`.
    pub const fn name(self) -> &'static str {
        match self {
            Purpose::Password => "password",
            Purpose::Email => "email",
        }
    }
}

/// Bytes of an account's id and of a secret.
const LENGTH: usize = 16 + 32;

/// A proof in clear, for the mail only.
pub struct Proof {
    account: Uuid,
    secret: Zeroizing<[u8; 32]>,
}

/// Not a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not what a link has")]
pub struct Malformed;

impl Proof {
    /// A new one.
    pub fn generate(account: Uuid) -> Proof {
        Proof { account, secret: Zeroizing::new(random()) }
    }

    /// Reads what [`Proof::to_text`] gave.
    ///
    /// # Errors
    /// It isn't that.
    pub fn parse(text: &str) -> Result<Proof, Malformed> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        let length = URL_SAFE_NO_PAD.decode_slice(text, bytes.as_mut_slice()).map_err(|_| Malformed)?;
        let (account, secret) = bytes[..length].split_first_chunk().ok_or(Malformed)?;
        let secret = secret.try_into().map_err(|_| Malformed)?;
        Ok(Proof { account: Uuid::from_bytes(*account), secret: Zeroizing::new(secret) })
    }

    /// 64 characters for the link.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
        bytes.extend_from_slice(self.account.as_bytes());
        bytes.extend_from_slice(self.secret.as_slice());
        Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes))
    }

    /// Of which account it is.
    pub fn account(&self) -> Uuid {
        self.account
    }

    /// What is stored of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of("writ proof by mail", &[self.account.as_bytes(), self.secret.as_slice()])
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("account", &self.account).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_its_text_and_shows_nothing_else() {
        let proof = Proof::generate(Uuid::now_v7());
        let text = proof.to_text();
        assert_eq!(text.len(), 64);
        let read = Proof::parse(&text).unwrap();
        assert_eq!((read.account(), read.hash()), (proof.account(), proof.hash()));
        assert_ne!(Proof::generate(proof.account()).hash(), proof.hash());
        assert!(!format!("{proof:?}").contains(&text[22..]));
        for wrong in ["", "x", &text[1..], &format!("{}AAAA", *text), "ü"] {
            assert!(Proof::parse(wrong).is_err(), "{wrong}");
        }
    }
}
