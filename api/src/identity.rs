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
pub mod oidc;
pub(crate) mod passwords;
pub(crate) mod rows;
pub(crate) mod second_factor;
pub(crate) mod sessions;
pub(crate) mod sign_in;
pub(crate) mod system;
pub mod trusted;

pub use accounts::login;

use std::collections::BTreeMap;
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
    /// Providers by which people sign in.
    pub oidc: BTreeMap<String, oidc::Options>,
    /// Issuers whose bearer tokens are taken.
    pub trusted: BTreeMap<String, trusted::Options>,
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
            oidc: BTreeMap::new(),
            trusted: BTreeMap::new(),
        }
    }
}

impl Options {
    pub(crate) fn limits(&self) -> Limits {
        let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 60 * 60);
        Limits { idle: days(self.session_idle_days), absolute: days(self.session_days) }
    }

    /// What the types don't say of providers and issuers: the key, and the fault.
    ///
    /// # Errors
    /// The first fault.
    pub fn check_issuers(&self) -> Result<(), (String, String)> {
        let is_name = |name: &str| {
            name.len() <= 40
                && name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        let providers = self.oidc.iter().map(|(name, options)| ("oidc", name, options.check()));
        let issuers = self.trusted.iter().map(|(name, options)| ("trusted", name, options.check()));
        for (table, name, checked) in providers.chain(issuers) {
            let table = format!("identity.{table}.{name}");
            if !is_name(name) {
                return Err((
                    table,
                    "the name isn't 1 to 40 small letters, digits and `_`, a letter first".into(),
                ));
            }
            checked.map_err(|(key, fault)| (format!("{table}.{key}"), fault))?;
        }
        for (name, trusted) in &self.trusted {
            let key = |key| format!("identity.trusted.{name}.{key}");
            if trusted.issuer == self.url {
                return Err((key("issuer"), "it is this server's own `identity.url`".into()));
            }
            let is_client = |provider: &oidc::Options| {
                provider.issuer == trusted.issuer && provider.client_id == trusted.audience
            };
            if self.oidc.values().any(is_client) {
                let fault = "it is a client id of `identity.oidc`, so ID tokens would do as access tokens";
                return Err((key("audience"), fault.into()));
            }
            if self.trusted.iter().any(|(other, options)| other != name && options.issuer == trusted.issuer) {
                return Err((key("issuer"), "two have the same".into()));
            }
        }
        Ok(())
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
    pub(crate) oidc: Arc<oidc::Providers>,
    pub(crate) trusted: Arc<trusted::Issuers>,
}

impl Identity {
    /// Starts the threads that hash.
    ///
    /// # Errors
    /// The system gives no thread, or has no certificates to trust providers by.
    pub fn start(
        options: Options,
        keys: Keys,
        directory: Directory,
        limiter: &RateLimiter,
    ) -> std::io::Result<Identity> {
        let (oidc, trusted) = match options.oidc.is_empty() && options.trusted.is_empty() {
            true => Default::default(),
            false => {
                let http = oidc::http::Http::new()?;
                let providers = oidc::Providers::new(&options.oidc, &options.url, &http);
                (providers, trusted::Issuers::new(&options.trusted, &http))
            }
        };
        Ok(Identity {
            oidc: Arc::new(oidc),
            trusted: Arc::new(trusted),
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
