//! The two visits of a browser: it is sent to the provider, and it comes back. Tokens go into cookies, since a page is all
//! that is there to take them.

use ::http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use ::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use openidconnect::CsrfToken;
use url::Url;
use uuid::Uuid;
use writ_model::FieldError;

use super::accounts;
use super::pending::{self, LIVES, Link, Pending};
use super::provider::{Departure, Provider, refused};
use crate::app::{App, Shared};
use crate::caller;
use crate::client_address::ClientAddress;
use crate::clock::now;
use crate::headers::SEC_FETCH_SITE;
use crate::identity::sessions::{self, Carrier, Client};
use crate::identity::sign_in;
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};
use crate::queries;
use crate::rate_limit::{self, Bucket};

/// Longest address within this server to go to in the end, in bytes: browsers drop cookies of more than 4096.
const MAX_PATH: usize = 1000;

type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// `GET /v1/auth/oidc/{name}`: sends the browser to the provider.
pub(crate) async fn begin(
    State(app): State<Shared>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
    query: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(name) = path.map_err(queries::invalid_path)?;
    let provider = provider(&app, &name)?;
    let mut path = "/".to_owned();
    let mut links = false;
    for (parameter, value) in queries::parameters(query)? {
        match (parameter.as_str(), value.as_str()) {
            ("return", value) => path = local_path(value).ok_or_else(not_local)?,
            ("link", "true") => links = true,
            ("link", "false") => {}
            ("link", _) => {
                return Err(Problem::at(
                    Kind::InvalidQuery,
                    "/link",
                    "invalid_value",
                    "`link` is true or false.",
                ));
            }
            (other, _) => {
                let fault = queries::unknown_parameter(other, "there are `return` and `link`");
                return Err(Problem::of_errors(Kind::InvalidQuery, vec![fault]));
            }
        }
    }
    let link = if links { Some(who_links(&app, &trace, &headers).await?) } else { None };
    let Departure { url, state, nonce, verifier } = provider.depart().await?;
    let until = now().0 + i64::try_from(LIVES.as_millis()).unwrap_or(0);
    let pending = Pending { session: Uuid::now_v7(), state, nonce, verifier, path, link, until };
    let mut response = see_other(url.as_str())?;
    pending.set(app.identity(), response.headers_mut(), &name);
    Ok(response)
}

/// Whose account is to be linked.
async fn who_links(app: &App, trace: &Trace, headers: &HeaderMap) -> Result<Link, Problem> {
    // Cookies are `Strict`, but sites of one domain are one to them.
    let from = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    if from.is_some_and(|from| from != b"same-origin" && from != b"none") {
        return Err(Kind::CrossSite.because("Only a page of this server may ask for a link."));
    }
    let (account, session) = caller::of(app, trace, &Method::GET, headers).await?.session()?;
    Ok(Link { account, session })
}

/// What the provider has the browser bring.
#[derive(Debug, Default)]
struct Brought {
    code: Option<String>,
    state: Option<String>,
    issuer: Option<String>,
    error: Option<String>,
}

impl Brought {
    /// One of each; what else there is, is to be ignored (RFC 6749, section 4.1.2).
    fn of(parameters: Vec<(String, String)>) -> Result<Brought, Problem> {
        let mut brought = Brought::default();
        for (name, value) in parameters {
            let place = match name.as_str() {
                "code" => &mut brought.code,
                "state" => &mut brought.state,
                "iss" => &mut brought.issuer,
                "error" => &mut brought.error,
                _ => continue,
            };
            if place.replace(value).is_some() {
                let detail = format!("There is more than one `{name}`.");
                let pointer = format!("/{name}");
                let fault = FieldError { pointer, code: "repeated".into(), detail };
                return Err(Problem::of_errors(Kind::InvalidQuery, vec![fault]));
            }
        }
        Ok(brought)
    }
}

/// `GET /v1/auth/oidc/{name}/callback`: the browser comes back.
pub(crate) async fn callback(
    State(app): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    query: Parameters,
    Extension(trace): Extension<Trace>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    request: Request,
) -> Result<Response, Problem> {
    let Path(name) = path.map_err(queries::invalid_path)?;
    let provider = provider(&app, &name)?;
    let bucket = [Bucket::sign_in_address(address)];
    rate_limit::layer::charge(&app.api.limiter, request.extensions(), &bucket).await?;
    let client = Client::of(request.headers(), address);
    let finished = finish(&app, &trace, provider, &name, query, request.headers(), &client).await;
    let label = match &finished {
        Ok(_) => "signed_in",
        Err(problem) => problem.kind.slug(),
    };
    metrics::counter!(crate::metrics::SIGN_INS_TOTAL, "result" => label).increment(1);
    let is_over = finished.as_ref().map_or_else(|problem| !problem.kind.status().is_server_error(), |_| true);
    let mut response = finished.unwrap_or_else(IntoResponse::into_response);
    // While the provider is away, loading the page again goes on.
    if is_over {
        pending::clear(app.identity(), response.headers_mut());
    }
    Ok(response)
}

