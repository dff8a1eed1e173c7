//! Recovery codes: what an account signs in with when its authenticator is lost. Ten, each good once.
//!
//! A code is 80 random bits, so a SHA-256 of it can be stored as it is (as with other random secrets, nobody gets through
//! the guesses). The account's id is hashed with it: one guess can't be held against the codes of all accounts.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::digest::{SecretHash, random};

/// How many an account has.
const COUNT: usize = 10;
/// Bytes of a code, and digits of its text.
const CODE_LENGTH: usize = 10;
const CODE_DIGITS: usize = 16;
/// Without I, L, O and U, and read as if these were 1, 1 and 0: codes are copied from paper.
const ALPHABET: base32::Alphabet = base32::Alphabet::Crockford;

/// A code in clear: shown once, when the codes are made. `Debug` doesn't show it.
#[derive(Clone)]
pub struct RecoveryCode(Zeroizing<[u8; CODE_LENGTH]>);

impl RecoveryCode {
    /// Reads what someone typed: case, hyphens and spaces don't count. `None`: it is no code.
    pub fn parse(text: &str) -> Option<RecoveryCode> {
        let digits: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|c| *c != '-' && !c.is_whitespace()).collect());
        // The decoder would drop what is left over.
        if digits.len() != CODE_DIGITS {
            return None;
        }
        let bytes = Zeroizing::new(base32::decode(ALPHABET, &digits)?);
        Some(RecoveryCode(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// As it is shown: four groups of four letters and digits.
    pub fn to_text(&self) -> Zeroizing<String> {
        let text = Zeroizing::new(base32::encode(ALPHABET, self.0.as_slice()));
        let mut grouped = Zeroizing::new(String::with_capacity(19));
        for (index, digit) in text.chars().enumerate() {
            if index > 0 && index % 4 == 0 {
                grouped.push('-');
            }
            grouped.push(digit);
        }
        grouped
    }

    fn hash(&self, account: Uuid) -> SecretHash {
        SecretHash::of("writ recovery code", &[account.as_bytes(), self.0.as_slice()])
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode(***)")
    }
}

/// The codes that an account has left, as they are stored. It changes with every use, and must be stored by one writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecoveryCodes(Vec<SecretHash>);

impl RecoveryCodes {
    /// Ten new codes, to be shown to the account's owner, and what is stored of them. Those before are no good any more.
    pub fn generate(account: Uuid) -> (Vec<RecoveryCode>, RecoveryCodes) {
        let codes: Vec<_> = (0..COUNT).map(|_| RecoveryCode(Zeroizing::new(random()))).collect();
        let hashes = codes.iter().map(|code| code.hash(account)).collect();
        (codes, RecoveryCodes(hashes))
    }

    /// The codes that are left after this one: to be stored before anyone is let in. `None`: it isn't one of them.
    pub fn redeem(&self, account: Uuid, code: &RecoveryCode) -> Option<RecoveryCodes> {
        let hash = code.hash(account);
        let left: Vec<_> = self.0.iter().filter(|own| !own.matches(&hash)).copied().collect();
        (left.len() < self.0.len()).then_some(RecoveryCodes(left))
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }
}
