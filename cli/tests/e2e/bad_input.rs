//! Whatever is sent: a status, a type and pointers that say what is wrong; no panic; nothing written.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{self, Client, Shared, Slot, client, kafka, unique};

static SERVER: Slot = harness::slot();

/// Afterwards the server is as healthy as before, and `create` still works.
async fn assert_healthy(app: &Client) {
    app.get("/healthz").await.expect(200);
    app.post("/v1/note/create", &json!({ "title": "still here" })).await.expect(201);
}

/// The pointers of the errors that the body has as the input of `command`.
async fn refused(app: &Shared, path: &str, body: Value) -> harness::Answer {
    app.post(path, &body).await.problem(422, "invalid-input")
}

#[tokio::test]
async fn a_body_that_is_no_json() {
    let app = harness::shared(&SERVER).await;
    let bad: [&[u8]; 8] = [
        b"{",
        b"{\"title\": 'a'}",
        b"title=a",
        b"{\"title\":\"a\"} x",
        b"\xff\xfe",
        b"nul",
        b"{\"a\":1,}",
        b"\0",
    ];
    for body in bad {
        app.post_bytes("/v1/note/create", "application/json", body).await.problem(400, "malformed-json");
    }
    app.post_bytes("/v1/note/create", "text/plain", "{}").await.problem(415, "unsupported-media-type");
    assert_healthy(&app).await;
}

#[tokio::test]
async fn a_body_of_another_shape() {
    let app = harness::shared(&SERVER).await;
    for body in [json!([]), json!("a"), json!(1), json!(null), json!([{ "title": "a" }])] {
        let answer = refused(&app, "/v1/note/create", body).await;
        assert_eq!(answer.pointers(), [""]);
        assert_eq!(answer.code(""), "wrong_type");
    }
}

#[tokio::test]
async fn every_fault_of_a_body_is_reported_at_once() {
    let app = harness::shared(&SERVER).await;
    let body = json!({
        "title": "",
        "body": 5,
        "stars": 6,
        "weight": "1.2345",
        "pinned": "yes",
        "due": "2026-02-30",
        "seen_at": "yesterday",
        "tags": ["ok", "", 3],
        "colour": "red",
    });
    let answer = refused(&app, "/v1/note/create", body).await;
    let expected = [
        ("/body", "wrong_type"),
        ("/colour", "unknown_field"),
        ("/due", "invalid_format"),
        ("/pinned", "wrong_type"),
        ("/seen_at", "invalid_format"),
        ("/stars", "out_of_range"),
        ("/tags/1", "too_short"),
        ("/tags/2", "wrong_type"),
        ("/title", "too_short"),
        ("/weight", "too_precise"),
    ];
    assert_eq!(answer.pointers(), expected.map(|(pointer, _)| pointer));
    for (pointer, code) in expected {
        assert_eq!(answer.code(pointer), code, "{pointer}");
    }
}

#[tokio::test]
async fn faults_deep_in_a_list_are_pointed_at() {
    let app = harness::shared(&SERVER).await;
    let body = json!({
        "lines": [
            { "product": "a", "quantity": 0, "unit_price": "1" },
            { "product": "b", "quantity": 1, "unit_price": 0.1, "a/b~c": 1 },
            { "quantity": 1.5, "unit_price": "-1" },
        ],
    });
    let answer = refused(&app, "/v1/order/place", body).await;
    let expected = [
        ("/lines/0/quantity", "out_of_range"),
        // RFC 6901: `~` and `/` in a name are `~0` and `~1`.
        ("/lines/1/a~1b~0c", "unknown_field"),
        // A number with a fraction has been a float; it may no longer be what the caller meant.
        ("/lines/1/unit_price", "wrong_type"),
        ("/lines/2/product", "required"),
        ("/lines/2/quantity", "wrong_type"),
        ("/lines/2/unit_price", "out_of_range"),
        ("/number", "required"),
    ];
    assert_eq!(answer.pointers(), expected.map(|(pointer, _)| pointer));
    for (pointer, code) in expected {
        assert_eq!(answer.code(pointer), code, "{pointer}");
    }
}

