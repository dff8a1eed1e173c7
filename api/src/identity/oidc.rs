//! Signing in by an OpenID Connect provider: the code flow with PKCE, for browsers (docs/decisions/019).
//!
//! In the order of a sign-in: `routes` sends the browser to the provider and takes it back, what has to be known then
//! travels sealed in a cookie (`pending`), the `provider` is asked who it was, and `accounts` finds, links or makes the account.
//! All calls go through one client with narrow limits (`http`); what providers publish is kept (`refreshed`).

pub(super) mod accounts;
pub(super) mod http;
mod pending;
mod provider;
pub(super) mod refreshed;
pub(crate) mod routes;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

use http::Http;
use provider::Provider;

/// One provider: `identity.oidc.<name>` of the configuration. The name is a part of the addresses: letters, digits and `_`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The provider's issuer, exactly as it writes it itself; `/.well-known/openid-configuration` is below it.
    pub issuer: String,
    /// How the provider knows this application. Its redirect URI there is `<identity.url>/v1/auth/oidc/<name>/callback`.
    pub client_id: String,
    /// Its password. Empty: the provider has registered a public client.
    pub client_secret: String,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// Whether whoever the provider knows gets an account, if the provider has verified the e-mail address.
    pub create_accounts: bool,
    /// Whether a verified e-mail address is enough to sign in to the account that has it. Only for providers that own
    /// these addresses or check them well: they can then enter any account.
    pub link_by_email: bool,
    /// If any: only people whose verified e-mail address is in one of these domains.
    pub allowed_domains: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: String::new(),
            scopes: vec!["profile".into(), "email".into()],
            create_accounts: false,
            link_by_email: false,
            allowed_domains: Vec::new(),
        }
    }
}

impl Options {
    /// What the types don't say: the key and the fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        check_issuer(&self.issuer).map_err(|fault| ("issuer", fault))?;
        if self.client_id.is_empty() {
            return Err(("client_id", "it is empty".into()));
        }
        Ok(())
    }
}

/// `https`, or loopback for tests and development; without what an issuer can't have (OpenID Connect Discovery, section 3).
pub(super) fn check_issuer(issuer: &str) -> Result<(), String> {
    let url = Url::parse(issuer).map_err(|_| "it is no URL".to_owned())?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an issuer has neither query nor fragment".into());
    }
    if issuer.contains(char::is_whitespace) {
        return Err("it has white space".into());
    }
    match http::is_safe(&url) {
        true => Ok(()),
        false => Err("only `https` can be trusted, except on a loopback address".into()),
    }
}

/// The providers, by name.
#[derive(Debug, Default)]
pub(crate) struct Providers(BTreeMap<String, Provider>);

impl Providers {
    /// `url`: by which browsers know this server.
    pub(super) fn new(all: &BTreeMap<String, Options>, url: &str, http: &Http) -> Providers {
        let provider = |(name, options): (&String, &Options)| {
            let redirect = format!("{}/v1/auth/oidc/{name}/callback", url.trim_end_matches('/'));
            (name.clone(), Provider::new(options.clone(), redirect, http.clone()))
        };
        Providers(all.iter().map(provider).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_https_or_on_this_machine() {
        for good in
            ["https://id.example", "https://id.example/realms/a/", "http://127.0.0.1:8000", "http://[::1]:8"]
        {
            assert_eq!(check_issuer(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "id.example",
            "http://id.example",
            "ftp://id.example",
            "https://id.example?a",
            "https://a.b/#c",
            "http://localhost.evil.example",
        ] {
            assert!(check_issuer(bad).is_err(), "{bad}");
        }
    }
}
