//! Signing in and up, and who one is: `/v1/auth/sign-in`, `/v1/auth/register`, `/v1/auth/me`.
//!
//! Whatever is wrong (the address, the password, the code, the account's status), the answer is one and takes as long: nobody
//! learns which accounts there are, except by registering where that is open.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use writ_identity::models::ACCOUNT;
use writ_identity::password::{HasherError, Password, PasswordHash, Policy, Verdict};
use writ_identity::totp::{RecoveryCode, Used};

use super::accounts::{self, Account};
use super::cookies;
use super::links;
use super::sessions::{self, Carrier, Client, Live};
use super::system::{self, Own};
use crate::app::{App, Shared};
use crate::body;
use crate::caller::{Caller, Via};
use crate::client_address::ClientAddress;
use crate::clock::now;
use crate::commands::Wait;
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};
use crate::rate_limit::{self, Bucket};

/// Who signs in, and by what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    email: String,
    /// The present one.
    #[schemars(extend("format" = "password", "writeOnly" = true))]
    password: String,
    /// Of the second factor, or a recovery code. Needed if the account has a second factor.
    code: Option<String>,
    /// The tokens go into cookies, which scripts of a page can't read, and not into the answer.
    #[serde(default)]
    cookies: bool,
}

/// `POST /v1/auth/sign-in`.
pub(crate) async fn sign_in(
    State(app): State<Shared>,
    Extension(trace): Extension<Trace>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let SignIn { email, password, code, cookies } = body::typed(&app, &parts.headers, body).await?;
    let login = accounts::login(&email);
    let buckets = [Bucket::sign_in_address(address), Bucket::sign_in_account(&login, address)];
    rate_limit::layer::charge(&app.api.limiter, &parts.extensions, &buckets).await?;
    let guard = &app.identity().guard;
    guard.check(&login, address).await.allowed()?;

    let client = Client::of(&parts.headers, address);
    let result = run(&app, &trace, &client, &login, Password::new(password), code.as_deref()).await;
    match &result {
        Ok(_) => guard.succeeded(&login, address).await,
        Err(problem) if problem.kind == Kind::SignInFailed => guard.failed(),
        // The password was right, or nobody has looked at it.
        Err(_) => guard.undecided(&login, address).await,
    }
    let label = match &result {
        Ok(_) => "signed_in",
        Err(problem) => problem.kind.slug(),
    };
    metrics::counter!(crate::metrics::SIGN_INS_TOTAL, "result" => label).increment(1);
    let carrier = if cookies { Carrier::Cookies } else { Carrier::Body };
    Ok(result?.into_response(&app, carrier))
}

async fn run(
    app: &App,
    trace: &Trace,
    client: &Client,
    login: &str,
    password: Password,
    code: Option<&str>,
) -> Result<Live, Problem> {
    let account = accounts::by_login(app, login).await?;
    let (account, rehashed) = prove(app, account, password).await?;
    let mut input = json!({ "by": "password", "seen": account.credentials() });
    if let Some(hash) = rehashed {
        input["password"] = hash.to_phc().into();
    }
    if account.has_second_factor() {
        let code = code.ok_or_else(|| {
            Kind::SecondFactorNeeded.because("Send `code` too: what the app shows now, or a recovery code.")
        })?;
        second_factor(app, &account, code, &mut input)?;
    }
    begin(app, trace, client, account, "password", input).await
}

/// Records the sign-in and begins the session. `input`: what the account's event has beside the session.
pub(crate) async fn begin(
    app: &App,
    trace: &Trace,
    client: &Client,
    account: Account,
    by: &str,
    input: serde_json::Value,
) -> Result<Live, Problem> {
    begin_as(app, trace, client, account, by, input, Uuid::now_v7()).await
}

