//! Sessions: refreshed, reused, ended, everywhere and at once; in cookies; and API keys beside them.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use super::guarded;
use crate::harness::eventually;
use crate::harness::people::{Guarded, PASSWORD, Person, refresh, with_cookies};

#[tokio::test]
async fn a_refresh_token_that_comes_twice_ends_the_session_on_every_instance() {
    let guarded = guarded().await;
    let second = guarded.second().await;
    let other = second.client();
    let first = guarded.person(&[]).await;
    let next = first.refreshed(&other).await;
    assert_eq!((&next.session, &next.id), (&first.session, &first.id));
    // Both access tokens are good until they expire or the session ends.
    for token in [&first.access, &next.access] {
        other.with_token(token).get("/v1/auth/me").await.expect(200);
    }
    refresh(&guarded.client, &first.refresh).await.problem(401, "unauthenticated");
    refresh(&other, &next.refresh).await.problem(401, "unauthenticated");
    for client in [&guarded.client, &other] {
        first.is_refused_by(client).await;
        next.is_refused_by(client).await;
    }
    let sessions = guarded.sign_in(&first.email).await.client.get("/v1/session").await.expect(200);
    let ended = sessions.body["items"].as_array().unwrap().iter().find(|item| item["id"] == *first.session);
    assert_eq!(ended.unwrap()["state"]["ended_by"], "reuse");
}

/// Many refreshes of one token at once: one gets the next token, and the session is over for it too.
#[tokio::test]
async fn of_refreshes_at_once_one_wins_and_the_session_ends() {
    let guarded = guarded().await;
    let person = guarded.person(&[]).await;
    let asked = (0..8).map(|_| refresh(&guarded.client, &person.refresh));
    let answers = futures::future::join_all(asked).await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1, "{answers:#?}");
    let next = won[0].body["refresh_token"].as_str().unwrap();
    refresh(&guarded.client, next).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_session_that_was_ended_is_over_on_every_instance_within_a_second() {
    let guarded = guarded().await;
    let second = guarded.second().await;
    let mut slowest = 0.0_f64;
    for round in 0..5 {
        let person = guarded.person(&[]).await;
        second.client().with_token(&person.access).get("/v1/auth/me").await.expect(200);
        let device = guarded.sign_in(&person.email).await;
        let began = Instant::now();
        match round % 2 {
            0 => person.client.post("/v1/auth/sign-out", &json!({})).await.expect(204),
            _ => {
                let path = format!("/v1/session/{}/end", person.session);
                device.client.post(&path, &json!({})).await.expect(200)
            }
        };
        let answered = began.elapsed().as_secs_f64();
        person.is_refused_by(&second.client()).await;
        person.is_refused_by(&guarded.client).await;
        slowest = slowest.max(began.elapsed().as_secs_f64() - answered);
        refresh(&guarded.client, &person.refresh).await.problem(401, "unauthenticated");
        device.client.get("/v1/auth/me").await.expect(200);
    }
    eprintln!("a session was refused on both instances at most {:.0} ms after the answer", slowest * 1000.0);
}

#[tokio::test]
async fn an_instance_that_starts_later_knows_what_was_before() {
    let guarded = guarded().await;
    guarded.role("packer", &["parcel.pack"]).await;
    let [gone, here] = [guarded.person(&[]).await, guarded.person(&["packer"]).await];
    gone.client.post("/v1/auth/sign-out", &json!({})).await.expect(204);
    let second = guarded.second().await;
    let later = second.client();
    // It believes nobody before it has read that, so there is no moment in which it believes too much.
    later.with_token(&gone.access).get("/v1/auth/me").await.problem(401, "unauthenticated");
    let me = later.with_token(&here.access).get("/v1/auth/me").await.expect(200);
    assert_eq!((&me.body["roles"], &me.body["permissions"]), (&json!(["packer"]), &json!(["parcel.pack"])));
}

