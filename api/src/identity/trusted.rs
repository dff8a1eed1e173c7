//! Bearer tokens of another issuer, such as a company's identity provider: JWTs (RFC 7519) that it has issued for this server,
//! held against its keys. Whoever has one needs no sign-in, and no account either (docs/decisions/019).
//!
//! Nothing in a token chooses how it is checked (RFC 8725): its issuer must be configured, its algorithm allowed, and its key one of
//! that issuer's that is for this algorithm. It must name this server as its audience. What it says of roles
//! counts only where the configuration makes roles of it.

mod verify;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;
use writ_model::decide::Actor;

use super::accounts as own_accounts;
use super::oidc::accounts;
use super::oidc::http::{self, Http};
use super::oidc::refreshed::{Away, Refreshed};
use crate::app::App;
use crate::caller::lasting::Lasting;
use crate::caller::{self, Caller, Via};
use crate::clock::now;
use crate::problem::{Kind, Problem};
use verify::{Algorithm, Error, Key};

/// Of the ids of those who have no account: UUIDv5 of `issuer subject` in this namespace. It must never change.
const NAMESPACE: Uuid = uuid::uuid!("5f3c1d6e-0b6a-4f0e-9c55-3d0c6a7f2b91");
/// How long it is remembered which account an identity is linked to.
const LINK_LIVES: Duration = Duration::from_secs(60);
/// Identities that are remembered.
const LINKS: usize = 10_000;
/// The widest leeway that may be configured, seconds.
const MAX_LEEWAY: u32 = 300;

/// One issuer: `identity.trusted.<name>` of the configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `iss` of its tokens, exactly.
    pub issuer: String,
    /// What its tokens for this server have in `aud`.
    pub audience: String,
    /// Where its keys are. Empty: where `/.well-known/openid-configuration` below the issuer says.
    pub jwks_url: String,
    /// What its tokens may be signed with: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA.
    pub algorithms: Vec<Algorithm>,
    /// Where a token has what becomes roles: a JSON pointer into its claims, `/realm_access/roles`. There is a list of texts, or
    /// one text of words. Empty: nowhere.
    pub roles_claim: String,
    /// Which of that is which role: `value=role`. Everything else there means nothing.
    pub roles: Vec<String>,
    /// By how much the issuer's clock may differ, seconds.
    pub leeway_seconds: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: String::new(),
            algorithms: vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
            roles_claim: String::new(),
            roles: Vec::new(),
            leeway_seconds: 30,
        }
    }
}

impl Options {
    /// What the types don't say: the key and the fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        super::oidc::check_issuer(&self.issuer).map_err(|fault| ("issuer", fault))?;
        let is_url = |text: &str| Url::parse(text).is_ok_and(|url| http::is_safe(&url));
        let is_pointer = self.roles_claim.is_empty() || self.roles_claim.starts_with('/');
        let faults = [
            (self.audience.is_empty(), "audience", "it is empty: any token of the issuer would do"),
            (!self.jwks_url.is_empty() && !is_url(&self.jwks_url), "jwks_url", "it is no https URL"),
            (self.algorithms.is_empty(), "algorithms", "the list is empty"),
            (!is_pointer, "roles_claim", "it is no JSON pointer such as `/groups`"),
            (self.roles.iter().any(|text| mapping(text).is_none()), "roles", "each is `value=role`"),
            (self.leeway_seconds > MAX_LEEWAY, "leeway_seconds", "five minutes are the most"),
        ];
        match faults.into_iter().find(|(is_there, ..)| *is_there) {
            Some((_, key, fault)) => Err((key, fault.to_owned())),
            None => Ok(()),
        }
    }
}

/// The value may have `=` in it; no role has.
fn mapping(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once('=').filter(|(value, role)| !value.is_empty() && !role.is_empty())
}

/// The trusted issuers.
#[derive(Debug)]
pub(crate) struct Issuers {
    all: Vec<Issuer>,
    links: Cache<Uuid, Known>,
}

#[derive(Debug)]
struct Issuer {
    options: Options,
    http: Http,
    keys: Refreshed<Vec<Key>>,
}

/// Who an identity is here.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// The linked account, and whether it is active and of the owner that linked it.
    account: Option<(Uuid, bool)>,
    /// What the directory had heard of the account.
    heard: Option<u64>,
    read_at: Instant,
}

/// The part of the metadata that counts here (OpenID Connect Discovery, section 3).
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Url,
}

/// No keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{url} can't be had")]
    Call { url: Url, source: http::Error },
    #[error("{url} answers with status {status}")]
    Status { url: Url, status: ::http::StatusCode },
    #[error("{url} isn't what it should be")]
    Document { url: Url, source: serde_json::Error },
    #[error("the metadata is of the issuer {found:?}")]
    OtherIssuer { found: String },
    #[error("no URL can be made of the issuer")]
    Url(#[source] url::ParseError),
}

impl Default for Issuers {
    fn default() -> Self {
        Issuers { all: Vec::new(), links: Cache::new(LINKS) }
    }
}

