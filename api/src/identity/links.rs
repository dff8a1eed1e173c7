//! Links by mail: for a new password, and to confirm an address. What they lead to is in `passwords`.
//!
//! Who asks for a new password learns nothing of the accounts: everything that depends on one is done behind the answer, which
//! is the same for all. An account gets one mail a minute, whoever asks, and only its newest link is good.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;
use writ_identity::proof::{Proof, Purpose};
use writ_model::Timestamp;

use super::accounts::{self, Account};
use super::passwords::{change, own_account};
use crate::app::{App, Shared};
use crate::body;
use crate::caller::Caller;
use crate::client_address::ClientAddress;
use crate::clock::now;
use crate::commands::Wait;
use crate::mail::Mailer;
use crate::metrics::MAILS_TOTAL;
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};
use crate::rate_limit::{self, Bucket};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forgot {
    email: String,
}

/// `POST /v1/auth/password/forgot`: a link to the account with this address, if there is one.
pub(crate) async fn forgot_password(
    State(app): State<Shared>,
    Extension(trace): Extension<Trace>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let Forgot { email } = body::typed(&app, &parts.headers, body).await?;
    mailer(&app)?;
    let login = accounts::login(&email);
    let buckets = [Bucket::sign_in_address(address), Bucket::sign_in_account(&login, address)];
    rate_limit::layer::charge(&app.api.limiter, &parts.extensions, &buckets).await?;
    post(&app, trace, Errand { to: To::Login(login), purpose: Purpose::Password, is_charged: false })?;
    Ok(accepted())
}

/// `POST /v1/auth/email/send`: a link that confirms one's own address, unless it is confirmed.
pub(crate) async fn send_verification(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(trace): Extension<Trace>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    request: Request,
) -> Result<Response, Problem> {
    let account = own_account(&app, &caller).await?;
    mailer(&app)?;
    if !account.email_is_verified() {
        let login = accounts::login(account.email());
        let buckets = [
            Bucket::sign_in_address(address),
            Bucket::sign_in_account(&login, address),
            Bucket::mail(&account.id.to_string()),
        ];
        rate_limit::layer::charge(&app.api.limiter, request.extensions(), &buckets).await?;
        post(&app, trace, Errand { to: To::Account(account.id), purpose: Purpose::Email, is_charged: true })?;
    }
    Ok(accepted())
}

/// Sends a new account the link that confirms its address, where mails are sent.
pub(crate) fn welcome(app: &Shared, trace: &Trace, account: Uuid) {
    if app.api.mailer.is_none() {
        return;
    }
    let errand = Errand { to: To::Account(account), purpose: Purpose::Email, is_charged: false };
    if post(app, trace.clone(), errand).is_err() {
        // The account is there; its owner asks for another link.
        tracing::warn!(writ.aggregate.id = %account, "a new account got no mail, for too many wait to be sent");
    }
}

/// The one answer, whoever there is.
fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(json!({}))).into_response()
}

fn mailer(app: &App) -> Result<&Mailer, Problem> {
    app.api.mailer.as_ref().ok_or_else(|| {
        Kind::MailUnavailable
            .because("No mail server is configured here; ask an administrator for a new password.")
    })
}

/// A link to be sent.
#[derive(Debug)]
struct Errand {
    to: To,
    purpose: Purpose,
    /// The account's mail of this minute is this one.
    is_charged: bool,
}

#[derive(Debug)]
enum To {
    /// Perhaps nobody's.
    Login(String),
    Account(Uuid),
}

fn post(app: &Shared, trace: Trace, errand: Errand) -> Result<(), Problem> {
    let shared = app.clone();
    app.outbox.post(async move {
        let Some(mailer) = &shared.api.mailer else { return };
        run(&shared, mailer, &trace, errand).await;
    })
}

async fn run(app: &App, mailer: &Mailer, trace: &Trace, errand: Errand) {
    let look_up = || async {
        match &errand.to {
            To::Login(login) => accounts::by_login(app, login).await,
            To::Account(id) => accounts::by_id(app, *id).await,
        }
    };
    let account = match app.outbox.patiently(is_final, look_up).await {
        Ok(Some(account)) if account.is_active() => account,
        Ok(_) => return,
        Err(problem) => {
            tracing::error!(
                error = problem.detail,
                mail.purpose = errand.purpose.name(),
                "no account can be looked up to send it a mail"
            );
            return count("failed");
        }
    };
    if !errand.is_charged {
        let verdict = app.api.limiter.take(&[Bucket::mail(&account.id.to_string())]).await;
        if verdict.refused().is_some() {
            return count("held");
        }
    }
    match send(app, mailer, trace, &account, errand.purpose).await {
        Ok(()) => {
            tracing::info!(writ.aggregate.id = %account.id, mail.purpose = errand.purpose.name(), "a mail with a link was sent");
            count("sent");
        }
        Err(error) => {
            tracing::error!(writ.aggregate.id = %account.id, mail.purpose = errand.purpose.name(), error, "a mail with a link can't be sent");
            count("failed");
        }
    }
}

/// Stores what the link proves, then sends the link. The error names neither the address nor the token.
async fn send(
    app: &App,
    mailer: &Mailer,
    trace: &Trace,
    account: &Account,
    purpose: Purpose,
) -> Result<(), String> {
    let proof = Proof::generate(account.id);
    let store = || {
        let lifetime = i64::try_from(mailer.lifetime(purpose).as_millis()).unwrap_or(i64::MAX);
        let until = Timestamp(now().0.saturating_add(lifetime));
        let input =
            json!({ "proof": proof.hash(), "proof_until": until.to_string(), "proof_for": purpose.name() });
        change(app, trace, account.id, "send_proof", input, Wait::Committed)
    };
    app.outbox.patiently(is_final, store).await.map_err(|problem| problem.detail)?;
    let attempt = || async {
        let sent = mailer.send(account.email(), purpose, &proof).await;
        if let Err(error) = &sent {
            tracing::warn!(writ.aggregate.id = %account.id, %error, "an attempt to send a mail failed");
        }
        sent
    };
    app.outbox.patiently(|unsent| unsent.is_final(), attempt).await.map_err(|unsent| unsent.to_string())
}

/// Whether another attempt would be in vain.
fn is_final(problem: &Problem) -> bool {
    !problem.kind.status().is_server_error()
}

fn count(result: &'static str) {
    metrics::counter!(MAILS_TOTAL, "result" => result).increment(1);
}
