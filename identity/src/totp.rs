//! The second factor: six digits of an authenticator app (TOTP, RFC 6238), and recovery codes for the day it is lost.
//!
//! A step of time is 30 seconds, and the code of the step before and of the one after are taken too: clocks differ, and
//! typing takes time (section 5.2). Each code is good once: [`Used`] remembers the last step, and neither that nor an
//! older one is taken again, so that a code that was seen on its way is worth nothing. SHA-1 is what authenticator apps
//! speak; the attacks on it don't reach HMAC (RFC 4226, appendix B.2).
//!
//! Six digits are guessed in a million tries. What bounds the tries is not here: whoever calls this counts them.

mod recovery;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use totp_rs::{Algorithm, Builder, Totp};
use writ_model::Timestamp;
use zeroize::Zeroizing;

pub use recovery::{RecoveryCode, RecoveryCodes};

/// Seconds of a step.
pub const STEP: u64 = 30;
/// Steps before and after the present one whose codes are taken.
pub const SKEW: u64 = 1;
/// Digits of a code.
pub const DIGITS: u8 = 6;

/// As long as HMAC-SHA-1's output, which RFC 4226 recommends.
const SECRET_LENGTH: usize = 20;

/// What an account shares with its authenticator app. To be stored in a `secret` field. `Debug` doesn't show it.
#[derive(Clone)]
pub struct TotpSecret(Zeroizing<[u8; SECRET_LENGTH]>);

/// Not a secret, or a name that can't stand in an authenticator app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not 20 bytes as base32.
    #[error("the stored TOTP secret isn't 20 bytes as base32")]
    Malformed,
    /// The URI joins issuer and account by a colon.
    #[error("neither the issuer's nor the account's name may be empty or have a colon in it")]
    Name,
}

/// Which codes of a secret were used: all up to one step. It changes with every sign-in, and must be stored by one writer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Used(Option<u64>);

impl Used {
    /// All codes up to this step of time, as it was stored.
    pub fn up_to(step: Option<u64>) -> Used {
        Used(step)
    }
}

/// Why a code isn't accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not the code of this time.
    #[error("the code is wrong, or too old")]
    Wrong,
    /// It, or a later one, was accepted before.
    #[error("the code was used before; wait for the next one")]
    Used,
}

impl TotpSecret {
    /// A new one.
    pub fn generate() -> TotpSecret {
        TotpSecret(Zeroizing::new(crate::digest::random()))
    }

    /// Reads what [`TotpSecret::to_base32`] gave.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn from_base32(text: &str) -> Result<TotpSecret, Error> {
        let secret = totp_rs::Secret::try_from_base32(text).map_err(|_| Error::Malformed)?;
        let bytes = secret.as_bytes().try_into().map_err(|_| Error::Malformed)?;
        Ok(TotpSecret(Zeroizing::new(bytes)))
    }

    /// To be stored, and to be typed where no camera reads the URI.
    pub fn to_base32(&self) -> Zeroizing<String> {
        Zeroizing::new(totp_rs::Secret::new_stack(*self.0).to_base32())
    }

    /// The URI for the QR code from which an app learns the secret: `otpauth://totp/<issuer>:<account>?secret=…`.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn uri(&self, issuer: &str, account: &str) -> Result<Zeroizing<String>, Error> {
        if issuer.is_empty() || account.is_empty() {
            return Err(Error::Name);
        }
        let totp = self.builder().with_issuer(Some(issuer)).with_account_name(account);
        let uri = totp.build().and_then(|totp| totp.to_url());
        uri.map(Zeroizing::new).map_err(|_| Error::Name)
    }

    /// Compares a code with those of this time, and uses it up: what comes back is to be stored before anyone is let in.
    ///
    /// # Errors
    /// It is wrong, or used.
    pub fn verify(&self, code: &str, used: Used, now: Timestamp) -> Result<Used, Refusal> {
        let present = u64::try_from(now.0.div_euclid(1000)).unwrap_or(0) / STEP;
        let totp = self.totp();
        let matching = (present.saturating_sub(SKEW)..=present + SKEW)
            .filter(|step| totp.check(code, step * STEP).is_some());
        // Of two steps that happen to have the same code, the one that is still good counts.
        match matching.max() {
            None => Err(Refusal::Wrong),
            Some(step) if used.0.is_some_and(|last| step <= last) => Err(Refusal::Used),
            Some(step) => Ok(Used(Some(step))),
        }
    }

    fn builder(&self) -> Builder {
        Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(DIGITS)
            // The steps around the present one are tried here, one by one: each can be used once.
            .with_skew(0)
            .with_step_duration(STEP)
            .with_secret(totp_rs::Secret::new_stack(*self.0))
    }

    fn totp(&self) -> Totp {
        self.builder().build().expect("a secret of 160 bits and 6 digits are what the RFC asks for")
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(***)")
    }
}
