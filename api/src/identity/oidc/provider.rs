//! A provider, and what it says of someone: its metadata and keys, the address to send a browser to, and the exchange of a
//! code for a verified identity (OpenID Connect Core, section 3.1).

use std::sync::Arc;

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
    CoreGrantType, CoreIdTokenVerifier, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm, CoreResponseMode, CoreResponseType,
    CoreSubjectIdentifierType, CoreTokenResponse, CoreUserInfoClaims,
};
use openidconnect::{
    AccessTokenHash, AdditionalProviderMetadata, AuthType, AuthorizationCode, ClaimsVerificationError,
    ClientId, ClientSecret, CsrfToken, DiscoveryError, EndpointMaybeSet, EndpointNotSet, EndpointSet,
    IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, ProviderMetadata,
    RedirectUrl, RequestTokenError, Scope, SignatureVerificationError, TokenResponse as _,
};
use serde::{Deserialize, Serialize};
use writ_model::Timestamp;

use super::Options;
use super::http::{self, Http, chain};
use super::refreshed::{Away, Refreshed};
use crate::clock::now;
use crate::problem::{Kind, Problem};

/// By how much a provider's clock may be ahead, seconds.
const LEEWAY: i64 = 60;
/// What an ID token may be signed with: never a shared secret (`HS…`), never nothing (`none`).
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What the metadata has beyond OpenID Connect Discovery.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct More {
    /// RFC 9207: the provider names itself in its answer.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

type Metadata = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A configured provider.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) options: Options,
    redirect: String,
    http: Http,
    metadata: Refreshed<Metadata>,
}

/// Where a browser is sent, and what ties its return to that.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) url: url::Url,
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
}

/// Who someone is, as the provider has said and proven.
#[derive(Debug, Clone)]
pub(super) struct Proven {
    pub(super) subject: String,
    pub(super) email: Option<String>,
    pub(super) email_verified: bool,
    pub(super) name: Option<String>,
}