#[tokio::test]
async fn one_sees_and_ends_ones_own_sessions_only() {
    let guarded = guarded().await;
    let [ann, bob] = [guarded.person(&[]).await, guarded.person(&[]).await];
    let seen = eventually("the session shows", async || {
        let list = ann.client.get("/v1/session").await.expect(200);
        list.body["items"].as_array().filter(|items| !items.is_empty()).cloned()
    })
    .await;
    assert_eq!(seen.len(), 1);
    assert_eq!((&seen[0]["id"], &seen[0]["state"]["account"]), (&json!(ann.session), &json!(ann.id)));
    for hidden in ["token", "family", "credentials"] {
        assert_eq!(seen[0]["state"].get(hidden), None, "{hidden}");
    }
    let path = format!("/v1/session/{}/end", ann.session);
    bob.client.post(&path, &json!({})).await.problem(404, "not-found");
    guarded.client.post(&path, &json!({})).await.problem(404, "not-found");
    guarded.admin.client.post(&path, &json!({})).await.expect(200);
    ann.is_refused_by(&guarded.client).await;
}

/// What `Set-Cookie` says, as `Cookie` sends it back.
fn cookies(answer: &crate::harness::Answer) -> String {
    let set = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let pairs: Vec<&str> = set
        .inspect(|cookie| {
            for wanted in ["HttpOnly", "SameSite=Strict", "Path=/"] {
                assert!(cookie.contains(wanted), "{cookie}");
            }
        })
        .map(|cookie| cookie.split(';').next().unwrap())
        .collect();
    pairs.join("; ")
}

#[tokio::test]
async fn a_page_sends_cookies_and_proves_that_it_is_ours() {
    let guarded = guarded().await;
    let person = guarded.person(&[]).await;
    let body = json!({ "email": person.email, "password": PASSWORD, "cookies": true });
    let answer = guarded.client.post("/v1/auth/sign-in", &body).await.expect(200);
    assert_eq!(answer.body.get("access_token"), None);
    assert_eq!(answer.body.get("refresh_token"), None);
    let (jar, csrf) = (cookies(&answer), answer.body["csrf"].as_str().unwrap().to_owned());
    let client = &guarded.client;
    let parcel = json!({ "owner": person.id, "label": "by cookie" });
    let pack = async |headers: &[(&str, &str)]| {
        with_cookies(client, Method::POST, "/v1/parcel/pack", &parcel, &jar, headers).await
    };

    let me = with_cookies(client, Method::GET, "/v1/auth/me", &Value::Null, &jar, &[]).await.expect(200);
    assert_eq!(me.body["csrf"], csrf);
    pack(&[]).await.problem(403, "csrf-missing");
    pack(&[("Writ-Csrf", "x")]).await.problem(403, "csrf-missing");
    pack(&[("Writ-Csrf", &csrf), ("Sec-Fetch-Site", "cross-site")]).await.problem(403, "cross-site");
    pack(&[("Writ-Csrf", &csrf)]).await.expect(201);
    // Another session's token is none.
    let other = guarded.client.post("/v1/auth/sign-in", &body).await.expect(200);
    pack(&[("Writ-Csrf", other.body["csrf"].as_str().unwrap())]).await.problem(403, "csrf-missing");

    let refresh = async |headers: &[(&str, &str)]| {
        with_cookies(client, Method::POST, "/v1/auth/refresh", &json!({}), &jar, headers).await
    };
    refresh(&[]).await.problem(403, "csrf-missing");
    let next = refresh(&[("Writ-Csrf", "1")]).await.expect(200);
    assert_eq!(next.body["csrf"], csrf, "the session is the same");
    let next_jar = cookies(&next);
    let headers = [("Writ-Csrf", csrf.as_str())];
    let out = with_cookies(client, Method::POST, "/v1/auth/sign-out", &json!({}), &next_jar, &headers).await;
    let gone = out.expect(204);
    let cleared = gone
        .headers
        .get_all("set-cookie")
        .iter()
        .all(|cookie| cookie.to_str().unwrap().contains("Max-Age=0"));
    assert!(cleared, "{:?}", gone.headers);
    eventually("the session has ended", async || {
        let me = with_cookies(client, Method::GET, "/v1/auth/me", &Value::Null, &next_jar, &[]).await;
        (me.status == 401).then_some(())
    })
    .await;
}

