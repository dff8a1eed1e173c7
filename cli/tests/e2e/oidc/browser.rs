//! A browser, as far as a sign-in needs one: it keeps cookies, and goes where it is sent, one step at a time, so that a test
//! can change what it brings.

use std::collections::BTreeMap;

use reqwest::Method;
use reqwest::header::{COOKIE, SET_COOKIE};
use serde_json::Value;

use super::{PUBLIC, Provider};
use crate::harness::client::send;
use crate::harness::{Answer, Server};

#[derive(Debug, Clone)]
pub(super) struct Browser {
    http: reqwest::Client,
    /// Where the server really is, which calls itself [`PUBLIC`].
    server: String,
    issuer: String,
    /// Who signs in at the provider: the claims.
    user: Value,
    /// By origin and name.
    pub(super) cookies: BTreeMap<(String, String), String>,
}

impl Browser {
    pub(super) fn new(server: &Server, provider: &Provider, user: Value) -> Browser {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Browser {
            http: http.build().unwrap(),
            server: server.base().to_owned(),
            issuer: provider.issuer.clone(),
            user,
            cookies: BTreeMap::new(),
        }
    }

    /// The same with another server of the application.
    pub(super) fn moves_to(&mut self, server: &Server) {
        self.server = server.base().to_owned();
    }

    pub(super) async fn get(&mut self, address: &str) -> Answer {
        self.get_with(address, &[]).await
    }

    /// Goes to an address of the server (`/…`) or to any other, and follows nothing.
    pub(super) async fn get_with(&mut self, address: &str, headers: &[(&str, &str)]) -> Answer {
        let path = address.strip_prefix(PUBLIC).unwrap_or(address);
        let (origin, address) = match path.starts_with('/') {
            true => (PUBLIC.to_owned(), format!("{}{path}", self.server)),
            false => (url::Url::parse(address).unwrap().origin().ascii_serialization(), address.to_owned()),
        };
        let cookies = self.cookies.iter().filter(|((of, _), _)| *of == origin);
        let cookies: Vec<String> = cookies.map(|((_, name), value)| format!("{name}={value}")).collect();
        let mut request = self.http.request(Method::GET, address).header(COOKIE, cookies.join("; "));
        if origin == self.issuer {
            request = request.header("X-Test-User", self.user.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = send(request).await;
        for cookie in answer.headers.get_all(SET_COOKIE) {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let key = (origin.clone(), name.to_owned());
            let is_gone = value.is_empty() || attributes.to_ascii_lowercase().contains("max-age=0");
            if is_gone {
                self.cookies.remove(&key)
            } else {
                self.cookies.insert(key, value.to_owned())
            };
        }
        answer
    }

    /// From the server to the provider: where it is sent.
    pub(super) async fn depart(&mut self, path: &str) -> String {
        let answer = self.get(path).await.expect(303);
        let to = answer.header("location").to_owned();
        assert!(to.starts_with(&self.issuer), "{to}");
        to
    }

    /// Through the provider, until that sends it back: to where.
    pub(super) async fn pass(&mut self, mut address: String) -> String {
        while !address.starts_with(PUBLIC) {
            let answer = self.get(&address).await;
            assert!(answer.status == 302 || answer.status == 303, "{address}: {}", answer.text);
            let base = url::Url::parse(&address).unwrap();
            address = base.join(answer.header("location")).unwrap().to_string();
        }
        address
    }

    /// From the server through the provider: the address of the callback.
    pub(super) async fn arrive(&mut self, path: &str) -> String {
        let address = self.depart(path).await;
        self.pass(address).await
    }

    /// All of it: the last answer.
    pub(super) async fn sign_in(&mut self, name: &str) -> Answer {
        let address = self.arrive(&format!("/v1/auth/oidc/{name}")).await;
        self.get(&address).await
    }

    pub(super) async fn me(&mut self) -> Value {
        self.get("/v1/auth/me").await.expect(200).body
    }
}

/// The address with another value of a query parameter, or without it.
pub(super) fn with_parameter(address: &str, name: &str, value: Option<&str>) -> String {
    let mut url = url::Url::parse(address).unwrap();
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(known, _)| known != name)
        .map(|pair| (pair.0.into(), pair.1.into()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(kept).extend_pairs(value.map(|value| (name, value)));
    url.to_string()
}

/// The value of a query parameter.
pub(super) fn parameter(address: &str, name: &str) -> String {
    let url = url::Url::parse(address).unwrap();
    let (_, value) = url.query_pairs().find(|(known, _)| known == name).unwrap();
    value.into_owned()
}
