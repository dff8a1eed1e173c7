//! By what a client proves who it is.

use serde_json::{Value as Json, json};

use crate::identity::cookies::Cookie;

/// The schemes that operations name. `is_https`: whether cookies are those of HTTPS.
pub(super) fn schemes(is_https: bool) -> Json {
    json!({
        "AccessToken": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "The `access_token` of `POST /v1/auth/sign-in`, good for minutes; `POST /v1/auth/refresh` gives the next one."
        },
        "ApiKey": {
            "type": "http", "scheme": "bearer",
            "description": "The `key` of `POST /v1/auth/api-keys`, which begins with `writ_`. It may do what its scopes name, of what its account may do."
        },
        "Cookie": {
            "type": "apiKey", "in": "cookie", "name": Cookie::Access.name(is_https),
            "description": "Set by a sign-in with `\"cookies\": true`."
        },
        "Csrf": {
            "type": "apiKey", "in": "header", "name": "Writ-Csrf",
            "description": "Goes with the cookie in everything but GET: the `csrf` of the sign-in's answer or of `GET /v1/auth/me`."
        }
    })
}

/// Who may send an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// What proves nobody: signing in itself, and pages.
    Nobody,
    /// Whom the rules let: also who hasn't signed in. `changes`: a cookie needs its token too.
    ByRules { changes: bool },
    /// Who has signed in, in a session.
    Session,
}

impl Security {
    /// The `security` of an operation.
    pub(super) fn to_json(self) -> Json {
        let cookie = |changes: bool| match changes {
            true => json!({ "Cookie": [], "Csrf": [] }),
            false => json!({ "Cookie": [] }),
        };
        match self {
            Security::Nobody => json!([]),
            Security::ByRules { changes } => {
                json!([{ "AccessToken": [] }, { "ApiKey": [] }, cookie(changes), {}])
            }
            Security::Session => json!([{ "AccessToken": [] }, cookie(true)]),
        }
    }
}