async fn finish(
    app: &App,
    trace: &Trace,
    provider: &Provider,
    name: &str,
    query: Parameters,
    headers: &HeaderMap,
    client: &Client,
) -> Result<Response, Problem> {
    let Brought { code, state, issuer, error } = Brought::of(queries::parameters(query)?)?;
    let pending = Pending::find(app.identity(), headers, name, now())
        .ok_or_else(|| refused("it was begun in another browser, or too long ago"))?;
    // Equal in constant time: the library compares hashes.
    if state.map(CsrfToken::new) != Some(CsrfToken::new(pending.state.clone())) {
        return Err(refused("the answer is to another request"));
    }
    provider.check_issuer(issuer.as_deref()).await?;
    if let Some(error) = error {
        let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
        let shown =
            if error.len() <= 60 && error.chars().all(is_plain) { error.as_str() } else { "an error" };
        return Err(refused(&format!("the provider says `{shown}`")));
    }
    let code = code.ok_or_else(|| refused("the answer has no code"))?;
    let proven = provider.redeem(&code, pending.verifier, pending.nonce).await?;
    let mut response = see_other(&pending.path)?;
    if let Some(Link { account, session }) = pending.link {
        let account = sessions::owner(app, account, session).await?;
        accounts::link_to(app, trace, &provider.options, &proven, &account).await?;
        return Ok(response);
    }
    let account = accounts::of(app, trace, &provider.options, &proven).await?;
    let input = serde_json::json!({ "by": "oidc", "seen": account.credentials() });
    let live = sign_in::begin_as(app, trace, client, account, "oidc", input, pending.session).await;
    let live = live.map_err(|problem| match problem.kind {
        Kind::AlreadyExists => refused("this answer was used already"),
        _ => problem,
    })?;
    let carried = live.into_response(app, Carrier::Cookies);
    for cookie in carried.headers().get_all(SET_COOKIE) {
        response.headers_mut().append(SET_COOKIE, cookie.clone());
    }
    Ok(response)
}

fn provider<'a>(app: &'a App, name: &str) -> Result<&'a Provider, Problem> {
    let found = app.identity().oidc.0.get(name);
    found.ok_or_else(|| Kind::UnknownRoute.because("No identity provider of this name is configured."))
}

fn see_other(to: &str) -> Result<Response, Problem> {
    let location = HeaderValue::try_from(to).map_err(|_| not_local())?;
    let headers = [(LOCATION, location), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

fn not_local() -> Problem {
    let detail = "`return` is an address within this server: it begins with one `/`.";
    Problem::at(Kind::InvalidQuery, "/return", "invalid_value", detail)
}

/// The same as browsers understand it, if that is on the server that they are on. `//host`, `/\host` and what becomes one of
/// them when it is read (`/./ /host` and the like) are not.
fn local_path(text: &str) -> Option<String> {
    let base = Url::parse("http://writ.invalid").ok()?;
    if !text.starts_with('/') || text.contains(|c: char| c.is_control() || c == '\\') {
        return None;
    }
    let url = base.join(text).ok().filter(|url| url.origin() == base.origin())?;
    let path = &url[url::Position::BeforePath..];
    (!path.starts_with("//") && path.len() <= MAX_PATH).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_ends_on_the_server_that_it_came_from() {
        for (text, path) in [
            ("/", "/"),
            ("/app/orders?sort=-total#last", "/app/orders?sort=-total#last"),
            ("/a/../b", "/b"),
            ("/a b/ü", "/a%20b/%C3%BC"),
            ("/x//y", "/x//y"),
            ("/?next=https://evil.example", "/?next=https://evil.example"),
        ] {
            assert_eq!(local_path(text).as_deref(), Some(path), "{text}");
        }
        for evil in [
            "",
            "app",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/.//evil.example",
            "/a/..//evil.example",
            "/%2e//evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            " //evil.example",
            "@evil.example",
        ] {
            assert_eq!(local_path(evil), None, "{evil:?}");
        }
        assert_eq!(local_path(&format!("/{}", "ü".repeat(MAX_PATH / 5))), None, "as it is encoded");
    }

    #[test]
    fn an_answer_has_one_of_each() {
        let pair = |name: &str| (name.to_owned(), "x".to_owned());
        assert_eq!(
            Brought::of(vec![pair("code"), pair("session_state")]).unwrap().code.as_deref(),
            Some("x")
        );
        for name in ["code", "state", "iss", "error"] {
            assert!(Brought::of(vec![pair(name), pair(name)]).is_err(), "{name}");
        }
    }
}