/// The same with a session that may begin once.
pub(crate) async fn begin_as(
    app: &App,
    trace: &Trace,
    client: &Client,
    account: Account,
    by: &str,
    mut input: serde_json::Value,
    session: Uuid,
) -> Result<Live, Problem> {
    input["session"] = session.to_string().into();
    let own = Own {
        model: ACCOUNT,
        aggregate: account.id,
        command: "sign_in",
        input,
        account: Some(account.id),
        wait: Wait::Committed,
    };
    let refused = [Kind::GuardFailed, Kind::WrongState, Kind::NotFound];
    let committed = match system::send(app, trace, own).await {
        Err(problem) if refused.contains(&problem.kind) => return Err(wrong()),
        other => other?,
    };
    // A recovery code that was used has changed the credentials that the session stands for.
    let account = account.after(committed.version, &committed.state);
    sessions::start(app, trace, account, session, by, client).await
}

/// The account, if the password is its own, and the password's hash anew if that is due.
pub(crate) async fn prove(
    app: &App,
    account: Option<Account>,
    password: Password,
) -> Result<(Account, Option<PasswordHash>), Problem> {
    let hasher = &app.identity().hasher;
    let stored = match &account {
        Some(account) => account.password(app)?,
        None => None,
    };
    let verdict = hasher.verify(password.clone(), stored).await.map_err(of_hasher)?;
    match (account, verdict) {
        (Some(account), Verdict::Right { needs_rehash }) if account.is_active() => {
            let rehashed = match needs_rehash {
                true => Some(hasher.hash(password).await.map_err(of_hasher)?),
                false => None,
            };
            Ok((account, rehashed))
        }
        _ => Err(wrong()),
    }
}

/// Takes a code of the second factor, or a recovery code; what is to be recorded of it goes into `input`.
pub(crate) fn second_factor(
    app: &App,
    account: &Account,
    code: &str,
    input: &mut serde_json::Value,
) -> Result<(), Problem> {
    if let Some(recovery) = RecoveryCode::parse(code) {
        let left = account.recovery_codes()?.redeem(account.id, &recovery).ok_or_else(wrong)?;
        input["recovery_codes"] = json!(left);
        return Ok(());
    }
    let secret = account.totp(app)?.ok_or_else(wrong)?;
    let used = secret.verify(code, Used::up_to(account.totp_step()), now()).map_err(|_| wrong())?;
    input["totp_step"] = json!(used);
    Ok(())
}

/// The one answer to whatever was wrong.
pub(crate) fn wrong() -> Problem {
    Kind::SignInFailed
        .because("The e-mail address, the password or the code is wrong, or the account is disabled.")
}

/// The password's hash, if it may be one.
pub(crate) async fn hash(app: &App, pointer: &str, password: String) -> Result<PasswordHash, Problem> {
    let password = Password::new(password);
    Policy::default()
        .check(&password)
        .map_err(|unfit| Problem::at(Kind::InvalidInput, pointer, "unfit_password", format!("{unfit}.")))?;
    app.identity().hasher.hash(password).await.map_err(of_hasher)
}

fn of_hasher(error: HasherError) -> Problem {
    match error {
        HasherError::Busy => {
            Kind::Overloaded.because("Too many passwords wait to be checked; try again in a moment.")
        }
        error => {
            tracing::error!(%error, "a password can't be checked");
            Kind::Internal.because("The password can't be checked; the server's log says why.")
        }
    }
}

/// An account of one's own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Register {
    #[schemars(extend("format" = "email"))]
    email: String,
    #[schemars(length(min = 12), extend("format" = "password", "writeOnly" = true))]
    password: String,
    /// What others see.
    #[schemars(length(min = 1, max = 200))]
    name: Option<String>,
}

/// `POST /v1/auth/register`: an account for whoever asks, where the configuration lets them.
pub(crate) async fn register(
    State(app): State<Shared>,
    Extension(trace): Extension<Trace>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let Register { email, password, name } = body::typed(&app, &parts.headers, body).await?;
    if !app.identity().options.registration {
        return Err(Kind::Forbidden.because("Accounts are made by an administrator here."));
    }
    // An account is a hash to compute, and a mail to an address that may be anybody's.
    let buckets = [Bucket::sign_in_address(address)];
    rate_limit::layer::charge(&app.api.limiter, &parts.extensions, &buckets).await?;
    let hash = hash(&app, "/password", password).await?;
    let input = json!({
        "login": accounts::login(&email), "email": email, "name": name, "password": hash.to_phc(), "roles": [],
    });
    let id = Uuid::now_v7();
    let response = create(&app, &trace, id, None, input).await?;
    links::welcome(&app, &trace, id);
    Ok(response)
}

