//! Who may open a socket: by header, by cookie from the right pages, by ticket; how many; and how it stays open.

use std::time::Duration;

use serde_json::{Value, json};

use super::{APP, guarded, guarded_with};
use crate::harness::people::PASSWORD;
use crate::harness::socket::Socket;
use crate::harness::{Client, eventually, shared};

fn slug(refusal: &(u16, Value)) -> (u16, &str) {
    let (status, body) = refusal;
    (*status, body["type"].as_str().unwrap_or_default().trim_start_matches("urn:writ:problem:"))
}

async fn refused(client: &Client, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    match Socket::open_with(client, path, headers).await {
        Ok(_) => panic!("{path} {headers:?} is let in"),
        Err(refusal) => refusal,
    }
}

#[tokio::test]
async fn a_socket_is_somebodys() {
    let guarded = guarded().await;
    let ada = guarded.person(&[]).await;
    let socket = Socket::open(&ada.client).await;
    assert_eq!(socket.welcome["account"], ada.id);
    assert!(socket.welcome["expires_at"].is_string() && socket.welcome["connection"].is_string());
    assert_eq!(socket.welcome["ping_seconds"], 30);
    let nobody = Socket::open(&guarded.client).await;
    assert_eq!((&nobody.welcome["account"], &nobody.welcome["expires_at"]), (&Value::Null, &Value::Null));

    let wrong = [("authorization", "Bearer nonsense")];
    assert_eq!(slug(&refused(&guarded.client, "/v1/live", &wrong).await), (401, "unauthenticated"));
    let unknown = refused(&guarded.client, "/v1/live?token=x", &[]).await;
    assert_eq!(slug(&unknown), (400, "invalid-query"));
}

#[tokio::test]
async fn a_ticket_is_good_once() {
    let guarded = guarded().await;
    let ada = guarded.person(&[]).await;
    let ticket = async || {
        let answer = ada.client.post("/v1/live/tickets", &json!({})).await.expect(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.body["expires_in"], 30);
        answer.body["ticket"].as_str().unwrap().to_owned()
    };
    let path = |ticket: &str| format!("/v1/live?ticket={ticket}");
    let one = ticket().await;
    assert!(!ada.access.contains(&one));
    // From a page of any origin: who has a ticket was given it.
    let foreign = [("origin", "https://elsewhere.example"), ("sec-fetch-site", "cross-site")];
    let socket = Socket::open_with(&guarded.client, &path(&one), &foreign).await.unwrap();
    assert_eq!(socket.welcome["account"], ada.id);
    assert_eq!(slug(&refused(&guarded.client, &path(&one), &[]).await), (401, "unauthenticated"));
    for bad in ["", "x", &"0".repeat(64)] {
        assert_eq!(slug(&refused(&guarded.client, &path(bad), &[]).await).0, 401, "{bad}");
    }
    // Of many who come with the same one at once, one gets in.
    let two = ticket().await;
    let two = path(&two);
    let all = (0..8).map(|_| Socket::open_with(&guarded.client, &two, &[]));
    let opened = futures::future::join_all(all).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(opened, 1);
    // What was proven must still hold.
    let three = ticket().await;
    ada.client.post("/v1/auth/sign-out", &json!({})).await.expect(204);
    ada.is_refused_by(&guarded.client).await;
    assert_eq!(slug(&refused(&guarded.client, &path(&three), &[]).await), (401, "unauthenticated"));
    guarded.client.post("/v1/live/tickets", &json!({})).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_ticket_runs_out_and_needs_redis() {
    let guarded = guarded_with(&[("WRIT_HTTP_LIVE_TICKET_MS", "1")]).await;
    let ada = guarded.person(&[]).await;
    let answer = ada.client.post("/v1/live/tickets", &json!({})).await.expect(200);
    let path = format!("/v1/live?ticket={}", answer.body["ticket"].as_str().unwrap());
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(slug(&refused(&guarded.client, &path, &[]).await), (401, "unauthenticated"));

    let second = guarded.second().await;
    // Without the address of a Redis that is there.
    let without = second.client().with_token(&ada.access);
    without.post("/v1/live/tickets", &json!({})).await.problem(503, "live-unavailable");
    assert_eq!(slug(&refused(&second.client(), "/v1/live?ticket=x", &[]).await), (503, "live-unavailable"));
}

#[tokio::test]
async fn a_cookie_counts_for_pages_of_this_origin_only() {
    let settings = [("WRIT_HTTP_CORS_ORIGINS", "https://app.example.com")];
    let guarded = guarded_with(&settings).await;
    let ada = guarded.person(&[]).await;
    let body = json!({ "email": ada.email, "password": PASSWORD, "cookies": true });
    let answer = guarded.client.post("/v1/auth/sign-in", &body).await.expect(200);
    let cookies: Vec<String> = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned())
        .collect();
    let cookies = cookies.join("; ");
    let own = guarded.client.base().to_owned();
    for origin in [own.as_str(), "https://app.example.com"] {
        let headers = [("cookie", cookies.as_str()), ("origin", origin)];
        let socket = Socket::open_with(&guarded.client, "/v1/live", &headers).await.unwrap();
        assert_eq!(socket.welcome["account"], ada.id, "{origin}");
    }
    for origin in
        ["https://evil.example", "null", "http://127.0.0.1:1", "https://app.example.com.evil.example"]
    {
        let headers = [("cookie", cookies.as_str()), ("origin", origin)];
        assert_eq!(
            slug(&refused(&guarded.client, "/v1/live", &headers).await),
            (403, "cross-site"),
            "{origin}"
        );
    }
    let without = [("cookie", cookies.as_str())];
    assert_eq!(slug(&refused(&guarded.client, "/v1/live", &without).await), (403, "cross-site"));
    let says_so = [("cookie", cookies.as_str()), ("origin", own.as_str()), ("sec-fetch-site", "cross-site")];
    assert_eq!(slug(&refused(&guarded.client, "/v1/live", &says_so).await), (403, "cross-site"));
}

