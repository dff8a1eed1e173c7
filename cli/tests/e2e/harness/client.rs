//! Requests and answers.

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::server::REQUEST_LIMIT;
use super::unique;

#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(base: &str) -> Client {
        let http = reqwest::Client::builder().timeout(REQUEST_LIMIT).no_proxy().build().unwrap();
        Client { http, base: base.to_owned(), token: None }
    }

    /// `http://host:port`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// What it sends to say who it is.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The same, with an access token or API key in every request.
    pub(crate) fn with_token(&self, token: &str) -> Client {
        Client { token: Some(token.to_owned()), ..self.clone() }
    }

    /// A request that the caller completes.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// `None`: no answer at all.
    pub(crate) async fn try_get(&self, path: &str) -> Option<Answer> {
        try_send(self.request(Method::GET, path)).await
    }

    /// What the query says once it has reached `position`.
    pub(crate) async fn get_at(&self, path: &str, position: &str) -> Answer {
        send(self.request(Method::GET, path).header("Writ-Position", position)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    /// With headers.
    pub(crate) async fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        send(with(self.request(Method::POST, path).json(body), headers)).await
    }

    /// `None`: no answer at all, as when the server is killed.
    pub(crate) async fn try_post(&self, path: &str, body: &Value, key: &str) -> Option<Answer> {
        try_send(self.request(Method::POST, path).json(body).header("Idempotency-Key", key)).await
    }

    /// A body that is no JSON value, or not sent as one.
    pub(crate) async fn post_bytes(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        send(self.request(Method::POST, path).header("Content-Type", content_type).body(body)).await
    }

    /// Opens a purse with a number of its own. The answer is a success.
    pub(crate) async fn open_purse(&self) -> Answer {
        let body = json!({ "number": unique("a"), "owner": "Ada" });
        self.post("/v1/purse/open", &body).await.expect(201)
    }

    /// Places an order with a number of its own. The answer is a success.
    pub(crate) async fn place_order(&self) -> Answer {
        self.post("/v1/order/place", &order()).await.expect(201)
    }
}

/// The body of a `place` that is right.
pub(crate) fn order() -> Value {
    json!({
        "number": unique("o"),
        "lines": [
            { "product": "tea", "quantity": 3, "unit_price": "4.10" },
            { "product": "pot", "quantity": 1, "unit_price": "19.99" },
        ],
    })
}

/// The path with query parameters, encoded.
pub(crate) fn query(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut encoded = url::form_urlencoded::Serializer::new(String::new());
    format!("{path}?{}", encoded.extend_pairs(parameters).finish())
}

pub(crate) fn with(mut request: RequestBuilder, headers: &[(&str, &str)]) -> RequestBuilder {
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    match request.send().await {
        Ok(response) => Answer::of(response).await.unwrap(),
        Err(error) => panic!("no answer: {error:?}"),
    }
}

async fn try_send(request: RequestBuilder) -> Option<Answer> {
    Answer::of(request.send().await.ok()?).await.ok()
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// Null if the body is no JSON.
    pub(crate) body: Value,
}

impl Answer {
    async fn of(response: reqwest::Response) -> Result<Answer, reqwest::Error> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, text, body })
    }

    /// Itself, if it has that status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Itself, if it is a well-formed problem document of that status and type.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, slug: &str) -> Answer {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(self.body["type"], format!("urn:writ:problem:{slug}"), "{}", self.text);
        assert_eq!(self.body["status"], status, "{}", self.text);
        for member in ["title", "detail"] {
            assert!(
                self.body[member].as_str().is_some_and(|text| !text.is_empty()),
                "{member}: {}",
                self.text
            );
        }
        for error in self.body["errors"].as_array().into_iter().flatten() {
            for member in ["pointer", "code", "detail"] {
                assert!(error[member].is_string(), "{member}: {}", self.text);
            }
        }
        self
    }

    /// The JSON pointers of all errors, sorted.
    #[track_caller]
    pub(crate) fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().unwrap_or_else(|| panic!("no errors: {}", self.text));
        let mut pointers: Vec<_> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        pointers.sort_unstable();
        pointers
    }

    /// The code of the error at `pointer`.
    #[track_caller]
    pub(crate) fn code(&self, pointer: &str) -> &str {
        let errors = self.body["errors"].as_array().unwrap_or_else(|| panic!("no errors: {}", self.text));
        let error = errors.iter().find(|error| error["pointer"] == pointer);
        error.unwrap_or_else(|| panic!("no error at {pointer}: {}", self.text))["code"].as_str().unwrap()
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name}: {:?}", self.headers));
        value.to_str().unwrap()
    }

    #[track_caller]
    pub(crate) fn id(&self) -> &str {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id: {}", self.text))
    }

    #[track_caller]
    pub(crate) fn version(&self) -> u64 {
        self.body["version"].as_u64().unwrap_or_else(|| panic!("no version: {}", self.text))
    }

    #[track_caller]
    pub(crate) fn position(&self) -> &str {
        self.header("writ-position")
    }
}