/// An account of somebody else.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    #[schemars(extend("format" = "email"))]
    email: String,
    /// What others see.
    #[schemars(length(min = 1, max = 200))]
    name: Option<String>,
    /// Without one the account signs in by a provider, or its owner sets one by a link.
    #[schemars(length(min = 12), extend("format" = "password", "writeOnly" = true))]
    password: Option<String>,
    /// Names or ids of roles: none that has more permissions than the caller.
    #[serde(default)]
    roles: Vec<String>,
}

/// `POST /v1/auth/accounts`: an account made by someone with the permission `account.create`.
pub(crate) async fn create_account(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.must_command(ACCOUNT, "create")?;
    let Create { email, name, password, roles } = body::typed(&app, &headers, body).await?;
    super::grants::check_roles(&app, &caller, "/roles", &roles)?;
    let password = match password {
        Some(password) => Some(hash(&app, "/password", password).await?.to_phc()),
        None => None,
    };
    let input = json!({
        "login": accounts::login(&email), "email": email, "name": name, "password": password, "roles": roles,
    });
    create(&app, &trace, Uuid::now_v7(), caller.actor.id, input).await
}

/// A new account.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Created {
    id: Uuid,
    version: u64,
}

async fn create(
    app: &App,
    trace: &Trace,
    id: Uuid,
    by: Option<Uuid>,
    input: serde_json::Value,
) -> Result<Response, Problem> {
    // The account can sign in as soon as this is answered.
    let wait = Wait::Projected;
    let own = Own { model: ACCOUNT, aggregate: id, command: "create", input, account: by.or(Some(id)), wait };
    match system::send(app, trace, own).await {
        Err(problem) if problem.kind == Kind::NotUnique => {
            Err(Problem::at(Kind::NotUnique, "/email", "taken", "another account has this address"))
        }
        // The address as it was sent says more than what was made of it.
        Err(problem) if problem.kind == Kind::InvalidInput => Err(problem.without("/login")),
        other => {
            let committed = other?;
            let headers = [(http::header::LOCATION, format!("/v1/{ACCOUNT}/{id}"))];
            let created = Created { id, version: committed.version };
            Ok((StatusCode::CREATED, headers, Json(created)).into_response())
        }
    }
}

/// Who the caller is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Me {
    /// Null: nobody has signed in.
    account: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    second_factor: Option<bool>,
    roles: Vec<String>,
    permissions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    /// For commands by cookie: the header `Writ-Csrf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf: Option<String>,
}

/// `GET /v1/auth/me`: who the caller is for the server.
pub(crate) async fn me(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let account = match caller.actor.id {
        Some(id) => accounts::by_id(&app, id).await?,
        None => None,
    };
    let texts =
        |permissions: &writ_model::access::Permissions| permissions.iter().map(ToString::to_string).collect();
    let (session, api_key, csrf) = match caller.via {
        Via::Session { session, by_cookie } => {
            let csrf = by_cookie.then(|| cookies::csrf(&app.identity().keys.sealing(), session));
            (Some(session), None, csrf)
        }
        Via::ApiKey { key } => (None, Some(key), None),
        Via::Nobody | Via::Trusted => (None, None, None),
    };
    let me = Me {
        account: caller.actor.id,
        session,
        api_key,
        email: account.as_ref().map(|account| account.email().to_owned()),
        email_verified: account.as_ref().map(Account::email_is_verified),
        name: account.as_ref().and_then(|account| account.name().map(str::to_owned)),
        second_factor: account.as_ref().map(Account::has_second_factor),
        roles: caller.actor.roles,
        permissions: texts(&caller.actor.permissions),
        scopes: caller.actor.scopes.as_ref().map(texts),
        csrf,
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(me)).into_response())
}
