//! The server that is followed.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::error::Error;

/// The address of the socket, below that of the server.
const PATH: &str = "/v1/live";

/// Where the socket is.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// As it was given, without a `/` at its end.
    pub(super) base: String,
    /// `ws://` or `wss://`.
    pub(super) socket: Url,
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) is_tls: bool,
}

impl Target {
    /// `http`, `https`, `ws` or `wss`, with a path if the server is below one.
    pub(super) fn parse(text: &str) -> Result<Target, Error> {
        let invalid = |detail: String| Error::Url { detail };
        // What is no URL may still have a password in it, and isn't shown.
        let mut url = Url::parse(text).map_err(|error| invalid(error.to_string()))?;
        let (scheme, is_tls) = match url.scheme() {
            "http" | "ws" => ("ws", false),
            "https" | "wss" => ("wss", true),
            _ => return Err(invalid("it is none of http, https, ws and wss".to_owned())),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("it has a user or password; a token goes into --token-file".to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("it has a query or fragment".to_owned()));
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix(PATH).unwrap_or(path).to_owned();
        url.set_path(&path);
        let base = url.as_str().trim_end_matches('/').to_owned();
        url.set_path(&format!("{path}{PATH}"));
        url.set_scheme(scheme).map_err(|()| invalid("its scheme can't be used".to_owned()))?;
        let (host, port) = match (url.host(), url.port_or_known_default()) {
            (Some(host), Some(port)) => (host.to_owned(), port),
            _ => return Err(invalid("it names no host".to_owned())),
        };
        Ok(Target { base, socket: url, host, port, is_tls })
    }

    /// Whether it is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => Ipv4Addr::is_loopback(address),
            Host::Ipv6(address) => Ipv6Addr::is_loopback(address),
        }
    }

    /// As the resolver and certificates have it: an IPv6 address without brackets.
    pub(super) fn host_name(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_below_the_servers_address() {
        for (given, base, socket, port) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "ws://127.0.0.1:8080/v1/live", 8080),
            ("https://shop.example/", "https://shop.example", "wss://shop.example/v1/live", 443),
            (
                "https://shop.example/writ/",
                "https://shop.example/writ",
                "wss://shop.example/writ/v1/live",
                443,
            ),
            ("wss://shop.example/v1/live", "wss://shop.example", "wss://shop.example/v1/live", 443),
            ("ws://[::1]:80", "ws://[::1]", "ws://[::1]/v1/live", 80),
        ] {
            let target = Target::parse(given).unwrap();
            assert_eq!((target.base.as_str(), target.socket.as_str(), target.port), (base, socket, port));
            assert_eq!(target.is_tls, socket.starts_with("wss:"));
        }
    }

    #[test]
    fn what_is_no_server_is_refused_and_no_password_is_shown() {
        for given in [
            "127.0.0.1:8080",
            "shop.example",
            "ftp://shop.example",
            "http://",
            "https://ada:hush@shop.example",
            "https://hush@shop.example",
            "https://hush@shop.example:99999",
            "https://shop.example/?ticket=hush",
            "https://shop.example/#hush",
        ] {
            let error = Target::parse(given).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is_loopback = |url: &str| Target::parse(url).unwrap().is_loopback();
        for url in
            ["http://127.0.0.1", "http://127.8.0.1:1", "http://localhost", "http://LOCALHOST", "http://[::1]"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://10.0.0.1", "http://localhost.example", "http://127.0.0.1.example", "http://[::2]"]
        {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
