//! Passwords: what may be one ([`Policy`]), how it is kept ([`hash`]), and how it is compared ([`verify`]).
//!
//! Argon2id with the parameters of OWASP's Password Storage Cheat Sheet. A hash takes some 20 ms of a core and 19 MiB, on
//! purpose; a server hashes through a [`Hasher`], which bounds both.

mod hasher;
mod pool;
#[cfg(test)]
mod tests;

use std::fmt;

use argon2::password_hash::phc;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use icu_normalizer::ComposingNormalizerBorrowed;
use zeroize::Zeroizing;

pub use hasher::{Error as HasherError, Hasher, Options};

/// Memory of one hash in KiB.
pub const MEMORY_KIB: u32 = 19_456;
/// Passes over that memory.
pub const PASSES: u32 = 2;
/// Lanes: a hash takes one core.
pub const LANES: u32 = 1;
/// Bytes of salt and of output.
const SALT_LENGTH: usize = 16;
const OUTPUT_LENGTH: usize = 32;

/// The most that a stored hash may ask for, in KiB and passes: those of other systems may be dearer than ours, but one that
/// asks for all memory must not get it.
const MAX_MEMORY_KIB: u32 = 262_144;
const MAX_PASSES: u32 = 16;

/// Of accounts that don't exist.
const NOBODYS_SALT: [u8; SALT_LENGTH] = *b"nobody's account";

/// A password, as someone typed it. It is overwritten when it goes, its `Debug` doesn't show it, and there is no `Display`:
///
/// ```compile_fail,E0277
/// println!("{}", writ_identity::password::Password::new("correct horse".to_owned()));
/// ```
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Brings it into the one form (NFKC) that every keyboard's way of typing it leads to, as NIST SP 800-63B asks for.
    pub fn new(text: String) -> Password {
        let text = Zeroizing::new(text);
        Password(Zeroizing::new(ComposingNormalizerBorrowed::new_nfkc().normalize(&text).into_owned()))
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// Which passwords may be chosen. By length alone, in characters: rules on digits and signs make passwords that are guessed
/// as easily and remembered worse (NIST SP 800-63B). Signing in asks for no policy, so that a stricter one locks nobody out.
///
/// The default minimum of 12 is more than the 8 that SP 800-63B wants beside a second factor (and revision 3 always), and less
/// than the 15 that revision 4 wants where there is no second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The fewest characters.
    pub min_length: usize,
    /// The most characters.
    pub max_length: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { min_length: 12, max_length: 128 }
    }
}

/// Why a password may not be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Too few characters.
    #[error("a password has at least {min} characters; this one has {length}")]
    TooShort {
        /// As the policy has it.
        min: usize,
        /// What it has.
        length: usize,
    },
    /// Too many characters.
    #[error("a password has at most {max} characters; this one has {length}")]
    TooLong {
        /// As the policy has it.
        max: usize,
        /// What it has.
        length: usize,
    },
}

impl Policy {
    /// Whether this may be an account's password.
    ///
    /// # Errors
    /// What is wrong with it; no error holds any part of it.
    pub fn check(&self, password: &Password) -> Result<(), Unfit> {
        let length = password.0.chars().count();
        if length < self.min_length {
            return Err(Unfit::TooShort { min: self.min_length, length });
        }
        if length > self.max_length {
            return Err(Unfit::TooLong { max: self.max_length, length });
        }
        Ok(())
    }
}

/// A hashed password: a PHC string (`$argon2id$v=19$m=19456,t=2,p=1$salt$hash`). What guesses can be tried against, so
/// `Debug` shows the parameters only.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(phc::PasswordHash);

