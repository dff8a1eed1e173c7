//! Refresh tokens, and the session that they keep alive: each is good for one use, and the next one comes with the answer.
//!
//! A thief and the owner of a stolen token both use it sooner or later, and whoever is second shows that there are two:
//! then the session ends for both (RFC 9700, section 4.14.2). There is no grace for a client that repeats its last request
//! because the answer was lost. A server can't tell that from the thief who comes second, and a grace would hand him a
//! session of his own that nobody notices. A client whose answer was lost signs in again; one that has several pages open
//! refreshes in one of them.
//!
//! A token has three parts: the session's id, a secret of the session that all its tokens share, and one of its own. Of
//! the secrets only hashes are stored. The shared one tells an older token of the session from one that somebody made up:
//! session ids stand in access tokens, and who has read one of those must not be able to end the session. So the state
//! stays as small as it is, however often a session is renewed.
//!
//! What a session does with a token is said in its model, `models/session.yaml`, and decided by the aggregate's single
//! writer: of two requests with one token the second always sees the first. What travels there are hashes: no token appears
//! in a topic. They are compared as other texts are, since who could learn something from the time that takes would learn
//! about hashes of random bytes.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::digest::{SecretHash, random};

/// Bytes of a session's id and of two secrets.
const LENGTH: usize = 16 + 32 + 32;

/// A token in clear, for its owner only. It is overwritten when it goes, and `Debug` shows no more than the session.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RefreshToken {
    #[zeroize(skip)]
    session: Uuid,
    shared: [u8; 32],
    own: [u8; 32],
}

/// Not a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a refresh token")]
pub struct Malformed;

impl RefreshToken {
    /// The first token of a new session.
    pub fn first(session: Uuid) -> RefreshToken {
        RefreshToken { session, shared: random(), own: random() }
    }

    /// The token that takes its place.
    pub fn next(&self) -> RefreshToken {
        RefreshToken { session: self.session, shared: self.shared, own: random() }
    }

    /// Reads what a client sent. Whether it is any good is the session's to say.
    ///
    /// # Errors
    /// It isn't what [`RefreshToken::to_text`] gives.
    pub fn parse(text: &str) -> Result<RefreshToken, Malformed> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        // Longer text than any token's has no room, and is refused.
        let length = URL_SAFE_NO_PAD.decode_slice(text, bytes.as_mut_slice()).map_err(|_| Malformed)?;
        let (session, secrets) = bytes[..length].split_first_chunk().ok_or(Malformed)?;
        let (shared, own) = secrets.split_first_chunk().ok_or(Malformed)?;
        let own = own.try_into().map_err(|_| Malformed)?;
        Ok(RefreshToken { session: Uuid::from_bytes(*session), shared: *shared, own })
    }

    /// As the client keeps it: 107 characters that mean nothing to it.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
        bytes.extend_from_slice(self.session.as_bytes());
        bytes.extend_from_slice(&self.shared);
        bytes.extend_from_slice(&self.own);
        Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes))
    }

    /// The session that it claims to be of: where to look for the state.
    pub fn session(&self) -> Uuid {
        self.session
    }

    /// What the session's `family` is, if it is one of its tokens.
    pub fn family(&self) -> SecretHash {
        SecretHash::of("writ refresh token, shared", &[self.session.as_bytes(), &self.shared])
    }

    /// What the session's `token` is, if it is the present one.
    pub fn own(&self) -> SecretHash {
        SecretHash::of("writ refresh token, own", &[self.session.as_bytes(), &self.own])
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken").field("session", &self.session).finish_non_exhaustive()
    }
}

/// How long sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Without a refresh.
    pub idle: Duration,
    /// From the sign-in, however often it is renewed.
    pub absolute: Duration,
}

impl Default for Limits {
    /// 14 days idle, 90 days in all.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Limits { idle: 14 * DAY, absolute: 90 * DAY }
    }
}
