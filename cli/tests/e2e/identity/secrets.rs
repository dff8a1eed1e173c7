//! Secrets: nowhere in clear, wherever one looks.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use super::guarded;
use crate::harness::people::{Guarded, PASSWORD, try_sign_in};
use crate::harness::{eventually, kafka};

const CODE: &str = "90125477";
const OTHER_CODE: &str = "31415926";

/// Everything that an application has written, by where it stands.
async fn everything(guarded: &Guarded) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for topic in
        ["commands", "state", "replies", "account", "session", "role", "api_key", "parcel", "dead-letters"]
    {
        let topic = guarded.world.topic(topic);
        for (key, value) in kafka::read_raw(&topic).await {
            found.push((format!("{topic} {key}"), value));
        }
    }
    let mut connection = guarded.world.postgres().await;
    let tables =
        sqlx::query("SELECT table_name::text FROM information_schema.tables WHERE table_schema = $1")
            .bind(&guarded.world.schema)
            .fetch_all(&mut connection)
            .await
            .unwrap();
    for table in tables {
        let table: String = table.get(0);
        let sql = format!("SELECT t::text FROM \"{}\".\"{table}\" t", guarded.world.schema);
        for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap() {
            found.push((format!("table {table}"), row.get::<String, _>(0).into_bytes()));
        }
    }
    for file in std::fs::read_dir(guarded.world.folder()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            found.push((path.display().to_string(), std::fs::read(path).unwrap()));
        }
    }
    found
}

#[tokio::test]
async fn a_secret_stands_nowhere_in_clear() {
    let guarded = guarded().await;
    let person = guarded.person(&["staff"]).await;
    let body = json!({ "owner": person.id, "label": "safe", "code": CODE });
    let packed = person.client.post("/v1/parcel/pack", &body).await.expect(201);
    assert!(!packed.text.contains("code"), "{}", packed.text);
    let path = format!("/v1/parcel/{}", packed.id());
    person.client.post(&format!("{path}/recode"), &json!({ "code": OTHER_CODE })).await.expect(200);
    // The constraints are those of the clear text, and a fault doesn't repeat it.
    let refused = person.client.post(&format!("{path}/recode"), &json!({ "code": "12345x" })).await;
    assert_eq!(refused.problem(422, "invalid-input").pointers(), ["/code"]);
    // What looks sealed is a text like another.
    let forged = json!({ "code": "sealed:1:x:y" });
    person.client.post(&format!("{path}/recode"), &forged).await.problem(422, "invalid-input");

    let offered = person.client.post("/v1/auth/totp", &json!({ "password": PASSWORD })).await.expect(200);
    let totp = offered.body["secret"].as_str().unwrap().to_owned();
    let key = json!({ "name": "k", "scopes": ["*"] });
    let key = person.client.post("/v1/auth/api-keys", &key).await.expect(201).body["key"]
        .as_str()
        .unwrap()
        .to_owned();
    guarded.client.with_token(&key).get(&path).await.expect(200);
    let wrong = "hunter2 hunter2 hunter2";
    try_sign_in(&guarded.client, &person.email, wrong, None).await.problem(401, "sign-in-failed");
    let next = person.refreshed(&guarded.client).await;

    // All of it has arrived.
    eventually("the row shows the last command", async || {
        let row = person.client.get(&path).await;
        (row.version() == 2).then_some(())
    })
    .await;
    let found = everything(&guarded).await;
    let sealed = found.iter().filter(|(_, bytes)| has(bytes, b"sealed:1:")).count();
    assert!(sealed > 8, "the search finds what it looks for: {sealed}");
    let key_secret = key.rsplit_once('_').unwrap().1;
    for secret in [
        CODE,
        OTHER_CODE,
        PASSWORD,
        wrong,
        "$argon2id$",
        totp.as_str(),
        key_secret,
        &person.refresh[30..],
        &next.refresh[30..],
        &person.access[40..],
        &next.access[40..],
    ] {
        for (place, bytes) in &found {
            assert!(
                !has(bytes, secret.as_bytes()),
                "{place} has {secret}: {}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
    // Nor does any answer, to whoever may read the row, or everything.
    for client in [&person.client, &guarded.admin.client] {
        for address in [
            path.clone(),
            "/v1/parcel".into(),
            format!("{path}/events"),
            format!("{path}?as_of=1"),
            format!("{path}?diff=1..2"),
            "/v1/events?limit=100".into(),
            "/v1/parcel?format=ndjson".into(),
            "/v1/parcel?format=csv".into(),
            "/v1/account".into(),
            "/v1/account?format=csv".into(),
        ] {
            let answer = client.get(&address).await.expect(200);
            for secret in ["sealed:", CODE, OTHER_CODE, "\"code\""] {
                assert!(!answer.text.contains(secret), "{address} has {secret}: {}", answer.text);
            }
        }
        client.get("/v1/parcel?code=1").await.problem(400, "invalid-query");
        client.get("/v1/parcel?sort=code").await.problem(400, "invalid-query");
        client.get("/v1/parcel?fields=code").await.problem(400, "invalid-query");
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_repeat_with_a_secret_is_the_same_command() {
    let guarded = guarded().await;
    let person = guarded.person(&[]).await;
    let body = |code: &str| json!({ "owner": person.id, "label": "x", "code": code });
    let key = [("Idempotency-Key", "pack-1")];
    let pack = async |body: &Value| person.client.post_with("/v1/parcel/pack", body, &key).await;
    let first = pack(&body(CODE)).await.expect(201);
    let again = pack(&body(CODE)).await.expect(201);
    assert_eq!((again.id(), again.position()), (first.id(), first.position()));
    pack(&body(OTHER_CODE)).await.problem(422, "idempotency-key-reused");
}
