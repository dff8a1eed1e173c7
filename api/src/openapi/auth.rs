//! The part of the document on signing in and on one's own account. Its bodies are the types that the handlers read and write.

use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use super::operations::success;
use super::problems::Problems;
use super::reference;
use super::security::Security;
use crate::identity::{api_keys, links, passwords, second_factor, sessions, sign_in};

/// Its tag.
pub(super) const TAG: &str = "auth";

/// An address with the one method that it takes.
struct Operation {
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    security: Security,
    /// The schema of the body, and whether it has to be there.
    body: Option<(Json, bool)>,
    success: (&'static str, Json),
    problems: Problems,
}

/// The addresses, in the order of the router.
pub(super) fn add_paths(paths: &mut Map<String, Json>) {
    for operation in of_anyone().into_iter().chain(of_callers()) {
        let path = operation.path.to_owned();
        paths.insert(path, json!({ "post": operation.to_json() }));
    }
    paths.extend(by_provider().map(|(path, operation)| (path.to_owned(), operation)));
    let me = success("Who the caller is for the server.", &[], &response::<sign_in::Me>());
    paths.insert(
        "/v1/auth/me".to_owned(),
        json!({ "get": {
            "operationId": "auth_me",
            "tags": [TAG],
            "summary": "Who one is, and what one may do",
            "security": Security::ByRules { changes: false }.to_json(),
            "responses": Problems::of_query().responses([("200", me)]),
        }}),
    );
}

/// The two addresses to which a browser goes, and is sent back, to sign in by a provider.
fn by_provider() -> [(&'static str, Json); 2] {
    let text = |name: &str, place: &str, description: &str| json!({ "name": name, "in": place, "required": place == "path", "description": description, "schema": { "type": "string" } });
    let name = || text("name", "path", "The provider's name in the configuration.");
    let away = |description: &str| {
        let headers = json!({
            "Location": reference("headers", "Location"),
            "Set-Cookie": reference("headers", "SetCookie"),
            "X-Request-Id": reference("headers", "RequestId"),
        });
        json!({ "description": description, "headers": headers })
    };
    let problems =
        Problems::of_change().and(&[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND, StatusCode::CONFLICT]);
    let operation = |id: &str, summary: &str, parameters: Json, went: Json| {
        json!({ "get": {
            "operationId": id,
            "tags": [TAG],
            "summary": summary,
            "security": Security::Nobody.to_json(),
            "parameters": parameters,
            "responses": problems.responses([("303", went)]),
        }})
    };
    let link = json!({
        "name": "link", "in": "query", "description": "Link the provider to the account that is signed in by cookie.",
        "schema": { "type": "boolean" },
    });
    let path = text("return", "query", "Where to go in the end: a path of this server.");
    [
        (
            "/v1/auth/oidc/{name}",
            operation(
                "auth_oidc_begin",
                "Send a browser to an OpenID provider to sign in",
                json!([name(), path, link]),
                away("To the provider."),
            ),
        ),
        (
            "/v1/auth/oidc/{name}/callback",
            operation(
                "auth_oidc_callback",
                "Where the provider sends the browser back to",
                json!([
                    name(),
                    text("code", "query", "By the provider."),
                    text("state", "query", "By the provider."),
                    text("iss", "query", "By the provider (RFC 9207)."),
                    text("error", "query", "By the provider, if it refuses."),
                ]),
                away("Signed in, to where the sign-in was begun from; the tokens are in cookies."),
            ),
        ),
    ]
}

fn of_anyone() -> Vec<Operation> {
    let problems = || Problems::of_change().with_body();
    let security = Security::Nobody;
    let done = || ("204", nothing("It is done."));
    vec![
        Operation {
            path: "/v1/auth/sign-in",
            id: "auth_sign_in",
            summary: "Begin a session by e-mail address and password",
            security,
            body: Some((request::<sign_in::SignIn>(), true)),
            success: ("200", tokens()),
            problems: problems(),
        },
        Operation {
            path: "/v1/auth/register",
            id: "auth_register",
            summary: "Make an account of one's own, where the server lets anyone (`identity.registration`)",
            security,
            body: Some((request::<sign_in::Register>(), true)),
            success: ("201", account()),
            problems: problems().and(&[StatusCode::CONFLICT]),
        },
        Operation {
            path: "/v1/auth/refresh",
            id: "auth_refresh",
            summary: "The next tokens of a session, by its refresh token from the body or the cookie",
            security,
            body: Some((request::<sessions::Refresh>(), false)),
            success: ("200", tokens()),
            problems: problems(),
        },
        Operation {
            path: "/v1/auth/password/forgot",
            id: "auth_forgot_password",
            summary: "A mail with a link for a new password, if there is an account with this address",
            security,
            body: Some((request::<links::Forgot>(), true)),
            success: ("202", on_its_way()),
            problems: problems(),
        },
        Operation {
            path: "/v1/auth/password/reset",
            id: "auth_reset_password",
            summary: "Choose a new password, by the link in a mail",
            security,
            body: Some((request::<passwords::Reset>(), true)),
            success: done(),
            problems: problems(),
        },
        Operation {
            path: "/v1/auth/email/verify",
            id: "auth_verify_email",
            summary: "Show that one reads the mail of an address, by the link in it",
            security,
            body: Some((request::<passwords::Verify>(), true)),
            success: done(),
            problems: problems(),
        },
    ]
}

fn of_callers() -> Vec<Operation> {
    // The account may be gone or disabled between the look at it and the command.
    let problems = || Problems::of_change().and(&[StatusCode::NOT_FOUND, StatusCode::CONFLICT]);
    let security = Security::Session;
    let owner = || Some((request::<second_factor::Owner>(), false));
    vec![
        Operation {
            path: "/v1/auth/sign-out",
            id: "auth_sign_out",
            summary: "End the session that sends this",
            security,
            body: None,
            success: ("204", with_cookies(nothing("It has ended; its cookies are taken away."))),
            problems: Problems::of_change().and(&[StatusCode::NOT_FOUND]),
        },
        Operation {
            path: "/v1/auth/email/send",
            id: "auth_send_verification",
            summary: "A mail with a link that confirms one's own address",
            security,
            body: None,
            success: ("202", on_its_way()),
            problems: problems(),
        },
        Operation {
            path: "/v1/auth/password",
            id: "auth_change_password",
            summary: "Change one's password; all other sessions end",
            security,
            body: Some((request::<passwords::ChangePassword>(), true)),
            success: ("200", tokens()),
            problems: problems().with_body(),
        },
        Operation {
            path: "/v1/auth/totp",
            id: "auth_offer_totp",
            summary: "A secret for the second factor, which doesn't count before a code of it was seen",
            security,
            body: owner(),
            success: (
                "200",
                success("The secret, shown this once.", &[], &response::<second_factor::Offer<'_>>()),
            ),
            problems: problems().with_body(),
        },
        Operation {
            path: "/v1/auth/totp/activate",
            id: "auth_activate_totp",
            summary: "Ask for a second factor from now on; the answer has the recovery codes, this once",
            security,
            body: Some((request::<second_factor::Code>(), true)),
            success: ("200", tokens()),
            problems: problems().with_body(),
        },
        Operation {
            path: "/v1/auth/totp/remove",
            id: "auth_remove_totp",
            summary: "Take the second factor away",
            security,
            body: owner(),
            success: ("200", tokens()),
            problems: problems().with_body(),
        },
        Operation {
            path: "/v1/auth/api-keys",
            id: "auth_create_api_key",
            summary: "Make an API key, which is shown this once",
            security,
            body: Some((request::<api_keys::Create>(), true)),
            success: ("201", success("The key.", &["Location"], &response::<api_keys::Created<'_>>())),
            problems: Problems::of_change().with_body(),
        },
        Operation {
            path: "/v1/auth/accounts",
            id: "auth_create_account",
            summary: "Make an account of somebody else, with the permission `account.create`",
            security: Security::ByRules { changes: true },
            body: Some((request::<sign_in::Create>(), true)),
            success: ("201", account()),
            problems: Problems::of_change().with_body().and(&[StatusCode::CONFLICT]),
        },
    ]
}

impl Operation {
    fn to_json(&self) -> Json {
        let (status, success) = &self.success;
        let mut operation = json!({
            "operationId": self.id,
            "tags": [TAG],
            "summary": self.summary,
            "security": self.security.to_json(),
            "responses": self.problems.responses([(*status, success.clone())]),
        });
        if let Some((schema, required)) = &self.body {
            operation["requestBody"] =
                json!({ "required": required, "content": { "application/json": { "schema": schema } } });
        }
        operation
    }
}

fn tokens() -> Json {
    let description = "The session's tokens, in the body or in cookies; each refresh token is good once.";
    with_cookies(success(description, &[], &response::<sessions::Tokens>()))
}

fn on_its_way() -> Json {
    success(
        "It is sent, if there is somebody to send it to.",
        &[],
        &json!({ "type": "object", "additionalProperties": false }),
    )
}

fn account() -> Json {
    success("The account, which can sign in.", &["Location"], &response::<sign_in::Created>())
}

fn nothing(description: &str) -> Json {
    json!({ "description": description, "headers": { "X-Request-Id": reference("headers", "RequestId") } })
}

fn with_cookies(mut response: Json) -> Json {
    response["headers"]["Set-Cookie"] = reference("headers", "SetCookie");
    response
}

/// The schema of what a handler reads.
fn request<T: JsonSchema>() -> Json {
    schema::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

/// The schema of what a handler writes.
pub(super) fn response<T: JsonSchema>() -> Json {
    schema::<T>(SchemaSettings::draft2020_12().for_serialize())
}

fn schema<T: JsonSchema>(settings: SchemaSettings) -> Json {
    let settings = settings.with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value()
}
