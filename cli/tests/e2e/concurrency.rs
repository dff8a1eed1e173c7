//! `If-Match`: of those who saw the same version, one wins. And what many writers at once leave behind.

use std::sync::Arc;

use futures::future::join_all;
use serde_json::json;

use crate::harness::{self, Slot, kafka};

static SERVER: Slot = harness::slot();

#[tokio::test]
async fn of_twenty_parallel_payments_one_is_taken() {
    let app = harness::shared(&SERVER).await;
    let order = app.place_order().await;
    let path = format!("/v1/order/{}/pay", order.id());
    let body = json!({});
    let answers = join_all((0..20).map(|_| app.post_with(&path, &body, &[("If-Match", "\"1\"")]))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 19));
    assert_eq!(won[0].version(), 2);
    for answer in lost {
        answer.problem(412, "version-mismatch");
    }
    assert_eq!(kafka::events_of(&app.world().topic("order"), order.id()).await.len(), 2);
}

#[tokio::test]
async fn a_stale_version_is_refused_before_the_state_is_looked_at() {
    let app = harness::shared(&SERVER).await;
    let order = app.place_order().await;
    let path = format!("/v1/order/{}/pay", order.id());
    for stale in ["\"0\"", "\"2\"", "\"99999999999999999999\"", "\"x\"", "3"] {
        let answer = app.post_with(&path, &json!({}), &[("If-Match", stale)]).await;
        match stale {
            "\"0\"" | "\"2\"" => answer.problem(412, "version-mismatch"),
            _ => answer.problem(400, "invalid-header"),
        };
    }
    let paid = app.post_with(&path, &json!({}), &[("If-Match", "\"1\"")]).await.expect(200);
    let stale =
        app.post_with(&path, &json!({}), &[("If-Match", "\"1\"")]).await.problem(412, "version-mismatch");
    assert_eq!(stale.header("etag"), paid.header("etag"), "tells the present version");
}

#[tokio::test]
async fn many_writers_lose_no_update() {
    const WRITERS: u64 = 16;
    const DEPOSITS: u64 = 10;
    let app = Arc::new(harness::shared(&SERVER).await);
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}/deposit", purse.id());
    let body = json!({ "amount": 1 });
    let answers = join_all((0..WRITERS).map(async |_| {
        let mut answers = Vec::new();
        for _ in 0..DEPOSITS {
            answers.push(app.post(&path, &body).await.expect(200));
        }
        answers
    }))
    .await;
    let mut balances: Vec<_> =
        answers.iter().flatten().map(|answer| answer.body["state"]["balance"].as_u64().unwrap()).collect();
    balances.sort_unstable();
    assert_eq!(balances, (1..=WRITERS * DEPOSITS).collect::<Vec<_>>());

    let events = kafka::events_of(&app.world().topic("purse"), purse.id()).await;
    let versions: Vec<_> = events.iter().map(kafka::Record::version).collect();
    assert_eq!(versions, (1..=WRITERS * DEPOSITS + 1).collect::<Vec<_>>(), "in the order of the topic");
}

#[tokio::test]
async fn of_many_who_create_the_same_one_wins() {
    let app = harness::shared(&SERVER).await;
    let body = harness::client::order();
    let answers = join_all((0..12).map(|_| app.post("/v1/order/place", &body))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        answer.problem(409, "already-exists");
    }
}