/// No metadata.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("its metadata can't be had")]
    Discovery(#[source] Box<DiscoveryError<http::Error>>),
    #[error("the configured issuer isn't one")]
    Issuer(#[source] url::ParseError),
    #[error("its metadata is of the issuer {found:?}")]
    OtherIssuer { found: String },
}

impl Provider {
    pub(super) fn new(options: Options, redirect: String, http: Http) -> Provider {
        Provider { options, redirect, http, metadata: Refreshed::default() }
    }

    /// Metadata and keys.
    async fn fetch(&self) -> Result<Metadata, FetchError> {
        let issuer = IssuerUrl::new(self.options.issuer.clone()).map_err(FetchError::Issuer)?;
        let metadata = Metadata::discover_async(issuer, &self.http)
            .await
            .map_err(|error| FetchError::Discovery(Box::new(error)))?;
        // As text, not as what two texts may have in common as URLs.
        match metadata.issuer().as_str() == self.options.issuer {
            true => Ok(metadata),
            false => Err(FetchError::OtherIssuer { found: metadata.issuer().to_string() }),
        }
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, Problem> {
        self.metadata.get(&self.options.issuer, || self.fetch()).await.map_err(|Away| away())
    }

    fn client(&self, metadata: &Metadata) -> Result<Client, Problem> {
        let id = ClientId::new(self.options.client_id.clone());
        let secret = Some(self.options.client_secret.clone()).filter(|secret| !secret.is_empty());
        let redirect = RedirectUrl::new(self.redirect.clone()).map_err(|error| {
            tracing::error!(%error, "identity.url is no URL");
            Kind::Internal.because("The server doesn't know its own address; the server's log says more.")
        })?;
        let methods = metadata.token_endpoint_auth_methods_supported();
        let only_in_body = methods.is_some_and(|methods| {
            methods.contains(&CoreClientAuthMethod::ClientSecretPost)
                && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
        });
        let client = CoreClient::from_provider_metadata(metadata.clone(), id, secret.map(ClientSecret::new));
        let auth = if only_in_body { AuthType::RequestBody } else { AuthType::BasicAuth };
        Ok(client.set_redirect_uri(redirect).set_auth_type(auth))
    }

    /// The begin of a sign-in.
    pub(super) async fn depart(&self) -> Result<Departure, Problem> {
        let metadata = self.metadata().await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = self.client(&metadata)?;
        let random = || (CsrfToken::new_random_len(32), Nonce::new_random_len(32));
        let (state, nonce) = random();
        let scopes = self.options.scopes.iter().filter(|scope| *scope != "openid").cloned().map(Scope::new);
        let (url, state, nonce) = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || state, || nonce)
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .url();
        Ok(Departure {
            url,
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
        })
    }

    /// Whether an answer is this provider's (RFC 9207): one that says so must, and none may name another.
    pub(super) async fn check_issuer(&self, named: Option<&str>) -> Result<(), Problem> {
        let metadata = self.metadata().await?;
        let is_promised = metadata.additional_metadata().authorization_response_iss_parameter_supported;
        match named {
            Some(named) if named == self.options.issuer => Ok(()),
            None if !is_promised => Ok(()),
            _ => Err(refused("the answer is not of the provider that was asked")),
        }
    }

    /// Who it was, for the code of an answer.
    pub(super) async fn redeem(
        &self,
        code: &str,
        verifier: String,
        nonce: String,
    ) -> Result<Proven, Problem> {
        let mut metadata = self.metadata().await?;
        let client = self.client(&metadata)?;
        let tokens: CoreTokenResponse = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|error| faulty("token endpoint", &error))?
            .set_pkce_verifier(PkceCodeVerifier::new(verifier))
            .request_async(&self.http)
            .await
            .map_err(of_exchange)?;
        let nonce = Nonce::new(nonce);
        let mut verified = self.verify(&metadata, &tokens, &nonce);
        if let Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey)) =
            verified
            && let Some(newer) = self.metadata.newer(&metadata, &self.options.issuer, || self.fetch()).await
        {
            metadata = newer;
            verified = self.verify(&metadata, &tokens, &nonce);
        }
        let proven = verified.map_err(|error| {
            tracing::warn!(error = chain(&error), "an ID token isn't good");
            refused("the provider's answer isn't good")
        })?;
        let has_place = metadata.userinfo_endpoint().is_some();
        match proven.email {
            None if has_place => self.complete(&metadata, &tokens, proven).await,
            _ => Ok(proven),
        }
    }

    /// What the ID token says, if it is good: OpenID Connect Core, section 3.1.3.7.
    fn verify(
        &self,
        metadata: &Metadata,
        tokens: &CoreTokenResponse,
        nonce: &Nonce,
    ) -> Result<Proven, ClaimsVerificationError> {
        let other = |text: &str| ClaimsVerificationError::Other(text.to_owned());
        let id = ClientId::new(self.options.client_id.clone());
        let issuer = metadata.issuer().clone();
        let at = now();
        let verifier = CoreIdTokenVerifier::new_public_client(id.clone(), issuer, metadata.jwks().clone())
            .set_allowed_algs(ALGORITHMS)
            .set_issue_time_verifier_fn(|issued| match issued.timestamp() <= seconds(at) + LEEWAY {
                true => Ok(()),
                false => Err("issued in the future".to_owned()),
            });
        let token = tokens.id_token().ok_or_else(|| other("there is none"))?;
        let claims = token.claims(&verifier, nonce)?;
        // The library leaves `azp` to its user.
        if claims.authorized_party().is_some_and(|party| *party != id) {
            return Err(other("it is of another client (azp)"));
        }
        if let Some(expected) = claims.access_token_hash() {
            let algorithm = token.signing_alg().map_err(|error| other(&error.to_string()))?;
            let key = token.signing_key(&verifier).map_err(|error| other(&error.to_string()))?;
            let actual = AccessTokenHash::from_token(tokens.access_token(), algorithm, key)
                .map_err(|error| other(&error.to_string()))?;
            if actual != *expected {
                return Err(other("the access token is another one (at_hash)"));
            }
        }
        Ok(Proven {
            subject: claims.subject().to_string(),
            email: claims.email().map(|email| email.to_string()),
            email_verified: claims.email_verified().unwrap_or(false),
            name: claims.name().and_then(|name| name.get(None)).map(|name| name.to_string()),
        })
    }

    /// With what the provider keeps at its userinfo endpoint (section 5.4), of the same subject.
    async fn complete(
        &self,
        metadata: &Metadata,
        tokens: &CoreTokenResponse,
        proven: Proven,
    ) -> Result<Proven, Problem> {
        let client = self.client(metadata)?;
        let subject = openidconnect::SubjectIdentifier::new(proven.subject.clone());
        let request = client
            .user_info(tokens.access_token().clone(), Some(subject))
            .map_err(|error| faulty("userinfo endpoint", &error))?;
        let claims: CoreUserInfoClaims = request.request_async(&self.http).await.map_err(|error| {
            tracing::warn!(error = chain(&error), "a provider's userinfo endpoint can't be used");
            away()
        })?;
        Ok(Proven {
            email: claims.email().map(|email| email.to_string()),
            email_verified: claims.email_verified().unwrap_or(false),
            name: claims.name().and_then(|name| name.get(None)).map(|name| name.to_string()).or(proven.name),
            ..proven
        })
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}

/// Of the answers of a token endpoint, only the error's code may be repeated.
fn of_exchange<E>(error: RequestTokenError<http::Error, E>) -> Problem
where
    E: openidconnect::ErrorResponse + 'static,
{
    match error {
        RequestTokenError::Request(error) => {
            tracing::warn!(error = chain(&error), "a provider's token endpoint can't be asked");
            away()
        }
        RequestTokenError::ServerResponse(answer) => {
            tracing::warn!(error = %answer, "a provider gives no tokens for a code");
            refused("the provider gives nothing for this code; it was used, or is too old")
        }
        error => faulty("token endpoint", &error),
    }
}

/// What the provider does can't be understood.
fn faulty(part: &str, error: &dyn std::error::Error) -> Problem {
    tracing::warn!(error = %error, part, "a provider's answer can't be used");
    away()
}

pub(super) fn refused(why: &str) -> Problem {
    Kind::OidcRefused.because(format!("Nobody is signed in: {why}. Begin again."))
}

fn away() -> Problem {
    Kind::ProviderUnavailable.because("The identity provider can't be asked at the moment; try again.")
}
