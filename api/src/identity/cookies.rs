//! Tokens in cookies, for pages of a browser: scripts can't read them (`HttpOnly`), other sites can't send them
//! (`SameSite=Strict`), and over HTTPS no other host can set them (`__Host-`, RFC 6265bis section 4.1.3.2).
//!
//! A command by cookie also needs the header `Writ-Csrf` with the session's token, which only a page of this origin can have
//! read: SameSite alone trusts every subdomain (OWASP, Cross-Site Request Forgery Prevention). The token is an HMAC of the
//! session's id, so nothing is stored, and none of another session is good.

use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;
use writ_identity::seal::SealingKeys;

use super::Identity;

/// What goes with a command by cookie.
pub(crate) const WRIT_CSRF: HeaderName = HeaderName::from_static("writ-csrf");

const PURPOSE: &str = "writ csrf token";

/// Which token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// The access token.
    Access,
    /// The refresh token.
    Refresh,
}

impl Cookie {
    /// Its name.
    pub(crate) fn name(self, is_https: bool) -> &'static str {
        match (self, is_https) {
            (Cookie::Access, true) => "__Host-writ_access",
            (Cookie::Refresh, true) => "__Host-writ_refresh",
            (Cookie::Access, false) => "writ_access",
            (Cookie::Refresh, false) => "writ_refresh",
        }
    }

    /// Its value in a request.
    pub(crate) fn find<'h>(self, identity: &Identity, headers: &'h HeaderMap) -> Option<&'h str> {
        value(headers, self.name(identity.options.is_https()))
    }

    /// Adds it to an answer; an empty value takes it away.
    pub(crate) fn set(self, identity: &Identity, headers: &mut HeaderMap, value: &str, lives: Duration) {
        let is_https = identity.options.is_https();
        let (name, secure) = (self.name(is_https), if is_https { "; Secure" } else { "" });
        let age = if value.is_empty() { 0 } else { lives.as_secs() };
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}");
        let mut cookie = HeaderValue::try_from(text).expect("tokens are base64url and dots");
        cookie.set_sensitive(true);
        headers.append(SET_COOKIE, cookie);
    }
}

/// The value of a cookie in a request.
pub(super) fn value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|pairs| pairs.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(known, value)| (known == name).then_some(value))
}

/// The token that a page of the session sends with its commands.
pub(crate) fn csrf(keys: &SealingKeys, session: Uuid) -> String {
    keys.tag(PURPOSE, session.as_bytes())
}

/// Whether the request has the session's token.
pub(crate) fn has_csrf(keys: &SealingKeys, headers: &HeaderMap, session: Uuid) -> bool {
    let given = headers.get(&WRIT_CSRF).and_then(|value| value.to_str().ok());
    given.is_some_and(|given| keys.is_tag(PURPOSE, session.as_bytes(), given))
}
