//! Every error that a client can see: one kind, one status, one `application/problem+json` document (RFC 9457).
//! Clients get a safe sentence; causes go to the log where the problem is made.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::json;
use uuid::Uuid;
use writ_model::FieldError;

/// Seconds after which a client that got a 503 may try again.
const RETRY_AFTER_SECONDS: u64 = 1;

/// The media type of every error.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $status:ident, $slug:literal, $title:literal;)*) => {
        /// The type of a problem. The slug is stable: clients decide by it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $($(#[doc = $doc])+ $kind,)*
        }

        impl Kind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// The last part of `type`: `wrong-state`.
            pub const fn slug(self) -> &'static str {
                match self { $(Kind::$kind => $slug,)* }
            }

            /// The HTTP status that it always comes with.
            pub const fn status(self) -> StatusCode {
                match self { $(Kind::$kind => StatusCode::$status,)* }
            }

            /// What it is, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Kind::$kind => $title,)* }
            }

            /// What the client can do about it, for the OpenAPI document.
            pub const fn advice(self) -> &'static str {
                match self { $(Kind::$kind => concat!($($doc),+),)* }
            }
        }
    };
}

kinds! {
    /// The body, or a line of a batch, is not JSON, or nests too deeply.
    MalformedJson = BAD_REQUEST, "malformed-json", "This is not JSON";
    /// A query parameter is unknown or has no usable value; `errors` names each.
    InvalidQuery = BAD_REQUEST, "invalid-query", "A query parameter can't be used";
    /// A request header has no usable value.
    InvalidHeader = BAD_REQUEST, "invalid-header", "A request header can't be used";
    /// The path is no percent-encoded UTF-8.
    InvalidPath = BAD_REQUEST, "invalid-path", "The path can't be read";
    /// The address is for those who are signed in, or what the request proves that with isn't good: sign in, or refresh.
    Unauthenticated = UNAUTHORIZED, "unauthenticated", "This needs a sign-in";
    /// The e-mail address, the password or the code is wrong, or the account can't sign in; which of these isn't said.
    SignInFailed = UNAUTHORIZED, "sign-in-failed", "Who that is could not be proven";
    /// The password is right, and the account has a second factor: send `code` too.
    SecondFactorNeeded = UNAUTHORIZED, "second-factor-needed", "A code of the second factor is needed";
    /// The sign-in by a provider came to nothing: it failed there, took too long, or the answer isn't one to this browser. Begin again.
    OidcRefused = UNAUTHORIZED, "oidc-refused", "The sign-in by the provider came to nothing";
    /// A command by cookie without the header that only a page of this server can send.
    CsrfMissing = FORBIDDEN, "csrf-missing", "The header against requests of other sites is missing";
    /// No rule and no permission lets the caller do this.
    Forbidden = FORBIDDEN, "forbidden", "The caller may not do this";
    /// The provider has proven who it is, and no account belongs to that; an administrator can make one, or its owner link it.
    NoAccount = FORBIDDEN, "no-account", "No account belongs to this identity";
    /// No server for mails is configured (`mail.smtp`); an administrator gives out a new password with `writ admin password`.
    MailUnavailable = FORBIDDEN, "mail-unavailable", "This server sends no mails";
    /// A page of another site tried to send a command from a browser.
    CrossSite = FORBIDDEN, "cross-site", "Commands from pages of other sites are refused";
    /// No such address; `/docs` lists all.
    UnknownRoute = NOT_FOUND, "unknown-route", "There is nothing at this address";
    /// The application declares no such model.
    UnknownModel = NOT_FOUND, "unknown-model", "There is no such model";
    /// No SQL projection of this name is declared.
    UnknownProjection = NOT_FOUND, "unknown-projection", "There is no such projection";
    /// No channel of this name is declared.
    UnknownChannel = NOT_FOUND, "unknown-channel", "There is no such channel";
    /// The model declares no such command, or it is sent to the wrong path.
    UnknownCommand = NOT_FOUND, "unknown-command", "There is no such command";
    /// No aggregate has this id, it was deleted, or you may not read it.
    NotFound = NOT_FOUND, "not-found", "It does not exist";
    /// The address exists, the method doesn't; `Allow` names those that do.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "The address doesn't take this method";
    /// The body didn't arrive in time.
    RequestTimeout = REQUEST_TIMEOUT, "request-timeout", "The body did not arrive in time";
    /// A creating command for an aggregate that exists.
    AlreadyExists = CONFLICT, "already-exists", "It exists already";
    /// Another aggregate has a value that no two may share, or is about to take it; `errors` names the fields.
    NotUnique = CONFLICT, "not-unique", "Another one has this value";
    /// The state machine doesn't allow the command now.
    WrongState = CONFLICT, "wrong-state", "The state doesn't allow the command";
    /// `If-Match` names another version than the present one; read it again, decide again.
    VersionMismatch = PRECONDITION_FAILED, "version-mismatch", "It was changed by somebody else";
    /// The read model didn't reach the `Writ-Position` in time; ask again.
    PositionNotReached = PRECONDITION_FAILED, "position-not-reached", "The read model is not there yet";
    /// The body is larger than the limit.
    TooLarge = PAYLOAD_TOO_LARGE, "too-large", "The body is too large";
    /// The path and query are longer than `http.uri_limit`.
    UriTooLong = URI_TOO_LONG, "uri-too-long", "The address is too long";
    /// The body has another `Content-Type` than JSON.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON";
    /// The request is for a host that this server isn't; name it in `http.hosts`.
    UnknownHost = MISDIRECTED_REQUEST, "unknown-host", "This server doesn't serve this host";
    /// The input is not what the command takes; `errors` names every fault.
    InvalidInput = UNPROCESSABLE_ENTITY, "invalid-input", "The input is not what the command takes";
    /// A reference names an aggregate that does not exist; `errors` names each.
    UnknownReference = UNPROCESSABLE_ENTITY, "unknown-reference", "The input refers to something that does not exist";
    /// A `require` of the command doesn't hold.
    GuardFailed = UNPROCESSABLE_ENTITY, "guard-failed", "A condition of the command doesn't hold";
    /// An expression of the command has no value for this input, such as a number out of range.
    EvaluationFailed = UNPROCESSABLE_ENTITY, "evaluation-failed", "The command can't be computed for this input";
    /// The idempotency key was used before, with another command or body.
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The idempotency key belongs to another request";
    /// The client has sent too many requests; try again after `Retry-After`.
    RateLimited = TOO_MANY_REQUESTS, "rate-limited", "Too many requests";
    /// The socket has as many subscriptions as it may; end one first.
    TooManySubscriptions = TOO_MANY_REQUESTS, "too-many-subscriptions", "There are too many subscriptions";
    /// The server has a fault; its log has the cause under the request id.
    Internal = INTERNAL_SERVER_ERROR, "internal", "The server has a fault";
    /// Too many requests are under way; try again after `Retry-After`.
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", "The server is overloaded";
    /// Kafka doesn't take commands; try again with the same idempotency key.
    WriteSideUnavailable = SERVICE_UNAVAILABLE, "write-side-unavailable", "Commands can't be taken at the moment";
    /// PostgreSQL doesn't answer; commands go on.
    ReadSideUnavailable = SERVICE_UNAVAILABLE, "read-side-unavailable", "Queries can't be answered at the moment";
    /// The live feed, or Redis, which keeps tickets, isn't there; try again.
    LiveUnavailable = SERVICE_UNAVAILABLE, "live-unavailable", "Live updates can't be had at the moment";
    /// The identity provider, or the issuer of the token, doesn't answer; try again.
    ProviderUnavailable = SERVICE_UNAVAILABLE, "provider-unavailable", "The identity provider can't be asked at the moment";
    /// The server stops; another instance, or this one after its start, takes the request.
    ShuttingDown = SERVICE_UNAVAILABLE, "shutting-down", "The server is shutting down";
    /// The command is in Kafka, its answer didn't come in time; a repeat with the same idempotency key gives the outcome.
    NoAnswer = GATEWAY_TIMEOUT, "no-answer", "The command was not answered in time";
    /// The request took too long.
    Timeout = GATEWAY_TIMEOUT, "timeout", "The request took too long";
}

