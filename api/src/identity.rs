//! Who someone is. A sign-in proves an account and begins a session (`sign_in`, `sessions`); what a request brings along is
//! held against the keys and the directory (`crate::caller`); an account's owner looks after it (`passwords`,
//! `links`, `second_factor`, `api_keys`).
//!
//! What changes here is a command of a built-in model, sent by the server itself in the account's name (`system`), so this
//! module keeps no state but keys and what the directory hears.

pub(crate) mod accounts;
pub(crate) mod api_keys;
pub(crate) mod cookies;
pub(crate) mod grants;
pub mod keys;
pub(crate) mod links;
pub(crate) mod passwords;
pub(crate) mod second_factor;
pub(crate) mod sessions;
pub(crate) mod sign_in;
pub(crate) mod system;

pub use accounts::login;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writ_identity::access_token::AccessTokens;
use writ_identity::directory::Directory;
use writ_identity::password::{self, Hasher};
use writ_identity::refresh_token::Limits;

use crate::caller::KnownKeys;
use crate::rate_limit::RateLimiter;
use crate::sign_in_guard::SignInGuard;
use keys::Keys;

/// The `identity` section of the configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The folder with the keys, which every server of the application needs: `signing.json` and `sealing.keys`. From `writ.toml`
    /// or by default: relative to the folder of `writ.toml`.
    pub keys: PathBuf,
    /// The sealing keys themselves, in place of the file: base64, the newest first.
    pub sealing_keys: String,
    /// The address by which clients know the server: the issuer of its tokens, where OIDC providers send people back to, and
    /// where links in mails lead. `https://` makes cookies secure ones.
    pub url: String,
    /// Whom access tokens are for: `aud`.
    pub audience: String,
    /// Whether anyone may make an account.
    pub registration: bool,
    /// Days after which a session ends that isn't refreshed.
    pub session_idle_days: u32,
    /// Days after which a session ends, however often it is refreshed.
    pub session_days: u32,
    /// How much of the machine passwords may take.
    pub hashing: password::Options,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            keys: ".writ/keys".into(),
            sealing_keys: String::new(),
            url: "http://127.0.0.1:8080".into(),
            audience: "writ".into(),
            registration: false,
            session_idle_days: 14,
            session_days: 90,
            hashing: password::Options::default(),
        }
    }
}

impl Options {
    pub(crate) fn limits(&self) -> Limits {
        let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 60 * 60);
        Limits { idle: days(self.session_idle_days), absolute: days(self.session_days) }
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.starts_with("https://")
    }
}

/// What the handlers need to know who someone is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(crate) options: Arc<Options>,
    pub(crate) keys: Keys,
    pub(crate) tokens: AccessTokens,
    pub(crate) hasher: Hasher,
    pub(crate) directory: Directory,
    pub(crate) known_keys: Arc<KnownKeys>,
    pub(crate) guard: SignInGuard,
}

impl Identity {
    /// Starts the threads that hash.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        options: Options,
        keys: Keys,
        directory: Directory,
        limiter: &RateLimiter,
    ) -> std::io::Result<Identity> {
        Ok(Identity {
            tokens: AccessTokens::new(&options.url, &options.audience),
            hasher: Hasher::start(&options.hashing)?,
            known_keys: Arc::default(),
            guard: SignInGuard::new(limiter),
            options: Arc::new(options),
            keys,
            directory,
        })
    }
}
