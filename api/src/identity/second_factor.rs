//! The second factor (TOTP, RFC 6238) and its recovery codes. It counts from the moment a code of it was seen, so that nobody
//! locks themselves out with an app that didn't take the secret.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::CACHE_CONTROL;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use writ_identity::totp::{RecoveryCodes, TotpSecret, Used};

use super::passwords::{change, change_credentials, own_account, prove_again};
use super::sessions::Client;
use super::sign_in::wrong;
use crate::app::Shared;
use crate::body;
use crate::caller::Caller;
use crate::client_address::ClientAddress;
use crate::clock::now;
use crate::commands::Wait;
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};

/// Proof that the caller is the account's owner.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owner {
    /// Needed if the account has one.
    #[schemars(extend("format" = "password", "writeOnly" = true))]
    password: Option<String>,
    /// Of the second factor, if the account has one, or a recovery code.
    code: Option<String>,
}

/// `POST /v1/auth/totp`: a secret for the app. It doesn't count yet.
pub(crate) async fn offer(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Owner { password, code } = body::typed(&app, &headers, body).await?;
    let account = own_account(&app, &caller).await?;
    if account.has_second_factor() {
        return Err(Kind::GuardFailed.because("There is a second factor already. Take it away first."));
    }
    let account = prove_again(&app, account, password, code.as_deref(), &mut json!({})).await?;
    let secret = TotpSecret::generate();
    let issuer = app.identity().options.audience.clone();
    let uri = secret.uri(&issuer, account.email()).map_err(|error| {
        tracing::error!(%error, "no URI for a second factor can be made");
        Kind::Internal.because("identity.audience can't be the name of an issuer; the server's log says why.")
    })?;
    let input = json!({ "seen": account.credentials(), "totp": *secret.to_base32() });
    // The next request, with the first code, finds it.
    change(&app, &trace, account.id, "offer_totp", input, Wait::Projected).await?;
    let shown = Offer { secret: &secret.to_base32(), uri: &uri };
    Ok(([(CACHE_CONTROL, "no-store")], Json(shown)).into_response())
}

/// A code of the second factor.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Code {
    /// What the app shows now.
    code: String,
}

/// A secret for an authenticator app (RFC 6238). It isn't shown again.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Offer<'a> {
    /// In Base32.
    secret: &'a str,
    /// The same as `otpauth:` address, for a QR code.
    uri: &'a str,
}

/// `POST /v1/auth/totp/activate`: the app shows codes, so from now on one is asked for. The answer has the recovery codes, once.
pub(crate) async fn activate(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(trace): Extension<Trace>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let client = Client::of(&headers, address);
    let Code { code } = body::typed(&app, &headers, body).await?;
    let account = own_account(&app, &caller).await?;
    if account.has_second_factor() {
        return Err(Kind::GuardFailed.because("There is a second factor already."));
    }
    let secret = account.totp(&app)?.ok_or_else(wrong)?;
    let used = secret.verify(&code, Used::up_to(account.totp_step()), now()).map_err(|_| wrong())?;
    let (codes, stored) = RecoveryCodes::generate(account.id);
    let input = json!({ "totp_step": used, "recovery_codes": stored });
    let live = change_credentials(&app, &trace, &caller, &client, account, "activate_totp", input).await?;
    let codes: Vec<_> = codes.iter().map(|code| code.to_text().to_string()).collect();
    Ok(live.with_recovery_codes(codes).into_response(&app, caller.carrier()))
}

/// `POST /v1/auth/totp/remove`.
pub(crate) async fn remove(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(trace): Extension<Trace>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let client = Client::of(&headers, address);
    let Owner { password, code } = body::typed(&app, &headers, body).await?;
    let account = own_account(&app, &caller).await?;
    let mut input = json!({});
    let account = prove_again(&app, account, password, code.as_deref(), &mut input).await?;
    // All of them go with it.
    input.as_object_mut().map(|input| input.remove("recovery_codes"));
    let live = change_credentials(&app, &trace, &caller, &client, account, "remove_totp", input).await?;
    Ok(live.into_response(&app, caller.carrier()))
}
