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
//! A session is a value and [`Session::rotate`] a function: who stores it must let one request at a time decide on it, as
//! an aggregate's single writer does. What travels there is a [`Renewal`], which holds hashes only: no token appears in a
//! topic.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use writ_model::Timestamp;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::digest::{SecretHash, random};
use crate::time::{after, rfc3339};

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
    /// The first token of a new session, by which it [starts](Session::start).
    pub fn first(session: Uuid) -> RefreshToken {
        RefreshToken { session, shared: random(), own: random() }
    }

    /// What is asked of the session, and the token that its client gets if that is granted.
    pub fn renew(&self) -> (Renewal, RefreshToken) {
        let next = RefreshToken { session: self.session, shared: self.shared, own: random() };
        let renewal =
            Renewal { shared: self.shared_hash(), presented: self.own_hash(), next: next.own_hash() };
        (renewal, next)
    }

    /// Reads what a client sent. Whether it is any good is [`Session::rotate`]'s to say.
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

    fn shared_hash(&self) -> SecretHash {
        SecretHash::of("writ refresh token, shared", &[self.session.as_bytes(), &self.shared])
    }

    fn own_hash(&self) -> SecretHash {
        SecretHash::of("writ refresh token, own", &[self.session.as_bytes(), &self.own])
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken").field("session", &self.session).finish_non_exhaustive()
    }
}

/// The wish to use a token up, without any secret: what is random is in it, so that the decision can be repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    shared: SecretHash,
    presented: SecretHash,
    next: SecretHash,
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

/// Why a session has ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// An older token was used again: two parties have the session.
    Reused,
    /// Its owner signed out, or an administrator ended it.
    Revoked,
}

/// A session, as it is stored: no secret is in it, only what one is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    id: Uuid,
    shared: SecretHash,
    current: SecretHash,
    /// How many tokens there were before this one.
    rotations: u64,
    #[serde(with = "rfc3339")]
    started_at: Timestamp,
    #[serde(with = "rfc3339")]
    rotated_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<End>,
}

/// What comes of a presented token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It was the current one. Store this, then hand out the next token.
    Rotated(Session),
    /// It was an older one. Store this: the session has ended for everyone, and its access tokens are to be revoked.
    Reused(Session),
    /// Nothing changes.
    Refused(Refusal),
}

/// Why a token is refused while the session stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is none of this session's, now or ever.
    #[error("the refresh token belongs to no session")]
    Unknown,
    /// The session has ended.
    #[error("the session has ended")]
    Ended(End),
    /// Not renewed for too long.
    #[error("the session has expired at {at}: it wasn't used")]
    Idle {
        /// From then on.
        at: Timestamp,
    },
    /// It is too old.
    #[error("the session has expired at {at}: it is over")]
    Absolute {
        /// From then on.
        at: Timestamp,
    },
}

impl Session {
    /// A session whose current token is `first`.
    pub fn start(first: &RefreshToken, now: Timestamp) -> Session {
        Session {
            id: first.session,
            shared: first.shared_hash(),
            current: first.own_hash(),
            rotations: 0,
            started_at: now,
            rotated_at: now,
            ended: None,
        }
    }

    /// Uses a token up.
    pub fn rotate(&self, renewal: &Renewal, limits: &Limits, now: Timestamp) -> Outcome {
        // Before anything else: a stranger learns nothing of the session's state. The hash is of the session's id too.
        if !self.shared.matches(&renewal.shared) {
            return Outcome::Refused(Refusal::Unknown);
        }
        if let Some(refusal) = self.over(limits, now) {
            return Outcome::Refused(refusal);
        }
        if !self.current.matches(&renewal.presented) {
            return Outcome::Reused(self.ended(End::Reused));
        }
        Outcome::Rotated(Session {
            current: renewal.next,
            rotations: self.rotations + 1,
            rotated_at: now.max(self.rotated_at),
            ..self.clone()
        })
    }

    /// Signed out, or ended by an administrator. One that has ended keeps its first reason.
    #[must_use]
    pub fn revoked(&self) -> Session {
        self.ended(End::Revoked)
    }

    /// Why no token of it is good any more, if so.
    pub fn over(&self, limits: &Limits, now: Timestamp) -> Option<Refusal> {
        if let Some(end) = self.ended {
            return Some(Refusal::Ended(end));
        }
        let absolute = after(self.started_at, limits.absolute);
        if now >= absolute {
            return Some(Refusal::Absolute { at: absolute });
        }
        let idle = after(self.rotated_at, limits.idle);
        (now >= idle).then_some(Refusal::Idle { at: idle })
    }

    /// Its id: `sid` of its access tokens.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The sign-in.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The last use of a token, or the sign-in.
    pub fn rotated_at(&self) -> Timestamp {
        self.rotated_at
    }

    fn ended(&self, end: End) -> Session {
        Session { ended: self.ended.or(Some(end)), ..self.clone() }
    }
}
