//! Sessions: begun by a sign-in, renewed by a refresh token, ended by their owner. What comes of a refresh token is decided by
//! the session's single writer (`identity/models/session.yaml`); here are only the tokens around it.

use std::net::IpAddr;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use writ_identity::access_token::{Grant, LIFETIME};
use writ_identity::models::SESSION;
use writ_identity::refresh_token::RefreshToken;
use writ_model::Value;

use super::accounts::{self, Account};
use super::cookies::{self, Cookie, WRIT_CSRF};
use super::rows;
use super::system::{self, Own};
use crate::app::{App, Shared};
use crate::body;
use crate::caller::Caller;
use crate::clock::now;
use crate::commands::Wait;
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};

/// The longest name of a client that is kept, in characters.
const MAX_CLIENT: usize = 300;

/// How the tokens go to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// In the body.
    Body,
    /// In cookies.
    Cookies,
}

/// A session that lives.
#[derive(Debug)]
pub(crate) struct Live {
    account: Account,
    access_token: String,
    refresh: RefreshToken,
    recovery_codes: Option<Vec<String>>,
}

/// Where a session is begun.
#[derive(Debug)]
pub(crate) struct Client {
    /// What it calls itself.
    name: Option<String>,
    address: IpAddr,
}

impl Client {
    pub(crate) fn of(headers: &HeaderMap, address: IpAddr) -> Client {
        let name = headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok());
        Client { name: name.map(|name| name.chars().take(MAX_CLIENT).collect()), address }
    }
}

/// What a client gets.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Tokens {
    account: Uuid,
    session: Uuid,
    /// Seconds for which the access token is good.
    expires_in: u64,
    #[serde(flatten)]
    carried: Carried,
    /// Once, after the second factor was activated: each is good for one sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_codes: Option<Vec<String>>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum Carried {
    Body { token_type: &'static str, access_token: String, refresh_token: String },
    Cookies { csrf: String },
}

/// Begins a session of an account that has just proven to be it.
pub(crate) async fn start(
    app: &App,
    trace: &Trace,
    account: Account,
    session: Uuid,
    by: &str,
    client: &Client,
) -> Result<Live, Problem> {
    let refresh = RefreshToken::first(session);
    let (limits, at) = (app.identity().options.limits(), now());
    let input = json!({
        "account": account.id,
        "credentials": account.credentials(),
        "by": by,
        "client": client.name,
        "address": client.address.to_string(),
        "family": refresh.family(),
        "token": refresh.own(),
        "idle_until": at.plus(limits.idle).to_string(),
        "expires_at": at.plus(limits.absolute).to_string(),
    });
    let own = Own {
        model: SESSION,
        aggregate: session,
        command: "start",
        input,
        account: Some(account.id),
        wait: Wait::Committed,
    };
    system::send(app, trace, own).await?;
    live(app, account, refresh)
}

fn live(app: &App, account: Account, refresh: RefreshToken) -> Result<Live, Problem> {
    let identity = app.identity();
    let grant = Grant {
        account: account.id,
        session: refresh.session(),
        version: account.version,
        roles: identity.directory.names(&account.roles()),
    };
    let (access_token, _) =
        identity.tokens.issue(&identity.keys.signing(), grant, now()).map_err(|error| {
            tracing::error!(%error, "no access token can be signed");
            Kind::Internal.because("No access token can be signed; the server's log says why.")
        })?;
    Ok(Live { account, access_token, refresh, recovery_codes: None })
}

impl Live {
    /// With these recovery codes in the answer.
    pub(crate) fn with_recovery_codes(self, codes: Vec<String>) -> Live {
        Live { recovery_codes: Some(codes), ..self }
    }

    /// The answer with its tokens.
    pub(crate) fn into_response(self, app: &App, carrier: Carrier) -> Response {
        let identity = app.identity();
        let session = self.refresh.session();
        let refresh_token = self.refresh.to_text();
        let mut headers = HeaderMap::new();
        let carried = match carrier {
            Carrier::Body => Carried::Body {
                token_type: "Bearer",
                access_token: self.access_token,
                refresh_token: refresh_token.to_string(),
            },
            Carrier::Cookies => {
                Cookie::Access.set(identity, &mut headers, &self.access_token, LIFETIME);
                Cookie::Refresh.set(
                    identity,
                    &mut headers,
                    &refresh_token,
                    identity.options.limits().absolute,
                );
                Carried::Cookies { csrf: cookies::csrf(&identity.keys.sealing(), session) }
            }
        };
        let (account, recovery_codes) = (self.account.id, self.recovery_codes);
        let tokens = Tokens { account, session, expires_in: LIFETIME.as_secs(), carried, recovery_codes };
        (headers, [(CACHE_CONTROL, "no-store")], Json(tokens)).into_response()
    }
}

/// The refresh token, unless a cookie has it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    refresh_token: Option<String>,
}