impl Kind {
    /// The `type` of the document: `urn:writ:problem:wrong-state`.
    pub fn urn(self) -> String {
        format!("urn:writ:problem:{}", self.slug())
    }

    /// A problem of this kind. `detail` says what is wrong this time and what would be right.
    pub(crate) fn because(self, detail: impl Into<String>) -> Problem {
        Problem {
            kind: self,
            detail: detail.into(),
            errors: Vec::new(),
            command_id: None,
            version: None,
            retry_after: None,
        }
    }

    /// A problem of this kind that is over after `seconds`.
    pub(crate) fn after(self, seconds: u64) -> Problem {
        let problem = self.because(format!("Try again in {seconds} s."));
        Problem { retry_after: Some(seconds), ..problem }
    }
}

/// One occurrence of a problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Its kind, which fixes status and title.
    pub kind: Kind,
    /// What is wrong this time, for people.
    pub detail: String,
    /// The faults of single fields or parameters.
    pub errors: Vec<FieldError>,
    /// The command whose outcome is not known.
    pub command_id: Option<Uuid>,
    /// The present version of the aggregate, where another was expected; sent as `ETag`.
    pub version: Option<u64>,
    /// Seconds after which the same request may be tried again; sent as `Retry-After`.
    pub retry_after: Option<u64>,
}

