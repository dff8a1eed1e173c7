//! Whose account an identity is: the linked one, one that has its e-mail address, or a new one, as far as the configuration
//! lets it.
//!
//! An address counts only if the provider has verified it. And an account that has a password is found by its address only if
//! its owner has shown to read that: otherwise somebody could register with the address of another, wait for that person to come by a
//! provider, and share the account from then on.

use serde_json::json;
use uuid::Uuid;
use writ_identity::models::{ACCOUNT, OIDC_IDENTITY};
use writ_model::{Model, Value};

use super::Options;
use super::provider::Proven;
use crate::app::App;
use crate::commands::Wait;
use crate::identity::accounts::{self, Account};
use crate::identity::sign_in;
use crate::identity::system::{self, Own};
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};
use crate::queries;

/// The longest name that an account has, in characters.
const MAX_NAME: usize = 200;

/// The natural key of an identity. No issuer has a space in it, so no two identities have one text.
pub(in crate::identity) fn key(issuer: &str, subject: &str) -> String {
    format!("{issuer} {subject}")
}

/// The id of the identity.
pub(in crate::identity) fn id_of(app: &App, key: &str) -> Result<Uuid, Problem> {
    model(app)?.id_of_key(key).ok_or_else(|| {
        tracing::warn!("a provider's subject can't be part of a key");
        Kind::OidcRefused.because("The provider's name for you can't be used here.")
    })
}

fn model(app: &App) -> Result<&Model, Problem> {
    queries::model(&app.api.models, OIDC_IDENTITY)
}

/// Whose account an identity is.
#[derive(Debug, Clone, Copy)]
pub(in crate::identity) struct Linked {
    pub(in crate::identity) account: Uuid,
    /// What the account's `owner` was.
    owner: i64,
}

impl Linked {
    /// Whether whoever has the identity has the account: it signs in, and nobody else has become its owner since.
    pub(in crate::identity) fn stands(self, account: &Account) -> bool {
        account.is_active() && account.owner() == self.owner
    }
}

/// The account that an identity is linked to.
pub(in crate::identity) async fn linked(app: &App, identity: Uuid) -> Result<Option<Linked>, Problem> {
    let found = app.api.queries.whole(model(app)?, identity).await.map_err(queries::unavailable)?;
    Ok(found.and_then(|row| match row.fields.get("account") {
        Some(Value::Uuid(account)) => {
            Some(Linked { account: *account, owner: row.integer("owner").unwrap_or(0) })
        }
        _ => None,
    }))
}

/// The account that signs in.
pub(super) async fn of(
    app: &App,
    trace: &Trace,
    options: &Options,
    proven: &Proven,
) -> Result<Account, Problem> {
    check_domain(options, proven)?;
    let key = key(&options.issuer, &proven.subject);
    let identity = id_of(app, &key)?;
    if let Some(linked) = linked(app, identity).await? {
        return active(app, linked).await;
    }
    let account = match by_email(app, options, proven).await? {
        Some(account) => Linked { account: account.id, owner: account.owner() },
        None => {
            let account = create(app, trace, options, identity, proven).await?;
            Linked { account, owner: 0 }
        }
    };
    match link(app, trace, identity, &key, account).await {
        // The same person in another window.
        Err(problem) if problem.kind == Kind::AlreadyExists => {
            let linked = linked(app, identity).await?.ok_or(problem)?;
            active(app, linked).await
        }
        Err(problem) => Err(problem),
        Ok(()) => active(app, account).await,
    }
}

