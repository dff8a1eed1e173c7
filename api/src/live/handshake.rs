//! `GET /v1/live`: the opening handshake (RFC 6455, section 4.2).
//!
//! Who opens the socket is found out before anything else, by the same proofs as everywhere, or by a ticket. What a browser adds by
//! itself proves nothing of the page: a cookie, or that the server is open. There the page's `Origin` must be this server's own,
//! or a listed one, since the rules that keep pages from reading other sites' answers don't hold for sockets.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::open::Transport;
use super::socket::{self, Socket};
use super::tickets;
use crate::app::{App, Shared};
use crate::caller::{self, Caller, Via};
use crate::client_address::ClientAddress;
use crate::headers::SEC_FETCH_SITE;
use crate::middleware::Trace;
use crate::problem::{Kind, Problem};
use crate::{queries, rate_limit};

/// The protocol of the messages; a client has to name it.
pub(crate) const PROTOCOL: &str = "writ.v1";
/// The only version of the WebSocket protocol.
const VERSION: &str = "13";
/// Bytes of a `Sec-WebSocket-Key`.
const KEY: usize = 16;

/// Opens a socket.
pub(crate) async fn open(
    State(app): State<Shared>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    Extension(trace): Extension<Trace>,
    request: Request,
) -> Response {
    match accept(&app, address, trace, request).await {
        Ok(response) => response,
        Err(problem) => {
            let is_handshake = problem.kind == Kind::InvalidHeader;
            let mut response = problem.into_response();
            if is_handshake {
                // Section 4.4: so that a client with another version learns which one to use.
                response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
            }
            response
        }
    }
}

async fn accept(
    app: &Shared,
    address: IpAddr,
    trace: Trace,
    mut request: Request,
) -> Result<Response, Problem> {
    let (caller, is_ticket) = match ticket(request.uri().query())? {
        Some(ticket) => (tickets::redeem(app, &ticket).await?, true),
        None => (caller::of(app, &trace, request.method(), request.headers()).await?, false),
    };
    let buckets = caller.buckets();
    if !buckets.is_empty() {
        rate_limit::layer::charge(&app.api.limiter, request.extensions(), &buckets).await?;
    }
    let key = key(&request)?;
    if !is_ticket {
        check_origin(app, &caller, request.headers())?;
    }
    if app.cancel.is_cancelled() {
        return Err(Kind::ShuttingDown.because("The server stops; connect again, to any instance."));
    }
    let place = app.live.open.take(&caller, address, Transport::Socket)?;
    let upgrade = hyper::upgrade::on(&mut request);
    let opening = app.clone();
    // Its own end is its task's: it is told by the token of the app, and waited for by the tracker.
    app.live.tracker.spawn(async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!(%error, "a socket was not opened");
                return;
            }
        };
        let config = socket::config(&opening.options.live);
        let stream =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        let socket = Box::new(Socket::new(opening.clone(), stream, place, (caller, trace, address)));
        // A task of its own: this one's room, which is for opening it, is given back.
        opening.live.tracker.spawn(socket.run());
    });
    Ok(switching(&key))
}

/// The one parameter of the address.
fn ticket(query: Option<&str>) -> Result<Option<String>, Problem> {
    let mut ticket = None;
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "ticket" {
            let error = queries::unknown_parameter(&name, "this address takes only `ticket`");
            return Err(Problem::of_errors(Kind::InvalidQuery, vec![error]));
        }
        ticket = Some(value.into_owned());
    }
    Ok(ticket)
}

/// The client's key, if the request is a handshake that we can answer.
fn key(request: &Request) -> Result<String, Problem> {
    let headers = request.headers();
    let because = |detail: &str| Kind::InvalidHeader.because(detail);
    let is_websocket = tokens(headers, &UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"));
    let upgrades = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    if request.version() != Version::HTTP_11 || !is_websocket || !upgrades {
        return Err(because(
            "This address is for WebSockets, by HTTP/1.1: `Connection: Upgrade`, `Upgrade: websocket`. Event streams and long \
             polls are at /v1/live/{model}.",
        ));
    }
    if tokens(headers, &SEC_WEBSOCKET_VERSION).ne([VERSION]) {
        return Err(because("`Sec-WebSocket-Version` is 13."));
    }
    let mut keys = tokens(headers, &SEC_WEBSOCKET_KEY);
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(because("`Sec-WebSocket-Key` is needed, once."));
    };
    if STANDARD.decode(key).map_or(0, |key| key.len()) != KEY {
        return Err(because("`Sec-WebSocket-Key` is the base64 of 16 bytes."));
    }
    if !tokens(headers, &SEC_WEBSOCKET_PROTOCOL).any(|token| token == PROTOCOL) {
        return Err(because("`Sec-WebSocket-Protocol` has to name `writ.v1`."));
    }
    Ok(key.to_owned())
}

/// The members of a list of tokens. What is no text is none.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// Refuses pages of other sites where the proof is one that browsers add by themselves.
fn check_origin(app: &App, caller: &Caller, headers: &HeaderMap) -> Result<(), Problem> {
    let by_cookie = match caller.via {
        Via::Nobody => false,
        Via::Session { by_cookie: true, .. } => true,
        // The page has got it from somewhere, and sent it on purpose.
        Via::Session { .. } | Via::ApiKey { .. } | Via::Trusted => return Ok(()),
    };
    if app.options.cors.lists(headers) {
        return Ok(());
    }
    let is_allowed = match headers.get(ORIGIN) {
        Some(origin) => is_own(origin, headers, &app.identity().options.url),
        // No browser leaves it out.
        None => !by_cookie,
    };
    let cross_site = headers.get(&SEC_FETCH_SITE).is_some_and(|site| site == "cross-site");
    match is_allowed && !cross_site {
        true => Ok(()),
        false => Err(Kind::CrossSite
            .because("A page of another origin opened this socket, which http.cors.origins doesn't list.")),
    }
}

/// Whether a page has come from this server, by the name that it is called by now or by the configured one.
fn is_own(origin: &HeaderValue, headers: &HeaderMap, url: &str) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let configured = url::Url::parse(url).is_ok_and(|url| url.origin().ascii_serialization() == origin);
    let called = headers.get(HOST).and_then(|host| host.to_str().ok());
    let named = origin.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme));
    configured
        || called.is_some_and(|called| named.is_some_and(|(_, name)| name.eq_ignore_ascii_case(called)))
}

fn switching(key: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    let accept = derive_accept_key(key.as_bytes());
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(accept).expect("base64 is a header's value"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_pages_are_known_by_their_origin() {
        let own = |origin: &str, host: &str| {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_str(host).unwrap())]);
            is_own(&HeaderValue::from_str(origin).unwrap(), &headers, "https://writ.example:8443/")
        };
        for (origin, host) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("https://Writ.example", "writ.example"),
            ("https://writ.example:8443", "127.0.0.1:8080"),
        ] {
            assert!(own(origin, host), "{origin} at {host}");
        }
        for (origin, host) in [
            ("http://127.0.0.1:8081", "127.0.0.1:8080"),
            ("https://writ.example", "127.0.0.1:8080"),
            ("http://writ.example:8443", "127.0.0.1:8080"),
            ("null", "null"),
            ("ftp://writ.example", "writ.example"),
            ("https://evil.example", "writ.example"),
        ] {
            assert!(!own(origin, host), "{origin} at {host}");
        }
    }

    #[test]
    fn the_example_of_the_rfc() {
        let response = switching("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