impl Issuers {
    pub(super) fn new(all: &BTreeMap<String, Options>, http: &Http) -> Issuers {
        let issuer = |options: &Options| Issuer {
            options: options.clone(),
            http: http.clone(),
            keys: Refreshed::default(),
        };
        Issuers { all: all.values().map(issuer).collect(), ..Issuers::default() }
    }

    /// Who sends a token, if it claims to be of one of the issuers. `None`: it doesn't.
    pub(crate) async fn caller(&self, app: &App, token: &str) -> Option<Result<Caller, Problem>> {
        if self.all.is_empty() {
            return None;
        }
        let claimed = verify::claimed_issuer(token)?;
        let issuer = self.all.iter().find(|issuer| issuer.options.issuer == claimed)?;
        Some(self.of_issuer(app, issuer, token).await)
    }

    async fn of_issuer(&self, app: &App, issuer: &Issuer, token: &str) -> Result<Caller, Problem> {
        let Issuer { options, keys, .. } = issuer;
        let fetch = || issuer.fetch();
        let known = keys.get(&options.issuer, fetch).await.map_err(|Away| {
            Kind::ProviderUnavailable
                .because("The keys of the token's issuer can't be had at the moment; try again.")
        })?;
        let mut verified = verify::verify(options, &known, token, now());
        if let Err(Error::UnknownKey { .. }) = verified
            && let Some(newer) = keys.newer(&known, &options.issuer, fetch).await
        {
            verified = verify::verify(options, &newer, token, now());
        }
        let claims = verified.map_err(|error| {
            tracing::debug!(%error, "a token of a trusted issuer isn't good");
            let detail = match error {
                Error::Expired { .. } => "The access token has expired; get another one from its issuer.",
                _ => "The access token isn't good.",
            };
            Kind::Unauthenticated.because(detail)
        })?;
        caller::check_directory(app)?;
        let id = self.id(app, &accounts::key(&options.issuer, &claims.subject)).await?;
        let values = claims.texts(&options.roles_claim);
        let mappings = options.roles.iter().filter_map(|text| mapping(text));
        let names: Vec<String> = mappings
            .filter(|(value, _)| values.iter().any(|given| given == value))
            .map(|(_, role)| role.to_owned())
            .collect();
        let directory = &app.identity().directory;
        let (roles, permissions) = directory.resolve(&names);
        let actor = Actor { id: Some(id), roles, permissions, scopes: None };
        let version = directory.changed(id).unwrap_or_default();
        let lasting = Lasting { version, roles: names, until: Some(claims.until) };
        Ok(Caller { actor, via: Via::Trusted, lasting: lasting.into() })
    }

    /// The linked account's id, or one that is derived from what the issuer says.
    async fn id(&self, app: &App, key: &str) -> Result<Uuid, Problem> {
        let directory = &app.identity().directory;
        let heard = |known: &Known| known.account.and_then(|(account, _)| directory.changed(account));
        let identity = accounts::id_of(app, key)?;
        let is_current = |known: &Known| known.heard == heard(known) && known.read_at.elapsed() < LINK_LIVES;
        let known = match self.links.get(&identity).filter(is_current) {
            Some(known) => known,
            None => {
                let known = read(app, identity).await?;
                self.links.insert(identity, known);
                known
            }
        };
        match known.account {
            None => Ok(Uuid::new_v5(&NAMESPACE, key.as_bytes())),
            Some((account, true)) => Ok(account),
            Some((_, false)) => Err(Kind::Unauthenticated.because("The account can't be used.")),
        }
    }
}

impl Issuer {
    /// Its keys.
    async fn fetch(&self) -> Result<Vec<Key>, FetchError> {
        let options = &self.options;
        let url = match options.jwks_url.as_str() {
            "" => {
                let text =
                    format!("{}/.well-known/openid-configuration", options.issuer.trim_end_matches('/'));
                let metadata: Metadata = self.document(&Url::parse(&text).map_err(FetchError::Url)?).await?;
                if metadata.issuer != options.issuer {
                    return Err(FetchError::OtherIssuer { found: metadata.issuer });
                }
                metadata.jwks_uri
            }
            text => Url::parse(text).map_err(FetchError::Url)?,
        };
        Ok(verify::keys(&self.document(&url).await?))
    }

    async fn document<T: serde::de::DeserializeOwned>(&self, url: &Url) -> Result<T, FetchError> {
        let url = || url.clone();
        let answer = self.http.get(&url()).await.map_err(|source| FetchError::Call { url: url(), source })?;
        if answer.status() != ::http::StatusCode::OK {
            return Err(FetchError::Status { url: url(), status: answer.status() });
        }
        serde_json::from_slice(answer.body()).map_err(|source| FetchError::Document { url: url(), source })
    }
}

async fn read(app: &App, identity: Uuid) -> Result<Known, Problem> {
    let Some(linked) = accounts::linked(app, identity).await? else {
        return Ok(Known { account: None, heard: None, read_at: Instant::now() });
    };
    let heard = app.identity().directory.changed(linked.account);
    let row = own_accounts::by_id(app, linked.account).await?;
    let stands = row.is_some_and(|row| linked.stands(&row));
    Ok(Known { account: Some((linked.account, stands)), heard, read_at: Instant::now() })
}