/// `POST /v1/auth/refresh`: the next tokens for a refresh token, from the body or the cookie.
pub(crate) async fn refresh(
    State(app): State<Shared>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Refresh { refresh_token } = body::typed(&app, &headers, body).await?;
    let (text, carrier) = match (&refresh_token, Cookie::Refresh.find(app.identity(), &headers)) {
        (Some(text), _) => (text.as_str(), Carrier::Body),
        // The page may have lost its token; that it can send the header at all tells it from a form of another site.
        (None, Some(text)) if headers.contains_key(&WRIT_CSRF) => (text, Carrier::Cookies),
        (None, Some(_)) => return Err(csrf_missing()),
        (None, None) => return Err(Kind::Unauthenticated.because("There is no refresh token. Sign in.")),
    };
    match renew(&app, &trace, text).await {
        Ok(live) => Ok(live.into_response(&app, carrier)),
        Err(problem) if carrier == Carrier::Cookies && problem.kind == Kind::Unauthenticated => {
            let mut response = problem.into_response();
            clear(&app, response.headers_mut());
            Ok(response)
        }
        Err(problem) => Err(problem),
    }
}

async fn renew(app: &App, trace: &Trace, text: &str) -> Result<Live, Problem> {
    let refused = || Kind::Unauthenticated.because("The refresh token isn't good, or not any more. Sign in.");
    let presented = RefreshToken::parse(text).map_err(|_| refused())?;
    let next = presented.next();
    let input = json!({
        "of_family": presented.family(),
        "presented": presented.own(),
        "next": next.own(),
        "idle_until": now().plus(app.identity().options.limits().idle).to_string(),
    });
    let own = Own {
        model: SESSION,
        aggregate: presented.session(),
        command: "refresh",
        input,
        account: None,
        wait: Wait::Committed,
    };
    let session = match system::send(app, trace, own).await {
        Ok(committed) => committed.state,
        Err(problem) if matches!(problem.kind, Kind::GuardFailed | Kind::NotFound) => return Err(refused()),
        Err(problem) => return Err(problem),
    };
    if !session["ended_at"].is_null() {
        tracing::warn!(
            writ.session.id = %presented.session(),
            "a used refresh token came again: the session has ended for everyone who has a token of it"
        );
        return Err(refused());
    }
    let id: Option<Uuid> = serde_json::from_value(session["account"].clone()).ok();
    let account = accounts::by_id(app, id.ok_or_else(refused)?).await?;
    let is_same = |account: &Account| account.is_active() && session["credentials"] == account.credentials();
    match account.filter(is_same) {
        Some(account) => live(app, account, next),
        None => {
            end(app, trace, presented.session(), None).await?;
            Err(refused())
        }
    }
}

/// The problem of a request by cookie that may come from anywhere.
pub(crate) fn csrf_missing() -> Problem {
    Kind::CsrfMissing
        .because("A command by cookie needs the header `Writ-Csrf`; `GET /v1/auth/me` has its value.")
}

/// Takes the cookies away.
fn clear(app: &App, headers: &mut HeaderMap) {
    for cookie in [Cookie::Access, Cookie::Refresh] {
        cookie.set(app.identity(), headers, "", std::time::Duration::ZERO);
    }
}

/// The account, for its owner in this session: none other, also if it was changed a moment ago and no instance has heard of it. The
/// session stands for the credentials that the account has in the very row that is returned, so whatever is made for that
/// row's `owner`, or decided by what `credentials` it has, is the owner's own.
pub(crate) async fn owner(app: &App, account: Uuid, session: Uuid) -> Result<Account, Problem> {
    let ended = || Kind::Unauthenticated.because("The session has ended meanwhile. Sign in.");
    let row = rows::awaited(app, SESSION, session, 1).await?.ok_or_else(ended)?;
    let is_open = matches!(row.fields.get("ended_at"), None | Some(Value::Null));
    let found = accounts::by_id(app, account).await?.filter(Account::is_active);
    let account = found.ok_or_else(|| Kind::Unauthenticated.because("The account is gone or disabled."))?;
    let stands = row.fields.get("credentials") == Some(&Value::Integer(account.credentials()));
    match is_open && stands {
        true => Ok(account),
        false => Err(ended()),
    }
}

/// Ends a session in its owner's name, or closes it in the server's. One that has ended stays as it is.
pub(crate) async fn end(app: &App, trace: &Trace, session: Uuid, owner: Option<Uuid>) -> Result<(), Problem> {
    let command = if owner.is_some() { "end" } else { "close" };
    let (input, wait) = (json!({}), Wait::Committed);
    let own = Own { model: SESSION, aggregate: session, command, input, account: owner, wait };
    match system::send(app, trace, own).await {
        Err(problem) if problem.kind != Kind::GuardFailed => Err(problem),
        _ => Ok(()),
    }
}

/// `POST /v1/auth/sign-out`: ends the session that sends it.
pub(crate) async fn sign_out(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(trace): Extension<Trace>,
) -> Result<Response, Problem> {
    let (account, session) = caller.session()?;
    end(&app, &trace, session, Some(account)).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    clear(&app, response.headers_mut());
    Ok(response)
}
