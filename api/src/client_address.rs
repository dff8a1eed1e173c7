//! Where a request comes from: the other end of its connection, or, behind a proxy that is trusted, what that proxy says.

use std::net::{IpAddr, SocketAddr};

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::app::Shared;
use crate::headers::X_FORWARDED_FOR;

/// The other end of a connection, as the server sees it. Every request carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its address and port.
    pub(crate) address: SocketAddr,
}

/// Where a request comes from. Every request under `/v1` has it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// Finds out where the request comes from.
pub(crate) async fn identify(
    State(app): State<Shared>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let options = &app.options;
    let address =
        client_address(peer.address, request.headers(), &options.trusted_proxies, options.forwarded_by);
    request.extensions_mut().insert(ClientAddress(address));
    next.run(request).await
}

/// The header in which trusted proxies name the client. Only one is read: a proxy sets one and passes the other on
/// as the client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedBy {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The network that counts as one client: an IPv4 address, a /64 of IPv6.
pub(crate) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// The client's address: that of the peer, or, if the peer is one of `trusted`, the last address in the header that is none of
/// theirs. Each proxy appends the address that it was called from, so everything before that may be made up.
pub(crate) fn client_address(
    peer: SocketAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
    forwarded_by: ForwardedBy,
) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.ip().to_canonical();
    if !is_trusted(&client) {
        return client;
    }
    let name = match forwarded_by {
        ForwardedBy::XForwardedFor => X_FORWARDED_FOR,
        ForwardedBy::Forwarded => FORWARDED,
    };
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    // A line that is no text names nobody, and neither does what stands before it.
    let lines = lines.into_iter().rev().map_while(|line| line.to_str().ok());
    for item in lines.flat_map(|line| line.rsplit(',')) {
        let named = match forwarded_by {
            ForwardedBy::XForwardedFor => parse(item),
            ForwardedBy::Forwarded => forwarded_for(item).and_then(parse),
        };
        // Who is hidden (`unknown`, `_name`) counts as the proxy that hides it.
        let Some(address) = named else { return client };
        client = address;
        if !is_trusted(&client) {
            return client;
        }
    }
    client
}

/// The `for` of one element of `Forwarded` (RFC 7239, section 4).
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// An address with or without a port; of IPv6 with or without brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    address.or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn of(peer: &str, header: (HeaderName, &[&str]), forwarded_by: ForwardedBy) -> String {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for line in header.1 {
            headers.append(header.0.clone(), HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        client_address(peer.parse().unwrap(), &headers, &trusted, forwarded_by).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_about_the_last_hop() {
        let of = |peer: &str, lines: &[&str]| of(peer, (X_FORWARDED_FOR, lines), ForwardedBy::XForwardedFor);
        assert_eq!(of("192.0.2.1:1", &["198.51.100.7"]), "192.0.2.1", "not a proxy of ours");
        assert_eq!(of("10.0.0.1:1", &[]), "10.0.0.1");
        assert_eq!(of("10.0.0.1:1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("[::ffff:10.0.0.1]:1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1:1", &["1.1.1.1, 198.51.100.7, 10.9.9.9"]), "198.51.100.7", "made up before");
        assert_eq!(of("10.0.0.1:1", &["1.1.1.1", "198.51.100.7,10.9.9.9"]), "198.51.100.7", "two lines");
        assert_eq!(of("10.0.0.1:1", &["10.2.2.2, 10.9.9.9"]), "10.2.2.2", "all are ours");
        assert_eq!(of("10.0.0.1:1", &["1.1.1.1, unknown, 10.9.9.9"]), "10.9.9.9");
        assert_eq!(of("10.0.0.1:1", &["1.1.1.1", "é"]), "10.0.0.1");
        assert_eq!(of("10.0.0.1:1", &["1.1.1.1,"]), "10.0.0.1");
        assert_eq!(of("[fd00::1]:1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(of("10.0.0.1:1", &["198.51.100.7:5000"]), "198.51.100.7");
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let forwarded = |lines: &[&str]| of("10.0.0.1:1", (FORWARDED, lines), ForwardedBy::Forwarded);
        assert_eq!(
            forwarded(&["for=1.1.1.1, For=\"[2001:db8::1]:47\";proto=https;by=10.0.0.1"]),
            "2001:db8::1"
        );
        assert_eq!(forwarded(&["for=198.51.100.7;host=a, for=10.1.1.1"]), "198.51.100.7");
        assert_eq!(forwarded(&["for=_hidden"]), "10.0.0.1");
        assert_eq!(forwarded(&["proto=https"]), "10.0.0.1");
        let other = of("10.0.0.1:1", (X_FORWARDED_FOR, &["1.1.1.1"]), ForwardedBy::Forwarded);
        assert_eq!(other, "10.0.0.1");
        let other = of("10.0.0.1:1", (FORWARDED, &["for=1.1.1.1"]), ForwardedBy::XForwardedFor);
        assert_eq!(other, "10.0.0.1");
    }

    #[test]
    fn a_64_of_ipv6_is_one_client() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::1"));
        assert_ne!(network("2001:db8:1:3::1"), network("2001:db8:1:2::1"));
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