/// Makes an API key: its id and itself.
async fn key(person: &Person, scopes: &[&str], expires_at: Option<&str>) -> (String, String) {
    let body = json!({ "name": "test", "scopes": scopes, "expires_at": expires_at });
    let made = person.client.post("/v1/auth/api-keys", &body).await.expect(201);
    (made.id().to_owned(), made.body["key"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_api_key_does_what_it_is_for_until_it_is_revoked() {
    let guarded: Guarded = guarded().await;
    let second = guarded.second().await;
    let person = guarded.person(&[]).await;
    let (id, text) = key(&person, &["parcel.read", "parcel.pack"], None).await;
    let by_key = guarded.client.with_token(&text);
    let me = by_key.get("/v1/auth/me").await.expect(200);
    assert_eq!(
        (&me.body["api_key"], &me.body["scopes"]),
        (&json!(id), &json!(["parcel.read", "parcel.pack"]))
    );

    let parcel = json!({ "owner": person.id, "label": "by key" });
    let packed = by_key.post("/v1/parcel/pack", &parcel).await.expect(201);
    let path = format!("/v1/parcel/{}", packed.id());
    by_key.get_at(&path, packed.position()).await.expect(200);
    // Its owner may; the key isn't for that.
    by_key.post(&format!("{path}/relabel"), &json!({ "label": "x" })).await.problem(403, "forbidden");
    by_key.get(&format!("/v1/account/{}", person.id)).await.problem(404, "not-found");
    for path in ["/v1/auth/api-keys", "/v1/auth/password", "/v1/auth/sign-out"] {
        let body = json!({ "name": "x", "scopes": [], "password": "x" });
        let answer = by_key.post(path, &body).await;
        assert!(matches!(answer.status, 403 | 422), "{path}: {}", answer.text);
    }
    eventually("the use is noted", async || {
        let shown = person.client.get(&format!("/v1/api_key/{id}")).await.expect(200);
        assert_eq!(shown.body["state"].get("hash"), None);
        shown.body["state"]["used_at"].is_string().then_some(())
    })
    .await;

    // A mistyped one, and one of another account's id.
    let mut mistyped = text.clone();
    mistyped.replace_range(50..51, if &text[50..51] == "0" { "1" } else { "0" });
    guarded.client.with_token(&mistyped).get("/v1/auth/me").await.problem(401, "unauthenticated");

    let (_, expired) = key(&person, &["*"], Some("2020-01-01T00:00:00Z")).await;
    guarded.client.with_token(&expired).get("/v1/auth/me").await.problem(401, "unauthenticated");

    second.client().with_token(&text).get("/v1/auth/me").await.expect(200);
    let bob = guarded.person(&[]).await;
    bob.client.post(&format!("/v1/api_key/{id}/revoke"), &json!({})).await.problem(404, "not-found");
    person.client.post(&format!("/v1/api_key/{id}/revoke"), &json!({})).await.expect(200);
    for client in [guarded.client.with_token(&text), second.client().with_token(&text)] {
        eventually("the key is refused", async || {
            (client.get("/v1/auth/me").await.status == 401).then_some(())
        })
        .await;
    }
    // A key ends with its account.
    let (_, other) = key(&person, &["*"], None).await;
    let by_other = guarded.client.with_token(&other);
    by_other.get("/v1/auth/me").await.expect(200);
    guarded.admin.client.post(&format!("/v1/account/{}/disable", person.id), &json!({})).await.expect(200);
    eventually("the key is refused", async || {
        (by_other.get("/v1/auth/me").await.status == 401).then_some(())
    })
    .await;
}
