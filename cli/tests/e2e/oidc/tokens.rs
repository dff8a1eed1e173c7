//! Bearer tokens of a trusted issuer.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};

use super::{Provider, setup, somebody};
use crate::harness::client::send;
use crate::harness::{Answer, Server, eventually, unique};

/// `GET /v1/auth/me` with a token.
pub(super) async fn me(server: &Server, token: &str) -> Answer {
    send(server.client().request(Method::GET, "/v1/auth/me").bearer_auth(token)).await
}

async fn post(server: &Server, path: &str, token: &str, body: &Value) -> Answer {
    send(server.client().request(Method::POST, path).bearer_auth(token).json(body)).await
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims(provider: &Provider, subject: &str) -> Value {
    json!({ "iss": provider.issuer, "aud": "shop", "sub": subject, "iat": now(), "exp": now() + 300 })
}

/// A token that is good for the server.
pub(super) async fn good(provider: &Provider, subject: &str) -> String {
    provider.sign(&json!({ "claims": claims(provider, subject) })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_trusted_issuer_is_somebody_with_the_roles_that_there_are() {
    let setup = setup().await;
    let subject = unique("s");
    let mut with_groups = claims(&setup.provider, &subject);
    with_groups["aud"] = json!(["other", "shop"]);
    with_groups["realm"] = json!({ "groups": ["Shop Staff", "ops", "system", "clerk", "inspector"] });
    let token = setup.provider.sign(&json!({ "claims": with_groups, "header": { "typ": "at+jwt" } })).await;
    let staff = me(&setup.server, &token).await.expect(200).body;
    assert_eq!(staff["roles"], json!(["clerk"]), "neither what isn't mapped nor what doesn't exist");
    assert_eq!(staff["permissions"], json!(["parcel.create"]));
    post(&setup.server, "/v1/parcel/create", &token, &json!({ "label": "x" })).await.expect(201);

    // The same person without the groups, by another key.
    let plain = json!({ "claims": claims(&setup.provider, &subject), "alg": "EdDSA" });
    let token = setup.provider.sign(&plain).await;
    let nobody = me(&setup.server, &token).await.expect(200).body;
    assert_eq!(nobody["account"], staff["account"]);
    assert_eq!(nobody["roles"], json!([]));
    post(&setup.server, "/v1/parcel/create", &token, &json!({ "label": "x" }))
        .await
        .problem(403, "forbidden");

    // What only an own session may do, it may not.
    let body = json!({ "name": "k", "scopes": ["*"] });
    post(&setup.server, "/v1/auth/api-keys", &token, &body).await.problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_anything_wrong_is_nobody() {
    let setup = setup().await;
    let claims = claims(&setup.provider, "s");
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        if value.is_null() {
            changed.as_object_mut().unwrap().remove(name);
        } else {
            changed[name] = value;
        }
        json!({ "claims": changed })
    };
    me(&setup.server, &good(&setup.provider, "s").await).await.expect(200);
    let cases = [
        ("another audience", with("aud", json!("other"))),
        ("no audience", with("aud", json!(null))),
        ("several other audiences", with("aud", json!(["shop2", "Shop"]))),
        ("expired", with("exp", json!(now() - 60))),
        ("no expiry", with("exp", json!(null))),
        ("an expiry that is a text", with("exp", json!("9999999999"))),
        ("not yet valid", with("nbf", json!(now() + 120))),
        ("from the future", with("iat", json!(now() + 120))),
        ("no subject", with("sub", json!(null))),
        ("bound to a key", with("cnf", json!({ "jkt": "x" }))),
        ("a logout token", with("events", json!({}))),
        ("another issuer", with("iss", json!("https://evil.example"))),
        ("no issuer", with("iss", json!(null))),
        ("an algorithm that isn't allowed", json!({ "claims": claims, "alg": "ES256" })),
        ("an unknown key", json!({ "claims": claims, "header": { "kid": "unknown" } })),
        ("a key of another type", json!({ "claims": claims, "header": { "kid": "EdDSA-1" } })),
        ("no algorithm", json!({ "claims": claims, "forge": "none" })),
        ("the public key as a secret", json!({ "claims": claims, "forge": "public-pem-as-secret" })),
        ("its modulus as a secret", json!({ "claims": claims, "forge": "public-modulus-as-secret" })),
        ("a stranger's signature", json!({ "claims": claims, "forge": "stranger" })),
        ("another type", json!({ "claims": claims, "header": { "typ": "logout+jwt" } })),
    ];
    for (what, request) in cases {
        let token = setup.provider.sign(&request).await;
        let answer = me(&setup.server, &token).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text);
        assert!(
            !answer.text.contains("kid") && !answer.text.contains("signature"),
            "{what}: {}",
            answer.text
        );
    }
    let token = good(&setup.provider, "s").await;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = good(&setup.provider, "other").await;
    for broken in [format!("{signed}."), format!("{}.{signature}", other.rsplit_once('.').unwrap().0)] {
        me(&setup.server, &broken).await.problem(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_identity_is_its_account_and_a_disabled_account_is_nobody() {
    let setup = setup().await;
    let user = somebody();
    let mut browser = setup.browser(&user);
    browser.sign_in("local").await.expect(303);
    let account = browser.me().await["account"].clone();
    let token = good(&setup.provider, user["sub"].as_str().unwrap()).await;
    let own = me(&setup.server, &token).await.expect(200).body;
    assert_eq!((&own["account"], &own["email"]), (&account, &user["email"]));
    let path = format!("/v1/account/{}/disable", account.as_str().unwrap());
    setup.admin().post(&path, &json!({})).await.expect(200);
    eventually("the token is worth nothing", async || {
        let answer = me(&setup.server, &token).await;
        (answer.status == 401).then_some(())
    })
    .await;
}