/// On an open server, who reaches it may do everything: no page of a browser may, for whoever looks at it.
#[tokio::test]
async fn an_open_server_is_open_to_its_own_pages_only() {
    let client = shared(&APP).await;
    let own = client.base().to_owned();
    assert!(Socket::open_with(&client, "/v1/live", &[("origin", own.as_str())]).await.is_ok());
    let foreign = [("origin", "https://evil.example")];
    assert_eq!(slug(&refused(&client, "/v1/live", &foreign).await), (403, "cross-site"));
}

#[tokio::test]
async fn sockets_are_limited() {
    let limits = [("WRIT_HTTP_LIVE_MAX_OPEN_PER_ACCOUNT", "2"), ("WRIT_HTTP_LIVE_MAX_SUBSCRIPTIONS", "2")];
    let guarded = guarded_with(&limits).await;
    let (ada, bob) = (guarded.person(&[]).await, guarded.person(&[]).await);
    let token = format!("Bearer {}", ada.access);
    let headers = [("authorization", token.as_str())];
    let mut first = Socket::open(&ada.client).await;
    let second = Socket::open(&ada.client).await;
    assert_eq!(slug(&refused(&guarded.client, "/v1/live", &headers).await), (429, "rate-limited"));
    ada.client.get("/v1/live/letter?wait=0").await.problem(429, "rate-limited");
    drop(Socket::open(&bob.client).await);
    drop(second);
    eventually("a place is free again", async || {
        Socket::open_with(&guarded.client, "/v1/live", &headers).await.ok()
    })
    .await;

    first.subscribe_now("a", "letter", &json!({})).await;
    first.subscribe("a", "letter", &json!({})).await;
    let twice = first.of("a", "error").await;
    assert_eq!(twice["problem"]["errors"][0]["code"], "repeated");
    first.subscribe_now("b", "letter", &json!({})).await;
    first.subscribe("c", "letter", &json!({})).await;
    assert_eq!(first.of("c", "error").await["problem"]["type"], "urn:writ:problem:too-many-subscriptions");
    first.send(&json!({ "type": "unsubscribe", "sub": "a" })).await;
    assert_eq!(first.of("a", "ended").await["reason"], "unsubscribed");
    first.subscribe_now("c", "letter", &json!({})).await;
    first.send(&json!({ "type": "unsubscribe", "sub": "a" })).await;
    assert_eq!(first.of("a", "error").await["problem"]["type"], "urn:writ:problem:not-found");
}

