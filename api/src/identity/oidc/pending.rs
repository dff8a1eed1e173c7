//! A sign-in between the two visits of a browser: what has to be known when it comes back.
//!
//! It is in a cookie, so no server has to remember anything and any of them can finish. Sealed: the browser's user can neither
//! read nor change it, and it is good for one provider only. `Lax`, not `Strict`: the browser comes back from another site.
//! That it is there at all shows that it is the same browser; `state` ties the provider's answer to it, `nonce` the ID token,
//! and the PKCE verifier the code.

use std::time::Duration;

use ::http::header::SET_COOKIE;
use ::http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use writ_identity::seal::{Place, SealingKeys};
use writ_model::Timestamp;

use crate::identity::{Identity, cookies};

/// How long someone may take at the provider.
pub(super) const LIVES: Duration = Duration::from_secs(600);
/// No model is called so: nothing that is sealed elsewhere can be put here.
const MODEL: &str = "oidc sign-in";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    /// The session that will begin. Its model lets it begin once, so all this is used once.
    pub(super) session: Uuid,
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    /// Where the browser goes in the end.
    pub(super) path: String,
    /// The provider is to be linked to this account, and nobody signs in.
    pub(super) link: Option<Link>,
    /// Milliseconds.
    pub(super) until: i64,
}

/// Who has asked for a link.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) account: Uuid,
    pub(super) session: Uuid,
}

impl Pending {
    fn seal(&self, keys: &SealingKeys, provider: &str) -> String {
        let text = serde_json::to_vec(self).expect("texts and numbers are JSON");
        keys.seal(place(provider), &text)
    }

    fn open(keys: &SealingKeys, provider: &str, sealed: &str, now: Timestamp) -> Option<Pending> {
        let opened = keys.open(place(provider), sealed).ok()?;
        let pending: Pending = serde_json::from_slice(&opened).ok()?;
        (now.0 < pending.until).then_some(pending)
    }

    /// That of a request.
    pub(super) fn find(
        identity: &Identity,
        headers: &HeaderMap,
        provider: &str,
        now: Timestamp,
    ) -> Option<Pending> {
        let sealed = cookies::value(headers, name(identity))?;
        Pending::open(&identity.keys.sealing(), provider, sealed, now)
    }

    /// Adds it to an answer.
    pub(super) fn set(&self, identity: &Identity, headers: &mut HeaderMap, provider: &str) {
        set(identity, headers, &self.seal(&identity.keys.sealing(), provider), LIVES);
    }
}

/// Takes it away.
pub(super) fn clear(identity: &Identity, headers: &mut HeaderMap) {
    set(identity, headers, "", Duration::ZERO);
}

fn set(identity: &Identity, headers: &mut HeaderMap, value: &str, lives: Duration) {
    let secure = if identity.options.is_https() { "; Secure" } else { "" };
    let (name, age) = (name(identity), lives.as_secs());
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}");
    let mut cookie = HeaderValue::try_from(text).expect("a sealed value is base64url and colons");
    cookie.set_sensitive(true);
    headers.append(SET_COOKIE, cookie);
}

fn name(identity: &Identity) -> &'static str {
    if identity.options.is_https() { "__Host-writ_oidc" } else { "writ_oidc" }
}

fn place(provider: &str) -> Place<'_> {
    Place { model: MODEL, aggregate: Uuid::nil(), field: provider }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_good_for_one_provider_and_ten_minutes() {
        let keys = SealingKeys::parse(&SealingKeys::generate()).unwrap();
        let pending = Pending {
            session: Uuid::now_v7(),
            state: "state".into(),
            nonce: "nonce".into(),
            verifier: "verifier".into(),
            path: "/".into(),
            link: None,
            until: 1000,
        };
        let sealed = pending.seal(&keys, "a");
        let open = |provider, text: &str, now| Pending::open(&keys, provider, text, Timestamp(now));
        assert_eq!(open("a", &sealed, 999).unwrap().session, pending.session);
        assert!(open("a", &sealed, 1000).is_none());
        assert!(open("b", &sealed, 999).is_none());
        assert!(open("a", &sealed[..sealed.len() - 2], 999).is_none());
        let elsewhere = Place { model: "account", aggregate: Uuid::nil(), field: "a" };
        let moved = keys.seal(elsewhere, &serde_json::to_vec(&pending).unwrap());
        assert!(open("a", &moved, 999).is_none());
    }
}
