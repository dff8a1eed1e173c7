//! `POST /v1/{model}/{command}` and `POST /v1/{model}/{id}/{command}`: what a command answers.

use serde_json::json;

use crate::harness::{self, Slot, client, unique};

static SERVER: Slot = harness::slot();

#[tokio::test]
async fn a_creating_command_answers_201_with_where_it_is() {
    let app = harness::shared(&SERVER).await;
    let number = unique("a");
    let answer = app.post("/v1/purse/open", &json!({ "number": number, "owner": "Ada" })).await.expect(201);

    assert_eq!(answer.header("location"), format!("/v1/purse/{}", answer.id()));
    assert_eq!(answer.header("etag"), "\"1\"");
    assert!(!answer.header("x-request-id").is_empty());
    assert!(answer.position().starts_with("purse:"), "{}", answer.position());
    assert_eq!(answer.version(), 1);
    let state = json!({ "number": number, "owner": "Ada", "balance": 0, "status": "open" });
    assert_eq!(answer.body["state"], state);

    let events = answer.body["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["type"], "test.purse.Opened");
    assert_eq!(events[0]["version"], 1);
    assert_eq!(events[0]["data"]["owner"], "Ada");
    assert!(events[0]["id"].as_str().unwrap().parse::<uuid::Uuid>().is_ok());
    let time = events[0]["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
}

#[tokio::test]
async fn a_command_on_an_aggregate_answers_200_with_its_new_state() {
    let app = harness::shared(&SERVER).await;
    let opened = app.open_purse().await;
    let path = format!("/v1/purse/{}/deposit", opened.id());
    let answer = app.post(&path, &json!({ "amount": 70, "reference": "r1" })).await.expect(200);
    assert_eq!(answer.version(), 2);
    assert_eq!(answer.header("etag"), "\"2\"");
    assert!(answer.headers.get("location").is_none());
    assert_eq!(answer.body["state"]["balance"], 70);
    assert_eq!(answer.body["state"].get("reference"), None, "kept in the event only");
    assert_eq!(answer.body["events"][0]["data"]["reference"], "r1");
    assert_eq!(answer.body["events"][0]["data"]["balance"], 70, "events hold facts");
}

#[tokio::test]
async fn a_natural_key_names_the_same_aggregate_as_its_id() {
    let app = harness::shared(&SERVER).await;
    let opened = app.open_purse().await;
    let number = opened.body["state"]["number"].as_str().unwrap();
    let path = format!("/v1/purse/{number}/deposit");
    let answer = app.post(&path, &json!({ "amount": 1 })).await.expect(200);
    assert_eq!(answer.id(), opened.id());

    let again = json!({ "number": number, "owner": "Grace" });
    app.post("/v1/purse/open", &again).await.problem(409, "already-exists");
}

#[tokio::test]
async fn an_empty_body_is_an_empty_input() {
    let app = harness::shared(&SERVER).await;
    let order = app.place_order().await;
    let path = format!("/v1/order/{}/pay", order.id());
    let answer = app.post_bytes(&path, "application/json", "").await.expect(200);
    assert_eq!(answer.body["state"]["status"], "paid");
}

#[tokio::test]
async fn decimals_are_exact() {
    let app = harness::shared(&SERVER).await;
    let order = app.place_order().await;
    assert_eq!(order.body["state"]["total"], "32.29");
    assert_eq!(order.body["state"]["lines"][0]["unit_price"], "4.10");

    let mut body = client::order();
    // As floats, 0.1 + 0.2 is not 0.3, and the large one has no cents.
    body["lines"] = json!([
        { "product": "a", "quantity": 1, "unit_price": "0.1" },
        { "product": "b", "quantity": 1, "unit_price": "0.2" },
        { "product": "c", "quantity": 1, "unit_price": "9999999999.99" },
        { "product": "d", "quantity": 1, "unit_price": 7 },
    ]);
    let order = app.post("/v1/order/place", &body).await.expect(201);
    assert_eq!(order.body["state"]["total"], "10000000007.29");
    assert_eq!(order.body["state"]["lines"][3]["unit_price"], "7.00");
}

#[tokio::test]
async fn the_state_machine_allows_only_its_steps() {
    let app = harness::shared(&SERVER).await;
    let order = app.place_order().await;
    let send =
        async |command: &str| app.post(&format!("/v1/order/{}/{command}", order.id()), &json!({})).await;

    let refused = send("ship").await.problem(409, "wrong-state");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("placed") && detail.contains("paid"), "{detail}");
    send("pay").await.expect(200);
    send("pay").await.problem(409, "wrong-state");
    let shipped = send("ship").await.expect(200);
    assert_eq!(shipped.version(), 3);
    assert!(shipped.body["state"]["shipped_at"].is_string());
    send("cancel").await.problem(409, "wrong-state");
}

#[tokio::test]
async fn a_guard_that_fails_says_its_sentence() {
    let app = harness::shared(&SERVER).await;
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}/withdraw", purse.id());
    let refused = app.post(&path, &json!({ "amount": 1 })).await.problem(422, "guard-failed");
    assert!(
        refused.body["detail"].as_str().unwrap().contains("The balance doesn't cover it."),
        "{}",
        refused.text
    );
    let row = app.get_at(&format!("/v1/purse/{}", purse.id()), purse.position()).await.expect(200);
    assert_eq!(row.version(), 1, "nothing was written");
}