#[tokio::test]
async fn messages_are_limited_and_who_does_not_listen_is_closed() {
    let limits = [("WRIT_HTTP_LIMITS_ACCOUNT_PER_MINUTE", "1"), ("WRIT_HTTP_LIMITS_ACCOUNT_BURST", "40")];
    let guarded = guarded_with(&limits).await;
    let ada = guarded.person(&[]).await;
    let mut socket = Socket::open(&ada.client).await;
    for _ in 0..200 {
        socket.send(&json!({ "type": "ping" })).await;
    }
    let refused = socket.find("a refusal", |message| message["type"] == "error").await;
    assert_eq!(refused["problem"]["type"], "urn:writ:problem:rate-limited");
    assert_eq!(socket.closed().await, 4429);
}

#[tokio::test]
async fn a_client_that_answers_no_pings_is_closed() {
    let guarded = guarded_with(&[("WRIT_HTTP_LIVE_PING_INTERVAL_MS", "200")]).await;
    let mut lively = Socket::open(&guarded.client).await;
    let address = guarded.client.base().strip_prefix("http://").unwrap().to_owned();
    let mut silent = super::rfc6455::silent(&address).await;
    // Answers pings, since it is read all the time.
    let kept = tokio::time::timeout(Duration::from_secs(3), lively.closed()).await;
    assert!(kept.is_err(), "closed with {kept:?}");
    assert_eq!(silent.closed_at_last().await, (2, Some(4408)));
}

#[tokio::test]
async fn a_socket_outlives_neither_its_proof_nor_its_renewal() {
    let guarded = guarded().await;
    let ada = guarded.person(&[]).await;
    let bob = guarded.person(&[]).await;
    let mut socket = Socket::open(&ada.client).await;
    let authenticate = |member: &str, proof: &str| json!({ "type": "authenticate", member: proof });
    // Another account's, and nothing that is good.
    socket.send(&authenticate("token", &bob.access)).await;
    let refused = socket.find("a refusal", |message| message["type"] == "error").await;
    assert_eq!(refused["problem"]["type"], "urn:writ:problem:forbidden");
    socket.send(&json!({ "type": "authenticate", "token": "x", "ref": "r1" })).await;
    let refused = socket.find("a refusal", |message| message["ref"] == "r1").await;
    assert_eq!(refused["problem"]["type"], "urn:writ:problem:unauthenticated");

    // Another session of the same account: from now on it is that one's.
    let other = guarded.sign_in(&ada.email).await;
    socket.send(&json!({ "type": "authenticate", "token": other.access, "ref": "r2" })).await;
    let renewed = socket.find("the renewal", |message| message["ref"] == "r2").await;
    assert!(renewed["type"] == "authenticated" && renewed["expires_at"].is_string(), "{renewed}");
    ada.client.post("/v1/auth/sign-out", &json!({})).await.expect(204);
    ada.is_refused_by(&guarded.client).await;
    socket.ping().await;
    let ticket = other.client.post("/v1/live/tickets", &json!({})).await.expect(200);
    socket.send(&authenticate("ticket", ticket.body["ticket"].as_str().unwrap())).await;
    socket.find("the renewal", |message| message["type"] == "authenticated").await;
    other.client.post("/v1/auth/sign-out", &json!({})).await.expect(204);
    assert_eq!(socket.closed().await, 4401);
}
