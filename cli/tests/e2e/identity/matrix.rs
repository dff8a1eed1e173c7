//! Every route with every kind of caller, held against a written matrix. A route without a row fails the test, so whoever adds
//! one has to say who may use it.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use writ_identity::access_token::{AccessTokens, Grant};
use writ_identity::keys::{Key, KeyRing};
use writ_model::Timestamp;

use super::PARCEL;
use crate::harness::people::{Guarded, Person};
use crate::harness::{Client, client, unique, world};

/// Whom a row has statuses for, in the order of its columns.
const CALLERS: [&str; 6] = ["anonymous", "other", "owner", "staff", "administrator", "key"];

type Row = (&'static str, &'static str, &'static str, &'static str, [u16; 6], u16);

/// Method, route as in `api/src/router.rs`, path, body, a status for each caller, and the status for whoever brings along
/// something that isn't good. In path and body `{parcel}` is a parcel of the owner, new in each row; `{owner}` the owner's
/// account, `{session}` the owner's session. `key` is an API key of the owner for something else.
const MATRIX: &[Row] = &[
    // What needs no sign-in takes no notice of what is brought along.
    (
        "POST",
        "/v1/auth/sign-in",
        "/v1/auth/sign-in",
        r#"{"email":"nobody-{unique}@example.org","password":"x"}"#,
        [401; 6],
        401,
    ),
    (
        "POST",
        "/v1/auth/register",
        "/v1/auth/register",
        r#"{"email":"no address","password":"long enough as it is"}"#,
        [422; 6],
        422,
    ),
    ("POST", "/v1/auth/refresh", "/v1/auth/refresh", r#"{"refresh_token":"x"}"#, [401; 6], 401),
    (
        "POST",
        "/v1/auth/password/reset",
        "/v1/auth/password/reset",
        r#"{"token":"x","password":"long enough as it is"}"#,
        [422; 6],
        422,
    ),
    (
        "POST",
        "/v1/auth/password/forgot",
        "/v1/auth/password/forgot",
        r#"{"email":"{unique}@example.org"}"#,
        [403; 6],
        403,
    ),
    ("POST", "/v1/auth/email/verify", "/v1/auth/email/verify", r#"{"token":"x"}"#, [422; 6], 422),
    ("GET", "/v1/auth/oidc/{name}", "/v1/auth/oidc/none", "", [404; 6], 404),
    ("GET", "/v1/auth/oidc/{name}/callback", "/v1/auth/oidc/none/callback", "", [404; 6], 404),
    // One's own account and sessions: in a session only.
    ("GET", "/v1/auth/me", "/v1/auth/me", "", [200; 6], 401),
    ("POST", "/v1/auth/sign-out", "/v1/auth/sign-out", "{}", [401, 204, 204, 204, 204, 403], 401),
    (
        "POST",
        "/v1/{model}/{id}/{events_or_command}",
        "/v1/session/{session}/end",
        "{}",
        [404, 404, 200, 404, 200, 403],
        401,
    ),
    (
        "POST",
        "/v1/auth/password",
        "/v1/auth/password",
        r#"{"current":"wrong","password":"long enough as it is"}"#,
        [401, 401, 401, 401, 401, 403],
        401,
    ),
    ("POST", "/v1/auth/email/send", "/v1/auth/email/send", "", [401, 403, 403, 403, 403, 403], 401),
    (
        "POST",
        "/v1/auth/totp",
        "/v1/auth/totp",
        r#"{"password":"wrong"}"#,
        [401, 401, 401, 401, 401, 403],
        401,
    ),
    (
        "POST",
        "/v1/auth/totp/activate",
        "/v1/auth/totp/activate",
        r#"{"code":"000000"}"#,
        [401, 401, 401, 401, 401, 403],
        401,
    ),
    (
        "POST",
        "/v1/auth/totp/remove",
        "/v1/auth/totp/remove",
        r#"{"password":"wrong"}"#,
        [401, 401, 401, 401, 401, 403],
        401,
    ),
    (
        "POST",
        "/v1/auth/api-keys",
        "/v1/auth/api-keys",
        r#"{"name":"x","scopes":[]}"#,
        [401, 201, 201, 201, 201, 403],
        401,
    ),
    (
        "POST",
        "/v1/auth/accounts",
        "/v1/auth/accounts",
        r#"{"email":"no address"}"#,
        [401, 403, 403, 403, 422, 403],
        401,
    ),
    // Commands by rule.
    (
        "POST",
        "/v1/{model}/{id_or_command}",
        "/v1/parcel/pack",
        r#"{"owner":"{owner}","label":"x"}"#,
        [401, 403, 201, 201, 201, 403],
        401,
    ),
    (
        "POST",
        "/v1/{model}/{id}/{events_or_command}",
        "/v1/parcel/{parcel}/relabel",
        r#"{"label":"x"}"#,
        [404, 404, 200, 200, 200, 403],
        401,
    ),
    (
        "POST",
        "/v1/{model}/{id}/{events_or_command}",
        "/v1/parcel/{parcel}/send",
        "{}",
        [401, 403, 403, 200, 409, 403],
        401,
    ),
    (
        "POST",
        "/v1/{model}/{id}/{events_or_command}",
        "/v1/parcel/{parcel}/lose",
        "{}",
        [401, 403, 403, 403, 200, 403],
        401,
    ),
    (
        "POST",
        "/v1/commands",
        "/v1/commands",
        r#"{"model":"parcel","command":"lose","id":"{parcel}","input":{}}"#,
        [200; 6],
        401,
    ),
    // The built-in models: by their rules, and what the server itself sends by nobody.
    (
        "POST",
        "/v1/{model}/{id_or_command}",
        "/v1/role/create",
        r#"{"name":"new"}"#,
        [401, 403, 403, 403, 201, 403],
        401,
    ),
    (
        "POST",
        "/v1/{model}/{id_or_command}",
        "/v1/account/create",
        r#"{"login":"x@y.z","email":"x@y.z"}"#,
        [401, 403, 403, 403, 403, 403],
        401,
    ),
    (
        "POST",
        "/v1/{model}/{id}/{events_or_command}",
        "/v1/account/{owner}/assign_roles",
        r#"{"roles":["staff"]}"#,
        [401, 403, 403, 403, 200, 403],
        401,
    ),
    (
        "POST",
        "/v1/{model}/{id}/{events_or_command}",
        "/v1/account/{owner}/change_password",
        r#"{"password":"x"}"#,
        [401, 403, 403, 403, 403, 403],
        401,
    ),
    // Queries: what isn't readable isn't there.
    ("GET", "/v1/{model}", "/v1/parcel", "", [200; 6], 401),
    ("GET", "/v1/{model}/{id_or_command}", "/v1/parcel/{parcel}", "", [404, 404, 200, 200, 200, 404], 401),
    (
        "GET",
        "/v1/{model}/{id}/{events_or_command}",
        "/v1/parcel/{parcel}/events",
        "",
        [404, 404, 200, 200, 200, 404],
        401,
    ),
    (
        "GET",
        "/v1/{model}/{id_or_command}",
        "/v1/parcel/{parcel}?as_of=1",
        "",
        [404, 404, 200, 200, 200, 404],
        401,
    ),
    ("GET", "/v1/{model}/{id_or_command}", "/v1/account/{owner}", "", [404, 404, 200, 404, 200, 404], 401),
    ("GET", "/v1/events", "/v1/events", "", [200; 6], 401),
    ("GET", "/v1/projections", "/v1/projections", "", [200; 6], 401),
    ("GET", "/v1/projections/{name}", "/v1/projections/none", "", [404; 6], 401),
    // Live updates. Without a handshake there is no socket; a poll shows what a list shows.
    ("GET", "/v1/live", "/v1/live", "", [400; 6], 401),
    ("POST", "/v1/live/tickets", "/v1/live/tickets", "", [401, 200, 200, 200, 200, 200], 401),
    ("GET", "/v1/live/tickets", "/v1/live/tickets", "", [404; 6], 401),
    ("GET", "/v1/live/{model}", "/v1/live/parcel?wait=0", "", [200; 6], 401),
    // Channels of what isn't readable aren't there either.
    (
        "POST",
        "/v1/channels/{channel}/broadcast",
        "/v1/channels/desk/broadcast",
        r#"{"id":"{parcel}","event":"rang"}"#,
        [404, 404, 403, 202, 202, 404],
        401,
    ),
    (
        "GET",
        "/v1/channels/{channel}/members",
        "/v1/channels/desk/members?id={parcel}",
        "",
        [404, 404, 200, 200, 200, 404],
        401,
    ),
    // Pages are for everyone.
    ("GET", "/", "/", "", [200; 6], 200),
    ("GET", "/docs", "/docs", "", [200; 6], 200),
    ("GET", "/docs/", "/docs/", "", [200; 6], 200),
    ("GET", "/docs/{*path}", "/docs/swagger-ui.css", "", [200; 6], 200),
    ("GET", "/openapi.json", "/openapi.json", "", [200; 6], 200),
    ("GET", "/asyncapi.json", "/asyncapi.json", "", [200; 6], 200),
    ("GET", "/.well-known/jwks.json", "/.well-known/jwks.json", "", [200; 6], 200),
    ("GET", "/healthz", "/healthz", "", [200; 6], 200),
    ("GET", "/readyz", "/readyz", "", [200; 6], 200),
    ("GET", "/metrics", "/metrics", "", [200; 6], 200),
];

/// What is said about a parcel.
const DESK: &str = "\
channel: desk
of: parcel
presence: { name: { type: text, max_length: 20 } }
messages: { rang: null }
allow:
  join: role('staff') || state.owner == actor.id
  send: actor.id != null && state.owner != actor.id
";

/// The routes of the server, with their methods, as its source has them.
fn routes() -> BTreeSet<(String, String)> {
    let source = include_str!("../../../../api/src/router.rs");
    let mut found = BTreeSet::new();
    for part in source.split(".route(\"").skip(1) {
        let (route, rest) = part.split_once('"').unwrap();
        // What stands between this route and the next one, or the end of the chain.
        let handlers = rest.split(';').next().unwrap();
        for (mark, method) in [("get(", "GET"), ("post(", "POST"), ("put(", "PUT"), ("delete(", "DELETE")] {
            if handlers.contains(mark) {
                found.insert((method.to_owned(), route.to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_route_has_a_row() {
    let routes = routes();
    assert!(routes.len() > 20, "{routes:?}");
    let rows: BTreeSet<_> =
        MATRIX.iter().map(|(method, route, ..)| ((*method).to_owned(), (*route).to_owned())).collect();
    assert_eq!(routes, rows);
}

/// Statuses of a row that differ from the written ones, by caller.
type Differences = BTreeMap<String, (u16, u16)>;

#[tokio::test]
async fn every_caller_gets_what_the_matrix_says() {
    // Redis keeps tickets.
    let redis = world::redis_url();
    let files = [("parcel.yaml", PARCEL), ("desk.yaml", DESK)];
    let guarded = Guarded::start_with(&files, &world::with_redis(&redis)).await;
    let [other, owner, staff] =
        [guarded.person(&[]).await, guarded.person(&[]).await, guarded.person(&["staff"]).await];
    let bad = Bad::of(&guarded, &owner).await;
    let mut wrong: BTreeMap<String, Differences> = BTreeMap::new();
    for (method, _, path, body, statuses, refused) in MATRIX {
        let name = format!("{method} {path} {body}");
        let parcel = json!({ "owner": owner.id, "label": "books" });
        let packed = guarded.admin.client.post("/v1/parcel/pack", &parcel).await.expect(201);
        guarded
            .admin
            .client
            .get_at(&format!("/v1/parcel/{}", packed.id()), packed.position())
            .await
            .expect(200);
        let mut differences = Differences::new();
        for (caller, expected) in CALLERS.iter().zip(statuses) {
            // Each call is one of a session of its own: some end it.
            let session = guarded.sign_in(&owner.email).await;
            let client = match *caller {
                "other" => guarded.sign_in(&other.email).await.client,
                "owner" => session.client.clone(),
                "staff" => guarded.sign_in(&staff.email).await.client,
                "administrator" => guarded.admin_again().await.client,
                "key" => guarded.client.with_token(&bad.key),
                _ => guarded.client.clone(),
            };
            let session = if *caller == "owner" { guarded.sign_in(&owner.email).await } else { session };
            let ask =
                Ask { method, path, body, parcel: packed.id(), owner: &owner.id, session: &session.session };
            let status = ask.send(&client).await;
            if status != *expected {
                differences.insert((*caller).to_owned(), (*expected, status));
            }
        }
        for (what, token) in &bad.tokens {
            let ask =
                Ask { method, path, body, parcel: packed.id(), owner: &owner.id, session: &owner.session };
            let status = ask.send(&guarded.client.with_token(token)).await;
            if status != *refused {
                differences.insert((*what).to_owned(), (*refused, status));
            }
        }
        if !differences.is_empty() {
            wrong.insert(name, differences);
        }
    }
    assert!(wrong.is_empty(), "(expected, got) {wrong:#?}");
}

/// A cell of the matrix.
struct Ask<'a> {
    method: &'a str,
    path: &'a str,
    body: &'a str,
    parcel: &'a str,
    owner: &'a str,
    session: &'a str,
}

impl Ask<'_> {
    fn fill(&self, text: &str) -> String {
        text.replace("{parcel}", self.parcel)
            .replace("{owner}", self.owner)
            .replace("{session}", self.session)
            .replace("{unique}", &unique("u"))
    }

    async fn send(&self, client: &Client) -> u16 {
        let method: Method = self.method.parse().unwrap();
        let mut request = client.request(method, &self.fill(self.path));
        if !self.body.is_empty() {
            let kind = if self.path == "/v1/commands" { "application/x-ndjson" } else { "application/json" };
            request = request.header("Content-Type", kind).body(self.fill(self.body));
        }
        client::send(request).await.status
    }
}

/// What is brought along and isn't good, and a key that is good for something else.
struct Bad {
    tokens: Vec<(&'static str, String)>,
    key: String,
}

impl Bad {
    async fn of(guarded: &Guarded, owner: &Person) -> Bad {
        let ring = std::fs::read_to_string(guarded.world.folder().join("keys/signing.json")).unwrap();
        let ring = KeyRing::from_json(&ring).unwrap();
        let now = now();
        let good = guarded.sign_in(&owner.email).await;
        let claims = |text: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap()).unwrap()
        };
        let payload = claims(&good.access);
        let issuer = payload["iss"].as_str().unwrap();
        let grant = Grant {
            account: owner.id.parse().unwrap(),
            session: good.session.parse().unwrap(),
            version: payload["ver"].as_u64().unwrap(),
            roles: Vec::new(),
        };
        let audience = payload["aud"].as_str().unwrap();
        let issue = |ring: &KeyRing, audience: &str, at: Timestamp| {
            AccessTokens::new(issuer, audience).issue(ring, grant.clone(), at).unwrap().0
        };
        // What is made here is good, but for the one thing that is wrong with it.
        guarded.client.with_token(&issue(&ring, audience, now)).get("/v1/auth/me").await.expect(200);

        let hour_ago = Timestamp(now.0 - 60 * 60 * 1000);
        // The ring signs since its first start, which was moments ago.
        let older = ring
            .to_json()
            .replace(&ring.signing(now).unwrap().not_before().to_string(), &hour_ago.to_string());
        let older = KeyRing::from_json(&older).unwrap();
        let kid = ring.signing(now).unwrap().kid().to_owned();
        let header = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let body = good.access.split('.').nth(1).unwrap();
        let none = header(json!({ "alg": "none", "typ": "at+jwt", "kid": kid }));
        let jwks = guarded.client.get("/.well-known/jwks.json").await.expect(200);
        let public = URL_SAFE_NO_PAD.decode(jwks.body["keys"][0]["x"].as_str().unwrap()).unwrap();
        let mut hs = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        hs.typ = Some("at+jwt".to_owned());
        hs.kid = Some(kid.clone());
        let by_public_key = jsonwebtoken::EncodingKey::from_secret(&public);
        let forged = issue(&KeyRing::new(Key::generate(hour_ago)), audience, now);
        let forged_signature = forged.rsplit_once('.').unwrap().1.to_owned();
        let (signed, _) = good.access.rsplit_once('.').unwrap();

        let revoked = guarded.sign_in(&owner.email).await;
        revoked.client.post("/v1/auth/sign-out", &json!({})).await.expect(204);
        revoked.is_refused_by(&guarded.client).await;
        let key = json!({ "name": "for something else", "scopes": ["customer.read"] });
        let key = good.client.post("/v1/auth/api-keys", &key).await.expect(201);
        let tokens = vec![
            ("expired", issue(&older, audience, hour_ago)),
            ("wrong signature", format!("{signed}.{forged_signature}")),
            ("unknown key", forged),
            ("alg none", format!("{none}.{body}.")),
            ("HS256 with the public key", jsonwebtoken::encode(&hs, &payload, &by_public_key).unwrap()),
            ("wrong audience", issue(&ring, "another", now)),
            ("revoked session", revoked.access),
            ("no token", "x".to_owned()),
            ("no key", format!("writ_{}_{}", Uuid::nil().simple(), "0".repeat(72))),
        ];
        Bad { tokens, key: key.body["key"].as_str().unwrap().to_owned() }
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}