#[tokio::test]
async fn what_an_update_leaves_out_stays_and_null_clears() {
    let app = harness::shared(&SERVER).await;
    let note = json!({ "title": "Tea", "body": "Darjeeling", "weight": "0.5", "tags": ["a", "b"] });
    let note = app.post("/v1/note/create", &note).await.expect(201);
    assert_eq!(note.body["state"]["stars"], 0, "the default");
    assert_eq!(note.body["state"]["weight"], "0.500", "at the declared scale");
    assert_eq!(note.body["events"][0]["type"], "test.note.Created");

    let path = format!("/v1/note/{}/update", note.id());
    let updated = app.post(&path, &json!({ "stars": 5, "body": null })).await.expect(200);
    assert_eq!(updated.body["state"]["stars"], 5);
    assert_eq!(updated.body["state"]["body"], json!(null));
    assert_eq!(updated.body["state"]["title"], "Tea");
    assert_eq!(updated.body["state"]["tags"], json!(["a", "b"]));
}

#[tokio::test]
async fn a_deleted_aggregate_is_gone_and_can_be_created_again() {
    let world = harness::World::with_models(&[(
        "city.yaml",
        "\
model: city
crud: true
fields:
  code: { type: text, key: true, min_length: 1, max_length: 10 }
  name: { type: text, max_length: 40 }
",
    )]);
    let server = world.start(&[]).await;
    let app = server.client();
    let city = json!({ "code": "OSL", "name": "Oslo" });
    let created = app.post("/v1/city/create", &city).await.expect(201);

    let deleted = app.post("/v1/city/OSL/delete", &json!({})).await.expect(200);
    assert_eq!(deleted.version(), 2);
    assert_eq!(deleted.body["state"], json!(null));
    app.get_at("/v1/city/OSL", deleted.position()).await.problem(404, "not-found");
    assert_eq!(app.get("/v1/city").await.expect(200).body["items"], json!([]));
    app.post("/v1/city/OSL/update", &json!({ "name": "Kristiania" })).await.problem(404, "not-found");
    app.post("/v1/city/OSL/delete", &json!({})).await.problem(404, "not-found");

    let again = app.post("/v1/city/create", &json!({ "code": "OSL", "name": "Oslo II" })).await.expect(201);
    assert_eq!(again.id(), created.id());
    assert_eq!(again.version(), 3, "versions go on");
    let row = app.get_at("/v1/city/OSL", again.position()).await.expect(200);
    assert_eq!(row.body["state"]["name"], "Oslo II");
    assert_eq!(row.version(), 3);
}

#[tokio::test]
async fn a_reference_to_nothing_is_refused() {
    let app = harness::shared(&SERVER).await;
    let mut body = client::order();
    body["purse"] = json!("nobody");
    let refused = app.post("/v1/order/place", &body).await.problem(422, "unknown-reference");
    assert_eq!(refused.pointers(), ["/purse"]);

    let purse = app.open_purse().await;
    body["purse"] = purse.body["state"]["number"].clone();
    let order = app.post("/v1/order/place", &body).await.expect(201);
    assert_eq!(order.body["state"]["purse"], purse.id(), "the key became the id");
}

#[tokio::test]
async fn wait_chooses_how_far_the_answer_waits() {
    let app = harness::shared(&SERVER).await;
    let body = json!({ "title": "a" });
    let accepted = app.post("/v1/note/create?wait=accepted", &body).await.expect(202);
    assert!(accepted.body["command_id"].is_string(), "{}", accepted.text);
    let path = format!("/v1/note/{}", accepted.id());
    harness::eventually("the accepted command is done", async || {
        (app.get(&path).await.status == 200).then_some(())
    })
    .await;

    let projected = app.post("/v1/note/create?wait=projected", &body).await.expect(201);
    app.get(&format!("/v1/note/{}", projected.id())).await.expect(200);
    app.post("/v1/note/create?wait=forever", &body).await.problem(400, "invalid-query");
}

#[tokio::test]
async fn requests_can_be_followed() {
    let app = harness::shared(&SERVER).await;
    let answer = app
        .post_with("/v1/note/create", &json!({ "title": "a" }), &[("X-Request-Id", "mine-1")])
        .await
        .expect(201);
    assert_eq!(answer.header("x-request-id"), "mine-1");

    let metrics = app.get("/metrics").await.expect(200);
    assert!(
        metrics.text.lines().any(|line| line.starts_with("writ_") && line.contains("note")),
        "{}",
        metrics.text
    );
    app.get("/healthz").await.expect(200);
    let ready = app.get("/readyz").await.expect(200);
    let parts: Vec<_> = ready.body["parts"].as_array().unwrap().iter().collect();
    for name in ["kafka", "registry", "postgres", "decider", "projector"] {
        assert!(
            parts.iter().any(|part| part["name"] == name && part["ready"] == true),
            "{name}: {}",
            ready.text
        );
    }
}