#[tokio::test]
async fn numbers_beyond_their_type() {
    let app = harness::shared(&SERVER).await;
    let numbers = [
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "1e400",
        "-1e400",
        "1e19",
        "123456789012345678901234567890",
    ];
    for number in numbers {
        let body = format!("{{\"title\":\"a\",\"stars\":{number}}}");
        let answer = app.post_bytes("/v1/note/create", "application/json", body).await;
        // A JSON number that no reader can hold is malformed; one that the field can't hold is invalid.
        match answer.status {
            400 => answer.problem(400, "malformed-json"),
            _ => {
                let answer = answer.problem(422, "invalid-input");
                assert_eq!(answer.pointers(), ["/stars"], "{number}");
                answer
            }
        };
    }
    for weight in
        ["99999999", "1e9", "NaN", "Infinity", "0x10", "", "1,5", "--1", "1e-9", &"9".repeat(100_000)]
    {
        let answer = refused(&app, "/v1/note/create", json!({ "title": "a", "weight": weight })).await;
        assert_eq!(answer.pointers(), ["/weight"], "{weight:.20}");
    }
    // Each field is in its range, the result isn't.
    let mut body = client::order();
    let line = json!({ "product": "a", "quantity": 1000, "unit_price": "9999999999.99" });
    body["lines"] = json!([line]);
    let answer = app.post("/v1/order/place", &body).await;
    assert!(answer.status == 422, "{}", answer.text);
    assert_healthy(&app).await;
}

#[tokio::test]
async fn nul_characters() {
    let app = harness::shared(&SERVER).await;
    let answer = refused(&app, "/v1/note/create", json!({ "title": "a\0b", "tags": ["\0"] })).await;
    assert_eq!(answer.pointers(), ["/tags/0", "/title"]);
    assert_eq!(answer.code("/title"), "nul_character");
    let answer = refused(&app, "/v1/note/create", json!({ "title": "a", "b\0": 1 })).await;
    assert_eq!(answer.pointers(), ["/b\0"]);
    let answer = app.get("/v1/note/%00").await;
    assert!([400, 404].contains(&answer.status), "{}", answer.text);
    let answer = app.get("/v1/note?title=a%00b").await;
    answer.problem(400, "invalid-query");
    let answer = app.get("/v1/purse/a%00b").await;
    assert!([400, 404].contains(&answer.status), "{}", answer.text);
    assert_healthy(&app).await;
}

#[tokio::test]
async fn a_body_of_five_megabytes() {
    let app = harness::shared(&SERVER).await;
    let body = format!("{{\"title\":\"a\",\"body\":\"{}\"}}", "x".repeat(5 * 1024 * 1024));
    app.post_bytes("/v1/note/create", "application/json", body.clone()).await.problem(413, "too-large");
    // Without a length in advance.
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        body.as_bytes().chunks(64 * 1024).map(|chunk| Ok(chunk.to_vec())).collect();
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    app.post_bytes("/v1/note/create", "application/json", stream).await.problem(413, "too-large");
    assert_healthy(&app).await;
}

#[tokio::test]
async fn ten_thousand_levels_of_nesting() {
    let app = harness::shared(&SERVER).await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let inner = if open == "[" { "" } else { "1" };
        let nested = format!("{}{inner}{}", open.repeat(10_000), close.repeat(10_000));
        for body in [nested.clone(), format!("{{\"title\":{nested}}}"), open.repeat(10_000)] {
            app.post_bytes("/v1/note/create", "application/json", body).await.problem(400, "malformed-json");
        }
    }
    assert_healthy(&app).await;
}