/// Links an identity to the account that asks for it.
pub(super) async fn link_to(
    app: &App,
    trace: &Trace,
    options: &Options,
    proven: &Proven,
    account: &Account,
) -> Result<(), Problem> {
    check_domain(options, proven)?;
    let key = key(&options.issuer, &proven.subject);
    let identity = id_of(app, &key)?;
    let to = Linked { account: account.id, owner: account.owner() };
    match link(app, trace, identity, &key, to).await {
        Err(problem) if problem.kind == Kind::AlreadyExists => match linked(app, identity).await? {
            Some(known) if known.account == account.id && known.stands(account) => Ok(()),
            Some(known) if known.account == account.id => Err(Kind::AlreadyExists
                .because("An earlier owner of the account has linked this identity. Unlink it first.")),
            _ => Err(Kind::AlreadyExists.because("This identity is linked to another account.")),
        },
        other => other,
    }
}

async fn active(app: &App, linked: Linked) -> Result<Account, Problem> {
    let found = accounts::by_id(app, linked.account).await?;
    found.filter(|account| linked.stands(account)).ok_or_else(sign_in::wrong)
}

fn check_domain(options: &Options, proven: &Proven) -> Result<(), Problem> {
    let domain = proven.email.as_deref().and_then(|email| email.rsplit_once('@')).map(|(_, domain)| domain);
    let is_allowed = |domain: &str| {
        options
            .allowed_domains
            .iter()
            .any(|allowed| allowed.trim_start_matches('@').eq_ignore_ascii_case(domain))
    };
    if options.allowed_domains.is_empty() || (proven.email_verified && domain.is_some_and(is_allowed)) {
        return Ok(());
    }
    Err(Kind::NoAccount
        .because("The provider has verified no e-mail address of a domain that may sign in here."))
}

/// The account with the verified address, if that is enough.
async fn by_email(app: &App, options: &Options, proven: &Proven) -> Result<Option<Account>, Problem> {
    let Some(email) = proven.email.as_deref().filter(|_| proven.email_verified) else {
        return Err(Kind::NoAccount.because(
            "No account is linked to this identity, and the provider has verified no e-mail address of it.",
        ));
    };
    let Some(account) = accounts::by_login(app, &accounts::login(email)).await? else { return Ok(None) };
    let is_its_owners = account.email_is_verified() || account.password(app)?.is_none();
    match options.link_by_email && is_its_owners {
        true if account.is_active() => Ok(Some(account)),
        true => Err(sign_in::wrong()),
        false => Err(Kind::NoAccount
            .because("An account has this e-mail address. Sign in to it, and link the provider from there.")),
    }
}

/// A new account. Its id comes from the identity: if the server ends before the two are linked, the next attempt goes on.
async fn create(
    app: &App,
    trace: &Trace,
    options: &Options,
    identity: Uuid,
    proven: &Proven,
) -> Result<Uuid, Problem> {
    if !options.create_accounts {
        return Err(Kind::NoAccount
            .because("No account belongs to this identity; accounts are made by an administrator here."));
    }
    let id = Uuid::new_v5(&identity, b"account");
    let email = proven.email.as_deref().unwrap_or_default();
    let name = proven.name.as_deref().map(|name| name.trim().chars().take(MAX_NAME).collect::<String>());
    let input = json!({
        "login": accounts::login(email),
        "email": email,
        "email_verified": true,
        "name": name.filter(|name| !name.is_empty()),
        "roles": [],
    });
    let wait = Wait::Projected;
    let own = Own { model: ACCOUNT, aggregate: id, command: "create", input, account: Some(id), wait };
    match system::send(app, trace, own).await {
        Err(problem) if problem.kind == Kind::AlreadyExists => Ok(id),
        Err(problem) if problem.kind == Kind::InvalidInput => {
            Err(Kind::NoAccount.because("The provider's e-mail address for you can't be used here."))
        }
        other => other.map(|_| id),
    }
}

async fn link(app: &App, trace: &Trace, identity: Uuid, key: &str, to: Linked) -> Result<(), Problem> {
    let Linked { account, owner } = to;
    let own = Own {
        model: OIDC_IDENTITY,
        aggregate: identity,
        command: "link",
        input: json!({ "subject": key, "account": account, "owner": owner }),
        account: Some(account),
        wait: Wait::Projected,
    };
    system::send(app, trace, own).await.map(|_| ())
}