impl PasswordHash {
    /// Reads a stored hash.
    ///
    /// # Errors
    /// It is none, or one that can't or must not be computed here.
    pub fn parse(phc: &str) -> Result<PasswordHash, Error> {
        let hash = phc::PasswordHash::new(phc).map_err(|_| Error::Malformed)?;
        let (Some(_), Some(_), Ok(params)) = (hash.salt, hash.hash, Params::try_from(&hash)) else {
            return Err(Error::Malformed);
        };
        if Algorithm::new(hash.algorithm.as_str()).is_err() {
            return Err(Error::Malformed);
        }
        if params.m_cost() > MAX_MEMORY_KIB || params.t_cost() > MAX_PASSES {
            return Err(Error::TooCostly { memory_kib: params.m_cost(), passes: params.t_cost() });
        }
        Ok(PasswordHash(hash))
    }

    /// The PHC string, to be stored. It belongs into a `secret` field.
    pub fn to_phc(&self) -> String {
        self.0.to_string()
    }

    /// Whether it was made in another way than [`hash`] does now. The moment to make a new one is a sign-in with the right
    /// password: only then is the password known.
    pub fn needs_rehash(&self) -> bool {
        self.0.algorithm.as_str() != Algorithm::Argon2id.as_str()
            || self.0.version != Some(Version::V0x13.into())
            || self.0.salt.is_none_or(|salt| salt.len() < SALT_LENGTH)
            || self.0.hash.is_none_or(|output| output.len() != OUTPUT_LENGTH)
            || Params::try_from(&self.0).map_or(true, |params| {
                (params.m_cost(), params.t_cost(), params.p_cost()) != (MEMORY_KIB, PASSES, LANES)
            })
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash(${}${}$***)", self.0.algorithm, self.0.params)
    }
}

/// A hash that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a PHC string of Argon2 with a salt and a hash.
    #[error("the stored hash is no PHC string of Argon2")]
    Malformed,
    /// It asks for more than any that we would make.
    #[error("the stored hash takes {memory_kib} KiB and {passes} passes, more than is allowed")]
    TooCostly {
        /// Its memory.
        memory_kib: u32,
        /// Its passes.
        passes: u32,
    },
    /// The machine has no memory for it.
    #[error("the hash can't be computed: {0}")]
    Compute(argon2::password_hash::Error),
}

/// Whether a password is an account's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Right {
        /// [`PasswordHash::needs_rehash`].
        needs_rehash: bool,
    },
    /// It isn't, or there is no account.
    Wrong,
}

/// Hashes with a new salt. Blocks for the time that it takes: a server goes through a [`Hasher`].
///
/// # Errors
/// [`Error::Compute`].
pub fn hash(password: &Password) -> Result<PasswordHash, Error> {
    argon2()
        .hash_password_with_salt(password.as_bytes(), &crate::digest::random::<SALT_LENGTH>())
        .map(PasswordHash)
        .map_err(Error::Compute)
}

/// A password that nobody has chosen, to be shown to its owner once: 20 letters and digits of which none looks like another,
/// 100 bits.
pub fn make_up() -> Zeroizing<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bytes: Zeroizing<[u8; 20]> = Zeroizing::new(crate::digest::random());
    // 256 is 8 times 32: each is as likely as another.
    Zeroizing::new(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

/// Compares in constant time. Where there is no account (`None`) a hash is computed all the same, so that the answer's time
/// doesn't tell which accounts there are; it does for hashes with other parameters than ours, until they are made anew.
/// Blocks for that time: a server goes through a [`Hasher`].
///
/// # Errors
/// [`Error::Compute`].
pub fn verify(password: &Password, stored: Option<&PasswordHash>) -> Result<Verdict, Error> {
    let Some(stored) = stored else {
        let hash: Result<phc::PasswordHash, _> =
            argon2().hash_password_with_salt(password.as_bytes(), &NOBODYS_SALT);
        std::hint::black_box(hash.map_err(Error::Compute)?);
        return Ok(Verdict::Wrong);
    };
    match argon2().verify_password(password.as_bytes(), &stored.0) {
        Ok(()) => Ok(Verdict::Right { needs_rehash: stored.needs_rehash() }),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(Verdict::Wrong),
        Err(error) => Err(Error::Compute(error)),
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT_LENGTH)).expect("within Argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}