#[tokio::test]
async fn what_does_not_exist() {
    let app = harness::shared(&SERVER).await;
    let empty = json!({});
    let id = uuid::Uuid::now_v7();
    let detail = app.post("/v1/nothing/create", &empty).await.problem(404, "unknown-model");
    assert!(detail.body["detail"].as_str().unwrap().contains("note"), "names what there is: {}", detail.text);
    app.post(&format!("/v1/nothing/{id}/pay"), &empty).await.problem(404, "unknown-model");
    app.get("/v1/nothing").await.problem(404, "unknown-model");
    app.get(&format!("/v1/nothing/{id}")).await.problem(404, "unknown-model");
    app.post("/v1/order/plaec", &empty).await.problem(404, "unknown-command");
    app.post(&format!("/v1/order/{id}/py"), &empty).await.problem(404, "unknown-command");
    app.post(&format!("/v1/order/{id}/place"), &client::order()).await.problem(404, "unknown-command");
    app.post("/v1/order/pay", &empty).await.problem(404, "unknown-command");
    app.post(&format!("/v1/order/{id}/pay"), &empty).await.problem(404, "not-found");
    app.get(&format!("/v1/order/{id}")).await.problem(404, "not-found");
    app.post("/v1/note/not-a-uuid/delete", &empty).await.problem(404, "not-found");
    app.get("/v1/note/not-a-uuid").await.problem(404, "not-found");
    app.get("/v2/note").await.problem(404, "unknown-route");
    app.get("/").await;
    client::send(app.request(Method::DELETE, "/v1/note")).await.problem(405, "method-not-allowed");
    assert_healthy(&app).await;
}

#[tokio::test]
async fn headers_of_garbage() {
    let app = harness::shared(&SERVER).await;
    let body = json!({ "title": "a" });
    let long = "k".repeat(300);
    for (name, value) in
        [("Idempotency-Key", ""), ("Idempotency-Key", "two words"), ("Idempotency-Key", &long)]
    {
        app.post_with("/v1/note/create", &body, &[(name, value)]).await.problem(400, "invalid-header");
    }
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}", purse.id());
    for position in ["x", "purse:1", "purse:-1:0", "purse:0:x", "nothing:0:0", "purse:0:1:2"] {
        app.get_at(&path, position).await.problem(400, "invalid-header");
    }
}

#[tokio::test]
async fn refused_commands_write_nothing() {
    let app = harness::shared(&SERVER).await;
    let note = app.post("/v1/note/create", &json!({ "title": "a" })).await.expect(201);
    let path = format!("/v1/note/{}/update", note.id());
    for body in [json!({ "title": "" }), json!({ "nope": 1 }), json!({ "stars": -1 }), json!([])] {
        refused(&app, &path, body).await;
    }
    app.post_with(&path, &json!({ "title": "b" }), &[("If-Match", "\"7\"")])
        .await
        .problem(412, "version-mismatch");
    app.post_bytes(&path, "application/json", "{").await.problem(400, "malformed-json");
    // A command that is taken stands behind all of them.
    app.post(&path, &json!({ "title": "c" })).await.expect(200);
    let events = kafka::events_of(&app.world().topic("note"), note.id()).await;
    assert_eq!(events.iter().map(kafka::Record::version).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn text_of_every_script_comes_back_as_it_was() {
    let app = harness::shared(&SERVER).await;
    let title = format!(
        "Ærøskøbing 東京 \u{1F375} e\u{301} \u{202e}abc \t\n\"'; DROP TABLE note; -- {}",
        unique("x")
    );
    let note = app.post("/v1/note/create", &json!({ "title": title })).await.expect(201);
    let row = app.get_at(&format!("/v1/note/{}", note.id()), note.position()).await.expect(200);
    assert_eq!(row.body["state"]["title"], title);
    let query = app.get(&client::query("/v1/note", &[("title", &title)])).await.expect(200);
    assert_eq!(query.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(query.body["items"][0]["id"], note.id());
}
