//! Passwords and addresses of one's own: changing a password, and what follows from a link that was sent by mail. Who changes
//! a password keeps the session that did it, in a new form; all others end, because the credentials they stand for are gone.

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_identity::models::ACCOUNT;
use writ_identity::password::Password;
use writ_identity::proof::Proof;
use writ_producers::envelope::Committed;

use super::accounts::Account;
use super::sessions::{self, Client};
use super::sign_in::{hash, prove, second_factor};
use super::system::{self, Own};
use crate::app::{App, Shared};
use crate::body;
use crate::caller::Caller;
use crate::client_address::ClientAddress;
use crate::commands::Wait;
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};

/// Sends a command about the caller's own account.
pub(crate) async fn change(
    app: &App,
    trace: &Trace,
    account: Uuid,
    command: &'static str,
    input: Json,
    wait: Wait,
) -> Result<Committed, Problem> {
    let own = Own { model: ACCOUNT, aggregate: account, command, input, account: Some(account), wait };
    system::send(app, trace, own).await
}

/// The caller's account, for what only its owner does, in a session.
pub(crate) async fn own_account(app: &App, caller: &Caller) -> Result<Account, Problem> {
    let (account, session) = caller.session()?;
    sessions::owner(app, account, session).await
}

/// Proves once more that the caller is the account's owner, as far as the account lets that be proven. `input` gets what is
/// used up by it, which is to be recorded with the command that needed the proof.
pub(crate) async fn prove_again(
    app: &App,
    account: Account,
    password: Option<String>,
    code: Option<&str>,
    input: &mut Json,
) -> Result<Account, Problem> {
    if account.has_second_factor() {
        let code = code.ok_or_else(|| Kind::SecondFactorNeeded.because("Send `code` too."))?;
        second_factor(app, &account, code, input)?;
    }
    match account.password(app)? {
        Some(_) => Ok(prove(app, Some(account), Password::new(password.unwrap_or_default())).await?.0),
        // Signed in by a provider.
        None => Ok(account),
    }
}

/// Changes how the account signs in by this command. The session that does it goes on in a new one; all others end, because
/// the credentials that they stand for are gone.
pub(crate) async fn change_credentials(
    app: &App,
    trace: &Trace,
    caller: &Caller,
    client: &Client,
    account: Account,
    command: &'static str,
    mut input: Json,
) -> Result<sessions::Live, Problem> {
    input["seen"] = account.credentials().into();
    let committed = change(app, trace, account.id, command, input, Wait::Committed).await?;
    let account = account.after(committed.version, &committed.state);
    let (_, before) = caller.session()?;
    sessions::end(app, trace, before, None).await?;
    sessions::start(app, trace, account, Uuid::now_v7(), "password", client).await
}

/// A new password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    /// The present one; of an account that has none it may be left out.
    #[schemars(extend("format" = "password", "writeOnly" = true))]
    current: Option<String>,
    #[schemars(length(min = 12), extend("format" = "password", "writeOnly" = true))]
    password: String,
    /// Of the second factor, if the account has one, or a recovery code.
    code: Option<String>,
}

/// `POST /v1/auth/password`.
pub(crate) async fn change_password(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(trace): Extension<Trace>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let client = Client::of(&headers, address);
    let ChangePassword { current, password, code } = body::typed(&app, &headers, body).await?;
    let account = own_account(&app, &caller).await?;
    let mut input = json!({});
    let account = prove_again(&app, account, current, code.as_deref(), &mut input).await?;
    input["password"] = hash(&app, "/password", password).await?.to_phc().into();
    let live = change_credentials(&app, &trace, &caller, &client, account, "change_password", input).await?;
    Ok(live.into_response(&app, caller.carrier()))
}

/// A new password for who has the link.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reset {
    /// The last part of the link.
    token: String,
    #[schemars(length(min = 12), extend("format" = "password", "writeOnly" = true))]
    password: String,
}

/// `POST /v1/auth/password/reset`: a new password for who has the link.
pub(crate) async fn reset_password(
    State(app): State<Shared>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Reset { token, password } = body::typed(&app, &headers, body).await?;
    let proof = Proof::parse(&token).map_err(|_| unusable_link())?;
    let input =
        json!({ "token": proof.hash(), "password": hash(&app, "/password", password).await?.to_phc() });
    follow(&app, &trace, &proof, "reset_password", input).await
}

/// What a link in a mail has.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verify {
    /// The last part of the link.
    token: String,
}

/// `POST /v1/auth/email/verify`: the address is its owner's, who has the link.
pub(crate) async fn verify_email(
    State(app): State<Shared>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Verify { token } = body::typed(&app, &headers, body).await?;
    let proof = Proof::parse(&token).map_err(|_| unusable_link())?;
    follow(&app, &trace, &proof, "verify_email", json!({ "token": proof.hash() })).await
}

async fn follow(
    app: &App,
    trace: &Trace,
    proof: &Proof,
    command: &'static str,
    input: Json,
) -> Result<Response, Problem> {
    let account = proof.account();
    // Whoever is told that it is done signs in with it at once.
    let wait = Wait::Projected;
    let own = Own { model: ACCOUNT, aggregate: account, command, input, account: Some(account), wait };
    match system::send(app, trace, own).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(problem) if matches!(problem.kind, Kind::GuardFailed | Kind::NotFound | Kind::WrongState) => {
            Err(unusable_link())
        }
        Err(problem) => Err(problem),
    }
}

fn unusable_link() -> Problem {
    Kind::GuardFailed.because("The link is used up or too old; ask for a new one.")
}