impl Problem {
    pub(crate) fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    pub(crate) fn of_command(mut self, command_id: Uuid) -> Self {
        self.command_id = Some(command_id);
        self
    }

    pub(crate) fn at_version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// A fault in one place of the request.
    pub(crate) fn at(kind: Kind, pointer: &str, code: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let error = FieldError { pointer: pointer.to_owned(), code: code.to_owned(), detail: detail.clone() };
        kind.because(detail).with_errors(vec![error])
    }

    /// The faults of a whole body or query. The detail counts them, so that it reads well in a log.
    pub(crate) fn of_errors(kind: Kind, errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] if only.pointer.is_empty() => only.detail.clone(),
            [only] => format!("{}: {}", only.pointer, only.detail),
            many => format!("{} faults; `errors` names each.", many.len()),
        };
        kind.because(detail).with_errors(errors)
    }
}

impl Problem {
    /// The same without what it says of the member at this pointer.
    pub(crate) fn without(mut self, pointer: &str) -> Problem {
        self.errors.retain(|error| error.pointer != pointer);
        self
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = 4 + usize::from(!self.errors.is_empty()) + usize::from(self.command_id.is_some());
        let mut document = serializer.serialize_struct("Problem", members)?;
        document.serialize_field("type", &self.kind.urn())?;
        document.serialize_field("title", self.kind.title())?;
        document.serialize_field("status", &self.kind.status().as_u16())?;
        document.serialize_field("detail", &self.detail)?;
        if !self.errors.is_empty() {
            document.serialize_field("errors", &self.errors)?;
        }
        if let Some(command_id) = &self.command_id {
            document.serialize_field("command_id", command_id)?;
        }
        document.end()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let version = self.version;
        let unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
        let retry_after = self.retry_after.or(unavailable.then_some(RETRY_AFTER_SECONDS));
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750, section 3.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(version) = version {
            headers.insert(ETAG, crate::headers::etag(version));
        }
        response
    }
}

/// The JSON Schema of the document, for the OpenAPI components.
pub(crate) fn schema() -> serde_json::Value {
    let slugs: Vec<_> = Kind::ALL.iter().map(|kind| kind.urn()).collect();
    json!({
        "type": "object",
        "description": "RFC 9457. `type` is stable; decide by it. `detail` is for people.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string", "enum": slugs },
            "title": { "type": "string" },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string" },
            "errors": {
                "type": "array",
                "description": "One entry for each fault.",
                "items": {
                    "type": "object",
                    "required": ["pointer", "code", "detail"],
                    "properties": {
                        "pointer": { "type": "string", "description": "JSON pointer (RFC 6901) into the body; for a query parameter its name after a slash." },
                        "code": { "type": "string", "description": "Stable name of the fault, such as `required` or `out_of_range`." },
                        "detail": { "type": "string" }
                    }
                }
            },
            "command_id": { "type": "string", "format": "uuid", "description": "The command whose outcome is not known." }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_every_kind_with_its_status() {
        let guide = include_str!("../../docs/http.md");
        for kind in Kind::ALL {
            let row = format!("| {} | `{}` |{} |", kind.status().as_u16(), kind.slug(), kind.advice());
            assert!(guide.contains(&row), "docs/http.md needs the row: {row}");
        }
    }

    #[test]
    fn slugs_are_unique() {
        let slugs: std::collections::HashSet<_> = Kind::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(slugs.len(), Kind::ALL.len());
    }

    #[test]
    fn a_document_has_only_the_members_that_say_something() {
        let plain = Kind::NotFound.because("There is none.");
        insta::assert_json_snapshot!(plain, @r#"
        {
          "type": "urn:writ:problem:not-found",
          "title": "It does not exist",
          "status": 404,
          "detail": "There is none."
        }
        "#);
        let full = Problem::at(Kind::InvalidInput, "/lines/0/quantity", "out_of_range", "At least 1.")
            .of_command(Uuid::nil());
        insta::assert_json_snapshot!(full, @r#"
        {
          "type": "urn:writ:problem:invalid-input",
          "title": "The input is not what the command takes",
          "status": 422,
          "detail": "At least 1.",
          "errors": [
            {
              "pointer": "/lines/0/quantity",
              "code": "out_of_range",
              "detail": "At least 1."
            }
          ],
          "command_id": "00000000-0000-0000-0000-000000000000"
        }
        "#);
    }
}
